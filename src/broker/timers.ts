/** Timers that end together: none of them fires once they are cancelled, and none keeps a process alive. */
import type { Clock, TimerHandle } from "../base/ports.ts";

export class Timers {
  readonly #clock: Clock;
  readonly #pending = new Set<TimerHandle>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  after(delayMs: number, callback: () => void): void {
    const timer = this.#clock.after(
      delayMs,
      () => {
        this.#pending.delete(timer);
        callback();
      },
      { background: true },
    );
    this.#pending.add(timer);
  }

  cancelAll(): void {
    for (const timer of this.#pending) timer.cancel();
    this.#pending.clear();
  }
}
