/**
 * The exec.eventlog of one job (RFC 21): what happens while its shells run.
 *
 * Invariants: of its tasks the first to exit is told, after the start of all; the leader's shell is told as ended when
 * those of the other nodes have, for which it is there; nothing follows `done`.
 */
import type { JsonObject } from "../../base/json.ts";
import { Idset } from "../../formats/idset.ts";
import { encodeEvent, type JobEvent } from "../../sdk/job-protocol.ts";
import { TaskEnds, TASKS_FAILED } from "../../sdk/task-ends.ts";
import type { ExecWorld } from "./world.ts";

/** How long events of a running job may wait for company, in milliseconds; at the end all are written. */
const DELAY_MS = 20;

export class ExecLog {
  readonly #world: ExecWorld;
  readonly #key: string;
  /** The broker rank of the leader's shell. */
  readonly #leader: number;
  /** The tasks of all nodes run, or have run. */
  #hasStarted: boolean;
  #taskExit: JobEvent | null = null;
  #isTaskExitTold = false;
  readonly #ends = new TaskEnds();
  #leaderStatus: number | null = null;

  constructor(world: ExecWorld, key: string, leader: number, hasStarted: boolean) {
    this.#world = world;
    this.#key = key;
    this.#leader = leader;
    this.#hasStarted = hasStarted;
  }

  add(name: string, context?: JsonObject): void {
    const timestamp = this.#world.context.ports.clock.now();
    this.#append(context === undefined ? { timestamp, name } : { timestamp, name, context });
  }

  /** An event of a shell. Returns whether it is the first exit of a task. */
  shellEvent(event: JobEvent): boolean {
    if (event.name === TASKS_FAILED) {
      this.#ends.addContext(event.context);
      return false;
    }
    if (event.name !== "shell.task-exit") {
      this.#append(event);
      this.#hasStarted ||= event.name === "shell.start";
      this.#tellTaskExit();
      return false;
    }
    if (this.#taskExit !== null) return false;
    this.#taskExit = event;
    this.#tellTaskExit();
    return true;
  }

  leaderExited(status: number): void {
    this.#leaderStatus = status;
  }

  /** The leader's shell has gone before others. */
  leaderGone(status: number, activeRanks: readonly number[]): void {
    const active = activeRanks.length === 0 ? {} : { active_ranks: Idset.from(activeRanks).toString() };
    this.add("shell-exit", { rank: this.#leader, wait_status: status, ...active });
  }

  /** What has been added is in the KVS. */
  settle(): Promise<void> {
    return this.#world.settled(this.#key);
  }

  /** The job is over. */
  end(status: number): void {
    this.#hasStarted = true;
    this.#tellTaskExit();
    const failed = this.#ends.context();
    if (failed !== null) this.add(TASKS_FAILED, failed);
    if (this.#leaderStatus !== null) this.leaderGone(this.#leaderStatus, []);
    this.add("complete", { status });
    this.add("done");
    this.#world.batch.end(this.#key);
  }

  #tellTaskExit(): void {
    if (!this.#hasStarted || this.#taskExit === null || this.#isTaskExitTold) return;
    this.#isTaskExitTold = true;
    this.#append(this.#taskExit);
  }

  #append(event: JobEvent): void {
    this.#world.batch.append(this.#key, encodeEvent(event), DELAY_MS);
  }
}
