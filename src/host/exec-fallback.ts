/**
 * The exec port by Node's child_process, where the native addon is absent.
 *
 * Slower, and some duties go to helper commands: CPU binding to `taskset`, resource limits to `prlimit`, a terminal to
 * `script` (all of util-linux). Without a helper such a request is refused with ENOSYS. Differences: a new process group
 * is a new session; pipes are sockets; a terminal cannot be resized; a core dump does not show in the wait status.
 */
import type { ChildProcess as NodeChild, StdioOptions } from "node:child_process";
import { accessSync, closeSync, constants, readFileSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Duplex, Readable, Writable } from "node:stream";
import { FluxError } from "../base/errors.ts";
import { FIRST_CHANNEL, type ChildProcess, type Exec, type ProcessEvents, type SpawnOptions } from "../base/ports.ts";
import { signalNumber, statusOfExit, statusOfSignal } from "../base/signals.ts";
import { parseProcLimits } from "../formats/rlimit.ts";
import { errnoOf, hasCode } from "./errors.ts";
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

const DEFAULT_PATH = "/bin:/usr/bin";

/** Finds a program as execvp(3) does. Returns its path, or the errno. */
function findProgram(program: string, options: SpawnOptions): string | number {
  const candidates = program.includes("/")
    ? [program]
    : (options.env["PATH"] ?? DEFAULT_PATH).split(":").map((folder) => join(folder === "" ? "." : folder, program));
  let errnum = 2;
  for (const candidate of candidates) {
    const path = resolve(options.cwd, candidate);
    try {
      accessSync(path, constants.X_OK);
      if (statSync(path).isFile()) return path;
      errnum = 13;
    } catch (error) {
      if (!hasCode(error, "ENOENT", "ENOTDIR") || candidates.length === 1) errnum = errnoOf(error, "ENOENT");
    }
  }
  return errnum;
}

function checkDirectory(path: string): void {
  try {
    if (!statSync(path).isDirectory()) throw directoryError(path, 20);
    accessSync(path, constants.X_OK);
  } catch (error) {
    throw error instanceof FluxError ? error : directoryError(path, errnoOf(error, "ENOENT"));
  }
}

function helper(name: string, duty: string): string {
  for (const folder of ["/usr/bin", "/bin", "/usr/sbin", "/sbin"]) {
    const path = join(folder, name);
    if (statSync(path, { throwIfNoEntry: false }) !== undefined) return path;
  }
  throw new FluxError("ENOSYS", `${duty} needs the command '${name}', or the native addon (npm run setup)`);
}

/** Puts the helpers that the options ask for before a command. */
function withHelpers(command: readonly string[], options: SpawnOptions): string[] {
  let result = [...command];
  const limits = limitNumbers(options.rlimits);
  if (limits.length > 0) {
    const own = parseProcLimits(readFileSync("/proc/self/limits", "utf8"));
    const names = Object.keys(options.rlimits ?? {});
    const settings = limits.map(([, value], index) => {
      const name = names[index]!.toLowerCase();
      const soft = Math.min(value < 0 ? Infinity : value, own[name]?.hard ?? Infinity);
      return `--${name}=${soft === Infinity ? "unlimited" : soft}:`;
    });
    result = [helper("prlimit", "a resource limit"), ...settings, ...result];
  }
  if (options.cpus !== undefined && options.cpus.length > 0) {
    result = [helper("taskset", "binding to CPUs"), "-c", options.cpus.join(","), ...result];
  }
  if (options.pty === undefined) return result;
  const quoted = result.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
  const size = `stty rows ${options.pty.rows} columns ${options.pty.columns} 2>/dev/null`;
  return [helper("script", "a terminal"), "-qefc", `${size}; exec ${quoted}`, "/dev/null"];
}

function stdioOf(options: SpawnOptions, input: number | null): StdioOptions {
  const choice = (name: "stdin" | "stdout" | "stderr"): "pipe" | "ignore" | "inherit" =>
    options.pty !== undefined ? "pipe" : options[name] === "null" ? "ignore" : (options[name] as "pipe" | "inherit");
  return [
    input === null || options.pty !== undefined ? choice("stdin") : input,
    choice("stdout"),
    options.pty === undefined ? choice("stderr") : "ignore",
    ...(options.channels ?? []).map(() => "pipe" as const),
  ];
}

class FallbackChild implements ChildProcess {
  readonly pid: number;
  readonly #child: NodeChild;
  readonly #events: ProcessEvents;
  readonly #outputs = new Map<string, Readable>();
  readonly #inputs = new Map<string, Writable>();
  readonly #unfinished = new Set<string>();
  readonly #isTerminal: boolean;
  #status: number | null = null;
  #told = false;
  #isClosing = false;

