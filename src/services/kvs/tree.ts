/**
 * Directories of the hash tree (RFC 11) in memory, and their text, whose hash is their name.
 *
 * Invariants:
 * 1. The text of a directory is compact JSON with names and members sorted, so equal content has an equal hash.
 * 2. A directory changes only in the hands of its `owner`, while a version is being made; one with a `ref` never again.
 * 3. An entry never changes; entries are shared by all versions of a directory. It belongs to one name.
 * 4. In the text every subdirectory is a dirref, every value longer than INLINE_VALUE_LENGTH a valref.
 */
import { assert } from "../../base/assert.ts";
import { FluxError } from "../../base/errors.ts";
import { parseTreeobj } from "../../formats/treeobj.ts";
import type { TreeObject } from "../../sdk/kvs-protocol.ts";

/** A value whose base64 text is longer than this many characters is a blob of its own. */
export const INLINE_VALUE_LENGTH = 72;

export type Entry =
  | { readonly kind: "val"; readonly data: string; text: string | null }
  | { readonly kind: "valref"; readonly refs: readonly string[]; text: string | null }
  | { readonly kind: "dirref"; readonly ref: string; text: string | null }
  /** A subdirectory that has no hash yet. */
  | { readonly kind: "draft"; readonly directory: Directory }
  | { readonly kind: "symlink"; readonly target: string; readonly namespace: string | null; text: string | null };

/** Names and their entries, sorted by name (UTF-16 order; the text is sorted by code points). */
export class Directory {
  readonly names: string[];
  readonly entries: Entry[];
  /** The blobref, or null where nobody has asked for it yet. */
  ref: string | null;
  /** Who may change it. */
  readonly owner: object | null;
  /** Length of the text in characters, once it has been made. */
  textLength: number;

  constructor(names: string[] = [], entries: Entry[] = [], owner: object | null = null) {
    this.names = names;
    this.entries = entries;
    this.ref = null;
    this.owner = owner;
    this.textLength = 0;
  }

  get size(): number {
    return this.names.length;
  }

  get(name: string): Entry | undefined {
    const index = this.#indexOf(name);
    return this.names[index] === name ? this.entries[index] : undefined;
  }

  /** Sets (or, given undefined, removes) an entry of a draft; returns what was there. */
  set(name: string, entry: Entry | undefined): Entry | undefined {
    assert(this.ref === null, "a directory that has a hash does not change");
    const index = this.#indexOf(name);
    const before = this.names[index] === name ? this.entries[index] : undefined;
    if (before !== undefined && entry !== undefined) this.entries[index] = entry;
    else if (before !== undefined) {
      this.names.splice(index, 1);
      this.entries.splice(index, 1);
    } else if (entry !== undefined) {
      this.names.splice(index, 0, name);
      this.entries.splice(index, 0, entry);
    }
    return before;
  }

  /** A draft with the same entries. */
  draft(owner: object): Directory {
    return new Directory(this.names.slice(), this.entries.slice(), owner);
  }

