/**
 * What a jobspec of version 1 (RFC 25) asks for, in numbers: what a scheduler and a shell count with.
 */
import { FluxError } from "../base/errors.ts";
import { isJsonObject } from "../base/json.ts";
import type { Jobspec, ResourceVertex } from "./jobspec.ts";

export interface JobspecCounts {
  /** 0 where the scheduler is free to choose. */
  readonly nnodes: number;
  /** All slots; they are spread evenly over the nodes where nodes are asked for. */
  readonly nslots: number;
  /** Slots on each node; 0 where no nodes are asked for. */
  readonly slotsPerNode: number;
  readonly coresPerSlot: number;
  readonly gpusPerSlot: number;
  /** Whether whole nodes are wanted. */
  readonly exclusive: boolean;
  /** Tasks, as far as the jobspec alone says: see `taskCount`. */
  readonly ntasks: number;
  /** Seconds; 0 is unlimited. */
  readonly duration: number;
}

/** Counts a jobspec. Throws FluxError EINVAL where it is not of version 1 in its resources. */
export function jobspecCounts(jobspec: Jobspec): JobspecCounts {
  const top = jobspec.resources[0];
  const node = top?.type === "node" ? top : undefined;
  const slot = node === undefined ? top : node.with?.[0];
  if (jobspec.resources.length !== 1 || slot?.type !== "slot") {
    throw new FluxError("EINVAL", "jobspec resources are not of version 1");
  }
  const nnodes = node === undefined ? 0 : fixedCount(node);
  const slotsPerNode = node === undefined ? 0 : fixedCount(slot);
  const nslots = node === undefined ? fixedCount(slot) : nnodes * slotsPerNode;
  const cores = slot.with?.find(({ type }) => type === "core");
  const gpus = slot.with?.find(({ type }) => type === "gpu");
  const count = jobspec.tasks[0]?.count ?? {};
  return {
    nnodes,
    nslots,
    slotsPerNode,
    coresPerSlot: cores === undefined ? 0 : fixedCount(cores),
    gpusPerSlot: gpus === undefined ? 0 : fixedCount(gpus),
    exclusive: node?.exclusive ?? slot.exclusive ?? false,
    ntasks: count.total ?? nslots * (count.per_slot ?? 1),
    duration: jobspec.attributes.system?.duration ?? 0,
  };
}

/** The shell option `per-resource`: so many tasks for each node or core that was allocated. */
export interface TasksPerResource {
  readonly type: "node" | "core";
  readonly count: number;
}

/** The option `per-resource` of a jobspec. Throws FluxError EINVAL where it is malformed. */
export function tasksPerResource(jobspec: Jobspec): TasksPerResource | undefined {
  const option = jobspec.attributes.system?.shell?.options?.["per-resource"];
  if (option === undefined) return undefined;
  const type = isJsonObject(option) ? option["type"] : undefined;
  const count = isJsonObject(option) ? (option["count"] ?? 1) : undefined;
  if ((type !== "node" && type !== "core") || typeof count !== "number" || !Number.isInteger(count) || count < 1) {
    throw new FluxError("EINVAL", "invalid per-resource option: type must be node or core, count a positive integer");
  }
  return { type, count };
}

/** What a job was allocated, in numbers. */
export interface Allocated {
  readonly nnodes: number;
  readonly ncores: number;
  /** Where the scheduler has told it. */
  readonly nslots?: number | undefined;
}

/**
 * The counts of a jobspec whose slots are the scheduler's to make (RFC 14: ranges, slots of whole nodes or sockets) by what
 * it has made of them; of any other as `jobspecCounts`.
 */
export function allocatedCounts(jobspec: Jobspec, allocated: Allocated): JobspecCounts {
  if (isOfVersion1(jobspec)) return jobspecCounts(jobspec);
  const nslots = allocated.nslots ?? allocated.ncores;
  const count = jobspec.tasks[0]?.count ?? {};
  return {
    nnodes: 0,
    nslots,
    slotsPerNode: 0,
    coresPerSlot: allocated.ncores / Math.max(1, nslots),
    gpusPerSlot: 0,
    exclusive: false,
    ntasks: count.total ?? nslots * (count.per_slot ?? 1),
    duration: jobspec.attributes.system?.duration ?? 0,
  };
}

/** Whether all counts are numbers, of `[node >] slot > core, gpu`. */
function isOfVersion1({ resources }: Jobspec): boolean {
  const [top] = resources;
  const slot = top?.type === "node" ? top.with?.[0] : top;
  if (resources.length !== 1 || top === undefined || slot?.type !== "slot") return false;
  const parts = slot.with ?? [];
  const hasNumbers = [top, slot, ...parts].every(({ count }) => typeof count === "number");
  return hasNumbers && parts.every(({ type }) => type === "core" || type === "gpu");
}

/** The number of tasks of a job, given what it was allocated. */
export function taskCount(jobspec: Jobspec, allocated: Allocated): number {
  const perResource = tasksPerResource(jobspec);
  if (perResource === undefined) return allocatedCounts(jobspec, allocated).ntasks;
  return perResource.count * (perResource.type === "node" ? allocated.nnodes : allocated.ncores);
}

function fixedCount(vertex: ResourceVertex): number {
  if (typeof vertex.count !== "number") {
    throw new FluxError("EINVAL", `jobspec: a range of ${vertex.type}s is not supported`);
  }
  return vertex.count;
}
