/**
 * A map from which the entry that was set first can be taken at a constant cost. With a plain Map and a new iterator each
 * time that costs as much as there are entries: the places of those that went before are passed one by one.
 *
 * Invariant: the standing iterator is behind every place that is empty for good, and before every entry.
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

  /** Sets an entry, which is the newest then. */
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
