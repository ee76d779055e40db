/**
 * The nodes of an instance and what of them is free, as bitsets, and the nodes that may be used by how much is free on
 * them.
 *
 * Invariants, asserted: what is taken was free, what is given back was not. A node stands in exactly one bucket, that of
 * the numbers of its free cores and GPUs, while it is up, in the inventory and has a free core, and in none otherwise.
 *
 * Every operation can be undone by its opposite, in the opposite order: so plans are tried out on the table itself.
 */
import { assert } from "../../base/assert.ts";
import { Bits } from "./bits.ts";

/** A node of the inventory. Core and GPU ids are logical (RFC 20). */
export interface NodeInventory {
  readonly rank: number;
  readonly hostname: string;
  readonly cores: readonly number[];
  readonly gpus: readonly number[];
  readonly properties: readonly string[];
}

/** A part of one node. */
export interface NodeShare {
  readonly rank: number;
  readonly cores: readonly number[];
  readonly gpus: readonly number[];
}

export interface Node {
  readonly inventory: NodeInventory;
  /** What is free. */
  readonly cores: Bits;
  readonly gpus: Bits;
  isUp: boolean;
  isRemoved: boolean;
}

export class NodeTable {
  readonly nodes: readonly Node[];
  readonly #indexes = new Map<number, number>();
  /** Usable nodes by what is free on them, the most last; made when first needed. */
  readonly #buckets: (Bits | undefined)[] = [];
  /** Buckets per number of free cores: one for each number of GPUs. */
  readonly #width: number;
  #freeCores = 0;

  /** All nodes are down and free at first. */
  constructor(inventory: readonly NodeInventory[]) {
    const sorted = inventory.toSorted((left, right) => left.rank - right.rank);
    this.nodes = sorted.map((node) => ({
      inventory: node,
      cores: Bits.of(sizeFor(node.cores), node.cores),
      gpus: Bits.of(sizeFor(node.gpus), node.gpus),
      isUp: false,
      isRemoved: false,
    }));
    sorted.forEach((node, index) => this.#indexes.set(node.rank, index));
    this.#width = 1 + sorted.reduce((count, { gpus }) => Math.max(count, gpus.length), 0);
  }

  /** Free cores of the nodes that may be used. */
  get freeCores(): number {
    return this.#freeCores;
  }

  indexOf(rank: number): number | undefined {
    return this.#indexes.get(rank);
  }

  at(rank: number): Node | undefined {
    const index = this.#indexes.get(rank);
    return index === undefined ? undefined : this.nodes[index];
  }

  /**
   * Shows the usable nodes with at least so many free cores (one or more), those with the most first, among equal ones
   * those with the most free GPUs, then by rank, until the visitor returns true. `within` leaves only those of its nodes. The visitor changes nothing.
   */
  visit(minCores: number, within: Bits | null, visitor: (node: Node, index: number) => boolean): void {
    const last = Math.max(1, minCores) * this.#width;
    for (let place = this.#buckets.length - 1; place >= last; place--) {
      const bucket = this.#buckets[place];
      if (bucket === undefined || bucket.count === 0) continue;
      const next = (from: number): number => (within === null ? bucket.next(from) : bucket.nextInBoth(within, from));
      for (let index = next(0); index >= 0; index = next(index + 1)) if (visitor(this.nodes[index]!, index)) return;
    }
  }

  /** Changes what is known of a node. */
  setState(index: number, state: { isUp?: boolean; isRemoved?: boolean }): void {
    const node = this.nodes[index]!;
    this.#leave(index, node);
    node.isUp = state.isUp ?? node.isUp;
    node.isRemoved = state.isRemoved ?? node.isRemoved;
    this.#enter(index, node);
  }

  take(share: NodeShare): void {
    this.#change(share, (bits, id) => assert(bits.remove(id), `${id} of rank ${share.rank} is not free`));
  }

  giveBack(share: NodeShare): void {
    this.#change(share, (bits, id) => assert(bits.add(id), `${id} of rank ${share.rank} was free`));
  }

  /** Takes what is free of shares; returns what that was. */
  takeFree(shares: readonly NodeShare[]): NodeShare[] {
    const taken: NodeShare[] = [];
    for (const { rank, cores, gpus } of shares) {
      const node = this.at(rank)!;
      const share = {
        rank,
        cores: cores.filter((core) => node.cores.has(core)),
        gpus: gpus.filter((gpu) => node.gpus.has(gpu)),
      };
      if (share.cores.length + share.gpus.length === 0) continue;
      this.take(share);
      taken.push(share);
    }
    return taken;
  }

  #change(share: NodeShare, change: (bits: Bits, id: number) => void): void {
    const index = this.#indexes.get(share.rank)!;
    const node = this.nodes[index]!;
    this.#leave(index, node);
    for (const core of share.cores) change(node.cores, core);
    for (const gpu of share.gpus) change(node.gpus, gpu);
    this.#enter(index, node);
  }

  #leave(index: number, node: Node): void {
    if (this.#buckets[this.#placeOf(node)]?.remove(index) === true) this.#freeCores -= node.cores.count;
  }

  #enter(index: number, node: Node): void {
    if (!node.isUp || node.isRemoved || node.cores.count === 0) return;
    const place = this.#placeOf(node);
    // No holes: an array with holes is slower to read.
    while (this.#buckets.length <= place) this.#buckets.push(undefined);
    this.#buckets[place] ??= new Bits(this.nodes.length);
    this.#buckets[place].add(index);
    this.#freeCores += node.cores.count;
  }

  #placeOf({ cores, gpus }: Node): number {
    return cores.count * this.#width + gpus.count;
  }
}

function sizeFor(ids: readonly number[]): number {
  return ids.reduce((size, id) => Math.max(size, id + 1), 0);
}
