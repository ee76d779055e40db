/**
 * What is remembered of jobs that have ended: of each, when it ended, whose it was and how it went, in the order in which
 * they ended (for purging); the latest can also be found by id (for dependencies and error texts). All else is in the KVS.
 *
 * Jobs that ended are put into *pages* of a fixed number of jobs, which are kept (`archive.ts`), so that a restart need not look
 * at each job.
 *
 * Invariants: the number of jobs found by id is bounded; per finished job four numbers stay, until it is purged. Pages hold
 * the jobs that ended first, in order, and each of them in one page.
 */
import { AgedMap } from "../../base/aged-map.ts";
import type { Integer } from "../../base/json.ts";
import { compareIds } from "../../sdk/job-protocol.ts";
import type { Outcome } from "./outcome.ts";

/** Names of jobs that are over, each with the last of them; what is older is asked of the job list. */
const NAMES_MAX = 10_000;
/** Outcomes kept in memory; older ones are read back from the KVS when someone asks. */
const OUTCOMES_MAX = 10_000;
/** Jobs in a page. */
export const PAGE_JOBS = 256;

/** A job that has ended. */
export interface EndedJob {
  readonly id: Integer;
  /** Seconds since the epoch. */
  readonly timestamp: number;
  readonly outcome: Outcome;
}

export interface EndedPage {
  readonly number: number;
  readonly jobs: readonly EndedJob[];
}

const STARTED = 1;
const SUCCESS = 2;
const EXCEPTED = 4;
const WAITABLE = 8;

/** How a job went, as a number: what `outcomeOfBits` reads. */
export function bitsOf({ started, success, excepted, waitable }: Outcome): number {
  return (started ? STARTED : 0) | (success ? SUCCESS : 0) | (excepted ? EXCEPTED : 0) | (waitable ? WAITABLE : 0);
}

export function outcomeOfBits(userid: number, bits: number): Outcome {
  const has = (bit: number): boolean => (bits & bit) !== 0;
  return {
    userid,
    isInactive: true,
    started: has(STARTED),
    success: has(SUCCESS),
    excepted: has(EXCEPTED),
    waitable: has(WAITABLE),
  };
}

export class InactiveJobs {
  readonly #outcomes = new AgedMap<Integer, Outcome>();
  /** In the order in which they ended. */
  #ids: Integer[] = [];
  /** Seconds since the epoch, user ids, and bits of the outcomes, beside `#ids`. */
  #times: number[] = [];
  #userids: number[] = [];
  #bits: number[] = [];
  /** The first jobs are in these, so many in each. */
  #pages: { readonly number: number; count: number }[] = [];
  #pagedCount = 0;

  /** By user and name. */
  readonly #names = new AgedMap<string, Integer>();

  get count(): number {
    return this.#ids.length;
  }

  add(id: Integer, timestamp: number, outcome: Outcome): void {
    this.#ids.push(id);
    this.#times.push(timestamp);
    this.#userids.push(outcome.userid);
    this.#bits.push(bitsOf(outcome));
    this.remember(id, outcome);
  }

  /** Takes the jobs that a restart found: in pages, and others in any order. */
  restore(pages: readonly EndedPage[], others: readonly EndedJob[]): void {
    for (const { number, jobs } of pages) {
      for (const { id, timestamp, outcome } of jobs) this.add(id, timestamp, outcome);
      this.#pages.push({ number, count: jobs.length });
      this.#pagedCount += jobs.length;
    }
    const sorted = [...others].sort((left, right) => left.timestamp - right.timestamp || compareIds(left.id, right.id));
    for (const { id, timestamp, outcome } of sorted) this.add(id, timestamp, outcome);
  }

