/**
 * Every directory and value the service holds in memory, by blobref.
 *
 * A node made here is *dirty*: the content store lacks it. A checkpoint takes the dirty nodes, writes those that a root
 * still reaches, and moves them to *clean*, a cache; the others go to *history*, a bounded memory of superseded versions
 * that never reach the disk but can still be read for a while (by a follower that is behind, or through a snapshot
 * reference).
 *
 * Invariants:
 * 1. A node that a current root reaches and the store lacks is in `dirty` or in `flushing`, never evicted; or it is a
 *    directory that has no hash yet, and is held by the root itself.
 * 2. `clean` holds only what the content store can give again.
 *
 * It does not know which roots there are, nor how blobs travel.
 */
import { assert } from "../../base/assert.ts";
import { base64Decode, hexEncode, utf8Decode, utf8Encode } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";
import type { Codec, HashAlgorithm } from "../../base/ports.ts";
import { Directory, directoryText, parseDirectory, type DirectorySink } from "./tree.ts";

/** A directory, or the bytes of a value. */
export type Node = Directory | Uint8Array;

/** What a node costs in memory besides its text, in bytes. */
const NODE_OVERHEAD_BYTES = 200;
/** What one member costs in the arrays of a version of a directory, in bytes. */
const MEMBER_BYTES = 16;

/** Thrown where blobs are needed that are not in memory: load them and try again. */
export class MissingBlob extends Error {
  readonly refs: readonly string[];
  /** Whether a directory is expected, not a value. */
  readonly isDirectory: boolean;

  constructor(refs: readonly string[], isDirectory: boolean) {
    super(`blobs are not in memory: ${refs.join(", ")}`);
    this.refs = refs;
    this.isDirectory = isDirectory;
  }
}

