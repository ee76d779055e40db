/**
 * Task maps (RFC 34): which task of a parallel program runs on which node, in map blocks.
 *
 * A block `[nodeid, nnodes, ppn, repeat]` gives `ppn` tasks to each of `nnodes` nodes from `nodeid` on, in order, and does
 * so `repeat` times; task ranks count up through all blocks. No block at all means that the mapping is unknown.
 *
 * Conversions: the PMI-1 form `(vector,(nodeid,nnodes,ppn),…)` (RFC 13) and the raw form, an idset for each node. Schemes
 * (block, cyclic, by hostfile) are functions of the number of tasks on each node.
 *
 * Does not know: host names, except for the hostfile scheme; which cores a task has.
 */
import { FluxError } from "../base/errors.ts";
import { isJsonObject, parseJson, stringifyJson, type JsonValue } from "../base/json.ts";
import { Hostlist } from "./hostlist.ts";
import { Idset } from "./idset.ts";

export type MapBlock = readonly [nodeid: number, nnodes: number, ppn: number, repeat: number];

/** The most tasks and the most nodes of a map. */
const TASKS_MAX: number = 2 ** 30;
/** The most tasks in the raw form, which names each. */
const RAW_TASKS_MAX: number = 2 ** 20;

export class Taskmap {
  readonly blocks: readonly MapBlock[];
  /** Tasks in the map. */
  readonly ntasks: number;
  /** Nodes: one more than the largest node id, also where a node between has no task. */
  readonly nnodes: number;

  /** Throws FluxError EINVAL where a block is malformed. */
  constructor(blocks: readonly MapBlock[]) {
    this.blocks = blocks.map(checkBlock);
    this.ntasks = blocks.reduce((sum, [, nnodes, ppn, repeat]) => sum + nnodes * ppn * repeat, 0);
    this.nnodes = blocks.reduce((most, [nodeid, nnodes]) => Math.max(most, nodeid + nnodes), 0);
    if (this.ntasks > TASKS_MAX || this.nnodes > TASKS_MAX) throw invalid("too many tasks or nodes");
  }

  static readonly UNKNOWN: Taskmap = new Taskmap([]);

  /** Reads the JSON array, bare or in its object `{version, map}`. Throws FluxError EINVAL where it is no task map. */
  static fromJson(value: JsonValue | undefined): Taskmap {
    let map = value;
    if (isJsonObject(map)) {
      if (map["version"] !== 1) throw invalid(`version ${String(map["version"])} is not supported`);
      map = map["map"];
    }
    if (!Array.isArray(map)) throw invalid("not an array of map blocks");
    return new Taskmap(map as MapBlock[]);
  }

  /** Reads any text form: JSON, PMI or raw. Throws FluxError EINVAL where it is none. */
  static parse(text: string): Taskmap {
    const trimmed = text.trim();
    if (trimmed.startsWith("[[") || trimmed === "[]" || trimmed.startsWith("{")) {
      try {
        return Taskmap.fromJson(parseJson(trimmed));
      } catch (error) {
        throw new FluxError("EINVAL", (error as Error).message, { cause: error });
      }
    }
    return trimmed === "" || trimmed.startsWith("(") ? Taskmap.fromPmi(trimmed) : Taskmap.fromRaw(trimmed);
  }

  /** Reads PMI_process_mapping; the empty text and the empty vector are "unknown". */
  static fromPmi(text: string): Taskmap {
    const compact = text.replace(/\s+/g, "");
    if (compact === "" || compact === "(vector)" || compact === "(vector,)") return Taskmap.UNKNOWN;
    if (!/^\(vector(,\(\d+,\d+,\d+\))+\)$/.test(compact)) throw invalid(`'${text}' is not a PMI process mapping`);
    const runs = [...compact.matchAll(/\((\d+),(\d+),(\d+)\)/g)];
    return new Taskmap(
      joinRepeats(runs.map(([, nodeid, nnodes, ppn]) => [Number(nodeid), Number(nnodes), Number(ppn), 1])),
    );
  }

