/**
 * The exec port by the native addon: a child costs the same whatever the size of this process, and its streams are read
 * without a socket object of Node for each.
 *
 * Invariants: every descriptor is closed once, by its stream; a process is signalled only until it has been reaped, its
 * group only until `exit` was told.
 */
import { closeSync } from "node:fs";
import { FluxError, errnoSentence } from "../base/errors.ts";
import { FIRST_CHANNEL, type ChildProcess, type Exec, type ProcessEvents, type SpawnOptions } from "../base/ports.ts";
import {
  SIGKILL,
  checkSpawnOptions,
  childEnvironment,
  directoryError,
  killProcess,
  limitNumbers,
  openInput,
  programError,
} from "./exec-common.ts";
import {
  Heard,
  SPAWN_DESCRIPTORS_MAX,
  SPAWN_RESULT_LENGTH,
  SPAWN_STAGES,
  SpawnDescriptor,
  type NativeAddon,
  type NativeStream,
} from "./native.ts";

/** What a writer may leave unwritten before it is asked to wait. */
const WRITE_LIMIT_BYTES = 65536;
/** End of transmission: what a terminal takes for the end of its input. */
const END_OF_TRANSMISSION: Uint8Array = new Uint8Array([4]);

/** Makes scores of the kernel's choice positive. */
const OOM_SCORE_OFFSET = 1000;

const GROUP_SAME = 0;
const GROUP_OWN = 1;
const GROUP_SESSION = 2;

type StreamKind = "input" | "output" | "duplex" | "terminal";

/** One stream of a child: a pipe, a socket, or a terminal's master. */
class ChildStream {
  readonly #addon: NativeAddon;
  readonly #kind: StreamKind;
  readonly #events: { output(chunk: Uint8Array | null): void; settled(): void };
  readonly #queue: Uint8Array[] = [];
  readonly #waiting: (() => void)[] = [];
  #stream: NativeStream | null;
  /** How much of the first chunk in the queue was taken. */
  #taken = 0;
  #queuedBytes = 0;
  #inputClosed = false;
  #outputOver: boolean;
  #processEnded = false;
  #paused = false;

  constructor(
    addon: NativeAddon,
    fd: number,
    kind: StreamKind,
    events: { output(chunk: Uint8Array | null): void; settled(): void },
  ) {
    this.#addon = addon;
    this.#kind = kind;
    this.#events = events;
    this.#outputOver = kind === "input";
    this.#inputClosed = kind === "output";
    this.#stream = addon.streamOpen(fd, this.#onHeard);
    if (kind !== "input") addon.streamRead(this.#stream, true);
  }

  get isChannel(): boolean {
    return this.#kind === "duplex";
  }

  /** Nothing more will be delivered. */
  get outputOver(): boolean {
    return this.#outputOver;
  }

  readonly #onHeard = (heard: number, data: Uint8Array | number): void => {
    if (heard === Heard.data) this.#events.output(data as Uint8Array);
    else if (heard === Heard.room) this.#flush();
    else this.#onEnd();
  };

  #onEnd(): void {
    // A terminal reads as ended whenever no program has it open, be it for a moment; and closing it now would hang up
    // a program on its way to the exit. Its end is the end of the process.
    if (this.#kind === "terminal" && !this.#processEnded) return;
    this.abandon();
  }

