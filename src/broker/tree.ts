/**
 * The shape of the overlay tree: who is whose parent (`tbon.topo`, flux-broker-attributes(7)). Pure.
 *
 * Invariant: a parent's rank is lower than its child's, so the tree has no cycle and rank 0 is its root.
 */
import { assert } from "../base/assert.ts";
import { FluxError } from "../base/errors.ts";

/** A rank with how many brokers its subtree has, itself included. */
export interface SubtreeShape {
  readonly rank: number;
  readonly size: number;
  readonly children: readonly SubtreeShape[];
}

export class Tree {
  readonly size: number;
  readonly #parents: readonly number[];
  readonly #children: readonly (readonly number[])[];

  /** `parents[rank]` is the parent of a rank; that of rank 0 is -1. */
  constructor(parents: readonly number[]) {
    const children: number[][] = parents.map(() => []);
    parents.forEach((parent, rank) => {
      assert(rank === 0 ? parent === -1 : parent >= 0 && parent < rank, "a parent comes before its child");
      if (rank > 0) children[parent]!.push(rank);
    });
    this.size = parents.length;
    this.#parents = parents;
    this.#children = children;
  }

  /** Null for rank 0. */
  parentOf(rank: number): number | null {
    const parent = this.#parents[rank];
    return parent === undefined || parent < 0 ? null : parent;
  }

  /** The ranks above a rank, the parent first, up to 0. */
  ancestorsOf(rank: number): number[] {
    const found: number[] = [];
    for (let hop = this.parentOf(rank); hop !== null; hop = this.parentOf(hop)) found.push(hop);
    return found;
  }

  childrenOf(rank: number): readonly number[] {
    return this.#children[rank] ?? [];
  }

  /** The child of `from` on the way down to `to`; null where `to` is not below `from`. */
  childTowards(from: number, to: number): number | null {
    let hop = to;
    for (;;) {
      const parent = this.parentOf(hop);
      if (parent === null) return null;
      if (parent === from) return hop;
      hop = parent;
    }
  }

  levelOf(rank: number): number {
    let level = 0;
    for (let hop = this.parentOf(rank); hop !== null; hop = this.parentOf(hop)) level++;
    return level;
  }

  get maxLevel(): number {
    let max = 0;
    for (let rank = 0; rank < this.size; rank++) max = Math.max(max, this.levelOf(rank));
    return max;
  }

  /** The ranks below a rank, itself not included. */
  descendantsOf(rank: number): number[] {
    const found = [...this.childrenOf(rank)];
    for (let index = 0; index < found.length; index++) found.push(...this.childrenOf(found[index]!));
    return found;
  }

  /** The planned shape of a subtree (`overlay.topology`). Throws EINVAL. */
  describe(rank: number): SubtreeShape {
    if (rank < 0 || rank >= this.size) throw new FluxError("EINVAL", `rank ${rank} is not in the instance`);
    const children = this.childrenOf(rank).map((child) => this.describe(child));
    return { rank, size: children.reduce((size, child) => size + child.size, 1), children };
  }

  /** Ranks without which others would be cut off: the root and the inner nodes. */
  get criticalRanks(): number[] {
    return this.#parents.map((_, rank) => rank).filter((rank) => rank === 0 || this.childrenOf(rank).length > 0);
  }
}

/** Every rank has at most k children; with k = 0 rank 0 has them all. */
function karyParents(size: number, k: number): number[] {
  return Array.from({ length: size }, (_, rank) => (rank === 0 ? -1 : k === 0 ? 0 : Math.floor((rank - 1) / k)));
}

/** The parent of a rank is the rank without its lowest set bit. */
function binomialParents(size: number): number[] {
  return Array.from({ length: size }, (_, rank) => (rank === 0 ? -1 : rank & (rank - 1)));
}

/** Three levels with k routers between the root and the leaves, which are shared out evenly. */
function mincritParents(size: number, routers: number): number[] {
  const count = Math.min(routers, Math.max(0, size - 1));
  const leaves = size - 1 - count;
  return Array.from({ length: size }, (_, rank) => {
    if (rank === 0) return -1;
    if (rank <= count || count === 0) return 0;
    return 1 + Math.floor(((rank - 1 - count) * count) / Math.max(1, leaves));
  });
}

const MINCRIT_FANOUT_MAX = 1024;

function mincritRouters(size: number): number {
  return size - 1 <= MINCRIT_FANOUT_MAX ? 0 : Math.ceil((size - 1) / MINCRIT_FANOUT_MAX);
}

/**
 * Makes the tree of a `tbon.topo` value. `customParents` serves the scheme `custom`. Throws EINVAL with a sentence.
 */
export function makeTree(topo: string, size: number, customParents?: readonly number[]): Tree {
  const [scheme, argument] = topo.replace(/^(\w+):\/\//, "$1:").split(":", 2) as [string, string | undefined];
  const fail = (why: string): never => {
    throw new FluxError("EINVAL", `error creating '${topo}' topology: ${why}`);
  };
  switch (scheme) {
    case "kary": {
      const k = argument === undefined || argument === "" ? NaN : Number(argument);
      if (!Number.isInteger(k) || k < 0) return fail("kary k value must be an integer >= 0");
      return new Tree(karyParents(size, k));
    }
    case "mincrit": {
      const routers = argument === undefined || argument === "" ? mincritRouters(size) : Number(argument);
      if (!Number.isInteger(routers) || routers < 0) return fail("mincrit k value must be an integer >= 0");
      return new Tree(mincritParents(size, routers));
    }
    case "binomial":
      if (argument !== undefined && argument !== "") return fail(`unknown binomial topology directive: '${argument}'`);
      return new Tree(binomialParents(size));
    case "custom":
      return new Tree(customParents ?? karyParents(size, 0));
    default:
      return fail(`unknown topology scheme '${scheme}'`);
  }
}
