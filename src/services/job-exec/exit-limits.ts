/**
 * How long the rest of a job may go on when a part of it is over: `exit-timeout` after its first task, or after a shell that
 * was killed (flux-shell(1)), and `shell-exit-timeout` after its first shell. The tasks of a job on one node are left to its
 * shell.
 */
import { endingText } from "../../base/signals.ts";
import type { JsonObject, JsonValue } from "../../base/json.ts";
import type { TimerHandle, WaitStatus } from "../../base/ports.ts";
import { formatDuration, tryParseFsd } from "../../formats/duration.ts";
import { Idset } from "../../formats/idset.ts";
import { getShellOption } from "../../formats/jobspec-attributes.ts";
import type { Jobspec } from "../../formats/jobspec.ts";
import type { JobExecution } from "./job.ts";
import type { ExecWorld } from "./world.ts";

/** The limit of a job that does not say otherwise. */
const EXIT_TIMEOUT = "30s";

export class ExitLimits {
  readonly #world: ExecWorld;
  readonly #job: JobExecution;
  readonly #command: string;
  /** What the job says: a duration, or "none". */
  readonly #option: JsonValue;
  readonly #expired: (note: string, waitStatus?: WaitStatus) => void;
  #exitTimer: TimerHandle | null = null;
  #shellTimer: TimerHandle | null = null;

  constructor(
    world: ExecWorld,
    job: JobExecution,
    jobspec: Jobspec,
    expired: (note: string, waitStatus?: WaitStatus) => void,
  ) {
    this.#world = world;
    this.#job = job;
    this.#command = jobspec.tasks[0]?.command[0] ?? "";
    this.#option = getShellOption(jobspec, "exit-timeout") ?? EXIT_TIMEOUT;
    this.#expired = expired;
  }

  /** The first of all tasks has exited (the context of its event). */
  taskExited(host: string, { rank, wait_status: status }: JsonObject): void {
    if (this.#job.ranks.length === 1) return;
    const waitStatus = Number(status);
    this.begin(`task rank ${Number(rank)} on host ${host} exited (${endingText(waitStatus)})`, waitStatus);
  }

  /** The first part of the job is over. */
  begin(what: string, waitStatus?: WaitStatus): void {
    const option = this.#option;
    const seconds = option === "none" ? null : typeof option === "number" ? option : tryParseFsd(String(option));
    if (seconds === null || this.#job.fatal !== null || this.#exitTimer !== null) return;
    const note = `${this.#command}: ${what} and exit-timeout=${formatDuration(seconds)} has expired`;
    this.#exitTimer = this.#after(seconds, () => this.#expired(note, waitStatus));
  }

  /** A job should not hang on a shell when that of its first node is done. */
  leaderExited(): void {
    const { shellExitTimeout } = this.#world.settings;
    if (shellExitTimeout === null || this.#option === "none" || this.#job.fatal !== null) return;
    this.#shellTimer = this.#after(shellExitTimeout, () => {
      const ranks = Idset.from(this.#job.runningRanks);
      this.#expired(`shells on broker ranks ${ranks} still run ${shellExitTimeout}s after the leader shell exited`);
    });
  }

  stop(): void {
    this.#exitTimer?.cancel();
    this.#shellTimer?.cancel();
  }

  #after(seconds: number, callback: () => void): TimerHandle {
    return this.#world.context.ports.clock.after(seconds * 1000, callback);
  }
}
