/** From a jobspec (RFC 14, 25) to what a node pool counts with: slots of cores and GPUs, on so many nodes. */
import { FluxError } from "../../base/errors.ts";
import type { JsonObject, JsonValue } from "../../base/json.ts";
import { jobspecCounts } from "../../formats/jobspec-counts.ts";
import { validateJobspec } from "../../formats/jobspec.ts";
import type { NodeConstraint, ResourceRequest } from "./pool.ts";

export interface JobRequest extends ResourceRequest {
  /** Seconds; 0 = no limit of its own. */
  readonly duration: number;
}

/** Makes the node predicate of an RFC 31 constraint. Throws FluxError EINVAL. */
export type ConstraintParser = (constraint: JsonValue) => NodeConstraint;

/** Throws FluxError EINVAL where the jobspec is malformed or asks for what cannot be scheduled. */
export function requestOf(value: JsonObject, parseConstraint: ConstraintParser): JobRequest {
  const jobspec = validateJobspec(value, { version: 1 });
  const counts = jobspecCounts(jobspec);
  if (counts.coresPerSlot === 0) throw new FluxError("EINVAL", "unable to determine slot size: a slot needs cores");
  const constraint = jobspec.attributes.system?.constraints;
  return {
    nodes: counts.nnodes,
    slots: counts.nnodes > 0 ? counts.slotsPerNode : counts.nslots,
    coresPerSlot: counts.coresPerSlot,
    gpusPerSlot: counts.gpusPerSlot,
    exclusive: counts.exclusive,
    duration: counts.duration,
    constraint: constraint === undefined ? null : parseConstraint(constraint),
  };
}

/** The slots that an allocation for the request has in total (R's `nslots`). */
export function slotTotal(request: ResourceRequest): number {
  return request.nodes > 0 ? request.nodes * request.slots : request.slots;
}
