/**
 * When the collector works: not more than a part of the time, and only when something has changed since it began last.
 * And what it has done so far. Pure.
 *
 * How much could be removed is not known before a cycle. A file that grows is a sign that there is something; but a large
 * tree is dropped by writing a single directory. So every change is followed by a whole cycle in the end: soon if the file
 * has grown much, else when it is quiet, or after a rest that makes the work a small share of the time. A cycle over what is
 * new follows whenever there is something new.
 */
import type { CycleReport } from "./collector.ts";

/** After a cycle the collector rests for this many times as long as it worked. */
const REST_FACTOR = 5;
const REST_MIN_MS = 500;
const REST_MAX_MS = 300_000;
/** The same where the file has not grown. */
const LONG_REST_FACTOR = 50;
const LONG_REST_MIN_MS = 10_000;
const LONG_REST_MAX_MS = 3_600_000;
/** No change for this time is quiet; then it rests for as long as where the file has grown. */
const QUIET_MS = 3000;
/** A cycle that failed is tried again after this time. */
const RETRY_MS = 30_000;
/** Between two slices of a cycle others get this long; a whole one is in no hurry. */
const BETWEEN_SLICES_MS = 1;
const BETWEEN_WHOLE_SLICES_MS = 4;

/** Whether the size limit is near, or the file has grown since the last cycle. */
export type Urgency = "tight" | "grown" | "none";

export class CollectorPace {
  /** When something changed last, after the last whole cycle began: more may be removed now. */
  #changedMs: number | null = null;
  /** Something changed after the last cycle began. */
  #hasNews = false;
  #newsNotBeforeMs = 0;
  #notBeforeMs = 0;
  #longNotBeforeMs = 0;
  #endedMs = 0;
  #isInCycle = false;
  #isWhole = true;
  #workedMs = 0;
  #cycleCount = 0;
  #removedCount = 0;
  #removedBytes = 0;
  #lastCycleMs = 0;

  get isInCycle(): boolean {
    return this.#isInCycle;
  }
  get cycleCount(): number {
    return this.#cycleCount;
  }
  get removedCount(): number {
    return this.#removedCount;
  }
  get removedBytes(): number {
    return this.#removedBytes;
  }
  get lastCycleMs(): number {
    return this.#lastCycleMs;
  }

  changed(nowMs: number): void {
    this.#changedMs = nowMs;
    this.#hasNews = true;
  }

  /** When the next cycle that looks at what is new may begin; null: when something changes. */
  newsDueAtMs(): number | null {
    return this.#hasNews ? this.#newsNotBeforeMs : null;
  }

  /** When the next whole cycle may begin; null: when something changes. A lease that ends is a change. */
  dueAtMs(urgency: Urgency, leaseEndMs: number | null): number | null {
    if (this.#changedMs === null) return leaseEndMs;
    if (urgency === "tight") return this.#endedMs + REST_MIN_MS;
    const quietMs = Math.max(this.#changedMs + QUIET_MS, this.#notBeforeMs);
    return Math.min(quietMs, urgency === "grown" ? this.#notBeforeMs : this.#longNotBeforeMs);
  }

  /** How long to wait before the next slice. */
  restMs(urgency: Urgency): number {
    if (urgency === "tight") return 0;
    return this.#isWhole ? BETWEEN_WHOLE_SLICES_MS : BETWEEN_SLICES_MS;
  }

  began(isWhole: boolean): void {
    this.#isInCycle = true;
    this.#isWhole = isWhole;
    this.#workedMs = 0;
    this.#hasNews = false;
    if (isWhole) this.#changedMs = null;
  }

  /** A slice of a cycle took this long. */
  worked(elapsedMs: number): void {
    this.#workedMs += elapsedMs;
  }

  ended(nowMs: number, report: CycleReport): void {
    this.#lastCycleMs = this.#workedMs;
    this.#isInCycle = false;
    this.#cycleCount += 1;
    this.#removedCount += report.removedCount;
    this.#removedBytes += report.removedBytes;
    this.#newsNotBeforeMs = nowMs + between(REST_MIN_MS, REST_FACTOR * this.#lastCycleMs, REST_MAX_MS);
    if (!this.#isWhole) return;
    this.#endedMs = nowMs;
    this.#notBeforeMs = this.#newsNotBeforeMs;
    this.#longNotBeforeMs = nowMs + between(LONG_REST_MIN_MS, LONG_REST_FACTOR * this.#lastCycleMs, LONG_REST_MAX_MS);
  }

  failed(nowMs: number): void {
    this.#isInCycle = false;
    this.#changedMs = nowMs;
    this.#hasNews = true;
    this.#endedMs = nowMs;
    this.#newsNotBeforeMs = nowMs + RETRY_MS;
    this.#notBeforeMs = nowMs + RETRY_MS;
    this.#longNotBeforeMs = nowMs + RETRY_MS;
  }
}

function between(least: number, value: number, most: number): number {
  return Math.max(least, Math.min(value, most));
}
