/**
 * A whole instance in a simulated world: one broker per machine, shell hosts on demand, an initial program that is a
 * function of the scenario. Brokers can be killed and the instance started again on the same disks.
 */
import { FluxError } from "../base/errors.ts";
import type { Ports } from "../base/ports.ts";
import { Broker } from "../broker/broker.ts";
import type { BootClient } from "../broker/bootstrap.ts";
import { BUILTIN_MODULES } from "../broker/personality.ts";
import { SHELL_HOST_URI } from "../protocol/shell-host.ts";
import { Handle } from "../sdk/handle.ts";
import { connectLocal } from "../sdk/local-connector.ts";
import { startShellHost } from "../shell/host.ts";
import { SimulatedProcess } from "./exec.ts";
import type { Program } from "./programs.ts";
import { exitCodeOfStatus } from "../base/signals.ts";
import type { World } from "./world.ts";

const STATE_DIRECTORY = "/state";
const PROGRAM_NAME = "workload";

/** What an initial program of a scenario works with. Its result is its exit code. */
export interface WorkloadContext {
  readonly handle: Handle;
  readonly ports: Ports;
  /** Opens a connection to the broker of a rank, as a program on that machine would. */
  connect(rank: number): Promise<Handle>;
}
export type Workload = (context: WorkloadContext) => Promise<number>;

/** The key-value exchange of a launcher, in memory. */
class Exchange {
  readonly #published = new Map<string, string>();
  readonly #put = new Map<string, string>();
  readonly #size: number;
  #waiting: (() => void)[] = [];

  constructor(size: number) {
    this.#size = size;
  }

  client(rank: number): BootClient {
    return {
      method: "simple",
      initialize: async () => ({ rank, size: this.#size, name: "simulated" }),
      get: async (key) => this.#published.get(key) ?? null,
      put: async (key, value) => void this.#put.set(key, value),
      barrier: () => this.#barrier(),
      finalize: async () => {},
    };
  }

  #barrier(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      if (this.#waiting.length < this.#size) return;
      for (const [key, value] of this.#put) this.#published.set(key, value);
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const wake of waiting) wake();
    });
  }
}

/** Starts a program as a process of a machine. */
export function startProcess(
  world: World,
  machine: string,
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
  program: Program,
  ended: (exitCode: number) => void,
): SimulatedProcess {
  const process = new SimulatedProcess(
    world.processes,
    machine,
    { argv, env, cwd: "/tmp", stdin: "null", stdout: "pipe", stderr: "pipe" },
    { output: () => {}, exit: (status) => ended(exitCodeOfStatus(status)) },
  );
  world.processes.processes.set(process.pid, process);
  world.timeline.after(
    0,
    process.scope.guard(() => program(process)),
  );
  return process;
}

export interface InstanceOptions {
  readonly size: number;
  readonly workload: Workload;
  readonly attributes?: Readonly<Record<string, string>>;
  readonly config?: object;
  /** Whether an error that nobody foresaw ends a broker; default true: such an error is what is searched for. */
  readonly bugsAreFatal?: boolean;
}

export class SimulatedInstance {
  readonly #world: World;
  readonly #options: InstanceOptions;
  readonly #brokers: SimulatedProcess[] = [];
  /** Lines that brokers printed for people. */
  readonly stderr: string[] = [];
  /** Exit codes by rank; null while a broker runs. */
  readonly exitCodes: (number | null)[];