  /** Nothing more is wanted of it, whoever may still have it open. */
  abandon(): void {
    if (this.#outputOver) return;
    this.#outputOver = true;
    this.#dropInput();
    this.close();
    this.#events.output(null);
    this.#events.settled();
  }

  write(chunk: Uint8Array): boolean {
    if (this.#inputClosed || this.#stream === null || chunk.byteLength === 0) return true;
    this.#queue.push(chunk);
    this.#queuedBytes += chunk.byteLength;
    if (this.#queue.length === 1) this.#flush();
    return this.#queuedBytes < WRITE_LIMIT_BYTES;
  }

  #flush(): void {
    while (this.#stream !== null && this.#queue.length > 0) {
      const chunk = this.#queue[0]!;
      const taken = this.#addon.streamWrite(this.#stream, chunk, this.#taken);
      if (taken < 0) {
        // The program closed its input: what it did not want is dropped, as a shell's pipe would.
        this.#dropInput();
        return;
      }
      if (taken === 0) {
        this.#addon.streamAwaitRoom(this.#stream, true);
        return;
      }
      this.#taken += taken;
      this.#queuedBytes -= taken;
      if (this.#taken < chunk.byteLength) continue;
      this.#queue.shift();
      this.#taken = 0;
    }
    this.#wakeWriters();
    if (this.#inputClosed) this.#endInput();
  }

  #dropInput(): void {
    this.#queue.length = 0;
    this.#queuedBytes = 0;
    this.#taken = 0;
    this.#inputClosed = true;
    this.#wakeWriters();
    if (this.#kind === "input") this.close();
  }

  #wakeWriters(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  drained(): Promise<void> {
    if (this.#queue.length === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  closeInput(): void {
    if (this.#inputClosed) return;
    if (this.#kind === "terminal") {
      // A terminal has one descriptor for both directions; its input ends by a character, and may go on.
      this.write(END_OF_TRANSMISSION);
      return;
    }
    this.#inputClosed = true;
    if (this.#queue.length === 0) this.#endInput();
  }

  #endInput(): void {
    if (this.#stream === null) return;
    if (this.#kind === "duplex") this.#addon.streamShutdown(this.#stream);
    if (this.#kind === "input") this.close();
  }

  read(on: boolean): void {
    this.#paused = !on;
    if (this.#stream !== null && !this.#outputOver) this.#addon.streamRead(this.#stream, on);
  }

  /** The process has ended: nobody is left to read its standard input. A channel may have passed on to others. */
  processEnded(): void {
    this.#processEnded = true;
    if (this.#kind === "input") this.#dropInput();
    else this.#wakeWriters();
    if (this.#kind === "terminal" && !this.#paused) this.read(true);
  }

  close(): void {
    if (this.#stream !== null) this.#addon.streamClose(this.#stream);
    this.#stream = null;
  }
}

class NativeChild implements ChildProcess {
  readonly pid: number;
  readonly #addon: NativeAddon;
  readonly #events: ProcessEvents;
  readonly #streams = new Map<string, ChildStream>();
  readonly #terminalFd: number;
  #status: number | null = null;
  #told = false;
  #isClosing = false;

  constructor(addon: NativeAddon, options: SpawnOptions, events: ProcessEvents, result: Int32Array) {
    this.#addon = addon;
    this.#events = events;
    this.pid = result[0]!;
    this.#terminalFd = options.pty === undefined ? -1 : result[3]!;
    this.#openStreams(options, result);
    addon.onExit(this.pid, result[2]!, this.#onExit);
  }

  #openStreams(options: SpawnOptions, result: Int32Array): void {
    const open = (name: string, index: number, kind: StreamKind): void => {
      const fd = result[3 + index]!;
      if (fd < 0) return;
      const output = (chunk: Uint8Array | null): void => this.#events.output(name, chunk);
      this.#streams.set(name, new ChildStream(this.#addon, fd, kind, { output, settled: this.#tellExit }));
    };
    if (options.pty === undefined) {
      open("stdin", 0, "input");
      open("stdout", 1, "output");
      open("stderr", 2, "output");
    } else {
      open("stdout", 0, "terminal");
    }
    options.channels?.forEach((name, index) => open(name, FIRST_CHANNEL + index, "duplex"));
  }

  readonly #onExit = (status: number): void => {
    this.#status = status;
    for (const stream of this.#streams.values()) stream.processEnded();
    this.#tellExit();
  };

  #closeChannels(): void {
    for (const stream of this.#streams.values()) if (stream.isChannel) stream.abandon();
  }

  readonly #tellExit = (): void => {
    if (this.#status === null || this.#told) return;
    const open = [...this.#streams.values()].filter((stream) => !stream.outputOver);
    if (open.some((stream) => !stream.isChannel)) return;
    // What is left in channels is read with the next turn. Who else may hold them is not waited for.
    if (open.length > 0) {
      if (!this.#isClosing) setImmediate(() => setImmediate(() => this.#closeChannels()));
      this.#isClosing = true;
      return;
    }
    this.#told = true;
    this.#events.exit(this.#status);
  };

  /** Input of a terminal goes where its output comes from. */
  #stream(name: string): ChildStream | undefined {
    return this.#streams.get(name === "stdin" && this.#terminalFd >= 0 ? "stdout" : name);
  }

  write(stream: string, chunk: Uint8Array): boolean {
    return this.#stream(stream)?.write(chunk) ?? true;
  }

  drained(stream: string): Promise<void> {
    return this.#stream(stream)?.drained() ?? Promise.resolve();
  }

  closeInput(stream: string): void {
    this.#stream(stream)?.closeInput();
  }

  kill(signum: number, options: { group?: boolean } = {}): boolean {
    const group = options.group === true;
    if (group ? this.#told : this.#status !== null) return false;
    const isFound = killProcess(this.pid, signum, group);
    // A process that still holds the streams, but is not in the group of the one that ended, cannot be reached.
    if (signum === SIGKILL && this.#status !== null)
      queueMicrotask(() => {
        for (const stream of this.#streams.values()) stream.abandon();
      });
    return isFound;
  }

  pauseOutput(stream: string): void {
    this.#streams.get(stream)?.read(false);
  }

  resumeOutput(stream: string): void {
    this.#streams.get(stream)?.read(true);
  }

  resizePty(rows: number, columns: number): void {
    if (this.#terminalFd < 0 || this.#streams.get("stdout")?.outputOver !== false) return;
    this.#addon.resizePty(this.#terminalFd, rows, columns);
  }
}

function descriptorsOf(options: SpawnOptions, input: number | null): number[] {
  const { null: nothing, pipeIn, pipeOut, pty, socket } = SpawnDescriptor;
  const standard =
    options.pty === undefined
      ? (["stdin", "stdout", "stderr"] as const).map((name, index) => {
          const choice = options[name];
          if (index === 0 && input !== null) return input;
          if (choice === "inherit") return index;
          if (choice === "null") return nothing;
          return name === "stdin" ? pipeIn : pipeOut;
        })
      : [pty, pty, pty];
  const descriptors = [...standard, ...(options.channels ?? []).map(() => socket)];
  if (descriptors.length > SPAWN_DESCRIPTORS_MAX) throw new FluxError("EMFILE", "too many channels for one process");
  return descriptors;
}

/** The numbers of a request in the order in which the addon reads them. */
function encodeNumbers(options: SpawnOptions, input: number | null): Float64Array {
  const session = options.pty !== undefined;
  const group = session ? GROUP_SESSION : options.newProcessGroup === false ? GROUP_SAME : GROUP_OWN;
  const descriptors = descriptorsOf(options, input);
  const cpus = options.cpus ?? [];
  const limits = limitNumbers(options.rlimits);
  return Float64Array.of(
    group,
    options.umask ?? -1,
    options.diesWithParent === true ? 1 : 0,
    options.pty?.rows ?? 0,
    options.pty?.columns ?? 0,
    descriptors.length,
    ...descriptors,
    cpus.length,
    ...cpus,
    limits.length,
    ...limits.flat(),
    options.oomScoreAdjust === undefined ? -1 : options.oomScoreAdjust + OOM_SCORE_OFFSET,
    options.stopsAtStart === true ? 1 : 0,
  );
}

function startError(options: SpawnOptions, errnum: number, stageNumber: number): FluxError {
  const stage = SPAWN_STAGES[stageNumber];
  if (stage === "exec") return programError(options.argv[0]!, errnum);
  if (stage === "cwd") return directoryError(options.cwd, errnum);
  if (stage === "cpus") return new FluxError(errnum, `cannot bind to CPUs ${options.cpus?.join(",")}`);
  return new FluxError(errnum, `cannot start ${options.argv[0]}: ${errnoSentence(errnum)} (${stage})`);
}

/** The last environment that was encoded: many tasks of a job share theirs. */
interface EncodedEnvironment {
  readonly source: Readonly<Record<string, string>>;
  readonly block: string;
}

export class NativeExec implements Exec {
  readonly #addon: NativeAddon;
  readonly #result = new Int32Array(SPAWN_RESULT_LENGTH);
  #encoded: EncodedEnvironment | null = null;

  constructor(addon: NativeAddon) {
    this.#addon = addon;
  }

  spawn(options: SpawnOptions, events: ProcessEvents): ChildProcess {
    checkSpawnOptions(options);
    const result = this.#result;
    const argv = `${options.argv.join("\0")}\0`;
    const input = openInput(options);
    try {
      this.#addon.spawn(argv, this.#environmentBlock(options), options.cwd, encodeNumbers(options, input), result);
    } finally {
      if (input !== null) closeSync(input);
    }
    if (result[0]! < 0) throw startError(options, -result[0]!, result[1]!);
    return new NativeChild(this.#addon, options, events, result);
  }

  #environmentBlock(options: SpawnOptions): string {
    const plain = options.channels === undefined || options.channels.length === 0;
    if (plain && Object.isFrozen(options.env) && this.#encoded?.source === options.env) return this.#encoded.block;
    let block = "";
    for (const [name, value] of Object.entries(plain ? options.env : childEnvironment(options))) {
      if (name.includes("\0") || value.includes("\0")) {
        throw new FluxError("EINVAL", `environment variable ${JSON.stringify(name)} contains a zero byte`);
      }
      block += `${name}=${value}\0`;
    }
    if (plain && Object.isFrozen(options.env)) this.#encoded = { source: options.env, block };
    return block;
  }

  kill(pid: number, signum: number, options: { group?: boolean } = {}): boolean {
    return killProcess(pid, signum, options.group === true);
  }
}
