/**
 * The namespaces besides the primary one, as a checkpoint keeps them: a directory of the hash tree with two
 * subdirectories, `roots` (name: dirref of the root) and `meta` (name: val, the JSON of owner, flags, version and creation).
 * So a checkpoint with many namespaces costs what has changed in them, and their trees are reached through it. A namespace is
 * read when somebody asks for it.
 *
 * Invariant: what changed since the last `write` that succeeded is remembered.
 */
import { utf8Decode, utf8Encode } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, parseJson, stringifyJson } from "../../base/json.ts";
import { makeVal, valBytes } from "../../formats/treeobj.ts";
import type { BlobIndex } from "./blob-index.ts";
import { Directory, type Entry } from "./directory.ts";
import type { NamespaceRoot } from "./version.ts";

const META = "meta";
const ROOTS = "roots";

/** What is being written. */
interface Drafts {
  readonly roots: Directory;
  readonly meta: Directory;
}

export class NamespaceDirectory {
  #ref: string | null;
  #drafts: Drafts | null = null;
  readonly #changed = new Set<string>();

  /** `ref`: the directory of the checkpoint that was restored. */
  constructor(ref: string | null) {
    this.#ref = ref;
  }

  /** A namespace came, went or has a new version. */
  note(name: string): void {
    this.#changed.add(name);
  }

  /** How many changes are not in the directory yet. */
  get changeCount(): number {
    return this.#changed.size;
  }

  /** A namespace as it was taken into the directory; null where there is none, or it has changed since. Throws MissingBlob, EIO. */
  find(index: BlobIndex, name: string): NamespaceRoot | null {
    if (this.#changed.has(name)) return null;
    const { roots, meta } = this.#current(index);
    const root = roots.get(name, index);
    return root === undefined ? null : namespaceOf(name, root, meta.get(name, index));
  }

  /** All that `find` would find. Throws MissingBlob, EIO. */
  all(index: BlobIndex): NamespaceRoot[] {
    const { roots, meta } = this.#current(index);
    const metaEntries = meta.parts(index).flatMap(({ entries }) => entries);
    return roots
      .parts(index)
      .flatMap(({ names, entries }) => names.map((name, position) => ({ name, entry: entries[position]! })))
      .map(({ name, entry }, position) => namespaceOf(name, entry, metaEntries[position]))
      .filter(({ name }) => !this.#changed.has(name));
  }

  #current(index: BlobIndex): Drafts {
    return this.#drafts ?? { roots: subdirectory(index, this.#ref, ROOTS), meta: subdirectory(index, this.#ref, META) };
  }

  /** Takes some changes into the directory. Throws MissingBlob: then try again, what has been done is kept. */
  advance(index: BlobIndex, find: (name: string) => NamespaceRoot | undefined, limit: number): void {
    const owner = {};
    this.#drafts ??= {
      roots: subdirectory(index, this.#ref, ROOTS).draft(owner),
      meta: subdirectory(index, this.#ref, META).draft(owner),
    };
    const { roots, meta } = this.#drafts;
    let left = limit;
    for (const name of this.#changed) {
      if (left-- === 0) return;
      const root = find(name);
      roots.set(name, root && { kind: "dirref", ref: root.rootref, text: null }, index);
      meta.set(name, root && metaEntry(root), index);
      this.#changed.delete(name);
    }
  }

  /** Brings the directory up to date; returns its blobref, null where there are no namespaces. Throws MissingBlob: then try again. */
  write(index: BlobIndex, find: (name: string) => NamespaceRoot | undefined): string | null {
    if (this.#changed.size > 0) this.advance(index, find, Infinity);
    if (this.#drafts === null) return this.#ref;
    const { roots, meta } = this.#drafts;
    const entries: Entry[] = [
      { kind: "draft", directory: meta },
      { kind: "draft", directory: roots },
    ];
    this.#ref = roots.size === 0 ? null : index.freeze(new Directory([META, ROOTS], entries));
    this.#drafts = null;
    return this.#ref;
  }
}

function subdirectory(index: BlobIndex, ref: string | null, name: string): Directory {
  if (ref === null) return new Directory();
  const entry = index.directory(ref).get(name, index);
  if (entry?.kind !== "dirref") throw unreadable();
  return index.directory(entry.ref);
}

function metaEntry({ owner, flags, rootseq, created }: NamespaceRoot): Entry {
  const { data } = makeVal(utf8Encode(stringifyJson({ created, flags, owner, rootseq })));
  return { kind: "val", data, text: null };
}

function namespaceOf(name: string, root: Entry, meta: Entry | undefined): NamespaceRoot {
  if (root.kind !== "dirref" || meta?.kind !== "val") throw unreadable();
  const json = parseJson(utf8Decode(valBytes({ ver: 1, type: "val", data: meta.data })));
  if (!isJsonObject(json)) throw unreadable();
  const { owner, flags, rootseq, created } = json;
  if (![owner, flags, rootseq, created].every(Number.isSafeInteger)) throw unreadable();
  return { name, rootref: root.ref, ...(json as unknown as Omit<NamespaceRoot, "name" | "rootref">) };
}

function unreadable(): FluxError {
  return new FluxError("EIO", "the namespaces in the checkpoint cannot be read");
}
