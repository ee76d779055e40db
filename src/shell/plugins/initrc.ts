/**
 * Tells the process of a user's start-up file what happens once there are tasks, as far as the file has asked for that: the
 * topics `task.fork`, `shell.start`, `task.exit`, `shell.tasks-complete`, `shell.finish` and `shell.exit` of
 * flux-shell-plugins(7).
 *
 * Invariant: the shell ends when all has been answered, or nobody is there to answer. A file that hangs delays the end of its job,
 * until the job is killed.
 */
import { isFluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject } from "../../base/json.ts";
import type { WaitStatus } from "../../base/ports.ts";
import { exitCodeOfStatus, signalOfStatus, SIGNALS } from "../../base/signals.ts";
import type { InitrcProcess } from "../initrc-process.ts";
import { ShellLogLevel, type RunningTask, type ShellContext, type ShellPlugin } from "../plugin.ts";
import type { TaskPlan } from "../plan.ts";

/** What is said where a file's function has failed, and whether the job is over then. */
const FAILURES: Readonly<Record<string, { readonly text: string; readonly isFatal: boolean }>> = {
  "task.fork": { text: "shell_task_forked", isFatal: true },
  "shell.start": { text: "shell.start callback(s) failed", isFatal: true },
  "task.exit": { text: "task.exit plugin(s) failed", isFatal: false },
  "shell.finish": { text: "shell.finish", isFatal: false },
  "shell.exit": { text: "shell_exit callback(s) failed", isFatal: false },
};

export class InitrcPlugin implements ShellPlugin {
  readonly #shell: ShellContext;
  readonly #process: InitrcProcess;
  readonly #topics: Readonly<Record<string, unknown>>;
  readonly #pids = new Map<number, number>();
  /** Resolves when all that was told has been answered. */
  #answered: Promise<void> = Promise.resolve();
  #isFinishing = false;
  #isGone = false;

  constructor(shell: ShellContext, process: InitrcProcess, topics: Readonly<Record<string, unknown>>) {
    this.#shell = shell;
    this.#process = process;
    this.#topics = topics;
    if (Object.keys(topics).length === 0) this.#end();
  }

  spawned({ plan, pid }: RunningTask): void {
    this.#pids.set(plan.rank, pid);
    this.#tell("task.fork", { ...taskFacts(plan), state: "Running", pid });
  }

  started(): void {
    this.#tell("shell.start");
  }

  exited(plan: TaskPlan, status: WaitStatus): void {
    this.#tell("task.exit", {
      ...taskFacts(plan),
      state: "Exited",
      pid: this.#pids.get(plan.rank) ?? 0,
      wait_status: status,
      exitcode: exitCodeOfStatus(status),
      signaled: signalOfStatus(status),
    });
  }

  killed(signum: number): void {
    if (signum === SIGNALS["SIGKILL"] || (this.#isFinishing && this.#shell.isTerminating)) this.stop();
  }

  finish(): void | Promise<void> {
    if (this.#isGone) return;
    this.#isFinishing = true;
    // With other nodes nobody here knows when the last task of all has ended.
    if (this.#shell.plan.brokerRanks.length === 1) void this.#tell("shell.tasks-complete");
    this.#tell("shell.finish");
    this.#tell("shell.exit");
    return this.#answered.then(() => this.#end());
  }

  stop(): void {
    if (!this.#isGone) this.#process.kill();
    this.#isGone = true;
  }

  #end(): void {
    this.#isGone = true;
    this.#process.end();
  }

  #tell(topic: string, task?: JsonObject): void {
    if (this.#isGone || this.#topics[topic] !== true) return;
    this.#answered = this.#process.tell({ topic, ...(task === undefined ? {} : { task }) }).then(
      (answer) => this.#take(topic, answer),
      (error: unknown) => this.#lose(topic, error),
    );
  }

  #lose(topic: string, error: unknown): void {
    if (!isFluxError(error)) throw error;
    if (!this.#isGone) this.#shell.log(ShellLogLevel.error, `rc file: ${topic}: ${error.message}`);
    this.#isGone = true;
  }

  #take(topic: string, { log, failed, refusal }: JsonObject): void {
    if (this.#isGone) return;
    for (const entry of Array.isArray(log) ? log.filter(isJsonObject) : []) {
      const { level, message, component } = entry;
      this.#shell.log(Number(level), String(message), typeof component === "string" ? component : undefined);
    }
    if (typeof refusal === "string") return this.#shell.die(refusal);
    const failure = FAILURES[topic];
    if (failed !== true || failure === undefined) return;
    if (failure.isFatal) return this.#shell.die(failure.text);
    this.#shell.log(ShellLogLevel.error, failure.text);
    if (topic === "shell.exit") this.#shell.fail();
  }
}

function taskFacts({ rank, localId }: TaskPlan): JsonObject {
  return { rank, localid: localId };
}
