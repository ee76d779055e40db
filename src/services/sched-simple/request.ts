/** From a jobspec (RFC 14, 25) to what a node pool counts with: slots of cores and GPUs, on so many nodes. */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../../base/json.ts";
import type { NodeConstraint, ResourceRequest } from "./choice.ts";

export interface JobRequest extends ResourceRequest {
  /** Seconds; 0 = no limit of its own. */
  readonly duration: number;
  /** Equal for requests that differ in nothing but their duration. */
  readonly shape: string;
}

/** Makes the node predicate of an RFC 31 constraint. Throws FluxError EINVAL. */
export type ConstraintParser = (constraint: JsonValue) => NodeConstraint;

/** What was found on the way from a resource vertex down: counts that multiply. */
interface Counts {
  nodes: number;
  slots: number;
  cores: number;
  gpus: number;
  isExclusive: boolean;
}

/**
 * Throws FluxError EINVAL where the jobspec is malformed or asks for what cannot be scheduled. Of a jobspec it reads the
 * resources, the duration and the constraints: the rest is its submitter's and the shell's.
 */
export function requestOf(jobspec: JsonObject, parseConstraint: ConstraintParser): JobRequest {
  const attributes = jobspec["attributes"];
  const system = isJsonObject(attributes) ? attributes["system"] : undefined;
  if (!isJsonObject(system)) throw invalid("getting duration: Object item not found: system");
  const { duration, constraints } = system;
  if (duration === undefined) throw invalid("getting duration: Object item not found: duration");
  if (typeof duration !== "number" || !(duration >= 0)) throw invalid("getting duration: not a number of seconds");
  const counts = resourceCounts(jobspec["resources"]);
  // A slot that wants its resources to itself is a node.
  const isWholeNodes = counts.isExclusive && counts.nodes === 0;
  const request = {
    nodes: isWholeNodes ? counts.slots : counts.nodes,
    slots: isWholeNodes ? 1 : counts.slots,
    coresPerSlot: counts.cores,
    gpusPerSlot: counts.gpus,
    exclusive: counts.isExclusive,
    constraint: constraints === undefined ? null : parseConstraint(constraints),
  };
  const { nodes, slots, coresPerSlot, gpusPerSlot, exclusive, constraint } = request;
  const shape = [nodes, slots, coresPerSlot, gpusPerSlot, exclusive, constraint?.key ?? ""].join(" ");
  return { ...request, duration, shape };
}

/** The slots that an allocation for the request has in total (R's `nslots`). */
export function slotTotal(request: ResourceRequest): number {
  return request.nodes > 0 ? request.nodes * request.slots : request.slots;
}

function resourceCounts(resources: JsonValue | undefined): Counts {
  if (!Array.isArray(resources) || resources.length === 0) throw invalid("jobspec has no resources");
  const counts: Counts = { nodes: 0, slots: 0, cores: 0, gpus: 0, isExclusive: false };
  descend(resources as JsonValue[], 1, null, counts);
  if (counts.slots === 0) throw invalid("Unable to determine slot count");
  if (counts.cores === 0) throw invalid("Unable to determine slot size");
  return counts;
}

/** Goes down a graph of resources; `factor` is how many of this there are above, in a slot once one was passed. */
function descend(vertices: readonly JsonValue[], factor: number, slots: number | null, counts: Counts): void {
  for (const vertex of vertices) {
    if (!isJsonObject(vertex)) throw invalid("jobspec: a resource is not an object");
    const { type, count, with: children } = vertex;
    if (typeof count !== "number" || !Number.isSafeInteger(count) || count < 0)
      throw invalid(`jobspec: the count of ${String(type)} must be an integer`);
    const below = factor * count;
    if (vertex["exclusive"] === true) counts.isExclusive = true;
    if (type === "slot") {
      counts.slots = below;
      if (Array.isArray(children)) descend(children as JsonValue[], 1, below, counts);
      continue;
    }
    if (type === "core") counts.cores += below;
    else if (type === "gpu") counts.gpus += below;
    const isNode = type === "node";
    if (isNode && slots === null) counts.nodes = below;
    // Nodes below slots: each slot has whole nodes of its own, and their slots are counted per node.
    if (isNode && slots !== null) {
      counts.nodes = slots * below;
      counts.slots = 1;
      counts.isExclusive = true;
    }
    if (Array.isArray(children)) descend(children as JsonValue[], isNode ? 1 : below, slots, counts);
  }
}

function invalid(text: string): FluxError {
  return new FluxError("EINVAL", text);
}
