/**
 * When waiting jobs can start, by when running ones are expected to end: what a pool will look like is tried out on the
 * pool itself, and undone.
 *
 * Invariant: the pool is afterwards as it was.
 */
import { choose, type ResourceRequest } from "./choice.ts";
import type { NodeShare, NodeTable } from "./nodes.ts";
import { durationOf, type PendingJob } from "./job-order.ts";
import type { ResourcePool } from "./pool.ts";

/** Ends that a forecast looks at: what comes later is not told. A reservation may need to look further. */
const FORECAST_ENDS_MAX = 5_000;

export interface Start {
  /** Seconds since the epoch. */
  readonly time: number;
  readonly shares: readonly NodeShare[];
}

/** The earliest start of a request that does not fit now, with what it gets then; null where that is not known. */
export function earliestStart(pool: ResourcePool, request: ResourceRequest, now: number): Start | null {
  const future = new Future(pool, now, Infinity);
  try {
    const shares = future.find(request);
    return shares === null ? null : { time: future.time, shares };
  } finally {
    future.undo();
  }
}

/**
 * When jobs start if none of them overtakes another, in seconds since the epoch. Jobs behind the first of which nothing
 * can be said are left out.
 */
export function forecast(
  pool: ResourcePool,
  jobs: readonly PendingJob[],
  now: number,
): { id: PendingJob["id"]; time: number }[] {
  const future = new Future(pool, now, FORECAST_ENDS_MAX);
  const starts: { id: PendingJob["id"]; time: number }[] = [];
  try {
    for (const job of jobs) {
      const shares = future.find(job.request);
      if (shares === null) break;
      starts.push({ id: job.id, time: future.time });
      future.start(shares, durationOf(job));
    }
    return starts;
  } finally {
    future.undo();
  }
}

interface End {
  readonly time: number;
  readonly shares: readonly NodeShare[];
}

class Future {
  readonly #pool: ResourcePool;
  readonly #table: NodeTable;
  readonly #running: Iterator<{ readonly id: PendingJob["id"]; readonly end: number }>;
  #nextRunning: End | null;
  /** Ends of what was started here, by time, the next one last. */
  readonly #started: End[] = [];
  readonly #undo: (() => void)[] = [];
  #endsLeft: number;
  time: number;

  constructor(pool: ResourcePool, now: number, endsMax: number) {
    this.#pool = pool;
    this.#table = pool.table;
    this.#running = pool.ends[Symbol.iterator]();
    this.#nextRunning = this.#advance();
    this.#endsLeft = endsMax;
    this.time = now;
  }

  /** Lets time pass until a request fits; null where it never does. */
  find(request: ResourceRequest): readonly NodeShare[] | null {
    const within = this.#pool.matching(request.constraint);
    for (;;) {
      const shares = choose(this.#table, request, within);
      if (shares !== null || !this.#pass()) return shares;
    }
  }

  start(shares: readonly NodeShare[], seconds: number): void {
    for (const share of shares) this.#take(share);
    if (seconds === Infinity) return;
    const end = { time: this.time + seconds, shares };
    let place = this.#started.length;
    while (place > 0 && this.#started[place - 1]!.time < end.time) place--;
    this.#started.splice(place, 0, end);
  }

  undo(): void {
    for (const step of this.#undo.toReversed()) step();
  }

  /** Goes on to when something ends next; everything that ends then does. Returns whether anything did. */
  #pass(): boolean {
    const time = Math.min(this.#nextRunning?.time ?? Infinity, this.#started.at(-1)?.time ?? Infinity);
    if (time === Infinity || this.#endsLeft <= 0) return false;
    // What is overdue may end at any moment.
    this.time = Math.max(this.time, time);
    while (this.#nextRunning !== null && this.#nextRunning.time <= this.time) {
      this.#end(this.#nextRunning);
      this.#nextRunning = this.#advance();
    }
    while (this.#started.length > 0 && this.#started.at(-1)!.time <= this.time) this.#end(this.#started.pop()!);
    return true;
  }

  #end({ shares }: End): void {
    this.#endsLeft--;
    for (const share of shares) {
      this.#table.giveBack(share);
      this.#undo.push(() => this.#table.take(share));
    }
  }

  #take(share: NodeShare): void {
    this.#table.take(share);
    this.#undo.push(() => this.#table.giveBack(share));
  }

  #advance(): End | null {
    const { value, done } = this.#running.next();
    return done === true ? null : { time: value.end, shares: this.#pool.held.get(value.id)! };
  }
}
