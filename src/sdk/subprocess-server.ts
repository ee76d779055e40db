/**
 * A subprocess server (RFC 42): programs that clients start on its node, with their input, output and signals. Every broker
 * has one (`rexec`), and every shell of a job one for the job's owner (`<uid>-shell-<id>.rexec`).
 *
 * Invariants: a foreground process belongs to the request that started it: when its client goes away it is killed
 * (SIGKILL). Every process is followed until its end and its last output. Input has credit: what a client may send ahead
 * is bounded. Output is read no faster than it leaves for the client. The latest output of a background process is kept, if
 * it was started to be waited for.
 */
import { utf8Decode, utf8Encode } from "../base/bytes.ts";
import { errnoSentence, Errno, FluxError, isFluxError } from "../base/errors.ts";
import type { JsonObject } from "../base/json.ts";
import type { ChildProcess, Exec } from "../base/ports.ts";
import { SIGNALS } from "../base/signals.ts";
import { decodeStreamData, encodeStreamData } from "../formats/stream-data.ts";
import { GUARDED_VARIABLE } from "./guard.ts";
import type { IncomingRequest } from "./request.ts";
import { ANYONE, requireInteger, requireObject, type Method, type Methods } from "./service.ts";
import {
  endText,
  FALLBACK_DIRECTORY,
  inputCreditBytes,
  lostDirectoryText,
  parseSubprocessCommand,
  programName,
  SubprocessFlag,
  wantsStream,
  type SubprocessCommand,
} from "./subprocess-command.ts";

/** Bytes of output that are kept of a process that may be waited for. */
const RETAINED_BYTES_MAX = 64 * 1024;

/** Output of a process that is on its way to its client; with more, the process is not read from. */
const UNTAKEN_BYTES_MAX = 256 * 1024;
/** The same of output that its client, brokers away, has not acknowledged (`taken`, which is ours alone). */
const UNACKNOWLEDGED_BYTES_MAX = 1024 * 1024;

interface StreamData {
  readonly stream: string;
  readonly data: Uint8Array;
}

interface Process {
  readonly pid: number;
  readonly command: SubprocessCommand;
  /** The command as the client gave it. */
  readonly given: JsonObject;
  readonly isBackground: boolean;
  child: ChildProcess | null;
  /** The request that is told of output and end, and what it wants to hear; null in the background. */
  request: IncomingRequest | null;
  flags: number;
  status: number | null;
  waiter: IncomingRequest | null;
  /** Streams that have ended. */
  readonly over: Set<string>;
  retained: StreamData[];
  retainedBytes: number;
  /** Output on its way to the client, and the streams that are not read from until it has left. */
  untakenBytes: number;
  readonly held: Set<string>;
  /** Output that was sent and not acknowledged, by a client that does so. */
  unacknowledgedBytes: number;
  acknowledges: boolean;
}

export interface SubprocessSurroundings {
  readonly rank: number;
  readonly exec: Exec;
  /** Throws FluxError EPERM where a request is not to be served. */
  authorize(request: IncomingRequest): void;
  /** Called before a program is started. */
  starting?(): void;
  /** Whether a directory is there to start a program in. */
  isDirectory(path: string): boolean;
  readonly cwd: string;
  /** The environment of processes whose request brings none. */
  environment(): Readonly<Record<string, string>>;
  /** The address of the broker, for the programs. */
  localUri(): string;
  /** What processes in the background print (whole lines are not promised), and how they ended. */
  log(kind: "stdout" | "stderr" | "end", name: string, text: string): void;
  /** The last process has ended. */
  emptied?(): void;
}

export class SubprocessServer {
  readonly #surroundings: SubprocessSurroundings;
  readonly #processes = new Map<number, Process>();

  constructor(surroundings: SubprocessSurroundings) {
    this.#surroundings = surroundings;
  }

