/**
 * Jobs that have ended. The latest are in memory; the others are written in pages, by the time of their end, and read
 * back when someone asks. Pure: pages are bytes that a store keeps.
 *
 * Invariants: a job is in memory or in exactly one page. Of a job in a page only its id and the time of its end (eight bytes
 * each) stay in memory, so that it can be found; a page that holds only purged jobs is removed. Jobs that the store does not
 * take stay in memory.
 */
import { utf8Decode, utf8Encode } from "../../base/bytes.ts";
import { parseJson, stringifyJson, type Integer } from "../../base/json.ts";
import { compareIds, type JobResult } from "../../sdk/job-protocol.ts";
import type { JobRecord } from "./record.ts";

/** Where pages are kept. Each call throws FluxError where it cannot be done. */
export interface PageStore {
  write(page: number, data: Uint8Array, index: PageIndex): void;
  read(page: number): Uint8Array;
  remove(page: number): void;
}

/** So many jobs of a queue ended so. */
export interface Tally {
  readonly queue: string | null;
  readonly result: JobResult | 0;
  readonly count: number;
}

/** What is known of the jobs of a page without reading it. `times`: when each of `ids` ended, in seconds since the epoch. */
export interface PageIndex {
  readonly ids: readonly Integer[];
  readonly times: readonly number[];
  readonly tallies: readonly Tally[];
}

export interface StoredPage {
  readonly number: number;
  /** The tallies are without what was purged, if that is given. */
  readonly index: PageIndex;
  readonly purged?: ReadonlySet<Integer>;
}

export interface FinishedLimits {
  /** Jobs in a page. */
  readonly pageJobs: number;
  /** Jobs in memory, at most. */
  readonly memoryJobs: number;
}

const LIMITS: FinishedLimits = { pageJobs: 256, memoryJobs: 768 };
/** Pages that were read last stay in memory. */
const PAGES_CACHED = 4;

interface Page {
  readonly number: number;
  /** Sorted, as unsigned numbers. */
  readonly ids: BigUint64Array;
  /** Beside `ids`: when they ended. */
  readonly times: Float64Array;
  /** Of those that were not purged. */
  tallies: readonly Tally[];
  /** When its jobs ended, in seconds since the epoch. */
  readonly earliest: number;
  readonly latest: number;
  /** What was purged. */
  readonly removed: Set<Integer>;
}

/** Where an iteration may be interrupted: more is about to be read. */
export type Pause = null;

export class FinishedJobs {
  readonly #store: PageStore;
  readonly #memory = new Map<Integer, JobRecord>();
  readonly #pages: Page[] = [];
  readonly #cache = new Map<number, readonly JobRecord[]>();
  #nextPage = 0;
  #count = 0;
  /** Written again only when as many more have come. */
  #pagesAt: number;
  readonly #limits: FinishedLimits;

  /** `stored`: pages that the store has already. */
  constructor(store: PageStore, limits: FinishedLimits = LIMITS, stored: readonly StoredPage[] = []) {
    this.#store = store;
    this.#limits = limits;
    this.#pagesAt = limits.memoryJobs;
    for (const { number, index, purged } of stored) {
      const page = pageOf(number, index, purged);
      this.#pages.push(page);
      this.#count += page.ids.length - page.removed.size;
      this.#nextPage = Math.max(this.#nextPage, number + 1);
    }
  }