  /** Reads the tasks of each node, idsets with semicolons between. Every task must be on one node. */
  static fromRaw(text: string): Taskmap {
    const nodeOf: number[] = [];
    let count = 0;
    for (const [nodeid, ids] of text.split(";").entries()) {
      const tasks = Idset.parse(ids);
      if ((count += tasks.count) > RAW_TASKS_MAX) throw invalid(`more than ${RAW_TASKS_MAX} tasks in raw form`);
      for (const task of tasks) {
        if (nodeOf[task] !== undefined) throw invalid(`task ${task} is on two nodes`);
        nodeOf[task] = nodeid;
      }
    }
    const missing = nodeOf.findIndex((nodeid) => nodeid === undefined);
    if (missing >= 0) throw invalid(`task ${missing} is on no node`);
    return Taskmap.fromNodes(nodeOf);
  }

  /** The map in which task n runs on the n-th of the node ids, in as few blocks as is easy. */
  static fromNodes(nodeOfTask: Iterable<number>): Taskmap {
    const runs: [nodeid: number, ntasks: number][] = [];
    for (const nodeid of nodeOfTask) {
      const last = runs.at(-1);
      if (last?.[0] === nodeid) last[1] += 1;
      else runs.push([nodeid, 1]);
    }
    return fromRuns(runs);
  }

  /** Consecutive tasks share a node: the default. `ntasksOfNode` has the number of tasks by node id. */
  static block(ntasksOfNode: readonly number[]): Taskmap {
    return fromRuns(ntasksOfNode.map((ntasks, nodeid) => [nodeid, ntasks]));
  }

  /** `stride` tasks at a time go to each node in turn, until each has its number of tasks. */
  static cyclic(ntasksOfNode: readonly number[], stride = 1): Taskmap {
    if (!Number.isInteger(stride) || stride < 1) throw invalid(`cyclic: invalid stride ${stride}`);
    const left = [...ntasksOfNode];
    const runs: [number, number][] = [];
    while (left.some((ntasks) => ntasks > 0)) {
      for (const [nodeid, ntasks] of left.entries()) {
        const taken = Math.min(stride, ntasks);
        left[nodeid] = ntasks - taken;
        runs.push([nodeid, taken]);
      }
    }
    return fromRuns(runs);
  }

  /**
   * Tasks go to the hosts in the order of `hosts`, which is used again from its start where it is too short. `nodelist` has
   * the job's hosts by node id. Throws FluxError ENOENT for a host that is not the job's, EINVAL for an empty list.
   */
  static hostfile(hosts: Hostlist, nodelist: Hostlist, ntasks: number): Taskmap {
    if (hosts.isEmpty) throw invalid("hostfile: no hosts");
    const nodeids = [...hosts].map((host) => {
      const nodeid = nodelist.find(host);
      if (nodeid < 0) throw new FluxError("ENOENT", `hostfile: host ${host} is not assigned to the job`);
      return nodeid;
    });
    return Taskmap.fromNodes(Array.from({ length: ntasks }, (_, task) => nodeids[task % nodeids.length]!));
  }

  get isUnknown(): boolean {
    return this.blocks.length === 0;
  }

  /** The tasks of a node; the empty set where it has none. */
  taskIds(nodeid: number): Idset {
    const ids = new Idset();
    let first = 0;
    for (const [start, nnodes, ppn, repeat] of this.blocks) {
      if (nodeid >= start && nodeid < start + nnodes) {
        for (let round = 0; round < repeat; round++) {
          const at = first + (round * nnodes + (nodeid - start)) * ppn;
          ids.addRange(at, at + ppn - 1);
        }
      }
      first += nnodes * ppn * repeat;
    }
    return ids;
  }

