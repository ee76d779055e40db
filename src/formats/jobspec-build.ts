/**
 * Builds jobspecs of version 1 (RFC 25): from a command and its numbers as `flux submit` and `flux run` take them, from
 * resources (`--cores`, `--tasks-per-node` …), and for a nested instance as `flux batch` and `flux alloc` start it.
 *
 * Does not know: options of the command line, the environment of the process, files.
 */
import { FluxError } from "../base/errors.ts";
import type { JsonObject, JsonValue } from "../base/json.ts";
import type { Dependency } from "./dependency.ts";
import { setAttribute, setShellOption } from "./jobspec-attributes.ts";
import type { Jobspec, ResourceVertex, TaskCount } from "./jobspec.ts";

/** What all builders take besides resources. */
export interface JobspecExtras {
  /** Seconds; 0, the default, is unlimited. */
  readonly duration?: number;
  readonly environment?: Readonly<Record<string, string | null>>;
  readonly cwd?: string;
  readonly queue?: string;
  readonly bank?: string;
  readonly name?: string;
  readonly dependencies?: readonly Dependency[];
  readonly constraints?: JsonObject;
  /** Shell options by dotted name. */
  readonly shellOptions?: Readonly<Record<string, JsonValue>>;
  /** Attributes by dotted name: `system.` is assumed where the name does not begin with `system.`, `user.` or `.`. */
  readonly attributes?: Readonly<Record<string, JsonValue>>;
}

export interface CommandOptions extends JobspecExtras {
  readonly command: readonly string[];
  /** One unless given; the number of nodes where only that is given. */
  readonly numTasks?: number;
  readonly coresPerTask?: number;
  readonly gpusPerTask?: number;
  readonly numNodes?: number;
  /** Whole nodes. True unless given where nodes are given and tasks are not. */
  readonly exclusive?: boolean;
}

export interface PerResourceOptions extends JobspecExtras {
  readonly command: readonly string[];
  readonly numNodes?: number;
  readonly numCores?: number;
  readonly gpusPerNode?: number;
  readonly exclusive?: boolean;
  readonly perResource?: { readonly type: "node" | "core"; readonly count: number };
}

export interface NestOptions extends JobspecExtras {
  /** The initial program and its arguments; none for an interactive shell. */
  readonly command: readonly string[];
  readonly numSlots?: number;
  readonly coresPerSlot?: number;
  readonly gpusPerSlot?: number;
  readonly numNodes?: number;
  readonly exclusive?: boolean;
  /** Brokers on the first node besides its one; only with `numNodes`. */
  readonly addBrokers?: number;
  /** Options of the brokers, before the command. */
  readonly brokerOptions?: readonly string[];
}

/** Throws FluxError EINVAL with the first number that is wrong. */
export function fromCommand(options: CommandOptions): Jobspec {
  const { numNodes, numTasks = numNodes ?? 1, coresPerTask = 1, gpusPerTask = 0 } = options;
  if (options.command.length === 0) throw invalid("command must be a non-empty list of strings");
  if (numNodes !== undefined) checkNumber("node count", numNodes, 1, "an integer >= 1 (if set)");
  checkNumber("task count", numTasks, 1, "a integer >= 1");
  checkNumber("cores per task", coresPerTask, 1);
  checkNumber("gpus per task", gpusPerTask, 0);
  const exclusive = options.exclusive ?? (numNodes !== undefined && options.numTasks === undefined);
  const count = countSlots(numNodes, numTasks, exclusive);
  const slot = slotVertex(count.slots, coresPerTask, gpusPerTask);
  return assemble(nodeVertex(slot, numNodes, exclusive), options.command, count.tasks, options);
}

/** A job whose tasks follow from resources. Throws FluxError EINVAL with the first number that is wrong. */
export function fromPerResource(options: PerResourceOptions): Jobspec {
  const { numNodes, numCores, gpusPerNode = 0, perResource } = options;
  if (options.command.length === 0) throw invalid("command must be a non-empty list of strings");
  if (numCores !== undefined && !isInteger(numCores, 1)) throw invalid("ncores must be an integer >= 1");
  if (numNodes !== undefined && !isInteger(numNodes, 1)) throw invalid("nnodes must be an integer >= 1");
  if (!isInteger(gpusPerNode, 0)) throw invalid("gpus_per_node must be an integer >= 0");
  if (perResource !== undefined && !isInteger(perResource.count, 1)) {
    throw invalid(`--tasks-per-${perResource.type} must be >= 1`);
  }
  if (numNodes === undefined) {
    if (gpusPerNode > 0) throw invalid("gpus-per-node requires --nodes");
    if (numCores === undefined) throw invalid("must specify node or core count with per_resource");
    if (options.exclusive === true) throw invalid("exclusive can only be set with a node count");
  } else if (numCores !== undefined) {
    if (numCores < numNodes) throw invalid("number of cores cannot be less than nnodes");
    if (numCores % numNodes !== 0) throw invalid("number of cores must be evenly divisible by node count");
  }
  const exclusive = options.exclusive ?? numCores === undefined;
  const slot =
    numNodes === undefined
      ? slotVertex(numCores ?? 1, 1, 0)
      : slotVertex(1, numCores === undefined ? 1 : numCores / numNodes, gpusPerNode);
  const jobspec = assemble(nodeVertex(slot, numNodes, exclusive), options.command, { per_slot: 1 }, options);
  return perResource === undefined ? jobspec : setShellOption(jobspec, "per-resource", { ...perResource });
}

