/**
 * Helper programs beside a job (the shell option `coprocess` in flux-shell-options(7)): started before the tasks, one on
 * each chosen node, and ended when the node's tasks have ended.
 *
 * Invariant: a helper that cannot be started, or that ends early, is no failure of the job; none outlives the job's shell.
 */
import { FluxError, isFluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../../base/json.ts";
import type { ChildProcess, TimerHandle } from "../../base/ports.ts";
import { SIGNALS } from "../../base/signals.ts";
import { templateScope } from "../../formats/mustache.ts";
import { Idset } from "../../formats/idset.ts";
import { unpackedText } from "../options.ts";
import { ShellLogLevel, type PluginFactory, type ShellContext, type ShellPlugin } from "../plugin.ts";
import { jobEnvironment } from "./environment.ts";
import { OutputFiles } from "./output-files.ts";

const COMPONENT = "coprocess";
const KILL_TIMEOUT_SECONDS = 10;
/** Output under way to the leader before helpers are held back, in bytes. */
const UNDER_WAY_BYTES_MAX = 256 * 1024;

interface Helper {
  readonly name: string;
  readonly command: readonly string[];
  /** Template of the file that takes what it prints. */
  readonly output: string;
}

export const coprocessPlugin: PluginFactory = (shell) => {
  const table = shell.plan.options.value(COMPONENT);
  if (table === undefined) return null;
  if (!isJsonObject(table) || Object.keys(table).length === 0)
    throw new FluxError("EINVAL", "coprocess option must be a non-empty object");
  const helpers = Object.entries(table).flatMap(([name, value]) => helperOf(shell, name, value) ?? []);
  const seconds = shell.plan.options.seconds("coprocess-kill-timeout", KILL_TIMEOUT_SECONDS);
  if (seconds === null) throw new FluxError("EINVAL", "failed to parse coprocess-kill-timeout");
  return new CoprocessPlugin(shell, helpers, seconds);
};

/** Null where it is not to run on this node. Throws FluxError EINVAL. */
function helperOf(shell: ShellContext, name: string, value: JsonValue | undefined): Helper | null {
  const fault = (what: string): FluxError => new FluxError("EINVAL", `${name}: ${what}`);
  if (!isJsonObject(value)) throw fault("Expected object");
  const { command, output = `coproc-${name}-{{id}}.log`, ranks = "all", ...others } = value;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) throw fault(unpackedText([unknown]));
  if (command === undefined) throw fault("Object item not found: command");
  if (!Array.isArray(command) || command.length === 0 || command.some((word) => typeof word !== "string"))
    throw fault("command must be a non-empty array");
  if (typeof output !== "string") throw fault("output must be a string");
  if (typeof ranks !== "string" && typeof ranks !== "number") throw fault('ranks must be an idset or "all"');
  if (ranks !== "all") {
    const wanted = Idset.tryParse(String(ranks));
    if (wanted === null) throw fault(`invalid ranks '${ranks}'`);
    if (!wanted.has(shell.plan.shellRank)) return null;
  }
  return { name, command: command as string[], output };
}

class CoprocessPlugin implements ShellPlugin {
  readonly #shell: ShellContext;
  readonly #helpers: readonly Helper[];
  readonly #killTimeoutSeconds: number;
  readonly #files: OutputFiles;
  readonly #running = new Set<ChildProcess>();
  readonly #ended = Promise.withResolvers<void>();
  #timer: TimerHandle | null = null;
  #isFinishing = false;

  constructor(shell: ShellContext, helpers: readonly Helper[], killTimeoutSeconds: number) {
    this.#shell = shell;
    this.#helpers = helpers;
    this.#killTimeoutSeconds = killTimeoutSeconds;
    this.#files = new OutputFiles(shell, COMPONENT);
  }

  init(): void {
    this.#shell.log(ShellLogLevel.debug, `coprocess enabled (${this.#helpers.length} configured)`, COMPONENT);
    for (const helper of this.#helpers) this.#start(helper);
  }

  receive(method: string, payload: JsonObject): Promise<JsonObject> | null {
    if (method !== "write" || payload["part"] !== COMPONENT) return null;
    return Promise.resolve().then(() => {
      this.#files.receive(payload);
      return {};
    });
  }

  finish(): void | Promise<void> {
    this.#isFinishing = true;
    if (this.#running.size === 0) return this.#files.isSettled ? undefined : this.#files.settle();
    this.#signal(SIGNALS["SIGTERM"]!);
    if (this.#killTimeoutSeconds < Infinity)
      this.#timer = this.#shell.clock.after(this.#killTimeoutSeconds * 1000, () => this.#giveUp());
    return this.#ended.promise.then(() => this.#files.settle());
  }

  #giveUp(): void {
    const text = "coprocess: helper(s) still running, sending SIGKILL";
    this.#shell.log(ShellLogLevel.warning, text, COMPONENT);
    this.#signal(SIGNALS["SIGKILL"]!);
  }

  stop(): void {
    this.#timer?.cancel();
    this.#signal(SIGNALS["SIGKILL"]!);
    this.#files.close();
  }

  #signal(signum: number): void {
    for (const child of this.#running) child.kill(signum, { group: true });
  }

  #start({ name, command, output }: Helper): void {
    const { plan, host } = this.#shell;
    const path = this.#shell.render(output);
    const isShared = templateScope(output) === "job" && !this.#shell.isLeader;
    let child: ChildProcess | null = null;
    let underWay = 0;
    const write = (chunk: Uint8Array): void => {
      if (!isShared) return this.#files.write(path, chunk);
      underWay += chunk.byteLength;
      const done = (): void => {
        underWay -= chunk.byteLength;
        if (underWay < UNDER_WAY_BYTES_MAX) for (const stream of ["stdout", "stderr"]) child?.resumeOutput(stream);
      };
      this.#files.send(path, chunk).then(done, done);
      if (underWay >= UNDER_WAY_BYTES_MAX) for (const stream of ["stdout", "stderr"]) child?.pauseOutput(stream);
    };
    try {
      if (!isShared) this.#files.open(path);
      child = host.ports.exec.spawn(
        {
          argv: command.map((word) => this.#shell.render(word)),
          env: { ...plan.environment, ...jobEnvironment(this.#shell) },
          cwd: plan.cwd,
          stdin: "null",
          stdout: "pipe",
          stderr: "pipe",
          diesWithParent: true,
        },
        {
          output: (_stream, chunk) => chunk !== null && this.#try(name, () => write(chunk)),
          exit: () => this.#exited(child!),
        },
      );
      this.#running.add(child);
      this.#shell.log(ShellLogLevel.debug, `${name}: launched`, COMPONENT);
    } catch (error) {
      if (!isFluxError(error)) throw error;
      const why = new FluxError(error.errnum).message;
      this.#shell.log(ShellLogLevel.error, `${name}: launch failed: ${why}`, COMPONENT);
    }
  }

  /** What a helper prints may be lost; the job does not suffer from it. */
  #try(name: string, write: () => void): void {
    try {
      write();
    } catch (error) {
      if (!isFluxError(error)) throw error;
      this.#shell.log(ShellLogLevel.error, `${name}: ${error.message}`, COMPONENT);
    }
  }

  #exited(child: ChildProcess): void {
    this.#running.delete(child);
    if (this.#isFinishing && this.#running.size === 0) {
      this.#timer?.cancel();
      this.#ended.resolve();
    }
  }
}
