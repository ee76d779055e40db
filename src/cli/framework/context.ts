/**
 * What a running command has, on a real machine: its streams, its connection, the ways it ends. Heavy parts of the
 * platform are loaded when a command first needs them.
 */
import { fstatSync } from "node:fs";
import type { Ports } from "../../base/ports.ts";
import type { Handle } from "../../sdk/handle.ts";
import { inputChunks, NULL_DEVICE } from "../../host/input.ts";
import { fluxCommandPath } from "../../host/paths.ts";
import { CommandExit, type Command, type CommandContext, type ParsedOptions } from "./command.ts";
import { programOf, type CommandPath } from "./names.ts";
import { DescriptorWriter } from "./writer.ts";

const stdout: DescriptorWriter = new DescriptorWriter(1);
const stderr: DescriptorWriter = new DescriptorWriter(2);

/** Node loads much for the answer, so it is asked only about what can be a terminal. */
function isTerminal(descriptor: number): boolean {
  try {
    const facts = fstatSync(descriptor);
    if (!facts.isCharacterDevice() || facts.rdev === NULL_DEVICE) return false;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EBADF") return false;
    throw error;
  }
  return process.getBuiltinModule("node:tty").isatty(descriptor);
}

export class RunningCommand implements CommandContext {
  readonly path: CommandPath;
  readonly command: Command;
  readonly program: string;
  readonly options: ParsedOptions;
  readonly operands: readonly string[];
  readonly #handles: Handle[] = [];
  readonly #env: Record<string, string>;
  #ports: Promise<Ports> | null = null;

  constructor(path: CommandPath, options: ParsedOptions, operands: readonly string[]) {
    this.path = path;
    this.command = path.at(-1)!;
    this.program = programOf(path);
    this.options = options;
    this.operands = operands;
    this.#env = process.env as Record<string, string>;
  }

  get host(): CommandContext["host"] {
    return {
      env: this.#env,
      get cwd() {
        return process.cwd();
      },
      pid: process.pid,
      uid: process.getuid?.() ?? 0,
      fluxPath: fluxCommandPath(),
    };
  }

  ports(): Promise<Ports> {
    return (this.#ports ??= import("../../host/index.ts").then((module) => module.nodePorts()));
  }

  async open(uri?: string): Promise<Handle> {
    const { connect, connectionComplaint } = await import("./connect.ts");
    try {
      const handle = await connect(uri ?? this.#env["FLUX_URI"] ?? null);
      this.#handles.push(handle);
      return handle;
    } catch (error) {
      const { dialect, connectionWords } = this.path[0];
      this.complain(connectionComplaint(error, dialect, uri ?? this.#env["FLUX_URI"] ?? null, connectionWords));
      throw new CommandExit(1);
    }
  }

  out(text: string | Uint8Array): void {
    stdout.write(text);
  }
  err(text: string | Uint8Array): void {
    stderr.write(text);
  }
  async flush(): Promise<void> {
    await stdout.flush();
    await stderr.flush();
  }

  get stdoutIsTerminal(): boolean {
    return isTerminal(1);
  }
  get stderrIsTerminal(): boolean {
    return isTerminal(2);
  }
  get stdinIsTerminal(): boolean {
    return isTerminal(0);
  }
  get columns(): number | null {
    return isTerminal(1) ? (process.stdout.columns ?? null) : null;
  }

  async readInput(): Promise<Uint8Array> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of this.inputChunks()) chunks.push(chunk);
    return Buffer.concat(chunks);
  }
  inputChunks(): AsyncIterable<Uint8Array> {
    return inputChunks();
  }

  onSignal(name: string, listener: () => void): { cancel(): void } {
    process.on(name as NodeJS.Signals, listener);
    return { cancel: () => process.off(name as NodeJS.Signals, listener) };
  }

  complain(message: string): void {
    const mark = this.path[0].dialect === "argparse" ? "ERROR: " : "";
    this.err(`${this.program}: ${mark}${message}\n`);
  }

  fail(message: string, exitCode = 1): never {
    this.complain(message);
    throw new CommandExit(exitCode);
  }

  failUsage(message?: string): never {
    throw new UsageComplaint(message ?? null);
  }

  /** Closes what the command opened, so that nothing keeps the process. */
  end(): void {
    for (const handle of this.#handles) handle.close();
  }
}

/** Thrown by `failUsage`: main prints the usage, then the message. */
export class UsageComplaint extends Error {
  readonly complaint: string | null;

  constructor(complaint: string | null) {
    super(complaint ?? "usage");
    this.name = "UsageComplaint";
    this.complaint = complaint;
  }
}
