/**
 * The clock port on Node: wall-clock time with the resolution of the monotonic clock, timers, end-of-turn callbacks.
 *
 * `now()` follows the wall clock to within a millisecond, advances between its ticks, and goes back only when the
 * machine's clock is set back by a second or more.
 */
import { assert } from "../base/assert.ts";
import type { Clock, TimerHandle } from "../base/ports.ts";

/** Node keeps a delay in 31 bits; longer ones are waited for in legs. */
const LEG_MS_MAX = 0x7fff_ffff;

/** Steps back of the wall clock below this are hidden. */
const STEP_BACK_MS = 1000;
/** Two readings further apart than this say nothing of each other. */
const READING_MS_MAX = 0.2;
const READING_ATTEMPTS = 5;

/** The monotonic clock. (`performance` would load more of Node than a short command needs altogether.) */
export function monotonicMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1000 + nanoseconds / 1e6;
}

class NodeTimer implements TimerHandle {
  #timeout: NodeJS.Timeout | null = null;
  readonly #callback: () => void;
  readonly #background: boolean;

  constructor(delayMs: number, callback: () => void, background: boolean) {
    this.#callback = callback;
    this.#background = background;
    this.#arm(Math.max(0, delayMs));
  }

  #arm(remainingMs: number): void {
    const legMs = Math.min(remainingMs, LEG_MS_MAX);
    this.#timeout = setTimeout(() => {
      this.#timeout = null;
      if (remainingMs > legMs) this.#arm(remainingMs - legMs);
      else this.#callback();
    }, legMs);
    if (this.#background) this.#timeout.unref();
  }

  cancel(): void {
    if (this.#timeout !== null) clearTimeout(this.#timeout);
    this.#timeout = null;
  }
}

class NodeClock implements Clock {
  /** What to add to the monotonic clock, in milliseconds, to get wall-clock time. */
  #offsetMs = Date.now() - monotonicMs();

  #lastMs = 0;

  now(): number {
    const wallMs = Date.now();
    const estimateMs = this.#offsetMs + monotonicMs();
    const isClose = estimateMs >= wallMs && estimateMs < wallMs + 1;
    const currentMs = isClose ? estimateMs : this.#takeUp();
    // A step back of less than a second is waited out, so that events keep their order; a larger one is a clock set back.
    if (currentMs < this.#lastMs && this.#lastMs - currentMs < STEP_BACK_MS) return this.#lastMs / 1000;
    this.#lastMs = currentMs;
    return currentMs / 1000;
  }

  /** Takes up the wall clock: it was adjusted, the two clocks drifted apart, or we were stopped between two readings. */
  #takeUp(): number {
    for (let attempt = 0; ; attempt++) {
      const beforeMs = monotonicMs();
      const wallMs = Date.now();
      const elapsedMs = monotonicMs();
      if (elapsedMs - beforeMs > READING_MS_MAX && attempt < READING_ATTEMPTS) continue;
      // Where the estimate is ahead by a fraction only, stay at the end of the current tick.
      const aheadMs = this.#offsetMs + elapsedMs - wallMs;
      const nearestMs = aheadMs < 0 || aheadMs > 2 ? wallMs : wallMs + Math.min(aheadMs, 0.999);
      this.#offsetMs = nearestMs - elapsedMs;
      return nearestMs;
    }
  }

  monotonicMs(): number {
    return monotonicMs();
  }

  busyMs(): number {
    return performance.eventLoopUtilization().active;
  }

  after(delayMs: number, callback: () => void, options?: { background?: boolean }): TimerHandle {
    assert(!Number.isNaN(delayMs), "a timer's delay is a number");
    return new NodeTimer(delayMs, callback, options?.background === true);
  }

  defer(callback: () => void): void {
    setImmediate(callback);
  }
}

export function nodeClock(): Clock {
  return new NodeClock();
}
