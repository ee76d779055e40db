/** What scheduling passes cost and how often they are asked for, as moving averages: for `flux module stats`. */
import type { JsonObject } from "../../base/json.ts";
import type { Clock } from "../../base/ports.ts";

/** The part of a new sample in an average. */
const SMOOTHING = 0.25;

export class PassStatistics {
  readonly #clock: Clock;
  #passes = 0;
  #decisions = 0;
  #lastAskedMs: number | null = null;
  #intervalSec = 0;
  #durationSec = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Something happened that may let jobs start. */
  asked(): void {
    const nowMs = this.#clock.monotonicMs();
    if (this.#lastAskedMs !== null) this.#intervalSec = average(this.#intervalSec, (nowMs - this.#lastAskedMs) / 1000);
    this.#lastAskedMs = nowMs;
  }

  /** Runs a pass, which returns what it decided, job by job. */
  measure<T>(pass: () => readonly T[]): readonly T[] {
    const startMs = this.#clock.monotonicMs();
    const result = pass();
    this.#passes++;
    this.#decisions += result.length;
    this.#durationSec = average(this.#durationSec, (this.#clock.monotonicMs() - startMs) / 1000);
    return result;
  }

  /** Seconds. `sched_yields` counts the jobs that got something: others hear of them one by one; passes are not delayed. */
  toJSON(): JsonObject {
    return {
      sched_passes: this.#passes,
      sched_yields: this.#decisions,
      sched_delay: 0,
      sched_duration_ewma: this.#durationSec,
      sched_interval_ewma: this.#intervalSec,
    };
  }
}

function average(before: number, sample: number): number {
  return before + SMOOTHING * (sample - before);
}
