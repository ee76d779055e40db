/**
 * Which parts of which nodes a request gets: on the nodes with the most free cores (then GPUs) first, equal ones by rank,
 * the lowest ids on each. So jobs spread over the nodes, and those that need whole nodes find them last.
 *
 * It changes nothing.
 */
import type { Bits } from "./bits.ts";
import type { Node, NodeInventory, NodeShare, NodeTable } from "./nodes.ts";

/** What a job asks for. */
export interface ResourceRequest {
  /** Nodes wanted, at least; 0 = as they come. */
  readonly nodes: number;
  /** Nodes wanted at most, where that is more; Infinity = all that there are. */
  readonly nodesMax?: number;
  /** Slots per node where nodes are given, in total otherwise; at least. */
  readonly slots: number;
  /** The same at most, where that is more. */
  readonly slotsMax?: number;
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

/**
 * What a request gets of what is free in the table, on the nodes in `within` (null = all): as much as it can use, or null if
 * that is less than it needs.
 */
export function choose(table: NodeTable, request: ResourceRequest, within: Bits | null): NodeShare[] | null {
  const { nodes, coresPerSlot, nodesMax = nodes, slotsMax = request.slots } = request;
  if (table.freeCores < request.slots * coresPerSlot * Math.max(1, nodes)) return null;
  const shares: NodeShare[] = [];
  const [needed, usable] = nodes > 0 ? [nodes, nodesMax] : [request.slots, slotsMax];
  let taken = 0;
  table.visit(nodes > 0 ? request.slots * coresPerSlot : coresPerSlot, within, (node) => {
    if (request.exclusive && !isWholeFree(node)) return false;
    const wanted = nodes > 0 ? slotsMax : usable - taken;
    const slots = Math.min(wanted, slotsIn(node.cores.count, node.gpus.count, request));
    if (slots === 0 || (nodes > 0 && slots < request.slots)) return false;
    taken += nodes > 0 ? 1 : slots;
    shares.push(shareOf(node, slots, request));
    return taken === usable;
  });
  return taken < needed ? null : shares;
}

/** The slots that an allocation for the request has in total (R's `nslots`). */
export function slotTotal(request: ResourceRequest, shares: readonly NodeShare[]): number {
  const { nodes, slots, slotsMax = slots } = request;
  if (slots === slotsMax) return nodes > 0 ? shares.length * slots : slots;
  const most = nodes > 0 ? slotsMax : Infinity;
  return shares.reduce((sum, { cores, gpus }) => sum + Math.min(most, slotsIn(cores.length, gpus.length, request)), 0);
}

/** How many slots so many cores and GPUs make. */
function slotsIn(cores: number, gpus: number, request: ResourceRequest): number {
  const byCores = request.coresPerSlot > 0 ? Math.floor(cores / request.coresPerSlot) : Infinity;
  const byGpus = request.gpusPerSlot > 0 ? Math.floor(gpus / request.gpusPerSlot) : Infinity;
  return Math.min(byCores, byGpus);
}

/** Nodes that have the same, and how many they are. */
export interface NodeKind {
  readonly cores: number;
  readonly gpus: number;
  readonly count: number;
}

/** The kinds of nodes that there are `within` the nodes of a table (null = all), up or not. */
export function kindsOf(table: NodeTable, within: Bits | null): NodeKind[] {
  const kinds = new Map<string, { cores: number; gpus: number; count: number }>();
  for (const [index, { isRemoved, inventory }] of table.nodes.entries()) {
    if (isRemoved || (within !== null && !within.has(index))) continue;
    const [cores, gpus] = [inventory.cores.length, inventory.gpus.length];
    const key = `${cores} ${gpus}`;
    const kind = kinds.get(key);
    if (kind === undefined) kinds.set(key, { cores, gpus, count: 1 });
    else kind.count++;
  }
  return [...kinds.values()];
}

/**
 * What would be lacking for a request if all nodes of these kinds were up and free, for a person; null where nothing would.
 */
export function shortage(kinds: readonly NodeKind[], request: ResourceRequest): string | null {
  return request.nodes > 0 ? nodeShortage(kinds, request) : slotShortage(kinds, request);
}

function total(kinds: readonly NodeKind[], each: (kind: NodeKind) => number): number {
  return kinds.reduce((sum, kind) => sum + each(kind) * kind.count, 0);
}

function nodeShortage(kinds: readonly NodeKind[], request: ResourceRequest): string | null {
  const eligible = total(kinds, ({ cores, gpus }) => (slotsIn(cores, gpus, request) >= request.slots ? 1 : 0));
  if (eligible >= request.nodes) return null;
  if (request.exclusive) return `need ${request.nodes} exclusive node(s), only ${eligible} eligible`;
  const gpus = request.gpusPerSlot > 0 ? ` and ${request.slots * request.gpusPerSlot} GPUs` : "";
  const each = `${request.slots * request.coresPerSlot} cores${gpus} each`;
  return `need ${request.nodes} node(s) with ${each}, only ${eligible} eligible`;
}

function slotShortage(kinds: readonly NodeKind[], request: ResourceRequest): string | null {
  const { slots, coresPerSlot, gpusPerSlot } = request;
  const byCores = total(kinds, ({ cores }) => slotsIn(cores, 0, { ...request, gpusPerSlot: 0 }));
  if (byCores < slots) {
    const cores = total(kinds, (kind) => kind.cores);
    return `need ${slots} slot(s) of ${coresPerSlot} core(s), only ${byCores} such slot(s) available (total cores: ${cores})`;
  }
  const found = total(kinds, ({ cores, gpus }) => slotsIn(cores, gpus, request));
  if (found >= slots) return null;
  const gpus = total(kinds, (kind) => kind.gpus);
  return `need ${slots} slot(s) with ${gpusPerSlot} GPU(s) each, only ${found} available (total GPUs: ${gpus})`;
}

function isWholeFree({ cores, gpus, inventory }: Node): boolean {
  return cores.count === inventory.cores.length && gpus.count === inventory.gpus.length;
}

function shareOf(node: Node, slots: number, request: ResourceRequest): NodeShare {
  const { rank } = node.inventory;
  if (request.exclusive) return { rank, cores: [...node.cores], gpus: [...node.gpus] };
  const cores = node.cores.lowest(slots * request.coresPerSlot);
  return { rank, cores, gpus: node.gpus.lowest(slots * request.gpusPerSlot) };
}