  /** The methods; `options.prefix` where the service has other methods, too ("rexec."). */
  methods(options: { prefix?: string; roles?: Method["roles"] } = {}): Methods {
    const { prefix = "", roles } = options;
    const { rank, authorize } = this.#surroundings;
    const guarded = (handler: Method["handler"]): Method => ({
      ...(roles === undefined ? {} : { roles }),
      handler: (request) => {
        authorize(request);
        return handler(request);
      },
    });
    const procs = (): object => [...this.#processes.values()].map(describe);
    const disconnect: Method = { roles: ANYONE, handler: (request) => this.#disconnect(request) };
    return {
      [`${prefix}exec`]: guarded((request) => this.#exec(request)),
      [`${prefix}attach`]: guarded((request) => this.#attach(request)),
      [`${prefix}write`]: guarded((request) => this.#write(request)),
      [`${prefix}taken`]: guarded((request) => this.#taken(request)),
      [`${prefix}kill`]: guarded((request) => this.#kill(request)),
      [`${prefix}list`]: guarded(() => ({ rank, procs: procs() })),
      [`${prefix}wait`]: guarded((request) => this.#wait(request)),
      [`${prefix}disconnect`]: disconnect,
    };
  }

  /** Signals whatever still runs. */
  killAll(signum: number): void {
    for (const process of this.#processes.values()) signal(process, signum);
  }

  /** Processes that run. */
  get count(): number {
    return [...this.#processes.values()].filter((process) => process.status === null).length;
  }

  #exec(request: IncomingRequest): undefined {
    const isBackground = !request.isStreaming;
    const command = parseSubprocessCommand(request.json, request.isStreaming);
    if (command.label !== null && this.#labelled(command.label) !== null)
      throw new FluxError("EINVAL", "command label is not unique");
    const cwd = command.cwd ?? this.#surroundings.cwd;
    const isLost = !this.#surroundings.isDirectory(cwd);
    let process: Process | null = null;
    const child = this.#spawn(command, isLost ? FALLBACK_DIRECTORY : cwd, isBackground, {
      output: (stream, chunk) => process !== null && this.#output(process, stream, chunk),
      exit: (status) => process !== null && this.#ended(process, status),
    });
    process = {
      pid: child.pid,
      command,
      given: requireObject(request.json, "cmd"),
      isBackground,
      child,
      request: isBackground ? null : request,
      flags: command.flags,
      status: null,
      waiter: null,
      over: new Set(),
      retained: [],
      retainedBytes: 0,
      untakenBytes: 0,
      held: new Set(),
      unacknowledgedBytes: 0,
      acknowledges: false,
    };
    this.#processes.set(child.pid, process);
    request.respond({ type: "started", pid: child.pid });
    if (isLost) this.#output(process, "stderr", utf8Encode(lostDirectoryText(cwd)));
    if (!isBackground && (command.flags & SubprocessFlag.Credit) !== 0) {
      const names = ["stdin", ...command.channels];
      const channels = Object.fromEntries(names.map((name) => [name, inputCreditBytes(command.options, name)]));
      request.respond({ type: "add-credit", channels });
    }
    return undefined;
  }

  /** Throws FluxError with the errno of what failed. */
  #spawn(
    command: SubprocessCommand,
    cwd: string,
    isBackground: boolean,
    events: Parameters<Exec["spawn"]>[1],
  ): ChildProcess {
    const { argv, channels, staysInGroup, inheritsStdio } = command;
    const output = inheritsStdio ? "inherit" : "pipe";
    this.#surroundings.starting?.();
    // The program talks to the broker that runs it, not to the one its request came from.
    const own = command.env ?? this.#surroundings.environment();
    const uri = this.#surroundings.localUri();
    const env = { ...own, ...command.addedEnv, FLUX_URI: uri, [GUARDED_VARIABLE]: uri };
    try {
      if (argv[0] === "") throw new FluxError("ENOENT");
      return this.#surroundings.exec.spawn(
        {
          argv,
          env,
          cwd,
          stdin: isBackground ? "null" : inheritsStdio ? "inherit" : "pipe",
          stdout: output,
          stderr: output,
          channels,
          diesWithParent: true,
          newProcessGroup: !staysInGroup,
        },
        events,
      );
    } catch (error) {
      if (!isFluxError(error)) throw error;
      throw new FluxError(error.errnum, `error launching process: ${errnoSentence(error.errnum)}`, { cause: error });
    }
  }

  #output(process: Process, stream: string, chunk: Uint8Array | null): void {
    if (chunk === null) process.over.add(stream);
    else if (process.isBackground) {
      if (stream === "stdout" || stream === "stderr")
        this.#surroundings.log(stream, nameOf(process), utf8Decode(chunk));
      retain(process, { stream, data: chunk });
    }
    this.#tell(process, stream, chunk);
  }

  #tell(process: Process, stream: string, chunk: Uint8Array | null): void {
    if (process.request === null || !wantsStream(process.flags, stream)) return;
    const taken = process.request.respondInTurn({ type: "output", pid: process.pid, io: this.#io(stream, chunk) });
    if (chunk !== null) holdBack(process, stream, chunk.byteLength, taken);
  }

  #io(stream: string, chunk: Uint8Array | null): JsonObject {
    return { stream, rank: String(this.#surroundings.rank), ...encodeStreamData(chunk) };
  }

  #ended(process: Process, status: number): void {
    process.status = status;
    process.child = null;
    const isCollected = process.request !== null || process.waiter !== null;
    if (process.request !== null) finish(process.request, status);
    if (process.isBackground) this.#surroundings.log("end", fullNameOf(process), endText(status));
    process.waiter?.respond(this.#collected(process, status));
    if (isCollected || !process.isBackground || (process.command.flags & SubprocessFlag.Waitable) === 0)
      this.#processes.delete(process.pid);
    if (this.count === 0) this.#surroundings.emptied?.();
  }

  #collected({ retained }: Process, status: number): object {
    if (retained.length === 0) return { status };
    return { status, output: retained.map(({ stream, data }) => this.#io(stream, data)) };
  }

  #attach(request: IncomingRequest): undefined {
    const { flags } = request.json;
    if (!request.isStreaming) throw new FluxError("EPROTO", "attach request is missing STREAMING flag");
    if (typeof flags !== "number")
      throw new FluxError("EPROTO", "invalid request payload: Object item not found: flags");
    const process = this.#find(request.json, "ENOENT");
    if (!process.isBackground) throw new FluxError("EBUSY", "subprocess is not in background mode");
    if (process.request !== null) throw new FluxError("EBUSY", "subprocess already has a client attached");
    if (process.waiter !== null) throw new FluxError("EBUSY", "subprocess has a client that waits for it");
    request.respond({ type: "attached", pid: process.pid, cmd: process.given });
    process.request = request;
    process.flags = flags;
    for (const stream of process.over) this.#tell(process, stream, null);
    if (process.status === null) return undefined;
    this.#processes.delete(process.pid);
    finish(request, process.status);
    return undefined;
  }

  #write(request: IncomingRequest): undefined {
    const io = requireObject(request.json, "io");
    const process = this.#followed(request);
    const child = process?.child;
    const stream = io["stream"];
    if (process === undefined || !child || process.isBackground || typeof stream !== "string") return undefined;
    const data = decodeStreamData(io);
    if (data !== null && data.byteLength > 0) {
      child.write(stream, data);
      const grant = { type: "add-credit", channels: { [stream]: data.byteLength } };
      if ((process.flags & SubprocessFlag.Credit) !== 0)
        void child.drained(stream).then(() => process.child !== null && process.request?.respond(grant));
    }
    if (io["eof"] === true) child.closeInput(stream);
    return undefined;
  }

  /** The client has dealt with so many bytes of output: once it says so, no more than a limit is ahead of it. */
  #taken(request: IncomingRequest): undefined {
    const byteLength = requireInteger(request.json, "bytes");
    const process = this.#followed(request);
    if (process === undefined) return undefined;
    process.acknowledges = true;
    process.unacknowledgedBytes -= byteLength;
    release(process);
    return undefined;
  }

  /** The process whose output goes to the request that a message names. */
  #followed({ json, sender }: IncomingRequest): Process | undefined {
    return [...this.#processes.values()].find(
      ({ request }) => request !== null && request.matchtag === json["matchtag"] && request.sender === sender,
    );
  }

  #kill(request: IncomingRequest): null {
    const signum = requireInteger(request.json, "signum");
    const process = this.#find(request.json, "ESRCH");
    if (signum <= 0) throw new FluxError("EINVAL");
    if (!signal(process, signum)) throw new FluxError("ESRCH");
    return null;
  }

  #wait(request: IncomingRequest): object | undefined {
    const process = this.#find(request.json, "ESRCH");
    if ((process.command.flags & SubprocessFlag.Waitable) === 0)
      throw new FluxError("EINVAL", "process is not waitable");
    if (process.request !== null) throw new FluxError("EBUSY", "subprocess has a client attached");
    if (process.waiter !== null) throw new FluxError("EINVAL", "process is already being waited on");
    if (process.status === null) {
      process.waiter = request;
      return undefined;
    }
    this.#processes.delete(process.pid);
    return this.#collected(process, process.status);
  }

  #labelled(label: string): Process | null {
    return [...this.#processes.values()].find(({ command }) => command.label === label) ?? null;
  }

  /** Throws FluxError EPROTO, or what `absent` says where there is no such process. */
  #find({ pid, label }: JsonObject, absent: "ENOENT" | "ESRCH"): Process {
    if (typeof label === "string") {
      const process = this.#labelled(label);
      if (process === null) throw new FluxError(absent, `label ${label} does not belong to any subprocess`);
      return process;
    }
    if (typeof pid !== "number") throw new FluxError("EPROTO", "invalid request payload: Object item not found: pid");
    const process = this.#processes.get(pid);
    if (process === undefined) throw new FluxError(absent, `pid ${pid} does not belong to any subprocess`);
    return process;
  }

  #disconnect(request: IncomingRequest): undefined {
    for (const process of this.#processes.values()) {
      if (process.waiter?.sender === request.sender) process.waiter = null;
      if (process.request?.sender !== request.sender) continue;
      process.request = null;
      process.acknowledges = false;
      process.unacknowledgedBytes = 0;
      release(process);
      if (!process.isBackground) signal(process, SIGNALS["SIGKILL"]!);
    }
    return undefined;
  }

