/**
 * A simulated world: machines with disks, a network, processes. Brokers, shell hosts and programs run in it as they do on
 * Node, in one real process, in virtual time, from a seed.
 *
 * Invariant: two runs of a seed are the same, so that `digest` is equal for equal seeds; any difference is a bug.
 */
import { createHash } from "node:crypto";
import type { Ports, Trace, TraceFields } from "../base/ports.ts";
import { SimulatedClock } from "./clock.ts";
import { SimulatedCodec } from "./codec.ts";
import { SimulatedDisk } from "./disk.ts";
import { Storage } from "./storage.ts";
import { ProcessTable, SimulatedExec, type SimulatedProcess } from "./exec.ts";
import { Network, SimulatedNet, type NetParty } from "./net.ts";
import { SimulatedFileTree } from "./file-tree.ts";
import { STANDARD_PROGRAMS, type Program } from "./programs.ts";
import { SimulatedRandom } from "./random.ts";
import { Seeded } from "./seeded.ts";
import { Timeline } from "./timeline.ts";

/** The user that owns every simulated process. */
export const OWNER_USERID = 1000;
const CORES_PER_MACHINE = 4;
const FLUX_PATH = "/usr/bin/flux";

export interface WorldOptions {
  readonly coresPerMachine?: number;
  /** Takes a line per trace event: for people who look for a bug. */
  readonly trace?: (line: string) => void;
}

export class World {
  readonly seed: string;
  readonly dice: Seeded;
  readonly timeline: Timeline;
  readonly network: Network;
  readonly processes: ProcessTable;
  /** How often each named situation was met. */
  readonly marks: Map<string, number> = new Map();
  readonly #options: WorldOptions;
  readonly #storages = new Map<string, Storage>();
  readonly #digest = createHash("sha256");

  constructor(seed: string, options: WorldOptions = {}) {
    this.seed = seed;
    this.#options = options;
    this.dice = new Seeded(seed);
    this.timeline = new Timeline(this.dice.fork("timeline"));
    this.network = new Network(this.timeline, this.dice.fork("network"));
    this.processes = new ProcessTable(this.timeline, this.network, new Map(Object.entries(STANDARD_PROGRAMS)));
  }

  /** Adds (or replaces) a program of every machine. */
  install(name: string, program: Program): void {
    this.processes.programs.set(name, program);
  }

  storage(machine: string): Storage {
    let storage = this.#storages.get(machine);
    if (storage === undefined) {
      storage = new Storage(this.timeline, this.dice.fork(`disk ${machine}`));
      this.#storages.set(machine, storage);
    }
    return storage;
  }

  /** Names a situation that was reached. */
  mark(name: string): void {
    this.marks.set(name, (this.marks.get(name) ?? 0) + 1);
  }

  /** Adds to the digest of the run. */
  record(...fields: readonly unknown[]): void {
    const line = `${this.timeline.nowMs.toFixed(4)} ${fields.join(" ")}\n`;
    this.#digest.update(line);
    this.#options.trace?.(line);
  }

  digest(): string {
    return this.#digest.copy().digest("hex");
  }

  /** The doors to the world as a process has them. */
  portsOf(process: SimulatedProcess): Ports {
    const dice = this.dice.fork(process.scope.name);
    const party: NetParty = {
      scope: process.scope,
      machine: process.machine,
      credentials: { uid: OWNER_USERID, pid: process.pid },
      descriptors: process.descriptors,
    };
    const cores = this.#options.coresPerMachine ?? CORES_PER_MACHINE;
    const disk = new SimulatedDisk(this.storage(process.machine), process.scope);
    return {
      clock: new SimulatedClock(this.timeline, process.scope),
      random: new SimulatedRandom(dice.fork("random")),
      codec: new SimulatedCodec(dice.fork("keys")),
      net: new SimulatedNet(this.network, party),
      disk,
      files: new SimulatedFileTree(),
      exec: new SimulatedExec(this.processes, party, disk),
      trace: this.#traceOf(process),
      host: {
        hostname: process.machine,
        uid: OWNER_USERID,
        pid: process.pid,
        cwd: process.cwd,
        env: process.env,
        temporaryDirectory: "/tmp",
        cores: Array.from({ length: cores }, (_, core) => core),
        gpus: [],
        fluxPath: FLUX_PATH,
      },
    };
  }

  #traceOf(process: SimulatedProcess): Trace {
    return {
      event: (component: string, name: string, fields: TraceFields = {}) =>
        this.record(process.scope.name, component, name, JSON.stringify(fields)),
      mark: (name) => this.mark(name),
    };
  }
}
