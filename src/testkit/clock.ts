/** The clock port in virtual time. */
import type { Clock, TimerHandle } from "../base/ports.ts";
import type { Scope } from "./scope.ts";
import type { Timeline } from "./timeline.ts";

export class SimulatedClock implements Clock {
  readonly #timeline: Timeline;
  readonly #scope: Scope;

  constructor(timeline: Timeline, scope: Scope) {
    this.#timeline = timeline;
    this.#scope = scope;
  }

  now(): number {
    return this.#timeline.wallclock;
  }

  monotonicMs(): number {
    return this.#timeline.nowMs;
  }

  /** What is done takes no time here. */
  busyMs(): number {
    return 0;
  }

  after(delayMs: number, callback: () => void, options: { background?: boolean } = {}): TimerHandle {
    const forget = this.#scope.onEnd(() => timer.cancel());
    const timer = this.#timeline.after(
      delayMs,
      () => {
        forget();
        if (this.#scope.alive) callback();
      },
      options.background === true,
    );
    return {
      cancel: () => {
        forget();
        timer.cancel();
      },
    };
  }

  defer(callback: () => void): void {
    this.#timeline.after(0, this.#scope.guard(callback));
  }
}
