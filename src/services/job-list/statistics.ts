/** Counts of jobs by state and by result, in all and for each queue (`job-list.job-stats`). */
import type { JsonObject } from "../../base/json.ts";
import { jobStateName } from "../../formats/job-states.ts";
import { JobResult, JobState } from "../../sdk/job-protocol.ts";
import type { JobRecord } from "./record.ts";

const { Depend, Priority, Sched, Run, Cleanup, Inactive } = JobState;
/** A job that is new is in no list. */
const STATES: readonly JobState[] = [Depend, Priority, Sched, Run, Cleanup, Inactive];

class Counts {
  readonly #states = new Map<JobState, number>();
  readonly #results = new Map<number, number>();
  #purged = 0;

  changeState(state: JobState, change: number): void {
    this.#states.set(state, (this.#states.get(state) ?? 0) + change);
  }
  changeResult(result: number, change: number): void {
    this.#results.set(result, (this.#results.get(result) ?? 0) + change);
  }
  purged(): void {
    this.#purged += 1;
  }

  toJSON(): JsonObject {
    const states = STATES.map((state) => [jobStateName(state).toLowerCase(), this.#states.get(state) ?? 0] as const);
    const total = states.reduce((sum, [, count]) => sum + count, 0);
    return {
      job_states: { ...Object.fromEntries(states), total },
      successful: this.#results.get(JobResult.Completed) ?? 0,
      failed: this.#results.get(JobResult.Failed) ?? 0,
      canceled: this.#results.get(JobResult.Canceled) ?? 0,
      timeout: this.#results.get(JobResult.Timeout) ?? 0,
      inactive_purged: this.#purged,
    };
  }
}

export class Statistics {
  readonly #all = new Counts();
  readonly #queues = new Map<string, Counts>();

  /** Queues that the configuration names are shown even while they are empty. */
  configure(queues: readonly string[]): void {
    for (const queue of queues) this.#queue(queue);
  }

  /** A job has left a state. */
  leave(state: JobState, queue: string | null): void {
    for (const counts of this.#of(queue)) counts.changeState(state, -1);
  }

  /** A job is in a state now. */
  enter(record: JobRecord): void {
    for (const counts of this.#of(record.queue)) {
      counts.changeState(record.state, 1);
      if (record.state === Inactive) counts.changeResult(record.result, 1);
    }
  }

  /** Jobs that ended, of which nothing else was heard. */
  add(queue: string | null, result: number, count: number): void {
    for (const counts of this.#of(queue)) {
      counts.changeState(Inactive, count);
      counts.changeResult(result, count);
    }
  }

  purged(record: JobRecord): void {
    for (const counts of this.#of(record.queue)) {
      counts.changeState(Inactive, -1);
      counts.changeResult(record.result, -1);
      counts.purged();
    }
  }

  toJSON(): JsonObject {
    const queues = [...this.#queues].map(([name, counts]) => ({ ...counts.toJSON(), name }));
    return { ...this.#all.toJSON(), queues };
  }

  #queue(name: string): Counts {
    let counts = this.#queues.get(name);
    if (counts === undefined) this.#queues.set(name, (counts = new Counts()));
    return counts;
  }

  #of(queue: string | null): Counts[] {
    return queue === null ? [this.#all] : [this.#all, this.#queue(queue)];
  }
}
