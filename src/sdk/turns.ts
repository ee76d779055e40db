/**
 * Turns for bulk work: whoever has much to do does a bounded part, then waits here until others had theirs. Parts of one
 * turn of the loop are bounded in number; who waited longest is first.
 */
import { Fifo } from "../base/fifo.ts";
import type { Clock } from "../base/ports.ts";

export class Turns {
  readonly #clock: Clock;
  readonly #perTurn: number;
  readonly #waiting = new Fifo<() => void>();
  #isScheduled = false;

  /** `perTurn`: parts in one turn of the loop. */
  constructor(clock: Clock, perTurn: number) {
    this.#clock = clock;
    this.#perTurn = perTurn;
  }

  /** Calls back when it is this one's turn, never within the call. */
  wait(proceed: () => void): void {
    this.#waiting.push(proceed);
    this.#schedule();
  }

  /** Resolves when it is this one's turn. */
  next(): Promise<void> {
    return new Promise((resolve) => this.wait(resolve));
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#clock.defer(() => {
      this.#isScheduled = false;
      const count = Math.min(this.#perTurn, this.#waiting.length);
      for (let part = 0; part < count; part++) this.#waiting.shift()!();
      if (this.#waiting.length > 0) this.#schedule();
    });
  }
}
