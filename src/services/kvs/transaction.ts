/**
 * Applying transactions to a tree: operations on a draft of the root, of which only the directories on the way are
 * copied. The version before stays as it is, whether it has been hashed or not.
 *
 * A transaction happens whole or not at all: what it changed in a draft that it shares with others is undone when one of
 * its operations fails, or finds a directory that is not in memory (MissingBlob).
 *
 * A value to which much was appended, or which has ended, is merged into fewer blobs after the transactions of a version,
 * or into none where it is short. What is merged is logged: a version that is made again has the same hash.
 */
import { base64ByteLength, isBase64, base64Encode, concatBytes } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";
import {
  INLINE_VALUE_LENGTH,
  type Operation,
  OPERATION_APPEND,
  OPERATION_LAST,
  OPERATION_PRUNE,
  splitKey,
  type TreeObject,
} from "../../sdk/kvs-protocol.ts";
import type { Val, Valref } from "../../formats/treeobj.ts";
import { MissingBlob, type BlobIndex } from "./blob-index.ts";
import { Directory, type Entry } from "./directory.ts";
import { RefList, type KeyMerge } from "./ref-list.ts";
import { KEY_PARTS_MAX, SYMLINK_DEPTH_MAX } from "./protocol.ts";
import { entryOf, INLINE_ENDED_LENGTH } from "./tree.ts";

interface Change {
  readonly directory: Directory;
  readonly name: string;
  readonly before: Entry | undefined;
}

/** What is pruned lies at least so deep. */
export const PRUNED_DEPTH_MIN = 2;

interface Place {
  readonly directory: Directory;
  readonly name: string;
  /** The way there, without links. */
  readonly path: readonly string[];
}

/** The blobrefs in the tree objects of operations. */
export function referencesIn(operations: readonly Operation[]): string[] {
  const refs: string[] = [];
  for (const { dirent } of operations) if (dirent !== null) gatherReferences(dirent, refs);
  return refs;
}

function gatherReferences(object: TreeObject, refs: string[]): void {
  if (object.type === "valref" || object.type === "dirref") for (const ref of object.data) refs.push(ref);
  else if (object.type === "dir")
    for (const name of Object.keys(object.data)) gatherReferences(object.data[name]!, refs);
}

export class Draft {
  readonly #index: BlobIndex;
  readonly #root: Directory;
  /** What this draft has copied is marked with: only that may be changed. */
  readonly #owner: object = {};
  readonly #changes: Change[] = [];
  /** Keys of values that consist of many small blobs. */
  readonly #looseKeys = new Set<string>();
  /** Keys of values to which nothing more is going to be appended. */
  readonly #endedKeys = new Set<string>();

  #hasFollowedLinks = false;

  readonly #namespace: string | null;

  /** Takes a root, or its blobref, and whose it is. Throws MissingBlob where that is not in memory. */
  constructor(index: BlobIndex, root: Directory | string, namespace: string | null = null) {
    this.#index = index;
    this.#namespace = namespace;
    this.#root = (typeof root === "string" ? index.directory(root) : root).draft(this.#owner);
  }