  /** The server ends: what is still attached hears so. */
  close(): void {
    for (const process of this.#processes.values()) {
      signal(process, SIGNALS["SIGKILL"]!);
      const ended = new FluxError("ENOSYS", errnoSentence(Errno.ENOSYS));
      process.request?.respondError(ended);
      process.waiter?.respondError(ended);
      process.request = null;
      process.waiter = null;
    }
    this.#processes.clear();
  }
}

/** Reads no more from a stream while much of what was read is on its way. */
function holdBack(process: Process, stream: string, byteLength: number, taken: Promise<void>): void {
  process.untakenBytes += byteLength;
  process.unacknowledgedBytes += byteLength;
  if (isAhead(process) && !process.held.has(stream)) {
    process.held.add(stream);
    process.child?.pauseOutput(stream);
  }
  void taken.then(() => {
    process.untakenBytes -= byteLength;
    release(process);
  });
}

/** Whether enough of what a process printed is on its way. */
function isAhead({ untakenBytes, unacknowledgedBytes, acknowledges }: Process): boolean {
  return untakenBytes > UNTAKEN_BYTES_MAX || (acknowledges && unacknowledgedBytes > UNACKNOWLEDGED_BYTES_MAX);
}

function release(process: Process): void {
  if (isAhead(process)) return;
  for (const name of process.held) process.child?.resumeOutput(name);
  process.held.clear();
}