  constructor(world: World, options: InstanceOptions) {
    this.#world = world;
    this.#options = options;
    this.exitCodes = Array.from({ length: options.size }, () => null);
    world.install(PROGRAM_NAME, (process) => this.#runWorkload(process));
    world.install("flux", (process) => this.#runFlux(process));
    const exchange = new Exchange(options.size);
    for (let rank = 0; rank < options.size; rank++) this.#brokers.push(this.#startBroker(rank, exchange.client(rank)));
  }

  machineOf(rank: number): string {
    return `node${rank}`;
  }

  get isOver(): boolean {
    return this.exitCodes.every((code) => code !== null);
  }

  /** Runs until all brokers have ended. False when virtual time ran out first. */
  runToEnd(limitMs: number): Promise<boolean> {
    return this.#world.timeline.runUntil(() => this.isOver, limitMs);
  }

  /** `kill -9` of a broker: it says nothing to anybody, its machine lives on. */
  killBroker(rank: number): void {
    this.#brokers[rank]?.exitBySignal(9);
  }

  /** What happens to processes of a machine that lost its power. */
  killMachine(rank: number): void {
    const machine = this.machineOf(rank);
    for (const process of Array.from(this.#world.processes.processes.values()))
      if (process.machine === machine) process.exitBySignal(9);
    this.#world.storage(machine).crash();
  }

  signalBroker(rank: number, signum: number): void {
    this.#brokers[rank]?.receiveSignal(signum);
  }

  #startBroker(rank: number, boot: BootClient): SimulatedProcess {
    const world = this.#world;
    const program: Program = (process) => {
      const ports = world.portsOf(process);
      const state = { statedir: STATE_DIRECTORY, "log-stderr-level": "3" };
      if (rank === 0) ports.disk.makeDirectory(STATE_DIRECTORY, { mode: 0o700, recursive: true });
      const broker = new Broker({
        ports,
        boot,
        modules: BUILTIN_MODULES,
        bugsAreFatal: this.#options.bugsAreFatal ?? true,
        config: { ...this.#options.config },
        attributes: { ...(rank === 0 ? state : { "log-stderr-level": "3" }), ...this.#options.attributes },
        initialProgram: [PROGRAM_NAME, String(rank)],
        stderr: (text) => {
          this.stderr.push(text);
          world.record(process.scope.name, "stderr", text.trimEnd());
        },
      });
      process.onSignal((signum) => broker.signal(signum));
      void broker.run().then((code) => process.exit(code));
    };
    return startProcess(world, this.machineOf(rank), ["flux-broker"], {}, program, (code) => {
      world.record(`rank ${rank} exit`, code);
      this.exitCodes[rank] = code;
    });
  }

  #runWorkload(process: SimulatedProcess): void {
    const ports = this.#world.portsOf(process);
    const run = async (): Promise<number> => {
      const uri = process.env["FLUX_URI"];
      if (uri === undefined) throw new FluxError("ENOENT", "the initial program has no FLUX_URI");
      const handle = new Handle(await connectLocal(ports, uri));
      const code = await this.#options.workload({ handle, ports, connect: (rank) => this.#connectTo(rank) });
      handle.close();
      return code;
    };
    run().then(
      (code) => process.exit(code),
      (error: unknown) => {
        this.stderr.push(`workload: ${String(error)}\n`);
        process.exit(99);
      },
    );
  }

  /** A program on another machine that does nothing but hold a connection. */
  #connectTo(rank: number): Promise<Handle> {
    return new Promise((resolve, reject) => {
      const program: Program = (process) => {
        const ports = this.#world.portsOf(process);
        const path = this.#socketOf(rank);
        connectLocal(ports, `local://${path}`).then((channel) => resolve(new Handle(channel)), reject);
      };
      startProcess(this.#world, this.machineOf(rank), ["client"], {}, program, () => {});
    });
  }

  #socketOf(rank: number): string {
    const { files } = this.#world.storage(this.machineOf(rank));
    const rundir = [...files.keys()].find((path) => /\/flux-[^/]+$/.test(path));
    return `${rundir ?? "/tmp"}/local-${rank}`;
  }

  /** `flux shell-host`, as the shell agent starts it. */
  #runFlux(process: SimulatedProcess): void {
    if (process.argv[1] !== "shell-host") return process.exit(1);
    const ports = this.#world.portsOf(process);
    const run = async (): Promise<number> => {
      const handle = new Handle(await connectLocal(ports, process.env[SHELL_HOST_URI] ?? ""));
      const host = await startShellHost({ handle, ports, complain: (text) => void this.stderr.push(`${text}\n`) });
      await host.closed;
      return 0;
    };
    run().then(
      (code) => process.exit(code),
      () => process.exit(1),
    );
  }
}
