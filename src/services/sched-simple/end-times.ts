/**
 * When jobs are expected to end, in that order.
 *
 * Invariant: a job stands at most once; jobs of which nothing is known are not there.
 */
import type { Integer } from "../../base/json.ts";

interface Entry {
  readonly id: Integer;
  readonly end: number;
}

export class EndTimes {
  /** By end, then by id. */
  readonly #entries: Entry[] = [];
  readonly #ends = new Map<Integer, number>();

  get size(): number {
    return this.#entries.length;
  }

  /** Seconds since the epoch; 0 where nothing is known. */
  get(id: Integer): number {
    return this.#ends.get(id) ?? 0;
  }

  /** `end` in seconds since the epoch; 0 = not known. */
  set(id: Integer, end: number): void {
    this.delete(id);
    if (end <= 0) return;
    const entry = { id, end };
    this.#entries.splice(this.#place(entry), 0, entry);
    this.#ends.set(id, end);
  }

  delete(id: Integer): void {
    const end = this.#ends.get(id);
    if (end === undefined) return;
    this.#entries.splice(this.#place({ id, end }), 1);
    this.#ends.delete(id);
  }

  /** By ascending time. */
  [Symbol.iterator](): Iterator<Entry> {
    return this.#entries[Symbol.iterator]();
  }

  /** The first place that is not before the entry. */
  #place(entry: Entry): number {
    let [low, high] = [0, this.#entries.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const other = this.#entries[middle]!;
      const isBefore = other.end < entry.end || (other.end === entry.end && other.id < entry.id);
      if (isBefore) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
