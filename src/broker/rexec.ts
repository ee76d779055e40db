/**
 * The subprocess server of a broker (RFC 42): programs that clients start on its node (`rexec.*`), with their input,
 * output and signals.
 *
 * Invariants: a foreground process belongs to the request that started it: when its client goes away it is killed
 * (SIGKILL). Every process is followed until its end and its last output. Input has credit: what a client may send ahead
 * is bounded. In an instance with guests rank 0 serves requests of its own broker only: a
 * process on another node is not to become one here.
 */
import { base64Decode, base64Encode, utf8DecodeStrict, utf8Encode } from "../base/bytes.ts";
import { errnoSentence, Errno, FluxError } from "../base/errors.ts";
import { isJsonObject, type JsonObject } from "../base/json.ts";
import type { ChildProcess, Exec } from "../base/ports.ts";
import { exitCodeOfStatus, signalOfStatus, SIGNALS } from "../base/signals.ts";
import { Role } from "../protocol/message.ts";
import type { IncomingRequest } from "../sdk/request.ts";
import { messageLines } from "./log-record.ts";
import { ANYONE, requireInteger, requireObject, type Methods } from "../sdk/service.ts";

const Flag = { Stdout: 1, Stderr: 2, Channel: 4, Credit: 8, Waitable: 16 } as const;
/** Input that a client may send before it must wait for more credit. */
const STDIN_CREDIT_BYTES = 64 * 1024;

const LOG_ERR = 3;
const LOG_INFO = 6;

/** Where a program starts whose own directory is not on this node. */
const FALLBACK_DIRECTORY = "/tmp";

interface Process {
  readonly pid: number;
  readonly command: JsonObject;
  readonly label: string | null;
  readonly flags: number;
  child: ChildProcess | null;
  /** The request that is told of output and end; null in the background. */
  request: IncomingRequest | null;
  readonly isBackground: boolean;
  status: number | null;
  waiter: IncomingRequest | null;
}

export interface RexecSurroundings {
  readonly rank: number;
  readonly exec: Exec;
  /** Called before a program is started. */
  guard(): void;
  /** Whether other users may connect. */
  hasGuests(): boolean;
  /** Whether a directory is there to start a program in. */
  isDirectory(path: string): boolean;
  readonly cwd: string;
  /** The environment of processes whose request brings none. */
  environment(): Readonly<Record<string, string>>;
  localUri(): string;
  /** Output of background processes. */
  log(severity: number, text: string): void;
}

interface Command {
  readonly argv: readonly string[];
  readonly env: Record<string, string>;
  readonly cwd: string;
  readonly channels: readonly string[];
  readonly label: string | null;
  readonly options: JsonObject;
}

function stringsOf(value: unknown): string[] | null {
  return Array.isArray(value) && value.every((item) => typeof item === "string") ? (value as string[]) : null;
}

export class RexecServer {
  readonly #surroundings: RexecSurroundings;
  readonly #processes = new Map<number, Process>();

  constructor(surroundings: RexecSurroundings) {
    this.#surroundings = surroundings;
  }