  /** The place of a name: where it is, or where it would go. */
  #indexOf(name: string): number {
    const { names } = this;
    // Keys are often made in order: try the end first.
    let low = 0;
    let high = names.length;
    if (high > 0 && names[high - 1]! < name) return high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (names[middle]! < name) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** JSON with the members of an object in order, as the text of a directory has them. */
function quoted(text: string): string {
  const json = JSON.stringify(text);
  // Control characters are written with upper-case digits.
  return json.includes("\\u")
    ? json.replace(/\\u[0-9a-f]{4}/g, (escape) => `\\u${escape.slice(2).toUpperCase()}`)
    : json;
}

function objectText(entry: Exclude<Entry, { kind: "draft" }>): string {
  switch (entry.kind) {
    case "val":
      return `{"data":"${entry.data}","type":"val","ver":1}`;
    case "valref":
      return `{"data":["${entry.refs.join('","')}"],"type":"valref","ver":1}`;
    case "dirref":
      return `{"data":["${entry.ref}"],"type":"dirref","ver":1}`;
    case "symlink": {
      const namespace = entry.namespace === null ? "" : `"namespace":${quoted(entry.namespace)},`;
      return `{"data":{${namespace}"target":${quoted(entry.target)}},"type":"symlink","ver":1}`;
    }
  }
}

function memberText(name: string, entry: Entry): string {
  assert(entry.kind !== "draft", "a directory has a text only once its subdirectories have hashes");
  entry.text ??= `${quoted(name)}:${objectText(entry)}`;
  return entry.text;
}

/** The text of a directory. Its subdirectories must have their hashes. */
export function directoryText(directory: Directory): string {
  const { names, entries } = directory;
  const members = names.map((name, index) => memberText(name, entries[index]!));
  const text = members.join(",");
  // UTF-16 order and code point order differ only where a name has surrogates.
  if (!/[\ud800-\udfff]/.test(text)) return `{"data":{${text}},"type":"dir","ver":1}`;
  const points = names.map((name) => Array.from(name, (character) => character.codePointAt(0)!));
  const order = Array.from(names.keys()).sort((left, right) => compareSequences(points[left]!, points[right]!));
  return `{"data":{${order.map((index) => members[index]!).join(",")}},"type":"dir","ver":1}`;
}

function compareSequences(left: readonly number[], right: readonly number[]): number {
  const shared = Math.min(left.length, right.length);
  for (let index = 0; index < shared; index++) if (left[index] !== right[index]) return left[index]! - right[index]!;
  return left.length - right.length;
}

/** An entry as a tree object. */
export function treeObjectOf(entry: Exclude<Entry, { kind: "draft" }>): TreeObject {
  switch (entry.kind) {
    case "val":
      return { ver: 1, type: "val", data: entry.data };
    case "valref":
      return { ver: 1, type: "valref", data: entry.refs };
    case "dirref":
      return { ver: 1, type: "dirref", data: [entry.ref] };
    case "symlink":
      return {
        ver: 1,
        type: "symlink",
        data:
          entry.namespace === null ? { target: entry.target } : { target: entry.target, namespace: entry.namespace },
      };
  }
}

/** A directory as a tree object, as a lookup with the flag `readdir` answers. */
export function directoryObject(directory: Directory): TreeObject {
  const data: Record<string, TreeObject> = {};
  for (let index = 0; index < directory.names.length; index++) {
    const entry = directory.entries[index]!;
    assert(entry.kind !== "draft", "a draft is never shown");
    // A plain assignment would lose a key named __proto__.
    Object.defineProperty(data, directory.names[index]!, {
      value: treeObjectOf(entry),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return { ver: 1, type: "dir", data };
}

/** Where the blobs of a parsed directory's inline subdirectories go. */
export interface DirectorySink {
  /** Gives a directory its hash. Its subdirectories have theirs. */
  freeze(directory: Directory): string;
  /** Keeps a value as a blob; returns its blobref. */
  addValue(base64: string): string;
}

/** The entry for a tree object that is being stored under a name. A `val` that is long becomes a blob. */
export function entryOf(object: TreeObject, sink: DirectorySink): Entry {
  switch (object.type) {
    case "val":
      return object.data.length > INLINE_VALUE_LENGTH
        ? { kind: "valref", refs: [sink.addValue(object.data)], text: null }
        : { kind: "val", data: object.data, text: null };
    case "valref":
      return { kind: "valref", refs: object.data, text: null };
    case "dirref":
      return { kind: "dirref", ref: object.data[0]!, text: null };
    case "symlink":
      return { kind: "symlink", target: object.data.target, namespace: object.data.namespace ?? null, text: null };
    case "dir":
      return { kind: "dirref", ref: sink.freeze(directoryOf(object.data, sink)), text: null };
  }
}

function directoryOf(data: { readonly [name: string]: TreeObject }, sink: DirectorySink): Directory {
  const names = Object.keys(data).sort();
  // Values inside a stored directory stay as they are: only what a transaction writes is turned into blobs.
  return new Directory(
    names,
    names.map((name) => entryOf(data[name]!, sink)),
  );
}

/** Reads the text of a stored directory. Throws EIO where the blob is not one. */
export function parseDirectory(text: string, ref: string, sink: DirectorySink): Directory {
  const object = parseStored(text, ref);
  const directory = directoryOf(object.data, sink);
  directory.ref = ref;
  directory.textLength = text.length;
  return directory;
}

function parseStored(text: string, ref: string): Extract<TreeObject, { type: "dir" }> {
  try {
    const object = parseTreeobj(text);
    if (object.type === "dir") return object;
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
  }
  throw new FluxError("EIO", `blob ${ref} is not a directory`);
}
