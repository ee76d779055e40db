/**
 * Nodes of the hash tree by blobref, up to a number of bytes; the least recently used go first.
 *
 * Invariant: `bytes` is what the nodes in it take by `nodeBytes`, which does not change while they are in it.
 */
import { AgedMap } from "../../base/aged-map.ts";
import { Directory } from "./directory.ts";

/** The part of a cache that is for directories. */
const DIRECTORY_SHARE = 0.75;

/** A directory (or a piece of one), or the bytes of a value. */
export type Node = Directory | Uint8Array;

/** What a node costs in memory besides its text, in bytes. */
export const NODE_OVERHEAD_BYTES = 600;

/** Bytes that a node in memory takes, roughly: entries are counted with the text that they share. */
export function nodeBytes(node: Node): number {
  return NODE_OVERHEAD_BYTES + (node instanceof Directory ? 2 * node.textLength : node.byteLength);
}

export class NodeCache {
  readonly #nodes = new AgedMap<string, Node>();
  readonly #limitBytes: number;
  #bytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get size(): number {
    return this.#nodes.size;
  }

  get(ref: string): Node | undefined {
    const node = this.#nodes.get(ref);
    if (node !== undefined) this.#nodes.set(ref, node);
    return node;
  }

  add(ref: string, node: Node): void {
    if (this.#nodes.has(ref)) return;
    this.#nodes.set(ref, node);
    this.#bytes += nodeBytes(node);
    // The newest stays even if it alone is over the limit: who asked for it must find it.
    while (this.#bytes > this.#limitBytes && this.#nodes.size > 1) this.#bytes -= nodeBytes(this.#nodes.shift()![1]);
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

/** Directories and values, each with a share of the room: values, which are larger and seldom read again, drive no directories out. */
export class SharedCache {
  readonly #directories: NodeCache;
  readonly #values: NodeCache;

  constructor(limitBytes: number) {
    this.#directories = new NodeCache(limitBytes * DIRECTORY_SHARE);
    this.#values = new NodeCache(limitBytes * (1 - DIRECTORY_SHARE));
  }

  get size(): number {
    return this.#directories.size + this.#values.size;
  }

  get(ref: string): Node | undefined {
    return this.#directories.get(ref) ?? this.#values.get(ref);
  }

  add(ref: string, node: Node): void {
    (node instanceof Directory ? this.#directories : this.#values).add(ref, node);
  }

  take(ref: string): Node | undefined {
    const directory = this.#directories.take(ref);
    return this.#values.take(ref) ?? directory;
  }

  clear(): void {
    this.#directories.clear();
    this.#values.clear();
  }

  *values(): Iterable<Node> {
    yield* this.#directories.values();
    yield* this.#values.values();
  }
}