  constructor(child: NodeChild, options: SpawnOptions, events: ProcessEvents) {
    this.pid = child.pid!;
    this.#child = child;
    this.#events = events;
    this.#isTerminal = options.pty !== undefined;
    if (child.stdin !== null) this.#inputs.set("stdin", child.stdin);
    if (child.stdout !== null) this.#follow("stdout", child.stdout);
    if (child.stderr !== null) this.#follow("stderr", child.stderr);
    options.channels?.forEach((name, index) => {
      const channel = child.stdio[FIRST_CHANNEL + index] as Duplex;
      channel.on("end", () => channel.destroy());
      this.#inputs.set(name, channel);
      this.#follow(name, channel);
    });
    // A program that closes its input early is no error of ours.
    for (const input of this.#inputs.values()) input.on("error", () => input.destroy());
    child.on("exit", (code, signal) => {
      this.#status = code === null ? statusOfSignal(signalNumber(signal ?? "") ?? 0) : statusOfExit(code);
      child.stdin?.destroy();
      this.#tellExit();
    });
  }

  #follow(name: string, stream: Readable): void {
    this.#outputs.set(name, stream);
    this.#unfinished.add(name);
    const finish = (): void => {
      if (!this.#unfinished.delete(name)) return;
      this.#events.output(name, null);
      this.#tellExit();
    };
    stream.on("data", (chunk: Uint8Array) => this.#events.output(name, chunk));
    stream.on("end", finish);
    stream.on("close", finish);
    stream.on("error", finish);
  }

  #tellExit(): void {
    if (this.#status === null || this.#told) return;
    const open = [...this.#unfinished];
    if (open.some((name) => !this.#isChannel(name))) return;
    // What is left in channels is read with the next turn. Who else may hold them is not waited for.
    if (open.length > 0) {
      if (!this.#isClosing) setImmediate(() => setImmediate(() => this.#closeChannels()));
      this.#isClosing = true;
      return;
    }
    this.#told = true;
    this.#events.exit(this.#terminalStatus(this.#status));
  }

  #isChannel(name: string): boolean {
    return name !== "stdout" && name !== "stderr";
  }

  #closeChannels(): void {
    for (const [name, stream] of this.#outputs) if (this.#isChannel(name)) stream.destroy();
  }

  /** `script` reports a signal as an exit code of 128 and more. */
  #terminalStatus(status: number): number {
    const code = status >> 8;
    return this.#isTerminal && code > 128 && code < 160 ? statusOfSignal(code - 128) : status;
  }

  write(stream: string, chunk: Uint8Array): boolean {
    const input = this.#inputs.get(stream);
    return input === undefined || !input.writable ? true : input.write(chunk);
  }

  drained(stream: string): Promise<void> {
    const input = this.#inputs.get(stream);
    if (input === undefined || !input.writable || input.writableLength === 0) return Promise.resolve();
    // An empty write is through when all before it is, or when the stream broke.
    return new Promise((done) => input.write(new Uint8Array(0), () => done()));
  }

  closeInput(stream: string): void {
    this.#inputs.get(stream)?.end();
  }

  kill(signum: number, options: { group?: boolean } = {}): boolean {
    const group = options.group === true;
    if (group ? this.#told : this.#status !== null) return false;
    const isFound = killProcess(this.#child.pid!, signum, group);
    // A process that still holds the streams, but is not in the group of the one that ended, cannot be reached.
    if (signum === SIGKILL && this.#status !== null) for (const output of this.#outputs.values()) output.destroy();
    return isFound;
  }

  pauseOutput(stream: string): void {
    this.#outputs.get(stream)?.pause();
  }

  resumeOutput(stream: string): void {
    this.#outputs.get(stream)?.resume();
  }

  /** `script` has no way to be told. */
  resizePty(): void {}
}

export class FallbackExec implements Exec {
  spawn(options: SpawnOptions, events: ProcessEvents): ChildProcess {
    checkSpawnOptions(options);
    const name = options.argv[0]!;
    checkDirectory(options.cwd);
    const program = findProgram(name, options);
    if (typeof program === "number") throw programError(name, program);
    const plain = options.pty === undefined && options.cpus === undefined && options.rlimits === undefined;
    const [file, ...args] = withHelpers([program, ...options.argv.slice(1)], options);
    const input = openInput(options);
    const settings = {
      cwd: options.cwd,
      env: childEnvironment(options),
      stdio: stdioOf(options, input),
      detached: options.pty !== undefined || options.newProcessGroup !== false,
      ...(plain ? { argv0: name } : {}),
    };
    // The mask is inherited at the fork, which happens inside this call.
    const mask = options.umask === undefined ? null : process.umask(options.umask);
    let child: NodeChild;
    try {
      child = process.getBuiltinModule("node:child_process").spawn(file!, args, settings);
    } catch (error) {
      throw programError(name, errnoOf(error, "ENOEXEC"));
    } finally {
      if (mask !== null) process.umask(mask);
      if (input !== null) closeSync(input);
    }
    if (child.pid === undefined) {
      // Node tells these few reasons later only; of them, a lack of resources was not ruled out above.
      child.on("error", () => child.removeAllListeners());
      throw programError(name, 11);
    }
    return new FallbackChild(child, options, events);
  }

  kill(pid: number, signum: number, options: { group?: boolean } = {}): boolean {
    return killProcess(pid, signum, options.group === true);
  }
}