  /**
   * Applies a transaction. Throws FluxError where it cannot be done, MissingBlob where it must wait; then nothing of it is
   * left. One that is not its own was merged by another draft.
   */
  apply(operations: readonly Operation[], isOwn = true): void {
    this.#changes.length = 0;
    try {
      for (const operation of operations) this.#applyOperation(operation, isOwn);
    } catch (error) {
      for (const { directory, name, before } of this.#changes.toReversed()) directory.set(name, before, this.#index);
      throw error;
    } finally {
      this.#changes.length = 0;
    }
  }

  /**
   * Applies some operations of a transaction that has this draft for itself, from `place` on, which tells how far it got.
   * Throws MissingBlob where one must wait: those before it are done; FluxError where one cannot be done: then the draft is
   * of no use any more.
   */
  applySome(operations: readonly Operation[], place: { next: number }, count: number): void {
    const end = Math.min(operations.length, place.next + count);
    try {
      // What an operation did before it missed something, it does again: it ends with the same.
      for (; place.next < end; place.next++) this.#applyOperation(operations[place.next]!, true);
    } finally {
      this.#changes.length = 0;
    }
  }

  /** Merges the small blobs of values to which much was appended. Returns what was merged, or what is missing: then begin anew. */
  mergeLoose(): KeyMerge[] | MissingBlob {
    const merges: KeyMerge[] = [];
    for (const key of this.#looseKeys) {
      const merge = this.#mergeOf(key);
      if (merge === null) continue;
      const missing = this.#tryToMerge(merge);
      if (missing !== null) return missing;
      merges.push(merge);
    }
    return merges;
  }

  /** The same with a rest after some keys; what is not in memory stays as it is. Gathers what was merged in `merges`. */
  *mergeInSlices(slice: number, merges: KeyMerge[]): Generator<void> {
    let count = 0;
    for (const key of this.#looseKeys) {
      const merge = this.#mergeOf(key);
      if (merge !== null && this.#tryToMerge(merge) === null) merges.push(merge);
      if (++count % slice === 0) yield;
    }
  }

  #tryToMerge(merge: KeyMerge): MissingBlob | null {
    try {
      this.merge(merge);
      return null;
    } catch (error) {
      if (error instanceof MissingBlob) return error;
      throw error;
    }
  }

  /** How the blobs of a value are merged; null where they are not. */
  #mergeOf(key: string): KeyMerge | null {
    const refs = this.#listAt(key)?.refs;
    if (refs === undefined || !(refs.isLoose || this.#isMerged(key, refs))) return null;
    const merge = { key, ...refs.plan() };
    return merge.counts.every((count) => count === 1) ? null : merge;
  }

  /** Whether a value that has ended is in several blobs, and they are in memory: it is not worth reading one. */
  #isMerged(key: string, refs: RefList): boolean {
    if (!this.#endedKeys.has(key)) return false;
    const all = refs.toArray();
    return all.length > 1 && all.every((ref) => this.#index.find(ref) instanceof Uint8Array);
  }

  /** Throws MissingBlob: then begin anew; EIO where there is no such value. */
  merge({ key, start, counts }: KeyMerge): void {
    const found = this.#listAt(key);
    const end = counts.reduce((sum, count) => sum + count, start);
    if (found === null || end > found.refs.length) throw new FluxError("EIO", `no such value to merge: ${key}`);
    let position = start;
    const groups = counts.map((count) => {
      const refs = count === 1 ? [] : found.refs.slice(position, count);
      position += count;
      return refs;
    });
    // All that are missing are asked for at once.
    const bytes = this.#index.values(groups.flat(), new Map());
    const length = bytes.reduce((sum, { byteLength }) => sum + byteLength, 0);
    if (counts[0] === found.refs.length && 4 * length <= 3 * INLINE_ENDED_LENGTH)
      return this.#setInline(found.directory, found.name, base64Encode(concatBytes(bytes)));
    let next = 0;
    const blobs = groups.map(({ length }) => {
      if (length === 0) return null;
      const blob = concatBytes(bytes.slice(next, (next += length)));
      return { ref: this.#index.addBytes(blob), size: blob.byteLength };
    });
    const refs = found.refs.merged({ start, counts }, blobs);
    this.#set(found.directory, found.name, { kind: "valref", refs, text: null });
  }

  /** The blobs of a value, and where it is; null where there is no such value (any more). */
  #listAt(key: string): { directory: Directory; name: string; refs: RefList } | null {
    try {
      const place = this.#descend(splitKey(key), false);
      const entry = place?.directory.get(place.name, this.#index);
      return place !== null && entry?.kind === "valref" ? { ...place, refs: entry.refs } : null;
    } catch (error) {
      // Something else has taken the place of a directory on the way.
      if (error instanceof FluxError) return null;
      throw error;
    }
  }

  /** Whether an operation, or an attempt at one, went through a link. */
  get hasFollowedLinks(): boolean {
    return this.#hasFollowedLinks;
  }

  /** The new root, without its hash. The draft must not be used afterwards. */
  get root(): Directory {
    return this.#root;
  }

  #applyOperation({ key, flags, dirent }: Operation, isOwn: boolean): void {
    const names = splitKey(key);
    if (names.length === 0) throw new FluxError("EINVAL");
    const place = this.#descend(names, dirent !== null);
    if (place === null) return;
    const { directory, name } = place;
    if (dirent === null) {
      if (directory.get(name, this.#index) !== undefined) this.#set(directory, name, undefined);
      if ((flags & OPERATION_PRUNE) !== 0) this.#prune(place.path);
      return;
    }
    if ((flags & OPERATION_APPEND) !== 0 && dirent.type !== "val" && dirent.type !== "valref")
      throw new FluxError("EPROTO", "only a value can be appended");
    const before = directory.get(name, this.#index);
    if ((flags & OPERATION_APPEND) === 0 || before === undefined) return this.#setNew(directory, name, dirent, flags);
    const refs = this.#appended(before, dirent as Val | Valref);
    if (isOwn && (refs.isLoose || (flags & OPERATION_LAST) !== 0)) this.#looseKeys.add(key);
    if ((flags & OPERATION_LAST) !== 0) this.#endedKeys.add(key);
    this.#set(directory, name, { kind: "valref", refs, text: null });
  }

  #setNew(directory: Directory, name: string, dirent: TreeObject, flags: number): void {
    const isShort = dirent.type === "val" && dirent.data.length <= INLINE_ENDED_LENGTH;
    if ((flags & OPERATION_LAST) === 0 || !isShort || dirent.data.length <= INLINE_VALUE_LENGTH)
      return this.#set(directory, name, entryOf(dirent, this.#addValue));
    if (!isBase64(dirent.data)) throw new FluxError("EINVAL", "a value is not base64");
    this.#setInline(directory, name, dirent.data);
  }

  /** Sets a value that has no blob. */
  #setInline(directory: Directory, name: string, data: string): void {
    this.#index.noteInline(data.length);
    this.#set(directory, name, { kind: "val", data, text: null });
  }

  /** Removes the directories above a path that are empty, but for the top one. */
  #prune(path: readonly string[]): void {
    for (let depth = path.length - 1; depth >= PRUNED_DEPTH_MIN; depth--) {
      const { directory, name } = this.#descend(path.slice(0, depth), true)!;
      const entry = directory.get(name, this.#index);
      if (entry?.kind !== "draft" || entry.directory.size > 0) return;
      this.#set(directory, name, undefined);
    }
  }

  readonly #addValue = (base64: string): string => this.#index.addValue(base64);

  /** A value with bytes added: blobs one after the other, in the order of the appends. A long one comes as references. */
  #appended(before: Entry, added: Val | Valref): RefList {
    if (before.kind === "symlink") throw new FluxError("ENOTSUP");
    if (before.kind !== "val" && before.kind !== "valref") throw new FluxError("EISDIR");
    const list =
      before.kind === "valref"
        ? before.refs
        : RefList.of([this.#index.addValue(before.data)], [base64ByteLength(before.data)]);
    return added.type === "valref"
      ? list.append(added.data)
      : list.append([this.#index.addValue(added.data)], [base64ByteLength(added.data)]);
  }

  /**
   * Goes to the directory that holds the last name of a path. Directories on the way become drafts; what is in the way is
   * overwritten by a directory when `create` is set, otherwise there is no such place (null).
   */
  #descend(path: readonly string[], create: boolean): Place | null {
    let names = path;
    if (names.length > KEY_PARTS_MAX) throw new FluxError("EINVAL", "a key has too many parts");
    let directory = this.#root;
    for (let position = 0, links = 0; position < names.length - 1; position++) {
      const name = names[position]!;
      const entry = directory.get(name, this.#index);
      if (entry?.kind === "symlink") {
        if (entry.namespace !== null && entry.namespace !== this.#namespace)
          throw new FluxError("EINVAL", `a link on the way leads to namespace ${entry.namespace}: commit there`);
        if (++links > SYMLINK_DEPTH_MAX) throw new FluxError("ELOOP");
        this.#hasFollowedLinks = true;
        names = [...splitKey(entry.target), ...names.slice(position + 1)];
        if (names.length > KEY_PARTS_MAX) throw new FluxError("EINVAL", "a key has too many parts");
        directory = this.#root;
        position = -1;
        continue;
      }
      const next = this.#draftOf(directory, name, entry, create);
      if (next === null) return null;
      directory = next;
    }
    return { directory, name: names.at(-1)!, path: names };
  }

  #draftOf(directory: Directory, name: string, entry: Entry | undefined, create: boolean): Directory | null {
    const isDirectory = entry?.kind === "draft" || entry?.kind === "dirref";
    if (!isDirectory && !create) return null;
    if (entry?.kind === "draft" && entry.directory.owner === this.#owner) return entry.directory;
    const draft = isDirectory ? this.#directoryOf(entry).draft(this.#owner) : new Directory([], [], this.#owner);
    this.#set(directory, name, { kind: "draft", directory: draft });
    return draft;
  }

  #directoryOf(entry: Extract<Entry, { kind: "draft" | "dirref" }>): Directory {
    return entry.kind === "draft" ? entry.directory : this.#index.directory(entry.ref);
  }

  #set(directory: Directory, name: string, entry: Entry | undefined): void {
    this.#changes.push({ directory, name, before: directory.set(name, entry, this.#index) });
  }
}