  /** Pages for another that goes on with the same store. */
  get storedPages(): StoredPage[] {
    return this.#pages.map(({ number, ids, times, tallies, removed }) => ({
      number,
      index: { ids: Array.from(ids, integerOf), times: [...times], tallies },
      purged: removed,
    }));
  }

  /** The jobs in pages, and when they ended. */
  paged(): { ids: Integer[]; times: number[] } {
    const ids: Integer[] = [];
    const times: number[] = [];
    for (const page of this.#pages)
      for (const [index, unsigned] of page.ids.entries()) {
        const id = integerOf(unsigned);
        if (page.removed.has(id)) continue;
        ids.push(id);
        times.push(page.times[index]!);
      }
    return { ids, times };
  }

  get size(): number {
    return this.#count;
  }
  get pageCount(): number {
    return this.#pages.length;
  }

  /** Adds a job. Throws FluxError where its page could not be written; it is kept in memory then. */
  add(record: JobRecord): void {
    this.#memory.set(record.id, record);
    this.#count += 1;
    if (this.#memory.size >= this.#pagesAt) this.#writePages();
  }

  /** Throws FluxError where a page cannot be read. */
  get(id: Integer): JobRecord | null {
    const record = this.#memory.get(id);
    if (record !== undefined) return record;
    const page = this.#pageOf(id);
    return page === null ? null : (this.#read(page).find((each) => each.id === id) ?? null);
  }

  /** Forgets a job; returns what it was, or null. */
  remove(id: Integer): JobRecord | null {
    const record = this.get(id);
    if (record === null) return null;
    this.#count -= 1;
    if (this.#memory.delete(id)) return record;
    const page = this.#pageOf(id)!;
    page.removed.add(id);
    page.tallies = page.tallies.map((tally) =>
      tally.queue === record.queue && tally.result === record.result ? { ...tally, count: tally.count - 1 } : tally,
    );
    if (page.removed.size === page.ids.length) {
      this.#pages.splice(this.#pages.indexOf(page), 1);
      this.#cache.delete(page.number);
      this.#store.remove(page.number);
    }
    return record;
  }

  /**
   * The jobs that ended after `since` (seconds since the epoch), the latest first, as they are when the first is asked
   * for. Where it yields null, the one who asks may do something else before asking on.
   */
  *latestFirst(since: number): Generator<JobRecord | Pause> {
    const sources = [new Cursor([...this.#memory.values()].sort(latestFirst))];
    const unread = this.#pages.toSorted((left, right) => left.latest - right.latest);
    for (;;) {
      let best = latestOf(sources);
      // A page that may hold a later one is read first.
      while (unread.length > 0 && (best === null || unread.at(-1)!.latest >= best.head!.tInactive)) {
        const page = unread.pop()!;
        if (page.latest <= since) {
          unread.length = 0;
          break;
        }
        yield null;
        sources.push(new Cursor(this.#present(page)));
        best = latestOf(sources);
      }
      const record = best?.take();
      if (record === undefined || record.tInactive <= since) return;
      yield record;
    }
  }

  /** The jobs of a page that were not purged, the latest first. */
  #present(page: Page): readonly JobRecord[] {
    if (!this.#pages.includes(page)) return [];
    const records = this.#read(page);
    return page.removed.size === 0 ? records : records.filter(({ id }) => !page.removed.has(id));
  }

  #pageOf(id: Integer): Page | null {
    const wanted = BigInt.asUintN(64, BigInt(id));
    for (let at = this.#pages.length - 1; at >= 0; at--) {
      const page = this.#pages[at]!;
      if (holds(page.ids, wanted)) return page.removed.has(id) ? null : page;
    }
    return null;
  }

  #read(page: Page): readonly JobRecord[] {
    const cached = this.#cache.get(page.number);
    if (cached !== undefined) return cached;
    const records = parseJson(utf8Decode(this.#store.read(page.number))) as unknown as readonly JobRecord[];
    this.#cache.set(page.number, records);
    if (this.#cache.size > PAGES_CACHED) this.#cache.delete(this.#cache.keys().next().value!);
    return records;
  }

  /** Writes the jobs that ended first, a page at a time, until few enough are in memory. */
  #writePages(): void {
    const records = [...this.#memory.values()].sort(latestFirst);
    // Where it fails, it is tried again when as many more have come.
    const { pageJobs, memoryJobs } = this.#limits;
    this.#pagesAt = this.#memory.size + pageJobs;
    while (records.length > memoryJobs - pageJobs) {
      const oldest = records.splice(-pageJobs);
      const number = this.#nextPage++;
      const index = indexOf(oldest);
      this.#store.write(number, utf8Encode(stringifyJson(oldest)), index);
      this.#pages.push(pageOf(number, index));
      for (const { id } of oldest) this.#memory.delete(id);
    }
    this.#pagesAt = memoryJobs;
  }
}

function indexOf(records: readonly JobRecord[]): PageIndex {
  const counts = new Map<string, Tally>();
  for (const { queue, result } of records) {
    const key = `${result} ${queue ?? ""}`;
    counts.set(key, { queue, result, count: (counts.get(key)?.count ?? 0) + 1 });
  }
  return {
    ids: records.map(({ id }) => id),
    times: records.map(({ tInactive }) => tInactive),
    tallies: [...counts.values()],
  };
}

function pageOf(number: number, { ids, times, tallies }: PageIndex, purged: ReadonlySet<Integer> = new Set()): Page {
  const byId = ids.map((id, index) => ({ id: BigInt.asUintN(64, BigInt(id)), time: times[index]! }));
  byId.sort((left, right) => (left.id < right.id ? -1 : 1));
  return {
    number,
    ids: BigUint64Array.from(byId, ({ id }) => id),
    times: Float64Array.from(byId, ({ time }) => time),
    tallies,
    earliest: times.reduce((least, time) => Math.min(least, time), Infinity),
    latest: times.reduce((most, time) => Math.max(most, time), -Infinity),
    removed: new Set(purged),
  };
}

/** An id as JSON has it: a number where it is exact. */
function integerOf(unsigned: bigint): Integer {
  return unsigned <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(unsigned) : unsigned;
}

/** Records in an order, and how far they have been taken. */
class Cursor {
  readonly #records: readonly JobRecord[];
  #at = 0;

  constructor(records: readonly JobRecord[]) {
    this.#records = records;
  }

  get head(): JobRecord | undefined {
    return this.#records[this.#at];
  }
  take(): JobRecord | undefined {
    return this.#records[this.#at++];
  }
}

/** The cursor whose next job ended last; null where all are at their end. */
function latestOf(cursors: Cursor[]): Cursor | null {
  let best: Cursor | null = null;
  for (const cursor of cursors) {
    const { head } = cursor;
    if (head === undefined) continue;
    if (best === null || latestFirst(head, best.head!) < 0) best = cursor;
  }
  // Cursors at their end let go of their pages.
  for (let at = cursors.length - 1; at >= 0; at--) if (cursors[at]!.head === undefined) cursors.splice(at, 1);
  return best;
}

function latestFirst(left: JobRecord, right: JobRecord): number {
  return right.tInactive - left.tInactive || compareIds(right.id, left.id);
}

function holds(ids: BigUint64Array, wanted: bigint): boolean {
  let low = 0;
  let high = ids.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const id = ids[middle]!;
    if (id === wanted) return true;
    if (id < wanted) low = middle + 1;
    else high = middle - 1;
  }
  return false;
}

/** Pages in memory: where there is no disk. */
export function memoryPages(): PageStore {
  const pages = new Map<number, Uint8Array>();
  return {
    write: (page, data) => void pages.set(page, data),
    read: (page) => pages.get(page)!,
    remove: (page) => void pages.delete(page),
  };
}
