/**
 * Every directory and value the service holds in memory, by blobref.
 *
 * A node made here is *dirty*: the store may lack it. A checkpoint takes the dirty nodes, writes those that a root still
 * reaches, and moves them to *clean*, a cache; the others go to *history*, a bounded memory of superseded versions that
 * never reach the disk but can still be read for a while (by a follower that is behind, or through a snapshot
 * reference). A dirty directory goes there at once when its next version has its hash, if it is known to be in one place
 * only. Dirty, being flushed and history together are *unsaved*.
 *
 * Invariants:
 * 1. A node that a current root reaches was in the store when the last checkpoint began, and is reached by it; or was
 *    adopted by the store since; or is in `dirty` or `flushing`, where nothing is evicted; or it is a directory that has no
 *    hash yet, and is held by the root itself.
 * 2. What is made is dirty, also where `clean` has the same: the store may be about to drop what no checkpoint reaches.
 * 3. A dirty node that may be in more than one place, because it was made more than once or is reached by what was
 *    `revived`, is in `pinned`: it stays dirty until the next checkpoint.
 * 4. `clean` holds only what the content store could give when it was put there.
 *
 * What was loaded for a lookup or a transaction is retained until that is done, however much it is: otherwise one that needs
 * more than the cache holds would never be done.
 *
 * It does not know which roots there are, nor how blobs travel.
 */
import { assert } from "../../base/assert.ts";
import { base64Decode, hexEncode, utf8Encode } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";
import type { Codec, HashAlgorithm } from "../../base/ports.ts";
import { Directory, type PieceSource } from "./directory.ts";
import { NodeCache, NODE_OVERHEAD_BYTES, nodeBytes, SharedCache, type Node } from "./node-cache.ts";
import { directoryText, parseDirectory, referencesOf } from "./tree.ts";

/** What one member costs in the arrays of a version of a directory, in bytes. */
const MEMBER_BYTES = 16;

/** Nodes, or entries of directories, that are looked at in one turn. */
const FLUSH_SLICE = 4096;

/** Thrown where blobs are needed that are not in memory: load them and try again. It is no Error: nothing is wrong, and taking a stack trace would cost more than all the rest. */
export class MissingBlob {
  readonly refs: readonly string[];
  /** Whether a directory is expected, not a value. */
  readonly isDirectory: boolean;

  constructor(refs: readonly string[], isDirectory: boolean) {
    this.refs = refs;
    this.isDirectory = isDirectory;
  }
}

export interface BlobIndexLimits {
  readonly cleanBytes: number;
  readonly historyBytes: number;
  /** Nothing is stored from here: what is made for an answer may be forgotten. */
  readonly isFollower?: boolean;
}

export class BlobIndex implements PieceSource {
  readonly #codec: Codec;
  readonly #algorithm: HashAlgorithm;
  readonly #clean: SharedCache;
  readonly #history: NodeCache;
  readonly #isFollower: boolean;
  /** What was loaded for something that needs it until it is done, by how many such. */
  readonly #retained = new Map<string, { readonly node: Node; count: number }>();
  #dirty = new Map<string, Node>();
  #flushing = new Map<string, Node>();
  #pinned = new Set<string>();
  #revived = new Set<string>();
  #dirtyBytes = 0;
  #noOpStores = 0;

  constructor(codec: Codec, algorithm: HashAlgorithm, limits: BlobIndexLimits) {
    this.#codec = codec;
    this.#algorithm = algorithm;
    this.#clean = new SharedCache(limits.cleanBytes);
    this.#history = new NodeCache(limits.historyBytes);
    this.#isFollower = limits.isFollower === true;
  }

  /** What was made since the last checkpoint began takes about this many bytes of memory. */
  get dirtyBytes(): number {
    return this.#dirtyBytes;
  }
  get dirtyCount(): number {
    return this.#dirty.size + this.#flushing.size;
  }
  /** Values and directories that were made though the same were in memory. */
  get noOpStores(): number {
    return this.#noOpStores;
  }
  get count(): number {
    return this.dirtyCount + this.#clean.size + this.#history.size;
  }

