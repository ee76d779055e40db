/**
 * Sets of non-negative integers and their compact text (RFC 22): ranks, cores, task ids.
 *
 * Kept as sorted ranges, so that the cost follows the number of gaps, not the number of ids: `0-999999` is two numbers.
 *
 * Invariants: ranges ascend, are not empty, and do not touch (there is a gap between neighbours); `count` is the number of
 * ids in them; ids are at most ID_MAX.
 */
import { FluxError } from "../base/errors.ts";

/** The largest id. */
const ID_MAX: number = 2 ** 31 - 2;

export interface IdsetFormat {
  /** Put brackets around a text of several ids. Off unless given. */
  readonly brackets?: boolean;
  /** Write neighbours as `1-3`. On unless given. */
  readonly ranges?: boolean;
}

export class Idset implements Iterable<number> {
  /** First and last ids of the ranges, in turn. */
  #bounds: number[] = [];
  #count = 0;

  /** A set of the given ids, in any order, repeated or not. */
  static of(...ids: readonly number[]): Idset {
    return Idset.from(ids);
  }

  static from(ids: Iterable<number>): Idset {
    const set = new Idset();
    for (const id of ids) set.add(id);
    return set;
  }

  /** All ids from `first` to `last`, both included; the empty set where last < first. */
  static range(first: number, last: number): Idset {
    const set = new Idset();
    if (first <= last) set.addRange(first, last);
    return set;
  }

  /** The ids 0 … count-1. */
  static upTo(count: number): Idset {
    return Idset.range(0, count - 1);
  }

  /**
   * Reads an idset: ids ascend and none is repeated; brackets around the whole are ignored, and so is what is empty between
   * commas; the empty text is the empty set.
   * Throws FluxError EINVAL with what is wrong.
   */
  static parse(text: string): Idset {
    const set = new Idset();
    const hasBrackets = text.startsWith("[") && text.endsWith("]") && text.length > 1;
    const body = hasBrackets ? text.slice(1, -1) : text;
    if (body === "") return set;
    for (const item of body.split(",")) {
      if (item === "") continue;
      const match = /^(0|[1-9]\d*)(?:-(0|[1-9]\d*))?$/.exec(item);
      if (match === null) throw new FluxError("EINVAL", `error parsing idset '${text}': ${itemComplaint(item)}`);
      const first = Number(match[1]);
      const last = match[2] === undefined ? first : Number(match[2]);
      if (last < first) throw new FluxError("EINVAL", `error parsing idset '${text}': range '${item}' is out of order`);
      if (set.last !== undefined && first <= set.last) {
        throw new FluxError("EINVAL", `error parsing idset '${text}': '${item}' is out of order`);
      }
      if (last > ID_MAX) throw new FluxError("EINVAL", `error parsing idset '${text}': ${last} is too large`);
      set.addRange(first, last);
    }
    return set;
  }

  /** Reads an idset; null where the text is none. */
  static tryParse(text: string): Idset | null {
    try {
      return Idset.parse(text);
    } catch (error) {
      if (error instanceof FluxError) return null;
      throw error;
    }
  }

  copy(): Idset {
    const set = new Idset();
    set.#bounds = this.#bounds.slice();
    set.#count = this.#count;
    return set;
  }

  get count(): number {
    return this.#count;
  }

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  /** The smallest id; undefined in the empty set. */
  get first(): number | undefined {
    return this.#bounds[0];
  }

  /** The largest id; undefined in the empty set. */
  get last(): number | undefined {
    return this.#bounds.at(-1);
  }

  has(id: number): boolean {
    const range = this.#rangeEndingAtOrAfter(id);
    return range < this.#bounds.length && this.#bounds[range]! <= id;
  }

  /** Adds an id; returns whether it was new. Throws FluxError EINVAL where it is not an integer in 0 … ID_MAX. */
  add(id: number): boolean {
    const before = this.#count;
    this.addRange(id, id);
    return this.#count > before;
  }

