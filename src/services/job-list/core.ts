/**
 * All jobs of the instance in the three orders of RFC 43: pending ones by priority, running ones by start, inactive ones
 * by their end; and the counts by state and result, in all and per queue. Pure.
 *
 * Invariants: a job is in exactly one of the three lists; counts agree with the lists; memory is bounded by the active jobs
 * (`finished.ts`).
 */
import type { Integer } from "../../base/json.ts";
import { compareIds, JobState, STATES_PENDING, STATES_RUNNING, type JournalEntry } from "../../sdk/job-protocol.ts";
import { FinishedJobs, type PageStore, type Pause, type StoredPage } from "./finished.ts";
import { applyEntry, newRecord, type JobRecord } from "./record.ts";
import { Statistics } from "./statistics.ts";

export class JobList {
  readonly #active = new Map<Integer, JobRecord>();
  readonly #finished: FinishedJobs;
  readonly statistics: Statistics = new Statistics();

  /** `stored`: pages of finished jobs that the store has already. */
  constructor(store: PageStore, stored: readonly StoredPage[] = []) {
    this.#finished = new FinishedJobs(store, undefined, stored);
    for (const { index } of stored)
      for (const { queue, result, count } of index.tallies) this.statistics.add(queue, result, count);
  }

  /** Pages for another list with the same store. */
  get storedPages(): StoredPage[] {
    return this.#finished.storedPages;
  }

  /** Finished jobs that need not be told again, and when they ended. */
  paged(): { ids: Integer[]; times: number[] } {
    return this.#finished.paged();
  }

  get(id: Integer): JobRecord | null {
    return this.#active.get(id) ?? this.#finished.get(id);
  }

  /**
   * Takes a message of the journal; returns the job, or null where it is one that is over. Throws FluxError where a job
   * that has ended cannot be written; it is known all the same.
   */
  take(entry: JournalEntry): JobRecord | null {
    let record = this.#active.get(entry.id);
    if (record === undefined) {
      if (entry.events[0]?.name !== "submit") return null;
      record = newRecord(entry.id);
    }
    const before = { state: record.state, queue: record.queue };
    const isNew = record.states === JobState.New && record.tSubmit === 0;
    applyEntry(record, entry);
    if (!isNew) this.statistics.leave(before.state, before.queue);
    this.statistics.enter(record);
    if (record.state !== JobState.Inactive) this.#active.set(record.id, record);
    else {
      this.#active.delete(record.id);
      this.#finished.add(record);
    }
    return record;
  }

  /** Forgets purged jobs. */
  purge(ids: readonly Integer[]): void {
    for (const id of ids) {
      const record = this.#finished.remove(id);
      if (record !== null) this.statistics.purged(record);
    }
  }

  /** Forgets jobs that are not what they were taken for. */
  forget(ids: readonly Integer[]): void {
    for (const id of ids) {
      const record = this.#finished.remove(id);
      if (record !== null) this.statistics.add(record.queue, record.result, -1);
    }
  }

  /** How many jobs are pending, running, inactive. */
  sizes(): { pending: number; running: number; inactive: number } {
    const running = this.#activeIn(STATES_RUNNING).length;
    return { pending: this.#active.size - running, running, inactive: this.#finished.size };
  }

  /**
   * All jobs in the order of RFC 43, those that ended before `since` (seconds since the epoch) left out, as they are when
   * the first is asked for. Null is a pause: a page is about to be read.
   */
  *ordered(since: number): Generator<JobRecord | Pause> {
    // One that has no priority yet stands where those of priority 0 do.
    const rank = ({ priority }: JobRecord): number => Math.max(0, priority);
    yield* this.#activeIn(STATES_PENDING | JobState.New).sort(
      (left, right) => rank(right) - rank(left) || compareIds(left.id, right.id),
    );
    yield* this.#activeIn(STATES_RUNNING).sort(
      (left, right) => (right.tRun || right.tCleanup) - (left.tRun || left.tCleanup) || compareIds(right.id, left.id),
    );
    yield* this.#finished.latestFirst(since);
  }

  #activeIn(states: number): JobRecord[] {
    return [...this.#active.values()].filter(({ state }) => (state & states) !== 0);
  }
}
