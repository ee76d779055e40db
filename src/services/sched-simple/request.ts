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

/** A count as RFC 14 has it: so many at least, and at most. */
interface Count {
  readonly min: number;
  readonly max: number;
}

const NONE: Count = { min: 0, max: 0 };
const ONE: Count = { min: 1, max: 1 };

/** What was found on the way from a resource vertex down: counts that multiply. */
interface Counts {
  nodes: Count;
  slots: Count;
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
  const isWholeNodes = counts.isExclusive && counts.nodes.min === 0;
  const nodeCount = isWholeNodes ? counts.slots : counts.nodes;
  const slotCount = isWholeNodes ? ONE : counts.slots;
  const request = {
    nodes: nodeCount.min,
    nodesMax: nodeCount.max,
    slots: slotCount.min,
    slotsMax: slotCount.max,
    coresPerSlot: counts.cores,
    gpusPerSlot: counts.gpus,
    exclusive: counts.isExclusive,
    constraint: constraints === undefined ? null : parseConstraint(constraints),
  };
  const { nodes, nodesMax, slots, slotsMax, coresPerSlot, gpusPerSlot, exclusive, constraint } = request;
  const counted = [nodes, nodesMax, slots, slotsMax, coresPerSlot, gpusPerSlot];
  const shape = [...counted, exclusive, constraint?.key ?? ""].join(" ");
  return { ...request, duration, shape };
}

function resourceCounts(resources: JsonValue | undefined): Counts {
  if (!Array.isArray(resources) || resources.length === 0) throw invalid("jobspec has no resources");
  const counts: Counts = { nodes: NONE, slots: NONE, cores: 0, gpus: 0, isExclusive: false };
  descend(resources as JsonValue[], ONE, null, counts);
  if (counts.slots.min === 0) throw invalid("Unable to determine slot count");
  if (counts.cores === 0) throw invalid("Unable to determine slot size");
  return counts;
}

/** Goes down a graph of resources; `factor` is how many of this there are above, in a slot once one was passed. */
function descend(vertices: readonly JsonValue[], factor: Count, slots: Count | null, counts: Counts): void {
  for (const vertex of vertices) {
    if (!isJsonObject(vertex)) throw invalid("jobspec: a resource is not an object");
    const { type, with: children } = vertex;
    const below = times(factor, countOf(vertex["count"], String(type)));
    if (vertex["exclusive"] === true) counts.isExclusive = true;
    if (type === "slot") {
      counts.slots = below;
      if (Array.isArray(children)) descend(children as JsonValue[], ONE, below, counts);
      continue;
    }
    // What a slot has is what it needs: all slots are equal.
    if (type === "core") counts.cores += below.min;
    else if (type === "gpu") counts.gpus += below.min;
    const isNode = type === "node";
    if (isNode && slots === null) counts.nodes = below;
    // Nodes below slots: each slot has whole nodes of its own, and their slots are counted per node.
    if (isNode && slots !== null) {
      counts.nodes = times(slots, below);
      counts.slots = ONE;
      counts.isExclusive = true;
    }
    if (Array.isArray(children)) descend(children as JsonValue[], isNode ? ONE : below, slots, counts);
  }
}

function times(left: Count, right: Count): Count {
  return { min: left.min * right.min, max: left.max * right.max };
}

/** A count: a number, `MIN-MAX`, `MIN+`, or an object with `min` and perhaps `max` (RFC 14). Throws FluxError EINVAL. */
function countOf(count: JsonValue | undefined, type: string): Count {
  if (isJsonObject(count)) {
    const { min, max = Infinity, operator = "+", operand = 1 } = count;
    if (!isCount(min) || !(max === Infinity || isCount(max)) || (max as number) < min)
      throw invalid(`jobspec: the count of ${type} has no valid range`);
    if (operator !== "+" || operand !== 1) throw discrete(type);
    return { min, max: max as number };
  }
  const range = typeof count === "string" ? /^\[?(\d{1,9})(?:-(\d{1,9})|(\+))?\]?$/.exec(count) : null;
  if (range !== null) {
    const min = Number(range[1]);
    const max = range[3] === undefined ? Number(range[2] ?? min) : Infinity;
    if (min >= 1 && max >= min) return { min, max };
  } else if (typeof count === "string") throw discrete(type);
  if (typeof count !== "number" || !Number.isSafeInteger(count) || count < 0)
    throw invalid(`jobspec: the count of ${type} must be an integer`);
  return { min: count, max: count };
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 1;
}

function discrete(type: string): FluxError {
  const remedy = "use a simple min-max range instead";
  return invalid(`${type} count specifies discrete valid values that this scheduler does not support; ${remedy}`);
}

function invalid(text: string): FluxError {
  return new FluxError("EINVAL", text);
}