  /** How many tasks a node has. */
  ntasksOf(nodeid: number): number {
    return this.blocks.reduce(
      (sum, [start, nnodes, ppn, repeat]) => (nodeid >= start && nodeid < start + nnodes ? sum + ppn * repeat : sum),
      0,
    );
  }

  /** The node of a task; undefined where the map has no such task. */
  nodeOf(task: number): number | undefined {
    let rest = task;
    if (rest < 0) return undefined;
    for (const [start, nnodes, ppn, repeat] of this.blocks) {
      if (rest < nnodes * ppn * repeat) return start + (Math.floor(rest / ppn) % nnodes);
      rest -= nnodes * ppn * repeat;
    }
    return undefined;
  }

  /** Whether another map has the same tasks on the same nodes, in whatever blocks. */
  equals(other: Taskmap): boolean {
    if (this.ntasks !== other.ntasks || this.nnodes !== other.nnodes) return false;
    return this.toRaw() === other.toRaw();
  }

  /** The JSON array, as it stands in the `shell.start` event. */
  toJSON(): readonly MapBlock[] {
    return this.blocks;
  }

  /** The JSON text of the array. */
  toString(): string {
    return stringifyJson(this.blocks);
  }

  /** The array in its object, as `flux.taskmap` of PMI has it. */
  toWrapped(): { readonly version: 1; readonly map: readonly MapBlock[] } {
    return { version: 1, map: this.blocks };
  }

  /** PMI_process_mapping; `(vector)` is not valid there, so "unknown" is the empty text. */
  toPmi(): string {
    if (this.isUnknown) return "";
    const blocks = this.blocks.flatMap(([nodeid, nnodes, ppn, repeat]) =>
      Array.from({ length: repeat }, () => `(${nodeid},${nnodes},${ppn})`),
    );
    return `(vector,${blocks.join(",")})`;
  }

  /** The tasks of each node, with semicolons between. */
  toRaw(): string {
    return Array.from({ length: this.nnodes }, (_, nodeid) => this.taskIds(nodeid).format()).join(";");
  }
}

/** Makes blocks of runs of tasks: neighbouring nodes with as many tasks are one block, equal blocks one repeated. */
function fromRuns(runs: readonly (readonly [nodeid: number, ntasks: number])[]): Taskmap {
  const blocks: [number, number, number, number][] = [];
  for (const [nodeid, ntasks] of runs) {
    if (ntasks === 0) continue;
    const last = blocks.at(-1);
    if (last !== undefined && last[2] === ntasks && nodeid === last[0] + last[1]) last[1] += 1;
    else blocks.push([nodeid, 1, ntasks, 1]);
  }
  return new Taskmap(joinRepeats(blocks));
}

function joinRepeats(blocks: readonly MapBlock[]): MapBlock[] {
  const joined: MapBlock[] = [];
  for (const block of blocks) {
    const last = joined.at(-1);
    if (last !== undefined && last[0] === block[0] && last[1] === 1 && block[1] === 1) {
      // One node again is no new round.
      joined[joined.length - 1] = [last[0], 1, last[2] * last[3] + block[2] * block[3], 1];
    } else if (last !== undefined && last[0] === block[0] && last[1] === block[1] && last[2] === block[2]) {
      joined[joined.length - 1] = [last[0], last[1], last[2], last[3] + block[3]];
    } else {
      joined.push(block);
    }
  }
  return joined;
}

function checkBlock(block: unknown): MapBlock {
  if (!Array.isArray(block) || block.length !== 4 || !block.every((item) => Number.isSafeInteger(item))) {
    throw invalid("a map block is an array of four integers");
  }
  const [nodeid, nnodes, ppn, repeat] = block as unknown as MapBlock;
  if (nodeid < 0 || nnodes < 1 || ppn < 1 || repeat < 1) throw invalid("a number of a map block is too small");
  return [nodeid, nnodes, ppn, repeat];
}

function invalid(reason: string): FluxError {
  return new FluxError("EINVAL", `invalid taskmap: ${reason}`);
}
