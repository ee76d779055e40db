/**
 * Turns for bulk work: a party with much to do does a bounded part of it, then waits here until the others have had their
 * turn. The number of parts per turn of the loop is bounded; the party that has waited longest goes first. Where a delay
 * between parts is asked for, they are done one by one.
 */
import { Fifo } from "../base/fifo.ts";
import type { Clock } from "../base/ports.ts";

/** Bulk work that one party does in one turn of the loop, in bytes: about a millisecond. */
export const TURN_BYTES_MAX: number = 128 * 1024;
/** The shortest delay that timers know. */
const TIMER_MS_MIN = 1;

export class Turns {
  readonly #clock: Clock;
  readonly #perTurn: number;
  readonly #delayMs: () => number;
  readonly #waiting = new Fifo<() => void>();
  #isScheduled = false;

  /** `perTurn`: parts in one turn of the loop. `delayMs` says how long the next part has to wait beyond that. */
  constructor(clock: Clock, perTurn: number, delayMs: () => number = () => 0) {
    this.#clock = clock;
    this.#perTurn = perTurn;
    this.#delayMs = delayMs;
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
    const delayMs = this.#delayMs();
    if (delayMs < TIMER_MS_MIN) this.#clock.defer(() => this.#proceed(this.#perTurn));
    else this.#clock.after(delayMs, () => this.#proceed(1));
  }

  #proceed(parts: number): void {
    this.#isScheduled = false;
    const count = Math.min(parts, this.#waiting.length);
    for (let part = 0; part < count; part++) this.#waiting.shift()!();
    if (this.#waiting.length > 0) this.#schedule();
  }
}