/** A jobspec with resources that were given as they are, and a task in each slot. */
export function withResources(jobspec: Jobspec, resources: readonly ResourceVertex[]): Jobspec {
  const slot = firstSlot(resources)?.label ?? "task";
  const tasks = jobspec.tasks.map((task) => ({ ...task, slot, count: { per_slot: 1 } }));
  return { ...jobspec, resources: [...resources], tasks };
}

function firstSlot(resources: readonly ResourceVertex[]): ResourceVertex | null {
  for (const vertex of resources) {
    const slot = vertex.type === "slot" ? vertex : Array.isArray(vertex.with) ? firstSlot(vertex.with) : null;
    if (slot !== null) return slot;
  }
  return null;
}

/**
 * An instance of Flux as a job: one broker on each node. What a failed broker means is decided by the instance itself, so
 * there is no exit timeout, and the brokers are no MPI program; shell options may say otherwise.
 */
export function fromNestCommand(options: NestOptions): Jobspec {
  const { numNodes, numSlots = numNodes, coresPerSlot = 1, gpusPerSlot = 0 } = options;
  if (numSlots === undefined || numSlots === 0) throw invalid("Number of slots to allocate must be specified");
  checkNumber("task count", numSlots, 1, "a integer >= 1");
  checkNumber("cores per task", coresPerSlot, 1);
  checkNumber("gpus per task", gpusPerSlot, 0);
  const exclusive = options.exclusive ?? (numNodes !== undefined && options.numSlots === undefined);
  const count = countSlots(numNodes, numSlots, exclusive);
  const slot = slotVertex(count.slots, coresPerSlot, gpusPerSlot);
  const command = ["flux", "broker", ...(options.brokerOptions ?? []), ...options.command];
  const { addBrokers = 0 } = options;
  const spread: JsonObject =
    addBrokers === 0 ? { "per-resource": { type: "node" } } : { taskmap: crowdFirst(numNodes!, addBrokers) };
  const tasks = addBrokers === 0 ? count.tasks : { total: numNodes! + addBrokers };
  return assemble(nodeVertex(slot, numNodes, exclusive), command, tasks, {
    ...options,
    shellOptions: { ...spread, "exit-timeout": "none", mpi: "none", ...options.shellOptions },
  });
}

/** One task on each node, and some more on the first. */
function crowdFirst(nodes: number, more: number): JsonObject {
  const blocks = [`[0,1,${1 + more},1]`, ...(nodes > 1 ? [`[1,${nodes - 1},1,1]`] : [])];
  return { scheme: "manual", value: `[${blocks.join(",")}]` };
}

/** Slots of a node, or all slots where no nodes are asked for; and the tasks on them. */
function countSlots(
  numNodes: number | undefined,
  numSlots: number,
  exclusive: boolean,
): { slots: number; tasks: TaskCount } {
  if (numNodes === undefined) {
    if (exclusive) throw invalid("exclusive can only be set with a node count");
    return { slots: numSlots, tasks: { per_slot: 1 } };
  }
  if (numNodes > numSlots) throw invalid("node count must not be greater than task count");
  const even = numSlots % numNodes === 0;
  return { slots: Math.ceil(numSlots / numNodes), tasks: even ? { per_slot: 1 } : { total: numSlots } };
}

function slotVertex(count: number, cores: number, gpus: number): ResourceVertex {
  const children: ResourceVertex[] = [{ type: "core", count: cores }];
  if (gpus > 0) children.push({ type: "gpu", count: gpus });
  return { type: "slot", count, with: children, label: "task" };
}

function nodeVertex(slot: ResourceVertex, numNodes: number | undefined, exclusive: boolean): ResourceVertex {
  if (numNodes === undefined) return slot;
  return { type: "node", count: numNodes, ...(exclusive && { exclusive }), with: [slot] };
}

function assemble(
  resources: ResourceVertex,
  command: readonly string[],
  count: TaskCount,
  extras: JobspecExtras,
): Jobspec {
  const duration = extras.duration ?? 0;
  if (!(duration >= 0) || duration === Infinity) throw invalid("duration must be a number of seconds >= 0");
  const { environment, cwd, queue, bank, name, dependencies, constraints } = extras;
  const system = {
    duration,
    ...(environment !== undefined && { environment }),
    ...(cwd !== undefined && { cwd }),
    ...(queue !== undefined && { queue }),
    ...(bank !== undefined && { bank }),
    ...(name !== undefined && { job: { name } }),
    ...(dependencies !== undefined && dependencies.length > 0 && { dependencies }),
    ...(constraints !== undefined && { constraints }),
  };
  let jobspec: Jobspec = {
    resources: [resources],
    tasks: [{ command, slot: "task", count }],
    attributes: { system },
    version: 1,
  };
  for (const [key, value] of Object.entries(extras.shellOptions ?? {})) jobspec = setShellOption(jobspec, key, value);
  for (const [key, value] of Object.entries(extras.attributes ?? {})) jobspec = setAttribute(jobspec, key, value);
  return jobspec;
}

/** `words`: what the number must be, as scripts know it. */
function checkNumber(what: string, value: number, min: number, words: string = `an integer >= ${min}`): void {
  if (value > Number.MAX_SAFE_INTEGER) throw invalid(`${what} is too large`);
  if (!isInteger(value, min)) throw invalid(`${what} must be ${words}`);
}

function isInteger(value: number, min: number): boolean {
  return Number.isSafeInteger(value) && value >= min;
}

function invalid(text: string): FluxError {
  return new FluxError("EINVAL", text);
}
