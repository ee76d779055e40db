/** Times of calls, as statistics show them: count, least, most, mean and deviation, in milliseconds. Pure. */
import type { JsonObject } from "../../base/json.ts";

export class CallTimes {
  #count = 0;
  #least = Infinity;
  #most = 0;
  #mean = 0;
  #squares = 0;

  get count(): number {
    return this.#count;
  }

  add(elapsedMs: number): void {
    this.#count += 1;
    this.#least = Math.min(this.#least, elapsedMs);
    this.#most = Math.max(this.#most, elapsedMs);
    const delta = elapsedMs - this.#mean;
    this.#mean += delta / this.#count;
    this.#squares += delta * (elapsedMs - this.#mean);
  }

  toJson(): JsonObject {
    if (this.#count === 0) return { count: 0, min: 0, max: 0, mean: 0, stddev: 0 };
    const stddev = Math.sqrt(this.#squares / Math.max(1, this.#count - 1));
    return { count: this.#count, min: this.#least, max: this.#most, mean: this.#mean, stddev };
  }
}