  methods(): Methods {
    const { rank } = this.#surroundings;
    const guarded =
      <T>(handler: (request: IncomingRequest) => T) =>
      (request: IncomingRequest): T => {
        if (rank === 0 && this.#surroundings.hasGuests() && (request.rolemask & Role.Local) === 0)
          throw new FluxError("EPERM", "the subprocess server of rank 0 serves its own broker only");
        return handler(request);
      };
    return {
      exec: guarded((request) => this.#exec(request)),
      attach: { streaming: true, handler: guarded((request) => this.#attach(request)) },
      write: guarded((request) => this.#write(request)),
      kill: guarded((request) => this.#kill(request)),
      list: guarded(() => ({ rank, procs: [...this.#processes.values()].map(describe) })),
      wait: guarded((request) => this.#wait(request)),
      disconnect: { roles: ANYONE, handler: (request) => this.#disconnect(request) },
    };
  }

  /** Kills whatever still runs. */
  killAll(signum: number): void {
    for (const process of this.#processes.values()) process.child?.kill(signum, { group: true });
  }

  get count(): number {
    return [...this.#processes.values()].filter((process) => process.status === null).length;
  }

  #exec(request: IncomingRequest): undefined {
    const command = this.#commandOf(request);
    const flags = typeof request.json["flags"] === "number" ? request.json["flags"] : 0;
    if (command.label !== null && this.#labelled(command.label) !== null)
      throw new FluxError("EEXIST", `label ${command.label} is already in use`);
    const isBackground = !request.isStreaming;
    if (!isBackground && (flags & Flag.Waitable) !== 0)
      throw new FluxError("EINVAL", "the waitable flag is only supported in background mode");
    const isLost = !this.#surroundings.isDirectory(command.cwd);
    let process: Process | null = null;
    this.#surroundings.guard();
    const child = this.#surroundings.exec.spawn(
      {
        argv: command.argv,
        env: command.env,
        cwd: isLost ? FALLBACK_DIRECTORY : command.cwd,
        stdin: isBackground ? "null" : "pipe",
        stdout: "pipe",
        stderr: "pipe",
        channels: command.channels,
        diesWithParent: true,
      },
      {
        output: (stream, chunk) => process !== null && this.#output(process, stream, chunk),
        exit: (status) => process !== null && this.#ended(process, status),
      },
    );
    process = {
      pid: child.pid,
      command: requireObject(request.json, "cmd"),
      label: command.label,
      flags,
      child,
      request: isBackground ? null : request,
      isBackground,
      status: null,
      waiter: null,
    };
    this.#processes.set(child.pid, process);
    request.respond({ type: "started", pid: child.pid });
    if (isLost) this.#output(process, "stderr", utf8Encode(lostDirectoryText(command.cwd)));
    if (!isBackground && (flags & Flag.Credit) !== 0) {
      const names = ["stdin", ...command.channels];
      const channels = Object.fromEntries(names.map((name) => [name, bufferBytes(command.options, name)]));
      request.respond({ type: "add-credit", channels });
    }
    return undefined;
  }

  #commandOf(request: IncomingRequest): Command {
    const cmd = requireObject(request.json, "cmd");
    const argv = stringsOf(cmd["cmdline"]);
    if (argv === null || argv.length === 0) throw new FluxError("EPROTO", "missing or invalid 'cmdline'");
    const given = isJsonObject(cmd["env"]) ? cmd["env"] : null;
    const source = given === null || Object.keys(given).length === 0 ? this.#surroundings.environment() : given;
    // Services of ours add variables to the environment that programs of this broker have.
    const added = isJsonObject(cmd["env_add"]) ? cmd["env_add"] : {};
    const env: Record<string, string> = {};
    for (const [name, value] of Object.entries({ ...source, ...added }))
      if (typeof value === "string") env[name] = value;
    // The program talks to the broker that runs it, not to the one its request came from.
    env["FLUX_URI"] = this.#surroundings.localUri();
    return {
      argv,
      env,
      cwd: typeof cmd["cwd"] === "string" ? cmd["cwd"] : this.#surroundings.cwd,
      channels: stringsOf(cmd["channels"]) ?? [],
      label: typeof cmd["label"] === "string" && cmd["label"] !== "" ? cmd["label"] : null,
      options: isJsonObject(cmd["opts"]) ? cmd["opts"] : {},
    };
  }

  #output(process: Process, stream: string, chunk: Uint8Array | null): void {
    if (process.isBackground && chunk !== null) {
      const text = utf8DecodeStrict(chunk) ?? base64Encode(chunk);
      const severity = stream === "stderr" ? LOG_ERR : LOG_INFO;
      for (const line of messageLines(text)) this.#surroundings.log(severity, `${nameOf(process)}: ${line}`);
    }
    if (process.request === null) return;
    const wanted = stream === "stdout" ? Flag.Stdout : stream === "stderr" ? Flag.Stderr : Flag.Channel;
    if ((process.flags & wanted) === 0) return;
    const io = { stream, rank: String(this.#surroundings.rank), ...encodeData(chunk) };
    process.request.respond({ type: "output", pid: process.pid, io });
  }

  #ended(process: Process, status: number): void {
    process.status = status;
    process.child = null;
    if (process.request !== null) {
      process.request.respond({ type: "finished", status });
      process.request.end();
    }
    if (process.isBackground) this.#surroundings.log(LOG_INFO, endText(process, status));
    process.waiter?.respond({ status });
    const isCollected = process.request !== null || process.waiter !== null;
    if (isCollected || !process.isBackground || (process.flags & Flag.Waitable) === 0)
      this.#processes.delete(process.pid);
  }

  #attach(request: IncomingRequest): undefined {
    const process = this.#find(request.json);
    if (!process.isBackground) throw new FluxError("EINVAL", `${nameOf(process)} does not run in the background`);
    if (process.request !== null) throw new FluxError("EBUSY", `${nameOf(process)} already has a client attached`);
    if (process.waiter !== null) throw new FluxError("EBUSY", `${nameOf(process)} has a client that waits for it`);
    request.respond({ type: "attached", pid: process.pid, cmd: process.command });
    if (process.status !== null) {
      this.#processes.delete(process.pid);
      request.respond({ type: "finished", status: process.status });
      request.end();
    } else process.request = request;
    return undefined;
  }

  #write(request: IncomingRequest): undefined {
    const { matchtag } = request.json;
    const io = requireObject(request.json, "io");
    const process = [...this.#processes.values()].find(
      (each) => each.request !== null && each.request.matchtag === matchtag && each.request.sender === request.sender,
    );
    const child = process?.child;
    const stream = io["stream"];
    if (process === undefined || !child || typeof stream !== "string") return undefined;
    const data = decodeData(io);
    if (data !== null && data.byteLength > 0) {
      child.write(stream, data);
      const grant = { type: "add-credit", channels: { [stream]: data.byteLength } };
      if ((process.flags & Flag.Credit) !== 0)
        void child.drained(stream).then(() => process.child !== null && process.request?.respond(grant));
    }
    if (io["eof"] === true) child.closeInput(stream);
    return undefined;
  }

  #kill(request: IncomingRequest): null {
    const signum = requireInteger(request.json, "signum");
    const process = this.#find(request.json);
    if (process.child === null || !process.child.kill(signum, { group: true })) throw new FluxError("ESRCH");
    return null;
  }

  #wait(request: IncomingRequest): object | undefined {
    const process = this.#find(request.json);
    if ((process.flags & Flag.Waitable) === 0) throw new FluxError("EINVAL", "the process is not waitable");
    if (process.request !== null) throw new FluxError("EBUSY", `${nameOf(process)} has a client attached`);
    if (process.waiter !== null) throw new FluxError("EINVAL", "the process has a waiter already");
    if (process.status === null) {
      process.waiter = request;
      return undefined;
    }
    this.#processes.delete(process.pid);
    return { status: process.status };
  }

  #labelled(label: string): Process | null {
    return [...this.#processes.values()].find((process) => process.label === label) ?? null;
  }

  #find(body: JsonObject): Process {
    const { pid, label } = body;
    if (typeof label === "string") {
      const process = this.#labelled(label);
      if (process === null) throw new FluxError("ESRCH", `label ${label} does not belong to any subprocess`);
      return process;
    }
    const process = typeof pid === "number" ? this.#processes.get(pid) : undefined;
    if (process === undefined) throw new FluxError("ESRCH", `pid ${String(pid)} does not belong to any subprocess`);
    return process;
  }

  #disconnect(request: IncomingRequest): undefined {
    for (const process of this.#processes.values()) {
      if (process.waiter?.sender === request.sender) process.waiter = null;
      if (process.request?.sender !== request.sender) continue;
      process.request = null;
      if (!process.isBackground) process.child?.kill(SIGNALS["SIGKILL"]!, { group: true });
    }
    return undefined;
  }

  /** The broker ends: what is still attached hears so. */
  close(): void {
    for (const process of this.#processes.values()) {
      process.child?.kill(SIGNALS["SIGKILL"]!, { group: true });
      const ended = new FluxError("ENOSYS", errnoSentence(Errno.ENOSYS));
      process.request?.respondError(ended);
      process.waiter?.respondError(ended);
      process.request = null;
      process.waiter = null;
    }
    this.#processes.clear();
  }
}

/** The credit that a stream begins with: `opts` may say `NAME_BUFSIZE`. */
function bufferBytes(options: JsonObject, name: string): number {
  const bytes = Number(options[`${name}_BUFSIZE`] ?? STDIN_CREDIT_BYTES);
  return Number.isSafeInteger(bytes) && bytes > 0 ? bytes : STDIN_CREDIT_BYTES;
}

/** `label: program[pid]`, as the log names a process. */
function nameOf(process: Process): string {
  const [path = ""] = stringsOf(process.command["cmdline"]) ?? [];
  const program = path.slice(path.lastIndexOf("/") + 1);
  return `${process.label === null ? "" : `${process.label}: `}${program}[${process.pid}]`;
}

function endText(process: Process, status: number): string {
  const signum = signalOfStatus(status);
  return `${nameOf(process)}: ${signum === 0 ? `Exit ${exitCodeOfStatus(status)}` : `Killed by signal ${signum}`}`;
}

function lostDirectoryText(path: string): string {
  return `Could not change dir to ${path}: No such file or directory. Going to ${FALLBACK_DIRECTORY} instead\n`;
}

function describe(process: Process): object {
  return {
    pid: process.pid,
    cmd: process.command,
    label: process.label ?? "",
    state: process.status === null ? "R" : "Z",
  };
}

/** RFC 24: text as it is, other bytes in base64. */
function encodeData(chunk: Uint8Array | null): object {
  if (chunk === null) return { eof: true };
  const text = utf8DecodeStrict(chunk);
  return text === null ? { data: base64Encode(chunk), encoding: "base64" } : { data: text };
}

function decodeData(io: JsonObject): Uint8Array | null {
  const { data, encoding } = io;
  if (typeof data !== "string") return null;
  return encoding === "base64" ? base64Decode(data) : utf8Encode(data);
}
