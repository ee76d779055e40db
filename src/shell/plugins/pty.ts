/**
 * Terminals for tasks (the shell option `pty` in flux-shell-options(7)): a task on a chosen rank has a pseudo terminal in
 * the place of its standard streams. What it prints is standard output; what is sent to it is typed.
 *
 * An interactive terminal is that of rank 0: a session (`<service>.terminus.0`) to which clients attach. Unless it is
 * captured, too, its output goes to them only; a task that has ended waits for the first of them.
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../../base/json.ts";
import { Idset } from "../../formats/idset.ts";
import type { Methods } from "../../sdk/service.ts";
import { SIGNALS } from "../../base/signals.ts";
import { unpackedText } from "../options.ts";
import {
  ShellLogLevel,
  type PluginFactory,
  type RunningTask,
  type ShellContext,
  type ShellPlugin,
  type TaskLaunch,
} from "../plugin.ts";
import type { TaskPlan } from "../plan.ts";
import { SESSION_VARIABLE, Terminus } from "../terminus/server.ts";
import { TERMINAL_SIZE_DEFAULT, type TerminalSession } from "../terminus/session.ts";

const COMPONENT = "pty";
const KNOWN: ReadonlySet<string> = new Set(["ranks", "capture", "interactive"]);
const INTERACTIVE_RANK = 0;

export const ptyPlugin: PluginFactory = (shell) => {
  const choice = shell.plan.options.value("pty");
  if (choice === undefined || choice === 0 || choice === false) return null;
  const options = isJsonObject(choice) ? choice : {};
  const ranks = terminalRanks(shell, options);
  if (isSet(options["interactive"]) && shell.isLeader)
    return new InteractivePlugin(shell, ranks, isSet(options["capture"]));
  return {
    prepare(task, launch) {
      if (ranks.has(task.rank)) launch.pty = { ...TERMINAL_SIZE_DEFAULT };
    },
  };
};

const isSet = (value: JsonValue | undefined): boolean => value !== undefined && value !== false && value !== 0;

class InteractivePlugin implements ShellPlugin {
  readonly #shell: ShellContext;
  readonly #ranks: Idset;
  readonly #isCaptured: boolean;
  readonly #terminus: Terminus;
  readonly #session: TerminalSession;
  readonly announcement: JsonObject;

  constructor(shell: ShellContext, ranks: Idset, isCaptured: boolean) {
    const { host, plan, clock } = shell;
    this.#shell = shell;
    this.#ranks = ranks;
    this.#isCaptured = isCaptured;
    this.#terminus = new Terminus({
      service: `${shell.serviceName}.terminus`,
      rank: host.rank,
      clock,
      exec: host.ports.exec,
      userid: plan.userid,
      environment: { ...plan.environment, FLUX_URI: host.uri },
      cwd: plan.cwd,
    });
    this.#session = this.#terminus.open(`task${INTERACTIVE_RANK}`, { waitsForClient: true, runsUnseen: isCaptured });
    this.announcement = { pty: `terminus.${this.#session.options.id}` };
  }

  prepare(task: TaskPlan, launch: TaskLaunch): void {
    if (!this.#ranks.has(task.rank)) return;
    launch.pty = { ...(task.rank === INTERACTIVE_RANK ? this.#session.size : TERMINAL_SIZE_DEFAULT) };
    if (task.rank === INTERACTIVE_RANK) launch.env[SESSION_VARIABLE] = String(this.#session.options.id);
  }

  started(): void {
    const task = this.#shell.task(INTERACTIVE_RANK);
    // A task map may have put rank 0 on another node.
    if (task === undefined) return this.#session.exited(0);
    this.#session.bind({
      pid: task.pid,
      write: (chunk) => task.write("stdin", chunk),
      drained: () => task.drained("stdin"),
      resize: (rows, columns) => task.resizePty(rows, columns),
      kill: (signum) => task.kill(signum),
      hold: (isHeld) => (isHeld ? task.pauseOutput("stdout", COMPONENT) : task.resumeOutput("stdout", COMPONENT)),
    });
  }

  output(task: RunningTask, stream: string, chunk: Uint8Array | null): boolean {
    if (task.plan.rank !== INTERACTIVE_RANK || stream !== "stdout" || chunk === null) return false;
    this.#session.output(chunk);
    return !this.#isCaptured;
  }

  exited(task: TaskPlan, status: number): void {
    if (task.rank === INTERACTIVE_RANK) this.#session.exited(status);
  }

  /** A job that is being ended does not wait for somebody to look at its terminal. */
  killed(): void {
    if (this.#session.isExited) this.#session.kill(SIGNALS["SIGKILL"]!);
  }

  finish(): void | Promise<void> {
    // Where its program could not be started there is nothing to look at.
    if (!this.#session.isExited) return this.#session.exited(0);
    return this.#session.closed.then(() => {});
  }

  methods(): Methods {
    return this.#terminus.methods("terminus.");
  }

  stop(): void {
    this.#terminus.killAll(SIGNALS["SIGKILL"]!);
  }
}

/** The task ranks that have a terminal. Throws FluxError EINVAL. */
function terminalRanks(shell: ShellContext, choice: JsonObject): Idset {
  const unknown = Object.keys(choice).filter((name) => !KNOWN.has(name));
  if (unknown.length > 0) throw new FluxError("EINVAL", `invalid shell pty option: ${unpackedText(unknown)}`);
  const isInteractive = isSet(choice["interactive"]);
  const wanted = choice["ranks"] ?? (isInteractive ? 0 : "all");
  const ranks = wanted === "all" ? Idset.upTo(shell.plan.taskCount) : parseRanks(wanted);
  if (!isInteractive || ranks.has(0)) return ranks;
  if (shell.isLeader) shell.log(ShellLogLevel.warning, "pty: adding pty to rank 0 for interactive support", COMPONENT);
  ranks.add(0);
  return ranks;
}

function parseRanks(value: JsonValue): Idset {
  try {
    return Idset.parse(String(value));
  } catch (error) {
    throw new FluxError("EINVAL", `invalid shell option pty.ranks=${String(value)}`, { cause: error });
  }
}
