/** One task: its process, from the launch that the plugins have completed to its exit. */
import { FluxError, errnoSentence, isFluxError } from "../base/errors.ts";
import type { JsonObject } from "../base/json.ts";
import type { ChildProcess, Exec, WaitStatus } from "../base/ports.ts";
import { exitCodeOfStatus, signalOfStatus } from "../base/signals.ts";
import type { TaskPlan } from "./plan.ts";
import type { RunningTask, TaskLaunch } from "./plugin.ts";

export interface TaskListener {
  output(task: Task, stream: string, chunk: Uint8Array | null): void;
  exited(task: Task, status: WaitStatus): void;
}

export class Task implements RunningTask {
  readonly plan: TaskPlan;
  readonly isTerminal: boolean;
  readonly #child: ChildProcess;
  readonly #ownGroup: boolean;
  /** Who holds back the output of a stream. */
  readonly #holders = new Map<string, Set<string>>();

  /** Starts the program. Throws FluxError with the errno of what failed and a sentence that names the program. */
  constructor(plan: TaskPlan, launch: TaskLaunch, exec: Exec, listener: TaskListener) {
    this.plan = plan;
    this.isTerminal = launch.pty !== null;
    this.#ownGroup = launch.ownGroup || launch.pty !== null;
    const { argv, env, cwd, stdin, cpus, rlimits, oomScoreAdjust, stops, channels, ownGroup, pty } = launch;
    try {
      this.#child = exec.spawn(
        {
          argv,
          env,
          cwd,
          stdin,
          stdout: "pipe",
          stderr: "pipe",
          channels,
          rlimits,
          diesWithParent: true,
          newProcessGroup: ownGroup,
          stopsAtStart: stops,
          ...(pty === null ? {} : { pty }),
          ...(cpus === null ? {} : { cpus }),
          ...(oomScoreAdjust === null ? {} : { oomScoreAdjust }),
        },
        {
          output: (stream, chunk) => listener.output(this, stream, chunk),
          exit: (status) => listener.exited(this, status),
        },
      );
    } catch (error) {
      if (!isFluxError(error)) throw error;
      throw new FluxError(error.errnum, `${argv[0] ?? ""}: ${errnoSentence(error.errnum)}`, { cause: error });
    }
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** What the event of its exit says. */
  exitContext(status: WaitStatus): JsonObject {
    return {
      localid: this.plan.localId,
      rank: this.plan.rank,
      state: "Exited",
      pid: this.pid,
      wait_status: status,
      signaled: signalOfStatus(status),
      exitcode: exitCodeOfStatus(status),
    };
  }

  /** Signals the task and what it has started. */
  kill(signum: number): void {
    this.#child.kill(signum, { group: this.#ownGroup });
  }

  write(stream: string, chunk: Uint8Array): boolean {
    return this.#child.write(stream, chunk);
  }
  drained(stream: string): Promise<void> {
    return this.#child.drained(stream);
  }
  closeInput(stream: string): void {
    this.#child.closeInput(stream);
  }
  pauseOutput(stream: string, holder: string): void {
    let holders = this.#holders.get(stream);
    if (holders === undefined) this.#holders.set(stream, (holders = new Set()));
    if (holders.add(holder).size === 1) this.#child.pauseOutput(stream);
  }
  resumeOutput(stream: string, holder: string): void {
    const holders = this.#holders.get(stream);
    if (holders?.delete(holder) === true && holders.size === 0) this.#child.resumeOutput(stream);
  }
  resizePty(rows: number, columns: number): void {
    this.#child.resizePty(rows, columns);
  }
}