/** Nodes up to a number of bytes; the least recently used go first. */
class NodeCache {
  readonly #nodes = new Map<string, Node>();
  readonly #limitBytes: number;
  #bytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get size(): number {
    return this.#nodes.size;
  }
  get bytes(): number {
    return this.#bytes;
  }

  get(ref: string): Node | undefined {
    const node = this.#nodes.get(ref);
    if (node !== undefined) {
      this.#nodes.delete(ref);
      this.#nodes.set(ref, node);
    }
    return node;
  }

  add(ref: string, node: Node): void {
    if (this.#nodes.has(ref)) return;
    this.#nodes.set(ref, node);
    this.#bytes += nodeBytes(node);
    for (const [oldest, old] of this.#nodes) {
      // The newest stays even if it alone is over the limit: who asked for it must find it.
      if (this.#bytes <= this.#limitBytes || oldest === ref) break;
      this.#nodes.delete(oldest);
      this.#bytes -= nodeBytes(old);
    }
  }

  take(ref: string): Node | undefined {
    const node = this.#nodes.get(ref);
    if (node === undefined) return undefined;
    this.#nodes.delete(ref);
    this.#bytes -= nodeBytes(node);
    return node;
  }

  clear(): void {
    this.#nodes.clear();
    this.#bytes = 0;
  }

  values(): Iterable<Node> {
    return this.#nodes.values();
  }
}

/** Bytes that a cached node takes, roughly: entries are counted with the text that they share. */
function nodeBytes(node: Node): number {
  return NODE_OVERHEAD_BYTES + (node instanceof Directory ? 2 * node.textLength : node.byteLength);
}

export interface BlobIndexLimits {
  readonly cleanBytes: number;
  readonly historyBytes: number;
}

export class BlobIndex implements DirectorySink {
  readonly #codec: Codec;
  readonly #algorithm: HashAlgorithm;
  readonly #clean: NodeCache;
  readonly #history: NodeCache;
  #dirty = new Map<string, Node>();
  #flushing = new Map<string, Node>();
  #dirtyBytes = 0;

  constructor(codec: Codec, algorithm: HashAlgorithm, limits: BlobIndexLimits) {
    this.#codec = codec;
    this.#algorithm = algorithm;
    this.#clean = new NodeCache(limits.cleanBytes);
    this.#history = new NodeCache(limits.historyBytes);
  }

  /** What was made since the last checkpoint began takes about this many bytes of memory. */
  get dirtyBytes(): number {
    return this.#dirtyBytes;
  }
  get dirtyCount(): number {
    return this.#dirty.size + this.#flushing.size;
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

  blobrefOf(bytes: Uint8Array): string {
    return `${this.#algorithm}-${hexEncode(this.#codec.digest(this.#algorithm, bytes))}`;
  }

  find(ref: string): Node | undefined {
    return this.#dirty.get(ref) ?? this.#flushing.get(ref) ?? this.#clean.get(ref) ?? this.#history.get(ref);
  }

  findDigest(digest: Uint8Array): Node | undefined {
    return this.find(`${this.#algorithm}-${hexEncode(digest)}`);
  }

  /** A directory by its blobref. Throws MissingBlob, or EIO where the blob is no directory. */
  directory(ref: string): Directory {
    const node = this.find(ref);
    if (node === undefined) throw new MissingBlob([ref], true);
    if (node instanceof Directory) return node;
    // A blob that was stored as a value can be referred to as a directory too.
    return parseDirectory(utf8Decode(node), ref, this);
  }

  /** The bytes of the blobs of a value. Throws MissingBlob with all that are missing. */
  values(refs: readonly string[], held: ReadonlyMap<string, Uint8Array>): Uint8Array[] {
    const nodes = refs.map((ref) => this.find(ref) ?? held.get(ref));
    const missing = refs.filter((_ref, index) => nodes[index] === undefined);
    if (missing.length > 0) throw new MissingBlob(missing, false);
    return nodes.map((node) => bytesOf(node!));
  }

  /** Keeps a blob that the content store gave. Throws EIO where a directory was expected and it is none. */
  addLoaded(ref: string, bytes: Uint8Array, isDirectory: boolean): void {
    this.#clean.add(ref, isDirectory ? parseDirectory(utf8Decode(bytes), ref, this) : bytes);
  }

  freeze(directory: Directory): string {
    if (directory.ref !== null) return directory.ref;
    const { entries } = directory;
    for (let index = 0; index < entries.length; index++) {
      const entry = entries[index]!;
      if (entry.kind === "draft") entries[index] = { kind: "dirref", ref: this.freeze(entry.directory), text: null };
    }
    const text = directoryText(directory);
    const ref = this.blobrefOf(utf8Encode(text));
    directory.ref = ref;
    directory.textLength = text.length;
    this.#addDirty(ref, directory, NODE_OVERHEAD_BYTES + MEMBER_BYTES * directory.size);
    return ref;
  }

  /** Something was written to directories that are not hashed yet: they take memory, too. */
  noteUnhashed(operationCount: number): void {
    this.#dirtyBytes += operationCount * NODE_OVERHEAD_BYTES;
  }

  addValue(base64: string): string {
    const bytes = base64Decode(base64);
    if (bytes === null) throw new FluxError("EINVAL", "a value is not base64");
    return this.addBytes(bytes);
  }

  /** Keeps the bytes of a value; returns their blobref. */
  addBytes(bytes: Uint8Array): string {
    const ref = this.blobrefOf(bytes);
    this.#addDirty(ref, bytes, NODE_OVERHEAD_BYTES + bytes.byteLength);
    return ref;
  }

  /** A transaction refers to a blob that is only in the history: it, and what it reaches, is needed again. */
  revive(ref: string): void {
    const node = this.#history.take(ref);
    if (node === undefined) return;
    this.#addDirty(ref, node, nodeBytes(node));
    if (node instanceof Directory) for (const child of referencesOf(node)) this.revive(child);
  }

  #addDirty(ref: string, node: Node, costBytes: number): void {
    if (this.#dirty.has(ref) || this.#flushing.has(ref)) return;
    // What is in the store need not be written again.
    if (this.#clean.get(ref) !== undefined) return;
    this.#dirty.set(ref, node);
    this.#dirtyBytes += costBytes;
  }

  /**
   * Begins a checkpoint: everything dirty becomes what is being flushed. Returns the nodes that the roots reach and the
   * store lacks, children before the directories that refer to them.
   */
  beginFlush(roots: Iterable<string>): Map<string, Node> {
    assert(this.#flushing.size === 0, "one checkpoint at a time");
    this.#flushing = this.#dirty;
    this.#dirty = new Map();
    this.#dirtyBytes = 0;
    const reached = new Map<string, Node>();
    for (const root of roots) this.#collect(root, reached);
    return reached;
  }

  #collect(ref: string, reached: Map<string, Node>): void {
    if (reached.has(ref)) return;
    const node = this.#flushing.get(ref) ?? this.#history.get(ref);
    if (node === undefined) return;
    if (node instanceof Directory) for (const child of referencesOf(node)) this.#collect(child, reached);
    reached.set(ref, node);
  }

  /** The checkpoint is in the store: what it wrote is clean now, what it left out history. */
  endFlush(written: ReadonlyMap<string, Node>): void {
    const flushed = this.#flushing;
    this.#flushing = new Map();
    for (const [ref, node] of written) {
      this.#history.take(ref);
      this.#clean.add(ref, node);
    }
    for (const [ref, node] of flushed) if (!written.has(ref)) this.#history.add(ref, node);
  }

  /** The checkpoint failed: what it was to write is dirty still. */
  cancelFlush(): void {
    const newer = this.#dirty;
    this.#dirty = this.#flushing;
    this.#flushing = new Map();
    for (const [ref, node] of newer) this.#dirty.set(ref, node);
    this.#dirtyBytes = 0;
    for (const node of this.#dirty.values()) this.#dirtyBytes += nodeBytes(node);
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

function* referencesOf(directory: Directory): Generator<string> {
  for (const entry of directory.entries)
    if (entry.kind === "dirref") yield entry.ref;
    else if (entry.kind === "valref") yield* entry.refs;
}
