/** The exec port in virtual time: programs from a table, processes with output, exit, signals and channels. */
import { FluxError } from "../base/errors.ts";
import type { ChildProcess, Disk, Exec, ProcessEvents, SpawnOptions, TimerHandle, WaitStatus } from "../base/ports.ts";
import { SIGNALS, statusOfExit, statusOfSignal } from "../base/signals.ts";
import type { Network, NetParty, SimulatedStream } from "./net.ts";
import type { Program } from "./programs.ts";
import { Scope } from "./scope.ts";
import type { Timeline } from "./timeline.ts";

/** Signals that end a process which does not handle them. */
const FATAL: ReadonlySet<number> = new Set([1, 2, 3, 4, 6, 8, 9, 10, 11, 12, 13, 14, 15]);
const SPAWN_MAX_MS = 2;
const FIRST_CHANNEL_DESCRIPTOR = 3;

/** The processes of a world. */
export class ProcessTable {
  readonly timeline: Timeline;
  readonly network: Network;
  readonly programs: Map<string, Program>;
  readonly processes: Map<number, SimulatedProcess> = new Map();
  /** Told of each program that another one starts. */
  spawned: ((process: SimulatedProcess) => void) | null = null;
  #nextPid = 100;

  constructor(timeline: Timeline, network: Network, programs: Map<string, Program>) {
    this.timeline = timeline;
    this.network = network;
    this.programs = programs;
  }

  allocatePid(): number {
    return this.#nextPid++;
  }

  signal(pid: number, signum: number, group: boolean): boolean {
    let found = false;
    for (const process of Array.from(this.processes.values())) {
      if (process.pid !== pid && !(group && process.group === pid)) continue;
      found = true;
      process.receiveSignal(signum);
    }
    return found;
  }
}

/** A process as its program sees it. */
export class SimulatedProcess {
  readonly pid: number;
  readonly group: number;
  readonly machine: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly scope: Scope;
  readonly descriptors: Map<number, SimulatedStream> = new Map();
  readonly #table: ProcessTable;
  readonly #events: ProcessEvents;
  #input: ((chunk: Uint8Array | null) => void) | null = null;
  #pendingInput: (Uint8Array | null)[] = [];
  #handler: ((signum: number) => void) | null = null;
  #ended = false;

  constructor(table: ProcessTable, machine: string, options: SpawnOptions, events: ProcessEvents) {
    this.#table = table;
    this.#events = events;
    this.pid = table.allocatePid();
    this.group = this.pid;
    this.machine = machine;
    this.argv = options.argv;
    this.env = options.env;
    this.cwd = options.cwd;
    this.scope = new Scope(`${machine}/${options.argv[0]!.split("/").at(-1)}[${this.pid}]`);
  }

  output(stream: string, chunk: Uint8Array): void {
    if (this.#ended) return;
    this.#later(() => this.#events.output(stream, chunk));
  }
  onInput(listener: (chunk: Uint8Array | null) => void): void {
    this.#input = listener;
    for (const chunk of this.#pendingInput.splice(0)) this.#later(() => listener(chunk));
  }
  onSignal(handler: (signum: number) => void): void {
    this.#handler = handler;
  }
  after(delayMs: number, callback: () => void): TimerHandle {
    return this.#table.timeline.after(delayMs, this.scope.guard(callback));
  }
  exit(code: number): void {
    this.#end(statusOfExit(code));
  }
  exitBySignal(signum: number): void {
    this.#end(statusOfSignal(signum));
  }

  receiveSignal(signum: number): void {
    if (this.#ended) return;
    if (signum === SIGNALS["SIGKILL"] || (this.#handler === null && FATAL.has(signum))) this.exitBySignal(signum);
    else if (this.#handler !== null) this.#later(() => this.#handler?.(signum));
  }
  input(chunk: Uint8Array | null): void {
    const listener = this.#input;
    if (listener === null) this.#pendingInput.push(chunk);
    else this.#later(() => listener(chunk));
  }

  #end(status: WaitStatus): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#table.processes.delete(this.pid);
    this.scope.end();
    this.#later(() => {
      for (const stream of ["stdout", "stderr"]) this.#events.output(stream, null);
      this.#events.exit(status);
    });
  }

  /** Events of one process arrive in order. */
  #lastMs = 0;
  #later(callback: () => void): void {
    const { timeline } = this.#table;
    this.#lastMs = Math.max(this.#lastMs + 0.000_01, timeline.nowMs);
    timeline.after(this.#lastMs - timeline.nowMs, callback);
  }
}

export class SimulatedExec implements Exec {
  readonly #table: ProcessTable;
  readonly #party: NetParty;
  readonly #disk: Disk | null;

  /** Without a disk no program can read its input from a file. */
  constructor(table: ProcessTable, party: NetParty, disk: Disk | null = null) {
    this.#table = table;
    this.#party = party;
    this.#disk = disk;
  }

  spawn(options: SpawnOptions, events: ProcessEvents): ChildProcess {
    const name = (options.argv[0] ?? "").split("/").at(-1)!;
    const program = this.#table.programs.get(name);
    if (program === undefined) throw new FluxError("ENOENT", `${options.argv[0]}: No such file or directory`);
    const { stdin } = options;
    const input = typeof stdin === "string" ? null : (this.#disk?.readFile(stdin.path) ?? null);
    const process = new SimulatedProcess(this.#table, this.#party.machine, options, this.#guarded(events));
    this.#table.processes.set(process.pid, process);
    if (input !== null) for (const chunk of [input, null]) process.input(chunk);
    const env = { ...options.env };
    const channels = this.#openChannels(process, options, env, events);
    const started = Object.assign(process, { env });
    this.#table.spawned?.(started);
    this.#table.timeline.after(
      this.#table.network.dice.fraction() * SPAWN_MAX_MS,
      process.scope.guard(() => program(started)),
    );
    return {
      pid: process.pid,
      write: (stream, chunk) => {
        if (stream === "stdin") process.input(chunk);
        else channels.get(stream)?.write(chunk);
        return true;
      },
      drained: () => Promise.resolve(),
      closeInput: (stream) => (stream === "stdin" ? process.input(null) : channels.get(stream)?.end()),
      kill: (signum, { group = false } = {}) => this.#table.signal(process.pid, signum, group),
      pauseOutput: () => {},
      resumeOutput: () => {},
      resizePty: () => {},
    };
  }

  kill(pid: number, signum: number, options: { group?: boolean } = {}): boolean {
    return this.#table.signal(pid, signum, options.group === true);
  }

  #guarded(events: ProcessEvents): ProcessEvents {
    const { scope } = this.#party;
    return {
      output: scope.guard((stream: string, chunk: Uint8Array | null) => events.output(stream, chunk)),
      exit: scope.guard((status: WaitStatus) => events.exit(status)),
    };
  }

  /** A socketpair per channel: one end for the parent, the other under a descriptor number of the child. */
  #openChannels(
    process: SimulatedProcess,
    options: SpawnOptions,
    env: Record<string, string>,
    events: ProcessEvents,
  ): Map<string, SimulatedStream> {
    const channels = new Map<string, SimulatedStream>();
    let descriptor = FIRST_CHANNEL_DESCRIPTOR;
    for (const name of options.channels ?? []) {
      const child: NetParty = { ...this.#party, scope: process.scope };
      const [near, far] = this.#table.network.pair(this.#party, child);
      near.start({ data: (chunk) => events.output(name, chunk), close: () => events.output(name, null) });
      process.descriptors.set(descriptor, far);
      env[name] = String(descriptor++);
      channels.set(name, near);
    }
    return channels;
  }
}
