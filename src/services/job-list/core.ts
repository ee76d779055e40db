/**
 * All jobs of the instance in the three orders of RFC 43: pending ones by priority, running ones by start, inactive ones
 * by their end; and the counts by state and result, in all and per queue. Pure.
 *
 * Invariants: a job is in exactly one of the three lists; counts agree with the lists.
 */
import type { Integer } from "../../base/json.ts";
import { compareIds, JobState, STATES_PENDING, STATES_RUNNING } from "../../sdk/job-protocol.ts";
import { applyEntry, newRecord, type JobRecord, type JournalEntry } from "./record.ts";
import { Statistics } from "./statistics.ts";

export class JobList {
  readonly #active = new Map<Integer, JobRecord>();
  readonly #inactive = new Map<Integer, JobRecord>();
  /** Inactive jobs, the latest to end last where it is sorted. */
  #ended: JobRecord[] = [];
  #isEndedSorted = true;
  readonly statistics: Statistics = new Statistics();

  get(id: Integer): JobRecord | null {
    return this.#active.get(id) ?? this.#inactive.get(id) ?? null;
  }

  /** Takes a message of the journal; returns the job, or null where it is one that was purged. */
  take(entry: JournalEntry): JobRecord | null {
    let record = this.get(entry.id);
    if (record === null) {
      if (entry.events[0]?.name !== "submit") return null;
      record = newRecord(entry.id);
    }
    const before = { state: record.state, queue: record.queue };
    const isNew = record.states === JobState.New && record.tSubmit === 0;
    applyEntry(record, entry);
    if (!isNew) this.statistics.leave(before.state, before.queue);
    this.statistics.enter(record);
    if (record.state !== JobState.Inactive) this.#active.set(record.id, record);
    else if (before.state !== JobState.Inactive) this.#end(record);
    return record;
  }

  /** Forgets purged jobs. */
  purge(ids: readonly Integer[]): void {
    const gone = new Set<JobRecord>();
    for (const id of ids) {
      const record = this.#inactive.get(id);
      if (record === undefined) continue;
      this.#inactive.delete(id);
      this.statistics.purged(record);
      gone.add(record);
    }
    if (gone.size > 0) this.#ended = this.#ended.filter((record) => !gone.has(record));
  }

  /** How many jobs are pending, running, inactive. */
  sizes(): { pending: number; running: number; inactive: number } {
    const running = this.#activeIn(STATES_RUNNING).length;
    return { pending: this.#active.size - running, running, inactive: this.#inactive.size };
  }

  /** All jobs in the order of RFC 43, those that ended before `since` (seconds since the epoch) left out. */
  *ordered(since: number): Generator<JobRecord> {
    yield* this.#activeIn(STATES_PENDING | JobState.New).sort(
      (left, right) => right.priority - left.priority || compareIds(left.id, right.id),
    );
    yield* this.#activeIn(STATES_RUNNING).sort(
      (left, right) => (right.tRun || right.tCleanup) - (left.tRun || left.tCleanup) || compareIds(right.id, left.id),
    );
    const ended = this.#sorted();
    for (let at = ended.length - 1; at >= 0; at -= 1) {
      const record = ended[at]!;
      if (record.tInactive <= since) return;
      yield record;
    }
  }

  #activeIn(states: number): JobRecord[] {
    return [...this.#active.values()].filter(({ state }) => (state & states) !== 0);
  }

  #end(record: JobRecord): void {
    this.#active.delete(record.id);
    this.#inactive.set(record.id, record);
    if ((this.#ended.at(-1)?.tInactive ?? 0) > record.tInactive) this.#isEndedSorted = false;
    this.#ended.push(record);
  }

  #sorted(): readonly JobRecord[] {
    if (!this.#isEndedSorted) {
      this.#ended.sort((left, right) => left.tInactive - right.tInactive || compareIds(left.id, right.id));
      this.#isEndedSorted = true;
    }
    return this.#ended;
  }
}
