/**
 * A set of small integers as bits: the free cores of a node, the nodes that still have something to give.
 *
 * Invariant: `count` is the number of bits set. Ids beyond the size given at construction are refused by an assertion.
 */
import { assert } from "../../base/assert.ts";

export class Bits {
  readonly #words: Uint32Array;
  readonly #size: number;
  #count = 0;

  /** The empty set of ids below `size`. */
  constructor(size: number) {
    this.#size = size;
    this.#words = new Uint32Array((size + 31) >>> 5);
  }

  static of(size: number, ids: Iterable<number>): Bits {
    const bits = new Bits(size);
    for (const id of ids) bits.add(id);
    return bits;
  }

  /** All ids below `size`. */
  static upTo(size: number): Bits {
    const bits = new Bits(size);
    for (let id = 0; id < size; id++) bits.add(id);
    return bits;
  }

  get count(): number {
    return this.#count;
  }

  /** One more than the largest id that fits. */
  has(id: number): boolean {
    return id < this.#size && (this.#words[id >>> 5]! & (1 << (id & 31))) !== 0;
  }

  /** Returns whether the id was not in the set. */
  add(id: number): boolean {
    assert(id >= 0 && id < this.#size, `bit ${id} of ${this.#size}`);
    if (this.has(id)) return false;
    this.#words[id >>> 5]! |= 1 << (id & 31);
    this.#count++;
    return true;
  }

  /** Returns whether the id was in the set. */
  remove(id: number): boolean {
    if (!this.has(id)) return false;
    this.#words[id >>> 5]! &= ~(1 << (id & 31));
    this.#count--;
    return true;
  }

  /** The smallest id in the set that is at least `from`; -1 where there is none. */
  next(from: number): number {
    let word = from >>> 5;
    if (from >= this.#size) return -1;
    let bits = this.#words[word]! & (-1 << (from & 31));
    while (bits === 0) {
      if (++word >= this.#words.length) return -1;
      bits = this.#words[word]!;
    }
    return (word << 5) + 31 - Math.clz32(bits & -bits);
  }

  /** The smallest id that is in both sets and at least `from`; -1 where there is none. */
  nextInBoth(other: Bits, from: number): number {
    let word = from >>> 5;
    const words = Math.min(this.#words.length, other.#words.length);
    if (word >= words) return -1;
    let bits = this.#words[word]! & other.#words[word]! & (-1 << (from & 31));
    while (bits === 0) {
      if (++word >= words) return -1;
      bits = this.#words[word]! & other.#words[word]!;
    }
    return (word << 5) + 31 - Math.clz32(bits & -bits);
  }

  /** The ids that are not in the other set. */
  without(other: Bits): Bits {
    const rest = new Bits(this.#size);
    for (let id = this.next(0); id >= 0; id = this.next(id + 1)) if (!other.has(id)) rest.add(id);
    return rest;
  }

  /** Adds all ids of a set of the same size. */
  addAll(other: Bits): void {
    for (let id = other.next(0); id >= 0; id = other.next(id + 1)) this.add(id);
  }

  /** Whether the sets have an id in common. */
  intersects(other: Bits): boolean {
    return this.nextInBoth(other, 0) >= 0;
  }

  /** The `count` smallest ids, ascending. */
  lowest(count: number): number[] {
    const ids: number[] = [];
    for (let id = this.next(0); id >= 0 && ids.length < count; id = this.next(id + 1)) ids.push(id);
    return ids;
  }

  *[Symbol.iterator](): Generator<number, void, undefined> {
    for (let id = this.next(0); id >= 0; id = this.next(id + 1)) yield id;
  }
}