  /** Adds all ids from `first` to `last`, both included. */
  addRange(first: number, last: number): void {
    checkId(first);
    checkId(last);
    if (last < first) return;
    // Every range that overlaps or touches the new one melts into it.
    const start = this.#rangeEndingAtOrAfter(first - 1);
    let end = start;
    let mergedFirst = first;
    let mergedLast = last;
    while (end < this.#bounds.length && this.#bounds[end]! <= last + 1) {
      mergedFirst = Math.min(mergedFirst, this.#bounds[end]!);
      mergedLast = Math.max(mergedLast, this.#bounds[end + 1]!);
      this.#count -= this.#bounds[end + 1]! - this.#bounds[end]! + 1;
      end += 2;
    }
    this.#count += mergedLast - mergedFirst + 1;
    if (end === start + 2) {
      this.#bounds[start] = mergedFirst;
      this.#bounds[start + 1] = mergedLast;
    } else {
      this.#bounds.splice(start, end - start, mergedFirst, mergedLast);
    }
  }

  /** Removes all ids from `first` to `last`, both included. */
  removeRange(first: number, last: number): void {
    if (last < first) return;
    const start = this.#rangeEndingAtOrAfter(first);
    let end = start;
    const kept: number[] = [];
    while (end < this.#bounds.length && this.#bounds[end]! <= last) {
      const [rangeFirst, rangeLast] = [this.#bounds[end]!, this.#bounds[end + 1]!];
      this.#count -= Math.min(rangeLast, last) - Math.max(rangeFirst, first) + 1;
      if (rangeFirst < first) kept.push(rangeFirst, first - 1);
      if (rangeLast > last) kept.push(last + 1, rangeLast);
      end += 2;
    }
    if (end > start) this.#bounds.splice(start, end - start, ...kept);
  }

  clear(): void {
    this.#bounds = [];
    this.#count = 0;
  }

  /** Adds all ids of another set to this one. */
  addAll(other: Idset): void {
    if (this.#count === 0) {
      this.#bounds = other.#bounds.slice();
      this.#count = other.#count;
      return;
    }
    for (const [first, last] of other.ranges()) this.addRange(first, last);
  }

  /** Removes all ids of another set from this one. */
  removeAll(other: Idset): void {
    if (other === this) return this.clear();
    for (const [first, last] of other.ranges()) this.removeRange(first, last);
  }

  union(other: Idset): Idset {
    const set = this.copy();
    set.addAll(other);
    return set;
  }

  subtract(other: Idset): Idset {
    const set = this.copy();
    set.removeAll(other);
    return set;
  }

  intersect(other: Idset): Idset {
    const set = new Idset();
    const [left, right] = [this.#bounds, other.#bounds];
    let leftAt = 0;
    let rightAt = 0;
    while (leftAt < left.length && rightAt < right.length) {
      const first = Math.max(left[leftAt]!, right[rightAt]!);
      const last = Math.min(left[leftAt + 1]!, right[rightAt + 1]!);
      if (first <= last) {
        set.#bounds.push(first, last);
        set.#count += last - first + 1;
      }
      if (left[leftAt + 1]! < right[rightAt + 1]!) leftAt += 2;
      else rightAt += 2;
    }
    return set;
  }

  /** Whether the sets share an id. */
  overlaps(other: Idset): boolean {
    for (const [first, last] of other.ranges()) {
      const range = this.#rangeEndingAtOrAfter(first);
      if (range < this.#bounds.length && this.#bounds[range]! <= last) return true;
    }
    return false;
  }

  /** Whether every id of `other` is in this set. */
  includes(other: Idset): boolean {
    for (const [first, last] of other.ranges()) {
      const range = this.#rangeEndingAtOrAfter(first);
      if (range >= this.#bounds.length || this.#bounds[range]! > first || this.#bounds[range + 1]! < last) return false;
    }
    return true;
  }

  equals(other: Idset): boolean {
    return this.#count === other.#count && this.#bounds.every((bound, index) => bound === other.#bounds[index]);
  }

  /** The ids, ascending. The set must not be changed meanwhile. */
  *[Symbol.iterator](): Generator<number, void, undefined> {
    for (const [first, last] of this.ranges()) for (let id = first; id <= last; id++) yield id;
  }

  /** First and last id of each run of consecutive ids, ascending. */
  *ranges(): Generator<readonly [number, number], void, undefined> {
    for (let range = 0; range < this.#bounds.length; range += 2) yield [this.#bounds[range]!, this.#bounds[range + 1]!];
  }

  format(options: IdsetFormat = {}): string {
    const items: string[] = [];
    if (options.ranges === false) for (const id of this) items.push(String(id));
    else for (const [first, last] of this.ranges()) items.push(first === last ? String(first) : `${first}-${last}`);
    const text = items.join(",");
    return options.brackets === true && this.#count > 1 ? `[${text}]` : text;
  }

  /** The text with ranges and without brackets, as R and messages carry it. */
  toString(): string {
    return this.format();
  }

  toJSON(): string {
    return this.format();
  }

  /** The place in `#bounds` of the first range whose last id is at least `id`; the length where there is none. */
  #rangeEndingAtOrAfter(id: number): number {
    let low = 0;
    let high = this.#bounds.length / 2;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#bounds[middle * 2 + 1]! < id) low = middle + 1;
      else high = middle;
    }
    return low * 2;
  }
}

function checkId(id: number): void {
  if (!Number.isInteger(id) || id < 0 || id > ID_MAX) throw new FluxError("EINVAL", `${id} is not an id of an idset`);
}

function itemComplaint(item: string): string {
  if (/^\d+(-\d+)?$/.test(item)) return `'${item}' has leading zeroes`;
  return `'${item}' is not an id or a range`;
}
