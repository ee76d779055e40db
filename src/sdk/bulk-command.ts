/**
 * One command on several ranks, through the subprocess servers of their brokers (RFC 42): prologs, epilogs, housekeeping,
 * job shells that are programs.
 *
 * Invariants: every rank ends once, by an exit, a failure to start, or because it was given up; `finished` is called once,
 * after the last of them. A signal that comes before a rank has told its pid goes to it when it has.
 */
import { base64Decode } from "../base/bytes.ts";
import type { FluxError } from "../base/errors.ts";
import { isJsonObject, type JsonObject } from "../base/json.ts";
import { EXIT_NOT_FOUND, signalOfStatus, signalSentence, statusOfExit } from "../base/signals.ts";
import { Idset } from "../formats/idset.ts";
import type { Handle } from "./handle.ts";

const FLAG_STDOUT = 1;
const FLAG_STDERR = 2;
/** What a shell says of a command that is not there. */
const STATUS_NOT_STARTED = statusOfExit(EXIT_NOT_FOUND);

export interface BulkCommandOptions {
  readonly handle: Handle;
  readonly argv: readonly string[];
  /** Variables beside those that programs of the ranks' brokers have. */
  readonly env: Readonly<Record<string, string>>;
  readonly ranks: Iterable<number>;
  /** A line of output; `stream` is stdout or stderr. */
  output(rank: number, stream: string, line: string): void;
  /** The command runs on a rank. */
  started?(rank: number): void;
  /** The command could not be started, or its broker is gone. */
  failed(rank: number, reason: string, error: FluxError): void;
  /** A rank is done. */
  ended?(rank: number, status: number): void;
  finished(): void;
}

interface Process {
  pid: number;
  /** A signal to send when the pid is known. */
  signum: number;
  status: number;
  readonly rests: Map<string, string>;
  readonly decoders: Map<string, TextDecoder>;
}

export class BulkCommand {
  readonly #options: BulkCommandOptions;
  readonly #active = new Map<number, Process>();
  readonly #statuses = new Map<number, number>();
  readonly #notStarted = new Set<number>();

  constructor(options: BulkCommandOptions) {
    this.#options = options;
    for (const rank of options.ranks)
      this.#active.set(rank, { pid: 0, signum: 0, status: 0, rests: new Map(), decoders: new Map() });
  }

  get total(): number {
    return this.#active.size + this.#statuses.size;
  }
  get activeRanks(): Idset {
    return Idset.from(this.#active.keys());
  }
  /** The greatest wait status of all ranks that have ended. */
  get status(): number {
    return Math.max(0, ...this.#statuses.values());
  }
  /** The ranks that did not succeed. */
  get failedRanks(): Idset {
    return Idset.from([...this.#statuses].filter(([, status]) => status !== 0).map(([rank]) => rank));
  }

  /** How ranks failed that could be started: the signal that ended them, or that their exit code is not 0. */
  get failures(): ReadonlyMap<string, Idset> {
    const failures = new Map<string, number[]>();
    for (const [rank, status] of this.#statuses) {
      if (status === 0 || this.#notStarted.has(rank)) continue;
      const signum = signalOfStatus(status);
      const how = signum === 0 ? "nonzero exit code" : signalSentence(signum);
      failures.set(how, [...(failures.get(how) ?? []), rank]);
    }
    return new Map([...failures].map(([how, ranks]) => [how, Idset.from(ranks)]));
  }

  start(): void {
    const { handle, argv, env } = this.#options;
    const cmd = { cmdline: argv, env: {}, env_add: env, opts: {}, channels: [], msgchan: [] };
    const request = { cmd, flags: FLAG_STDOUT | FLAG_STDERR, local_flags: 0 };
    for (const [rank, process] of this.#active)
      handle.open(
        "rexec.exec",
        request,
        {
          item: (payload) => payload !== null && this.#receive(rank, process, payload.value),
          end: (error) => this.#closed(rank, process, error),
        },
        { nodeid: rank },
      );
  }

  /** Signals the command, on all ranks where it runs or on some of them. */
  kill(signum: number, ranks: Idset | null = null): void {
    for (const [rank, process] of this.#active) {
      if (ranks !== null && !ranks.has(rank)) continue;
      if (process.pid === 0) process.signum = signum;
      else this.#options.handle.send("rexec.kill", { pid: process.pid, signum }, { nodeid: rank });
    }
  }

  /** Waits no longer for what does not end. */
  giveUp(status: number): void {
    for (const rank of this.activeRanks) this.#end(rank, status);
  }

  #receive(rank: number, process: Process, message: JsonObject): void {
    const { type, pid, status, io } = message;
    if (type === "started" && typeof pid === "number") {
      process.pid = pid;
      this.#options.started?.(rank);
      if (process.signum !== 0) this.kill(process.signum, Idset.from([rank]));
    } else if (type === "finished" && typeof status === "number") process.status = status;
    else if (type === "output" && isJsonObject(io)) this.#output(rank, process, io);
  }

  #output(rank: number, process: Process, io: JsonObject): void {
    const { stream, data, encoding } = io;
    if (typeof stream !== "string") return;
    let text = typeof data === "string" ? data : "";
    if (encoding === "base64") {
      const decoder = process.decoders.get(stream) ?? new TextDecoder();
      process.decoders.set(stream, decoder);
      text = decoder.decode(base64Decode(text) ?? new Uint8Array(0), { stream: true });
    }
    const lines = ((process.rests.get(stream) ?? "") + text).split("\n");
    process.rests.set(stream, lines.pop()!);
    for (const line of lines) this.#options.output(rank, stream, line);
  }

  #closed(rank: number, process: Process, error: FluxError | null): void {
    if (this.#active.get(rank) !== process) return;
    for (const [stream, rest] of process.rests) if (rest !== "") this.#options.output(rank, stream, rest);
    if (error !== null) {
      this.#notStarted.add(rank);
      this.#options.failed(rank, error.message, error);
    }
    this.#end(rank, error === null ? process.status : STATUS_NOT_STARTED);
  }

  #end(rank: number, status: number): void {
    if (!this.#active.delete(rank)) return;
    this.#statuses.set(rank, status);
    this.#options.ended?.(rank, status);
    if (this.#active.size === 0) this.#options.finished();
  }
}
