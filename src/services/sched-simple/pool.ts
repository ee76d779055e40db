/**
 * The resources of an instance and who holds them: nodes with cores and GPUs, counted by bitsets (first fit in the order
 * of ranks).
 *
 * Invariants, asserted: a core or GPU is free or held by exactly one job; what a job gave back is free again; nothing is
 * allocated on a node that is down or removed, though what was allocated there before stays held.
 *
 * It knows neither messages nor the queue; a request is already a count of slots (see `request.ts`).
 */
import { assert } from "../../base/assert.ts";
import type { Integer } from "../../base/json.ts";
import { Bits } from "./bits.ts";

/** A node of the inventory. Core and GPU ids are logical (RFC 20). */
export interface NodeInventory {
  readonly rank: number;
  readonly hostname: string;
  readonly cores: readonly number[];
  readonly gpus: readonly number[];
  readonly properties: readonly string[];
}

/** What a job asks for. */
export interface ResourceRequest {
  /** Nodes wanted; 0 = as they come. */
  readonly nodes: number;
  /** Slots per node where nodes are given, in total otherwise. */
  readonly slots: number;
  readonly coresPerSlot: number;
  readonly gpusPerSlot: number;
  /** Whole nodes, shared with no other job. */
  readonly exclusive: boolean;
  /** Which nodes will do; null = any. Kept for as long as the pool, so that its answer per node is asked once. */
  readonly constraint: NodeConstraint | null;
}

export interface NodeConstraint {
  /** Equal keys mean equal constraints. */
  readonly key: string;
  matches(node: NodeInventory): boolean;
}

/** A part of one node. */
export interface NodeShare {
  readonly rank: number;
  readonly cores: readonly number[];
  readonly gpus: readonly number[];
}

interface Node {
  readonly inventory: NodeInventory;
  readonly cores: Bits;
  readonly gpus: Bits;
  isUp: boolean;
  isRemoved: boolean;
}

/** Constraints whose matching nodes are remembered; beyond, the oldest is forgotten. */
const CONSTRAINT_CACHE_MAX = 64;

export class ResourcePool {
  readonly #nodes: Node[];
  readonly #byRank = new Map<number, number>();
  readonly #held = new Map<Integer, NodeShare[]>();
  /** Nodes that are up and have a free core. */
  readonly #open: Bits;
  readonly #constraints = new Map<string, Bits>();
  #generation = 0;

