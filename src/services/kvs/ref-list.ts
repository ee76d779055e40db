/**
 * The blobrefs of a value that grows by appending. Versions of it share their beginning, and the text of it, so that an
 * append costs the same however long the value is. Small blobs are merged into larger ones when many have gathered, so that
 * the list stays short: whoever hashes it, sends it or reads the value has less to do.
 *
 * Invariants:
 * 1. What a list shows never changes; the array behind it grows only beyond the end of every list that shares it.
 * 2. What has been merged to MERGED_BYTES_MAX, and what is large or of unknown size, is not merged again.
 */

/** References whose text is kept joined. */
const CHUNK_REFS = 256;
const SEPARATOR = '","';

/** Small blobs are merged when this many have gathered … */
export const LOOSE_REFS_MAX = 256;
/** … a blob is small below this length, in bytes … */
const SMALL_BYTES: number = 32 * 1024;
/** … into blobs of at most this length … */
export const MERGED_BYTES_MAX: number = 128 * 1024;
/** … and so many bytes at once. */
const MERGE_TURN_BYTES: number = 1024 * 1024;

/** Which blobs of a list become one: from a place on, so many each; what stays as it is counts one. */
export interface Merge {
  readonly start: number;
  readonly counts: readonly number[];
}

/** Which blobs of a key's value become one. */
export interface KeyMerge extends Merge {
  readonly key: string;
}

export class RefList {
  readonly #refs: string[];
  /** Lengths of the blobs in bytes; Infinity where they are not known. */
  readonly #sizes: number[];
  /** The texts of whole chunks, as far as they have been made. */
  readonly #chunks: string[];
  /** What stands before this place is not merged (again). */
  readonly #settled: number;
  readonly length: number;

  private constructor(refs: string[], sizes: number[], chunks: string[], settled: number) {
    this.#refs = refs;
    this.#sizes = sizes;
    this.#chunks = chunks;
    this.#settled = settled;
    this.length = refs.length;
  }

  /** `sizes`: the lengths of the blobs, where they are known. Where they are not, the blobs stay as they are. */
  static of(refs: readonly string[], sizes?: readonly number[]): RefList {
    const known = sizes?.slice() ?? refs.map(() => Infinity);
    return new RefList(refs.slice(), known, [], sizes === undefined ? refs.length : 0);
  }

  /** This list with others behind it. */
  append(added: readonly string[], sizes?: readonly number[]): RefList {
    const isNewest = this.#refs.length === this.length;
    const refs = isNewest ? this.#refs : this.#refs.slice(0, this.length);
    const lengths = isNewest ? this.#sizes : this.#sizes.slice(0, this.length);
    const chunks = isNewest ? this.#chunks : this.#chunks.slice(0, Math.floor(this.length / CHUNK_REFS));
    for (const [position, ref] of added.entries()) {
      refs.push(ref);
      lengths.push(sizes?.[position] ?? Infinity);
    }
    return new RefList(refs, lengths, chunks, this.#settled);
  }

  /** Whether so many small blobs have gathered that they should be merged. */
  get isLoose(): boolean {
    return this.length - this.#settled > LOOSE_REFS_MAX;
  }

  /** What to merge now. */
  plan(): Merge {
    const counts: number[] = [];
    let groupBytes = Infinity;
    let totalBytes = 0;
    for (let index = this.#settled; index < this.length && totalBytes < MERGE_TURN_BYTES; index++) {
      const size = this.#sizes[index]!;
      if (size < SMALL_BYTES && groupBytes + size <= MERGED_BYTES_MAX) {
        counts[counts.length - 1]! += 1;
        groupBytes += size;
      } else {
        counts.push(1);
        groupBytes = size;
      }
      if (size < SMALL_BYTES) totalBytes += size;
    }
    return { start: this.#settled, counts };
  }

  slice(start: number, count: number): string[] {
    return this.#refs.slice(start, Math.min(this.length, start + count));
  }

  /** This list after a merge. `blobs`: the references of the blobs it makes, and their lengths; null where one stays. */
  merged({ start, counts }: Merge, blobs: readonly ({ ref: string; size: number } | null)[]): RefList {
    const refs = this.#refs.slice(0, start);
    const sizes = this.#sizes.slice(0, start);
    let position = start;
    for (const [group, count] of counts.entries()) {
      refs.push(blobs[group]?.ref ?? this.#refs[position]!);
      sizes.push(blobs[group]?.size ?? this.#sizes[position]!);
      position += count;
    }
    // The last one has room for more, unless it is large.
    const isOpen = sizes.at(-1)! < MERGED_BYTES_MAX / 2;
    const settled = Math.max(start, refs.length - (isOpen ? 1 : 0));
    for (; position < this.length; position++) {
      refs.push(this.#refs[position]!);
      sizes.push(this.#sizes[position]!);
    }
    return new RefList(refs, sizes, this.#chunks.slice(0, Math.floor(start / CHUNK_REFS)), settled);
  }

  toArray(): string[] {
    return this.#refs.slice(0, this.length);
  }

  *[Symbol.iterator](): Generator<string> {
    for (let index = 0; index < this.length; index++) yield this.#refs[index]!;
  }

  /** The references as JSON has them, but for the outer quotes. */
  get text(): string {
    const whole = Math.floor(this.length / CHUNK_REFS);
    while (this.#chunks.length < whole) {
      const start = this.#chunks.length * CHUNK_REFS;
      this.#chunks.push(this.#refs.slice(start, start + CHUNK_REFS).join(SEPARATOR));
    }
    const parts = this.#chunks.slice(0, whole);
    for (let index = whole * CHUNK_REFS; index < this.length; index++) parts.push(this.#refs[index]!);
    return parts.join(SEPARATOR);
  }
}
