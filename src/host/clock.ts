/**
 * The clock port on Node: wall-clock time with the resolution of the monotonic clock, timers, end-of-turn callbacks.
 *
 * `now()` follows the wall clock to within a millisecond, advances between its ticks, and goes back only when the
 * machine's clock is set back.
 */
import { assert } from "../base/assert.ts";
import type { Clock, TimerHandle } from "../base/ports.ts";

/** Node keeps a delay in 31 bits; longer ones are waited for in legs. */
const MAX_LEG_MS = 0x7fff_ffff;

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
    const legMs = Math.min(remainingMs, MAX_LEG_MS);
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
  #offsetMs = Date.now() - performance.now();

  now(): number {
    const wallMs = Date.now();
    const elapsedMs = performance.now();
    const estimateMs = this.#offsetMs + elapsedMs;
    if (estimateMs >= wallMs && estimateMs < wallMs + 1) return estimateMs / 1000;
    // The machine's clock was adjusted, or the two clocks drifted apart: take up the wall clock again. When the
    // estimate is ahead by a fraction only, the last microsecond of the current tick keeps time from going back.
    const nearestMs = estimateMs < wallMs || estimateMs > wallMs + 2 ? wallMs : wallMs + 0.999;
    this.#offsetMs = nearestMs - elapsedMs;
    return nearestMs / 1000;
  }

  monotonicMs(): number {
    return performance.now();
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
