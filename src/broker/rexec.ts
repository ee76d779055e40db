/**
 * The subprocess server of a broker (RFC 42): programs that clients start on its node (`rexec.*`), with their input,
 * output and signals.
 *
 * Invariants: a foreground process belongs to the request that started it: when its client goes away it is killed
 * (SIGKILL). Every process is followed until its end and its last output. Input has credit: what a client may send ahead
 * is bounded.
 */
import { base64Decode, base64Encode, utf8DecodeStrict, utf8Encode } from "../base/bytes.ts";
import { errnoSentence, Errno, FluxError } from "../base/errors.ts";
import { isJsonObject, type JsonObject } from "../base/json.ts";
import type { ChildProcess, Exec } from "../base/ports.ts";
import { SIGNALS } from "../base/signals.ts";
import type { IncomingRequest } from "../sdk/request.ts";
import { ANYONE, requireInteger, requireObject, type Methods } from "../sdk/service.ts";

const Flag = { Stdout: 1, Stderr: 2, Channel: 4, Credit: 8, Waitable: 16 } as const;
/** Input that a client may send before it must wait for more credit. */
const STDIN_CREDIT_BYTES = 64 * 1024;

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
  readonly waiters: IncomingRequest[];
}

export interface RexecSurroundings {
  readonly rank: number;
  readonly exec: Exec;
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
    return {
      exec: (request) => this.#exec(request),
      attach: { streaming: true, handler: (request) => this.#attach(request) },
      write: (request) => this.#write(request),
      kill: (request) => this.#kill(request),
      list: () => ({ rank: this.#surroundings.rank, procs: [...this.#processes.values()].map(describe) }),
      wait: (request) => this.#wait(request),
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
    const isLost = !this.#surroundings.isDirectory(command.cwd);
    let process: Process | null = null;
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
      waiters: [],
    };
    this.#processes.set(child.pid, process);
    request.respond({ type: "started", pid: child.pid });
    if (isLost) this.#output(process, "stderr", utf8Encode(lostDirectoryText(command.cwd)));
    if (!isBackground && (flags & Flag.Credit) !== 0) {
      const names = ["stdin", ...command.channels];
      const channels = Object.fromEntries(names.map((name) => [name, STDIN_CREDIT_BYTES]));
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
    const env: Record<string, string> = {};
    for (const [name, value] of Object.entries(source)) if (typeof value === "string") env[name] = value;
    // The program talks to the broker that runs it, not to the one its request came from.
    env["FLUX_URI"] = this.#surroundings.localUri();
    return {
      argv,
      env,
      cwd: typeof cmd["cwd"] === "string" ? cmd["cwd"] : this.#surroundings.cwd,
      channels: stringsOf(cmd["channels"]) ?? [],
      label: typeof cmd["label"] === "string" ? cmd["label"] : null,
    };
  }

  #output(process: Process, stream: string, chunk: Uint8Array | null): void {
    if (process.request === null) {
      const text = chunk === null ? "" : (utf8DecodeStrict(chunk) ?? base64Encode(chunk));
      const name = process.label ?? String(process.pid);
      if (text !== "") this.#surroundings.log(6, `${name}: ${stream}: ${text.replace(/\n$/, "")}`);
      return;
    }
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
    for (const waiter of process.waiters) waiter.respond({ status });
    const isKept = process.isBackground && (process.flags & Flag.Waitable) !== 0 && process.waiters.length === 0;
    if (!isKept) this.#processes.delete(process.pid);
  }

  #attach(request: IncomingRequest): undefined {
    const process = this.#find(request.json);
    if (process.request !== null) throw new FluxError("EBUSY", "the process is attached already");
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
    if (process.waiters.length > 0) throw new FluxError("EINVAL", "the process has a waiter already");
    if (process.status === null) {
      process.waiters.push(request);
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
      process.request?.respondError(new FluxError("ENOSYS", errnoSentence(Errno.ENOSYS)));
      process.request = null;
    }
    this.#processes.clear();
  }
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
