/**
 * A map whose oldest entry can be taken in constant time. With a plain Map and a new iterator each time, the cost grows
 * with the number of entries taken before: the iterator passes their empty places one by one.
 *
 * Invariant: the kept iterator has passed every place that stays empty, and no entry.
 */
import { assert } from "./assert.ts";

export class AgedMap<K, V> {
  readonly #entries = new Map<K, V>();
  readonly #oldest: Iterator<[K, V]> = this.#entries.entries();

  get size(): number {
    return this.#entries.size;
  }

  has(key: K): boolean {
    return this.#entries.has(key);
  }
  get(key: K): V | undefined {
    return this.#entries.get(key);
  }

  /** Sets an entry and makes it the newest. */
  set(key: K, value: V): void {
    this.#entries.delete(key);
    this.#entries.set(key, value);
  }

  delete(key: K): boolean {
    return this.#entries.delete(key);
  }
  clear(): void {
    this.#entries.clear();
  }

  /** The values, from the oldest entry to the newest. */
  values(): Iterable<V> {
    return this.#entries.values();
  }

  /** Takes out the oldest entry; undefined where there is none. */
  shift(): [K, V] | undefined {
    // An iterator that has come to its end stays there.
    if (this.#entries.size === 0) return undefined;
    const { value, done } = this.#oldest.next();
    assert(done !== true, "what was set is behind the iterator");
    const [key] = value as [K, V];
    this.#entries.delete(key);
    return value as [K, V];
  }
}