  /** All nodes are down and free at first. */
  constructor(inventory: readonly NodeInventory[]) {
    const sorted = inventory.toSorted((left, right) => left.rank - right.rank);
    this.#nodes = sorted.map((node) => ({
      inventory: node,
      cores: Bits.of(sizeFor(node.cores), node.cores),
      gpus: Bits.of(sizeFor(node.gpus), node.gpus),
      isUp: false,
      isRemoved: false,
    }));
    sorted.forEach((node, index) => this.#byRank.set(node.rank, index));
    this.#open = new Bits(sorted.length);
  }

  /** Goes up whenever something became available: a request that failed at a number fails until it changes. */
  get generation(): number {
    return this.#generation;
  }

  get inventory(): NodeInventory[] {
    return this.#nodes.filter((node) => !node.isRemoved).map((node) => node.inventory);
  }

  /** Ranks that are down, ascending. */
  get down(): number[] {
    return this.#nodes.filter((node) => !node.isUp && !node.isRemoved).map((node) => node.inventory.rank);
  }

  /** What each job holds. */
  get held(): ReadonlyMap<Integer, readonly NodeShare[]> {
    return this.#held;
  }

  /** Marks ranks up or down; ranks that are not in the inventory are ignored. */
  setUp(ranks: Iterable<number>, isUp: boolean): void {
    for (const rank of ranks) {
      const index = this.#byRank.get(rank);
      if (index === undefined || this.#nodes[index]!.isRemoved) continue;
      this.#nodes[index]!.isUp = isUp;
      this.#refresh(index);
    }
    if (isUp) this.#generation++;
  }

  /** Takes ranks out for good. What jobs hold there is theirs until they free it. */
  remove(ranks: Iterable<number>): void {
    for (const rank of ranks) {
      const index = this.#byRank.get(rank);
      if (index === undefined) continue;
      const node = this.#nodes[index]!;
      node.isUp = false;
      node.isRemoved = true;
      this.#refresh(index);
    }
  }

  /** Allocates for a job, or returns null where what is free now does not do. */
  allocate(id: Integer, request: ResourceRequest): readonly NodeShare[] | null {
    assert(!this.#held.has(id), `job ${id} is allocated twice`);
    const shares = this.#choose(request);
    if (shares === null) return null;
    this.#take(id, shares);
    return shares;
  }

  /**
   * Marks what a job holds already, as told by a job manager that knows it from before. What the inventory has no more,
   * and what another job holds, is left out. Returns whether all was there.
   */
  restore(id: Integer, shares: readonly NodeShare[]): boolean {
    assert(!this.#held.has(id), `job ${id} is allocated twice`);
    let isWhole = true;
    const there: NodeShare[] = [];
    for (const { rank, cores, gpus } of shares) {
      const index = this.#byRank.get(rank);
      const node = index === undefined ? null : this.#nodes[index]!;
      const share = {
        rank,
        cores: cores.filter((core) => node?.cores.has(core) === true),
        gpus: gpus.filter((gpu) => node?.gpus.has(gpu) === true),
      };
      isWhole &&= share.cores.length === cores.length && share.gpus.length === gpus.length;
      if (node !== null) there.push(share);
    }
    this.#take(id, there);
    return isWhole;
  }

  /** Gives back what a job holds on some ranks (null = on all). Unknown jobs hold nothing. */
  free(id: Integer, ranks: Iterable<number> | null): void {
    const held = this.#held.get(id);
    if (held === undefined) return;
    const wanted = ranks === null ? null : new Set(ranks);
    const kept = wanted === null ? [] : held.filter((share) => !wanted.has(share.rank));
    for (const share of held) if (wanted === null || wanted.has(share.rank)) this.#giveBack(share);
    if (kept.length === 0) this.#held.delete(id);
    else this.#held.set(id, kept);
    this.#generation++;
  }

  /** What the pool would lack for a request if every node were up and free, for a person; null where it lacks nothing. */
  shortage(request: ResourceRequest): string | null {
    const matching = this.#matching(request.constraint);
    const wanted = request.nodes > 0 ? request.nodes : request.slots;
    let found = 0;
    for (const [index, node] of this.#nodes.entries()) {
      if (node.isRemoved || (matching !== null && !matching.has(index))) continue;
      const { cores, gpus } = node.inventory;
      const slots = slotsIn(cores.length, gpus.length, request);
      if (request.nodes === 0) found += slots;
      else if (slots >= request.slots) found++;
      if (found >= wanted) return null;
    }
    const scope = matching === null ? "there" : "its constraints leave";
    const { coresPerSlot, gpusPerSlot } = request;
    const count = request.nodes > 0 ? request.slots : 1;
    const each = [
      `${count * coresPerSlot} core(s)`,
      ...(gpusPerSlot > 0 ? [`${count * gpusPerSlot} GPU(s)`] : []),
    ].join(" and ");
    const unit = request.nodes > 0 ? "node(s)" : "slot(s)";
    return `it needs ${wanted} ${unit} with ${each}, ${matching === null ? `${scope} are` : scope} ${found}`;
  }

  #choose(request: ResourceRequest): NodeShare[] | null {
    const matching = this.#matching(request.constraint);
    const shares: NodeShare[] = [];
    let left = request.nodes > 0 ? request.nodes : request.slots;
    for (let index = this.#open.next(0); index >= 0 && left > 0; index = this.#open.next(index + 1)) {
      if (matching !== null && !matching.has(index)) continue;
      const node = this.#nodes[index]!;
      if (request.exclusive && !isWholeFree(node)) continue;
      const fitting = slotsIn(node.cores.count, node.gpus.count, request);
      const slots = request.nodes > 0 ? (fitting >= request.slots ? request.slots : 0) : Math.min(fitting, left);
      if (slots === 0) continue;
      left -= request.nodes > 0 ? 1 : slots;
      shares.push(shareOf(node, slots, request));
    }
    return left > 0 ? null : shares;
  }

  #take(id: Integer, shares: readonly NodeShare[]): void {
    for (const share of shares) {
      const index = this.#byRank.get(share.rank)!;
      const node = this.#nodes[index]!;
      for (const core of share.cores) assert(node.cores.remove(core), `core ${core} of rank ${share.rank} is not free`);
      for (const gpu of share.gpus) assert(node.gpus.remove(gpu), `gpu ${gpu} of rank ${share.rank} is not free`);
      this.#refresh(index);
    }
    this.#held.set(id, [...shares]);
  }

  #giveBack(share: NodeShare): void {
    const index = this.#byRank.get(share.rank)!;
    const node = this.#nodes[index]!;
    for (const core of share.cores) assert(node.cores.add(core), `core ${core} of rank ${share.rank} was free`);
    for (const gpu of share.gpus) assert(node.gpus.add(gpu), `gpu ${gpu} of rank ${share.rank} was free`);
    this.#refresh(index);
  }

  #refresh(index: number): void {
    const node = this.#nodes[index]!;
    if (node.isUp && node.cores.count > 0) this.#open.add(index);
    else this.#open.remove(index);
  }

  #matching(constraint: NodeConstraint | null): Bits | null {
    if (constraint === null) return null;
    let matching = this.#constraints.get(constraint.key);
    if (matching !== undefined) return matching;
    matching = new Bits(this.#nodes.length);
    for (const [index, node] of this.#nodes.entries()) if (constraint.matches(node.inventory)) matching.add(index);
    if (this.#constraints.size >= CONSTRAINT_CACHE_MAX)
      this.#constraints.delete(this.#constraints.keys().next().value!);
    this.#constraints.set(constraint.key, matching);
    return matching;
  }
}

function sizeFor(ids: readonly number[]): number {
  return ids.reduce((size, id) => Math.max(size, id + 1), 0);
}

function isWholeFree(node: Node): boolean {
  return node.cores.count === node.inventory.cores.length && node.gpus.count === node.inventory.gpus.length;
}

/** How many slots so many cores and GPUs make. */
function slotsIn(cores: number, gpus: number, request: ResourceRequest): number {
  const byCores = request.coresPerSlot > 0 ? Math.floor(cores / request.coresPerSlot) : Infinity;
  const byGpus = request.gpusPerSlot > 0 ? Math.floor(gpus / request.gpusPerSlot) : Infinity;
  return Math.min(byCores, byGpus);
}

function shareOf(node: Node, slots: number, request: ResourceRequest): NodeShare {
  const { rank } = node.inventory;
  if (request.exclusive) return { rank, cores: [...node.cores], gpus: [...node.gpus] };
  const cores = node.cores.lowest(slots * request.coresPerSlot);
  return { rank, cores, gpus: node.gpus.lowest(slots * request.gpusPerSlot) };
}
