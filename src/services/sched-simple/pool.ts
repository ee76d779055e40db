/**
 * The resources of an instance and who holds them, and until when they are expected to.
 *
 * Invariants, asserted: a core or GPU is free or held by exactly one job; what a job gave back is free again; nothing is
 * allocated on a node that is down or removed, though what was allocated there before stays held.
 *
 * It knows neither messages nor the queue; a request is already a count of slots (see `request.ts`).
 */
import { assert } from "../../base/assert.ts";
import type { Integer } from "../../base/json.ts";
import { Bits } from "./bits.ts";
import { choose, kindsOf, shortage, type NodeConstraint, type NodeKind, type ResourceRequest } from "./choice.ts";
import { EndTimes } from "./end-times.ts";
import { NodeTable, type NodeInventory, type NodeShare } from "./nodes.ts";

/** Constraints whose matching nodes are remembered; beyond, the oldest is forgotten. */
const CONSTRAINT_CACHE_MAX = 64;

export class ResourcePool {
  readonly table: NodeTable;
  /** When the jobs that hold something are expected to end. */
  readonly ends: EndTimes = new EndTimes();
  readonly #held = new Map<Integer, readonly NodeShare[]>();
  readonly #constraints = new Map<string, Bits>();
  /** The kinds of nodes that each constraint leaves (the empty key: all), until nodes come or go for good. */
  readonly #kinds = new Map<string, readonly NodeKind[]>();
  #generation = 0;

  /** All nodes are down and free at first. */
  constructor(inventory: readonly NodeInventory[]) {
    this.table = new NodeTable(inventory);
  }

  /**
   * Goes up whenever something became available or a plan for later became void: a request that failed at a number fails
   * until it changes.
   */
  get generation(): number {
    return this.#generation;
  }

  get inventory(): NodeInventory[] {
    return this.table.nodes.filter((node) => !node.isRemoved).map((node) => node.inventory);
  }

  /** Ranks that are down, ascending. */
  get down(): number[] {
    return this.table.nodes.filter((node) => !node.isUp && !node.isRemoved).map((node) => node.inventory.rank);
  }

  /** What each job holds. */
  get held(): ReadonlyMap<Integer, readonly NodeShare[]> {
    return this.#held;
  }

  /** Marks ranks up or down; ranks that are not in the inventory are ignored. One that was removed and is up is back. */
  setUp(ranks: Iterable<number>, isUp: boolean): void {
    for (const rank of ranks) {
      const index = this.table.indexOf(rank);
      if (index !== undefined) this.table.setState(index, isUp ? { isUp, isRemoved: false } : { isUp });
    }
    this.#kinds.clear();
    this.#generation++;
  }

  /** Takes ranks out for good. What jobs hold there is theirs until they free it. */
  remove(ranks: Iterable<number>): void {
    for (const rank of ranks) {
      const index = this.table.indexOf(rank);
      if (index !== undefined) this.table.setState(index, { isUp: false, isRemoved: true });
    }
    this.#kinds.clear();
    this.#generation++;
  }

  /** What a request would get now, or null where what is free does not do. Nodes of `besides` are left out. */
  find(request: ResourceRequest, besides: Bits | null = null): NodeShare[] | null {
    const matching = this.matching(request.constraint);
    if (besides === null) return choose(this.table, request, matching);
    return choose(this.table, request, (matching ?? Bits.upTo(this.table.nodes.length)).without(besides));
  }

  /** Allocates for a job what `find` found. `end` in seconds since the epoch; 0 = not known. */
  hold(id: Integer, shares: readonly NodeShare[], end: number): void {
    assert(!this.#held.has(id), `job ${id} is allocated twice`);
    for (const share of shares) this.table.take(share);
    this.#held.set(id, shares);
    this.ends.set(id, end);
  }

  /**
   * Marks what a job holds already, as told by a job manager that knows it from before. What the inventory has no more,
   * and what another job holds, is left out. Returns whether all was there.
   */
  restore(id: Integer, shares: readonly NodeShare[], end = 0): boolean {
    let isWhole = true;
    const there: NodeShare[] = [];
    for (const { rank, cores, gpus } of shares) {
      const node = this.table.at(rank);
      const share = {
        rank,
        cores: cores.filter((core) => node?.cores.has(core) === true),
        gpus: gpus.filter((gpu) => node?.gpus.has(gpu) === true),
      };
      isWhole &&= share.cores.length === cores.length && share.gpus.length === gpus.length;
      if (node !== undefined) there.push(share);
    }
    this.hold(id, there, end);
    return isWhole;
  }

  /** Why somebody cannot hold these shares: nobody has such resources, or another holds them; null where one can. */
  obstacle(shares: readonly NodeShare[]): string | null {
    const missing = shares.filter(({ rank }) => this.table.at(rank) === undefined).map(({ rank }) => rank);
    if (missing.length > 0) return `allocation contains ranks not in resource pool: [${missing.join(", ")}]`;
    for (const { rank, cores, gpus } of shares) {
      const node = this.table.at(rank)!;
      const isFree = cores.every((core) => node.cores.has(core)) && gpus.every((gpu) => node.gpus.has(gpu));
      if (!isFree) return `allocation contains resources of rank ${rank} that are not there or are allocated already`;
    }
    return null;
  }

  /** The expected end of a job moved. Returns whether it holds anything. */
  setEnd(id: Integer, end: number): boolean {
    if (!this.#held.has(id)) return false;
    this.ends.set(id, end);
    this.#generation++;
    return true;
  }

  /** Gives back what a job holds on some ranks (null = on all). Unknown jobs hold nothing. */
  free(id: Integer, ranks: Iterable<number> | null): void {
    const held = this.#held.get(id);
    if (held === undefined) return;
    const wanted = ranks === null ? null : new Set(ranks);
    const kept = wanted === null ? [] : held.filter((share) => !wanted.has(share.rank));
    for (const share of held) if (wanted === null || wanted.has(share.rank)) this.table.giveBack(share);
    if (kept.length === 0) {
      this.#held.delete(id);
      this.ends.delete(id);
    } else this.#held.set(id, kept);
    this.#generation++;
  }

  /** What the pool would lack for a request if every node were up and free, for a person; null where it lacks nothing. */
  shortage(request: ResourceRequest): string | null {
    const key = request.constraint?.key ?? "";
    let kinds = this.#kinds.get(key);
    if (kinds === undefined) {
      kinds = kindsOf(this.table, this.matching(request.constraint));
      if (this.#kinds.size >= CONSTRAINT_CACHE_MAX) this.#kinds.clear();
      this.#kinds.set(key, kinds);
    }
    return shortage(kinds, request);
  }

  /** The nodes that a constraint leaves; null = all. */
  matching(constraint: NodeConstraint | null): Bits | null {
    if (constraint === null) return null;
    let matching = this.#constraints.get(constraint.key);
    if (matching !== undefined) return matching;
    const { nodes } = this.table;
    matching = new Bits(nodes.length);
    for (const [index, node] of nodes.entries()) if (constraint.matches(node.inventory)) matching.add(index);
    if (this.#constraints.size >= CONSTRAINT_CACHE_MAX)
      this.#constraints.delete(this.#constraints.keys().next().value!);
    this.#constraints.set(constraint.key, matching);
    return matching;
  }
}
