/** Between shares of nodes and resource sets (RFC 20). */
import { Idset } from "../../formats/idset.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import type { NodeInventory, NodeShare } from "./nodes.ts";

/** Shares as a resource set. `inventoryOf` knows the hosts and properties of their ranks. */
export function resourceSetOf(
  shares: readonly NodeShare[],
  inventoryOf: (rank: number) => NodeInventory | undefined,
): ResourceSet {
  const nodes = shares.map(({ rank, cores, gpus }) => {
    const host = inventoryOf(rank)?.hostname;
    return [rank, { cores: Idset.from(cores), gpus: Idset.from(gpus), host }] as const;
  });
  let set = ResourceSet.fromNodes(nodes);
  const properties = new Map<string, Idset>();
  for (const { rank } of shares)
    for (const property of inventoryOf(rank)?.properties ?? []) {
      const ranks = properties.get(property) ?? new Idset();
      ranks.add(rank);
      properties.set(property, ranks);
    }
  for (const [property, ranks] of properties) set = set.withProperty(property, ranks);
  return set;
}

/** The nodes of a resource set. A node without a host is named after nothing. */
export function inventoryOf(set: ResourceSet): NodeInventory[] {
  const properties = [...set.properties];
  return [...set.nodes()].map(([rank, node]) => ({
    rank,
    hostname: node.host ?? "",
    cores: [...node.cores],
    gpus: [...node.gpus],
    properties: properties.filter(([, ranks]) => ranks.has(rank)).map(([name]) => name),
  }));
}

/** A resource set as shares. */
export function sharesOf(set: ResourceSet): NodeShare[] {
  return [...set.nodes()].map(([rank, node]) => ({ rank, cores: [...node.cores], gpus: [...node.gpus] }));
}

/** Several jobs' parts of the same nodes as one part per node. */
export function mergeShares(shares: Iterable<NodeShare>): NodeShare[] {
  const byRank = new Map<number, { rank: number; cores: number[]; gpus: number[] }>();
  for (const { rank, cores, gpus } of shares) {
    const merged = byRank.get(rank);
    if (merged === undefined) byRank.set(rank, { rank, cores: [...cores], gpus: [...gpus] });
    else {
      merged.cores.push(...cores);
      merged.gpus.push(...gpus);
    }
  }
  return [...byRank.values()];
}
