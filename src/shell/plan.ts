/**
 * What a job's shells do where, from its jobspec (RFC 14, 25) and its resources (RFC 20): which tasks run on which node,
 * with which cores. Pure: every shell of a job computes the same.
 *
 * Invariants: shell ranks number the job's broker ranks in ascending order; each task is on one node.
 */
import { utf8Decode } from "../base/bytes.ts";
import { errnoSentence, FluxError, isFluxError } from "../base/errors.ts";
import { isJsonObject, type Integer, type JsonObject, type JsonValue } from "../base/json.ts";
import { formatFluid } from "../formats/fluid.ts";
import { Hostlist } from "../formats/hostlist.ts";
import { allocatedCounts, taskCount, tasksPerResource } from "../formats/jobspec-counts.ts";
import { jobName, type Jobspec } from "../formats/jobspec.ts";
import { ResourceSet } from "../formats/resource-set.ts";
import { Taskmap } from "../formats/taskmap.ts";
import type { ShellStart } from "../protocol/shell-host.ts";
import { ShellOptions } from "./options.ts";

/** One task of this shell. */
export interface TaskPlan {
  /** In the job. */
  readonly rank: number;
  /** Among the tasks of this node. */
  readonly localId: number;
}

export interface JobPlan {
  readonly id: Integer;
  readonly userid: number;
  readonly name: string;
  readonly jobspec: Jobspec;
  readonly options: ShellOptions;
  readonly resources: ResourceSet;
  /** Broker ranks by shell rank. */
  readonly brokerRanks: readonly number[];
  readonly shellRank: number;
  readonly taskmap: Taskmap;
  readonly taskCount: number;
  readonly tasks: readonly TaskPlan[];
  readonly host: string;
  /** What the job has on this node. */
  readonly cores: readonly number[];
  readonly gpus: readonly number[];
  readonly command: readonly string[];
  readonly cwd: string;
  readonly environment: Readonly<Record<string, string>>;
}

/** The name of the job's own service. */
export function serviceName({ userid, id }: JobPlan): string {
  return `${userid}-shell-${formatFluid(id, "f58plain")}`;
}

export interface PlanOptions {
  /** The rank of the broker that this shell belongs to. */
  readonly brokerRank: number;
  /** The broker's directory, for jobs that name none. */
  readonly cwd: string;
  /** Reads a file, for task maps from host files. */
  readFile(path: string): Uint8Array;
}

/** Tasks of a job, and of one node, at most: each is a process, and all jobs of a node share one shell host. */
const TASKS_MAX: number = 2 ** 20;
const NODE_TASKS_MAX: number = 2 ** 16;

/** Throws FluxError EINVAL where the job cannot be run as it asks. */
export function planJob(start: ShellStart, { brokerRank, cwd, readFile }: PlanOptions): JobPlan {
  const jobspec = start.jobspec as Jobspec;
  const resources = ResourceSet.parse(start.R);
  const brokerRanks = [...resources.ranks];
  const shellRank = brokerRanks.indexOf(brokerRank);
  if (shellRank < 0) throw new FluxError("EINVAL", `rank ${brokerRank} is not among the job's resources`);
  const node = resources.node(brokerRank)!;
  const { system } = jobspec.attributes;
  const options = new ShellOptions(system?.shell?.options ?? {});
  const total = taskCount(jobspec, resources);
  if (total > TASKS_MAX) throw new FluxError("EINVAL", `${total} tasks are more than a job may have: ${TASKS_MAX}`);
  const taskmap = mapTasks(tasksByNode(jobspec, resources, total), options, resources, total, readFile);
  const own = taskmap.ntasksOf(shellRank);
  if (own > NODE_TASKS_MAX)
    throw new FluxError("EINVAL", `${own} tasks are more than a node may have: ${NODE_TASKS_MAX}`);
  return {
    id: start.id,
    userid: start.userid,
    name: jobName(jobspec),
    jobspec,
    options,
    resources,
    brokerRanks,
    shellRank,
    taskmap,
    taskCount: total,
    tasks: [...taskmap.taskIds(shellRank)].map((rank, localId) => ({ rank, localId })),
    host: node.host ?? "localhost",
    cores: [...node.cores],
    gpus: [...node.gpus],
    command: jobspec.tasks[0]?.command ?? [],
    cwd: system?.cwd ?? cwd,
    environment: environmentOf(system?.environment),
  };
}

function environmentOf(environment: JsonObject | undefined): Record<string, string> {
  const variables: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment ?? {})) if (typeof value === "string") variables[name] = value;
  return variables;
}