  /** Puts jobs into pages, as far as they fill some; returns these. */
  cutPages(): EndedPage[] {
    const cut: EndedPage[] = [];
    while (this.#ids.length - this.#pagedCount >= PAGE_JOBS) {
      const number = (this.#pages.at(-1)?.number ?? 0) + 1;
      cut.push({ number, jobs: this.#slice(this.#pagedCount, PAGE_JOBS) });
      this.#pages.push({ number, count: PAGE_JOBS });
      this.#pagedCount += PAGE_JOBS;
    }
    return cut;
  }

  /** Jobs that are in no page yet. */
  unpaged(): Integer[] {
    return this.#ids.slice(this.#pagedCount);
  }

  #slice(start: number, count: number): EndedJob[] {
    return this.#ids.slice(start, start + count).map((id, index) => {
      const outcome = outcomeOfBits(this.#userids[start + index]!, this.#bits[start + index]!);
      return { id, timestamp: this.#times[start + index]!, outcome };
    });
  }

  /** Keeps an outcome for a while, whoever found it. */
  remember(id: Integer, outcome: Outcome): void {
    this.#outcomes.set(id, outcome);
    if (this.#outcomes.size > OUTCOMES_MAX) this.#outcomes.shift();
  }

  rememberName(userid: number, name: string, id: Integer): void {
    this.#names.set(`${userid}:${name}`, id);
    if (this.#names.size > NAMES_MAX) this.#names.shift();
  }

  /** The last job of a user with a name; null where that is not known. */
  lastNamed(userid: number, name: string): Integer | null {
    return this.#names.get(`${userid}:${name}`) ?? null;
  }

  outcome(id: Integer): Outcome | null {
    return this.#outcomes.get(id) ?? null;
  }

  /** The oldest jobs that are older than `before` (seconds since the epoch) or too many, at most `batch`. */
  expired(before: number, keep: number, batch: number): Integer[] {
    let count = 0;
    while (count < this.#ids.length && (this.#times[count]! < before || this.#ids.length - count > keep)) count += 1;
    return this.#ids.slice(0, Math.min(count, batch));
  }

  /** How many would be purged without a bound on the batch. */
  expiredCount(before: number, keep: number): number {
    return this.expired(before, keep, Infinity).length;
  }

  has(id: Integer): boolean {
    return this.#ids.includes(id);
  }

  /** When each of them ended, in seconds since the epoch. */
  endTimes(): Map<Integer, number> {
    return new Map(this.#ids.map((id, index) => [id, this.#times[index]!]));
  }

  /** Forgets jobs; returns the pages that have lost some, as they are now. */
  remove(ids: readonly Integer[]): EndedPage[] {
    const gone = new Set(ids);
    for (const id of ids) this.#outcomes.delete(id);
    const isKept = this.#ids.map((id) => !gone.has(id));
    const changed = this.#shrinkPages(isKept);
    const kept = <T>(values: readonly T[]): T[] => values.filter((_value, index) => isKept[index]);
    this.#ids = kept(this.#ids);
    this.#times = kept(this.#times);
    this.#userids = kept(this.#userids);
    this.#bits = kept(this.#bits);
    let start = 0;
    const pages: EndedPage[] = [];
    for (const page of this.#pages) {
      if (changed.has(page.number)) pages.push({ number: page.number, jobs: this.#slice(start, page.count) });
      start += page.count;
    }
    // The last one stays though it is empty: its number must not be given again.
    this.#pages = this.#pages.filter(({ count }, index) => count > 0 || index === this.#pages.length - 1);
    return pages;
  }

  /** Counts anew what is in the pages; returns the numbers of those that have lost something. */
  #shrinkPages(isKept: readonly boolean[]): Set<number> {
    const changed = new Set<number>();
    let start = 0;
    this.#pagedCount = 0;
    for (const page of this.#pages) {
      const end = start + page.count;
      let count = 0;
      for (let index = start; index < end; index++) if (isKept[index]) count += 1;
      if (count < page.count) changed.add(page.number);
      page.count = count;
      start = end;
      this.#pagedCount += count;
    }
    return changed;
  }
}
