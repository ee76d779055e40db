/**
 * When the collector works: not more than a part of the time, and only when something has changed since it began last.
 * And what it has done so far. Pure.
 */
import type { CycleReport } from "./collector.ts";

/** After a cycle the collector rests for this many times as long as it took. */
const REST_FACTOR = 5;
const REST_MIN_MS = 500;
const REST_MAX_MS = 300_000;
/** A cycle that failed is tried again after this time. */
const RETRY_MS = 30_000;
/** Between two slices of a cycle others get this long. */
const BETWEEN_SLICES_MS = 1;

export class CollectorPace {
  /** Something has changed since the last cycle began: more may be removed now. */
  #isChanged = true;
  #notBeforeMs = 0;
  #endedMs = 0;
  #begunMs: number | null = null;
  #cycleCount = 0;
  #removedCount = 0;
  #removedBytes = 0;
  #lastCycleMs = 0;

  get isInCycle(): boolean {
    return this.#begunMs !== null;
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

  changed(): void {
    this.#isChanged = true;
  }

  /** When the next cycle may begin; null: when something changes. A lease that ends is a change. */
  dueAtMs(isTight: boolean, leaseEndMs: number | null): number | null {
    if (!this.#isChanged) return leaseEndMs;
    return isTight ? this.#endedMs + REST_MIN_MS : this.#notBeforeMs;
  }

  /** How long to wait before the next slice. */
  restMs(isTight: boolean): number {
    return isTight ? 0 : BETWEEN_SLICES_MS;
  }

  began(nowMs: number): void {
    this.#begunMs = nowMs;
    this.#isChanged = false;
  }

  ended(nowMs: number, report: CycleReport): void {
    this.#lastCycleMs = nowMs - (this.#begunMs ?? nowMs);
    this.#begunMs = null;
    this.#cycleCount += 1;
    this.#removedCount += report.removedCount;
    this.#removedBytes += report.removedBytes;
    const restMs = Math.max(REST_MIN_MS, Math.min(REST_MAX_MS, REST_FACTOR * this.#lastCycleMs));
    this.#endedMs = nowMs;
    this.#notBeforeMs = nowMs + restMs;
  }

  failed(nowMs: number): void {
    this.#begunMs = null;
    this.#isChanged = true;
    this.#endedMs = nowMs;
    this.#notBeforeMs = nowMs + RETRY_MS;
  }
}