/** How many tasks each node has, by shell rank. */
function tasksByNode(jobspec: Jobspec, resources: ResourceSet, total: number): number[] {
  const cores = [...resources.nodes()].map(([, node]) => node.cores.count);
  const perResource = tasksPerResource(jobspec);
  if (perResource !== undefined)
    return cores.map((count) => perResource.count * (perResource.type === "node" ? 1 : count));
  const perSlot = jobspec.tasks[0]?.count.per_slot;
  const { nnodes, slotsPerNode, coresPerSlot } = allocatedCounts(jobspec, resources);
  if (perSlot !== undefined && nnodes > 0) return cores.map(() => slotsPerNode * perSlot);
  if (nnodes > 0) return evenly(total, cores.length);
  return spread(total, cores, perSlot === undefined ? null : coresPerSlot / perSlot);
}

/** Shares tasks among nodes that were asked for as such: the first have one more where it does not come out even. */
function evenly(total: number, nodes: number): number[] {
  const each = Math.floor(total / nodes);
  return Array.from({ length: nodes }, (_, node) => each + (node < total % nodes ? 1 : 0));
}

/**
 * Spreads tasks over nodes: each node takes as many as its cores hold, in order; what is left over goes round.
 * `coresPerTask` null = an even share of all cores.
 */
function spread(total: number, cores: readonly number[], coresPerTask: number | null): number[] {
  const sum = cores.reduce((left, right) => left + right, 0);
  const share = coresPerTask ?? Math.max(1, Math.floor(sum / Math.max(1, total)));
  let left = total;
  const counts = cores.map((count) => {
    const taken = Math.min(left, Math.floor(count / share));
    left -= taken;
    return taken;
  });
  for (let node = 0; left > 0; node = (node + 1) % counts.length, left--) counts[node]!++;
  return counts;
}

/** The task map by the job's scheme: block unless it names another. Throws FluxError EINVAL, ENOENT. */
function mapTasks(
  counts: readonly number[],
  options: ShellOptions,
  resources: ResourceSet,
  total: number,
  readFile: (path: string) => Uint8Array,
): Taskmap {
  const choice = options.value("taskmap");
  if (choice === undefined) return Taskmap.block(counts);
  if (!isJsonObject(choice))
    throw new FluxError(
      "EINVAL",
      `failed to parse taskmap shell option: '${String(choice)}' is no object {scheme, value}`,
    );
  const scheme = choice["scheme"];
  if (typeof scheme !== "string")
    throw new FluxError("EINVAL", "failed to parse taskmap shell option: scheme: a string is wanted");
  const value = textOf(choice["value"]);
  switch (scheme) {
    case "block":
      if (value !== "") throw new FluxError("EINVAL", `block taskmap does not accept a value (got ${value})`);
      return Taskmap.block(counts);
    case "cyclic":
      return Taskmap.cyclic(counts, cyclicStride(value));
    case "manual":
      return checkTaskmap(parseTaskmap(value), total, counts.length);
    case "hostfile": {
      const lines = readHostfile(value, readFile);
      const hosts = new Hostlist();
      for (const line of lines) if (line.trim() !== "") hosts.append(line.trim());
      return Taskmap.hostfile(hosts, resources.nodelist, total);
    }
    default:
      throw new FluxError("EINVAL", `failed to map tasks with scheme=${scheme}`);
  }
}

function textOf(value: JsonValue | undefined): string {
  return typeof value === "string" ? value : typeof value === "number" ? String(value) : "";
}

function cyclicStride(value: string): number {
  if (value === "") return 1;
  const stride = Number(value.replace(/^stride=/, ""));
  if (!Number.isInteger(stride) || stride < 1)
    throw new FluxError("EINVAL", `taskmap.cyclic: invalid cyclic stride: ${value}`);
  return stride;
}

/** Throws FluxError EINVAL with the map in it. */
function parseTaskmap(value: string): Taskmap {
  try {
    return Taskmap.parse(value);
  } catch (error) {
    if (!isFluxError(error)) throw error;
    throw new FluxError("EINVAL", `taskmap=${value}: ${error.message}`, { cause: error });
  }
}

/** Throws FluxError with the path in it. */
function readHostfile(path: string, readFile: (path: string) => Uint8Array): string[] {
  try {
    return utf8Decode(readFile(path)).split("\n");
  } catch (error) {
    if (!isFluxError(error)) throw error;
    const why = errnoSentence(error.errnum);
    throw new FluxError(error.errnum, `taskmap.hostfile: failed to open hostfile: ${path}: ${why}`, { cause: error });
  }
}

function checkTaskmap(taskmap: Taskmap, total: number, nodes: number): Taskmap {
  const invalid = (what: string): FluxError => new FluxError("EINVAL", `invalid taskmap: got ${what}`);
  if (taskmap.nnodes !== nodes) throw invalid(`${taskmap.nnodes} nodes, expected ${nodes}`);
  if (taskmap.ntasks !== total) throw invalid(`${taskmap.ntasks} total tasks, expected ${total}`);
  return taskmap;
}
