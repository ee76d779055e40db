/** Count, extremes, mean and deviation of numbers that come one by one (Welford's method). Pure. */
import type { JsonObject } from "./json.ts";

export class RunningSummary {
  #count = 0;
  #least = 0;
  #most = 0;
  #mean = 0;
  #squares = 0;

  add(value: number): void {
    this.#count += 1;
    this.#least = this.#count === 1 ? value : Math.min(this.#least, value);
    this.#most = this.#count === 1 ? value : Math.max(this.#most, value);
    const delta = value - this.#mean;
    this.#mean += delta / this.#count;
    this.#squares += delta * (value - this.#mean);
  }

  /** All zero where nothing was added. */
  toJson(): JsonObject {
    const stddev = Math.sqrt(this.#squares / Math.max(1, this.#count - 1));
    return { count: this.#count, min: this.#least, max: this.#most, mean: this.#mean, stddev };
  }
}