  /** Every node in memory, for statistics. */
  *nodes(): Generator<Node> {
    yield* this.#dirty.values();
    yield* this.#flushing.values();
    yield* this.#clean.values();
    yield* this.#history.values();
  }

  #refOf(digest: Uint8Array): string {
    return `${this.#algorithm}-${hexEncode(digest)}`;
  }

  #refOfData(data: Uint8Array | string): string {
    return `${this.#algorithm}-${this.#codec.digestHex(this.#algorithm, data)}`;
  }

  find(ref: string): Node | undefined {
    return this.#unsaved(ref) ?? this.#retained.get(ref)?.node ?? this.#clean.get(ref);
  }

  #unsaved(ref: string): Node | undefined {
    return this.#dirty.get(ref) ?? this.#flushing.get(ref) ?? this.#history.get(ref);
  }

  /** A node that the store may lack. */
  findUnsaved(digest: Uint8Array): Node | undefined {
    return this.#unsaved(this.#refOf(digest));
  }

  /** A directory by its blobref. Throws MissingBlob, or EIO where the blob is no directory. */
  directory(ref: string): Directory {
    const node = this.find(ref);
    if (node === undefined) throw new MissingBlob([ref], true);
    // A blob that was stored as a value can be referred to as a directory too.
    return node instanceof Directory ? node : parseDirectory(node, ref);
  }

  /** Pieces of a directory. Throws MissingBlob with all that are missing, EIO where a blob is no piece. */
  directories(refs: readonly string[]): Directory[] {
    const missing = refs.length === 1 ? [] : refs.filter((ref) => this.find(ref) === undefined);
    if (missing.length > 0) throw new MissingBlob(missing, true);
    return refs.map((ref) => {
      const directory = this.directory(ref);
      if (directory.pieces !== null) throw new FluxError("EIO", `blob ${ref} is not a piece of a directory`);
      return directory;
    });
  }

  /** The bytes of the blobs of a value. Throws MissingBlob with all that are missing. */
  values(refs: readonly string[], held: ReadonlyMap<string, Uint8Array>): Uint8Array[] {
    const nodes = refs.map((ref) => held.get(ref) ?? this.#asValue(ref));
    const missing = refs.filter((_ref, index) => nodes[index] === undefined);
    if (missing.length > 0) throw new MissingBlob(missing, false);
    return nodes.map((node) => bytesOf(node!));
  }

  /** The text of a directory that was not made here may have been another than ours: its blob must come from the store. */
  #asValue(ref: string): Node | undefined {
    const clean = this.#retained.get(ref)?.node ?? this.#clean.get(ref);
    return clean instanceof Directory ? undefined : (clean ?? this.#unsaved(ref));
  }

  /** Keeps a blob that the content store gave, certainly until it is released. Throws EIO where a directory was expected and it is none. */
  addLoaded(ref: string, bytes: Uint8Array, isDirectory: boolean): void {
    const retained = this.#retained.get(ref);
    if (retained !== undefined && (!isDirectory || retained.node instanceof Directory)) {
      retained.count += 1;
      return;
    }
    const node = isDirectory ? parseDirectory(bytes, ref) : bytes;
    this.#clean.add(ref, node);
    this.#retained.set(ref, { node, count: (retained?.count ?? 0) + 1 });
  }

  /** Who had blobs loaded is done with them. */
  release(refs: Iterable<string>): void {
    for (const ref of refs) {
      const retained = this.#retained.get(ref);
      if (retained !== undefined && --retained.count === 0) this.#retained.delete(ref);
    }
  }

  /** Gives a directory its hash, and first those in it that have none; returns its blobref. */
  freeze(directory: Directory): string {
    if (directory.ref !== null) return directory.ref;
    directory.normalize();
    const { pieces } = directory;
    if (pieces === null) return this.#freezePlain(directory);
    for (let index = 0; index < pieces.length; index++) {
      const piece = pieces[index]!;
      if (piece instanceof Directory)
        pieces[index] = { first: piece.names[0]!, ref: piece.ref ?? this.#freezePlain(piece), text: null };
    }
    return this.#name(directory, pieces.length);
  }

  /** The same, with a rest after about so many members. What it comes from is in use meanwhile, and is not superseded. */
  *freezeInSlices(directory: Directory, slice: number, done: { members: number } = { members: 0 }): Generator<void> {
    if (directory.ref !== null) return;
    directory.normalize();
    for (const part of directory.pieces ?? [directory]) {
      if (!(part instanceof Directory) || part.ref !== null) continue;
      for (let index = 0; index < part.entries.length; index++) {
        const entry = part.entries[index]!;
        if (entry.kind === "draft") yield* this.freezeInSlices(entry.directory, slice, done);
      }
      part.base = null;
      if (part !== directory) this.#freezePlain(part);
      done.members += part.entries.length;
      if (done.members < slice) continue;
      done.members = 0;
      yield;
    }
    directory.base = null;
    this.freeze(directory);
  }

  /** A directory that is in one blob, or a piece. */
  #freezePlain(directory: Directory): string {
    const { entries } = directory;
    for (let index = 0; index < entries.length; index++) {
      const entry = entries[index]!;
      if (entry.kind === "draft") entries[index] = { kind: "dirref", ref: this.freeze(entry.directory), text: null };
    }
    return this.#name(directory, entries.length);
  }

  #name(directory: Directory, memberCount: number): string {
    const text = directoryText(directory);
    const ref = this.#refOfData(text);
    directory.ref = ref;
    directory.textLength = text.length;
    this.#addMade(ref, directory, NODE_OVERHEAD_BYTES + MEMBER_BYTES * memberCount);
    if (directory.base !== null) this.#supersede(directory.base);
    directory.base = null;
    return ref;
  }

  #supersede(directory: Directory): void {
    const ref = directory.ref!;
    if (this.#dirty.get(ref) !== directory || this.#pinned.has(ref)) return;
    this.#dirty.delete(ref);
    const members = directory.pieces?.length ?? directory.names.length;
    this.#dirtyBytes -= NODE_OVERHEAD_BYTES + MEMBER_BYTES * members;
    this.#history.add(ref, directory);
  }

  /** Something was written to directories that are not hashed yet: they take memory, too. */
  noteUnhashed(operationCount: number): void {
    this.#dirtyBytes += operationCount * NODE_OVERHEAD_BYTES;
  }

  /** A value of so many characters stands in a directory. */
  noteInline(length: number): void {
    this.#dirtyBytes += length;
  }

  addValue(base64: string): string {
    const bytes = base64Decode(base64);
    if (bytes === null) throw new FluxError("EINVAL", "a value is not base64");
    return this.addBytes(bytes);
  }

  /** Keeps the bytes of a value; returns their blobref. */
  addBytes(bytes: Uint8Array): string {
    const ref = this.#refOfData(bytes);
    this.#addMade(ref, bytes, NODE_OVERHEAD_BYTES + bytes.byteLength);
    return ref;
  }

  /**
   * Blobs to which a transaction or a reader refers: they, and what they reach, are dirty again as far as they are unsaved,
   * and stay so until the next checkpoint. Returns those of them that only the store can have.
   */
  revive(refs: Iterable<string>): Set<string> {
    const foreign = new Set<string>();
    const stack = [...refs];
    for (let ref = stack.pop(); ref !== undefined; ref = stack.pop()) {
      if (this.#revived.has(ref)) continue;
      const node = this.#dirty.get(ref) ?? this.#flushing.get(ref) ?? this.#history.take(ref);
      if (node === undefined) {
        foreign.add(ref);
        continue;
      }
      this.#addDirty(ref, node, nodeBytes(node));
      this.#pinned.add(ref);
      this.#revived.add(ref);
      if (node instanceof Directory) for (const child of referencesOf(node)) stack.push(child);
    }
    return foreign;
  }

  #addMade(ref: string, node: Node, costBytes: number): void {
    if (this.#addDirty(ref, node, costBytes)) this.#noOpStores += 1;
  }

  /** Returns whether it was in memory already. */
  #addDirty(ref: string, node: Node, costBytes: number): boolean {
    if (this.#isFollower) {
      this.#clean.add(ref, node);
      return false;
    }
    if (this.#dirty.has(ref)) {
      this.#pinned.add(ref);
      return true;
    }
    const clean = this.#clean.take(ref);
    const former = this.#history.take(ref);
    this.#dirty.set(ref, node);
    this.#dirtyBytes += costBytes;
    return clean !== undefined || former !== undefined || this.#flushing.has(ref);
  }

  /** Begins a checkpoint: everything dirty becomes what is being flushed. */
  beginFlush(): void {
    assert(this.#flushing.size === 0, "one checkpoint at a time");
    this.#flushing = this.#dirty;
    this.#dirty = new Map();
    this.#pinned = new Set();
    this.#revived = new Set();
    this.#dirtyBytes = 0;
  }

  /**
   * Finds the nodes that roots reach and the store may lack, children before the directories that refer to them; a slice
   * between one yield and the next. The roots are those of the moment when the checkpoint began.
   */
  *reach(roots: Iterable<string>, reached: Map<string, Node>): Generator<void> {
    // A directory is looked at twice: its references first, then itself.
    const entered = new Set<string>();
    const stack = [...roots];
    let steps = 0;
    for (let ref = stack.at(-1); ref !== undefined; ref = stack.at(-1)) {
      const node = reached.has(ref) ? undefined : this.#flushing.get(ref);
      if (node === undefined || !(node instanceof Directory) || entered.has(ref)) {
        if (node !== undefined) reached.set(ref, node);
        stack.pop();
      } else {
        entered.add(ref);
        for (const child of referencesOf(node)) stack.push(child);
        steps += node.entries.length;
      }
      if (++steps < FLUSH_SLICE) continue;
      steps = 0;
      yield;
    }
  }

  /** The checkpoint is in the store: what it wrote becomes clean, what it left out history; in slices. */
  *endFlush(written: ReadonlyMap<string, Node>): Generator<void> {
    let steps = 0;
    for (const [ref, node] of this.#flushing) {
      if (!this.#dirty.has(ref)) (written.has(ref) ? this.#clean : this.#history).add(ref, node);
      if (++steps % FLUSH_SLICE === 0) yield;
    }
    this.#flushing = new Map();
  }

  /** The checkpoint failed: what it was to write is dirty still. */
  cancelFlush(): void {
    const newer = this.#dirty;
    this.#dirty = this.#flushing;
    this.#flushing = new Map();
    for (const [ref, node] of newer) this.#dirty.set(ref, node);
    // Where they were made, and how often, is not known any more.
    for (const ref of this.#dirty.keys()) this.#pinned.add(ref);
    this.#dirtyBytes = 0;
    for (const node of this.#dirty.values()) this.#dirtyBytes += nodeBytes(node);
  }

  /** The store is about to drop some blobs: they cannot be had again. */
  forget(digests: Iterable<Uint8Array>): void {
    for (const digest of digests) this.#clean.take(this.#refOf(digest));
  }

  /** Forgets what can be had again. */
  dropClean(): void {
    this.#clean.clear();
  }
}

/** The bytes of a node as the content store has them. */
export function bytesOf(node: Node): Uint8Array {
  return node instanceof Directory ? utf8Encode(directoryText(node)) : node;
}