/** Returns false where it is gone. */
function signal({ child, command }: Process, signum: number): boolean {
  return child?.kill(signum, { group: !command.staysInGroup }) ?? false;
}

function finish(request: IncomingRequest, status: number): void {
  request.respond({ type: "finished", status });
  request.end();
}

/** Keeps output of a process that may be waited for: the latest. */
function retain(process: Process, piece: StreamData): void {
  if ((process.command.flags & SubprocessFlag.Waitable) === 0) return;
  process.retained.push(piece);
  process.retainedBytes += piece.data.byteLength;
  for (let excess = process.retainedBytes - RETAINED_BYTES_MAX; excess > 0;) {
    const { stream, data } = process.retained[0]!;
    const dropped = Math.min(excess, data.byteLength);
    if (dropped === data.byteLength) process.retained.shift();
    else process.retained[0] = { stream, data: data.slice(dropped) };
    process.retainedBytes -= dropped;
    excess -= dropped;
  }
}

/** `label[pid]` or `program[pid]`, as the log names a process that prints something. */
function nameOf({ command, pid }: Process): string {
  return `${command.label ?? programName(command.argv)}[${pid}]`;
}

/** `label: program[pid]`. */
function fullNameOf({ command, pid }: Process): string {
  return `${command.label === null ? "" : `${command.label}: `}${programName(command.argv)}[${pid}]`;
}

function describe({ pid, command, status }: Process): JsonObject {
  const [program = "", word = ""] = command.argv;
  // Of `flux` alone nobody would learn what it does.
  const cmd = program === "flux" ? `${program} ${word}` : program;
  return { pid, cmd, label: command.label ?? "", state: status === null ? "R" : "Z" };
}
