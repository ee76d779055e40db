/**
 * The blobrefs of a value that grows by appending. Versions of it share their beginning, and the text of it, so that an
 * append costs the same however long the value is.
 *
 * Invariant: what a list shows never changes; the array behind it grows only beyond the end of every list that shares it.
 */

/** References whose text is kept joined. */
const CHUNK_REFS = 256;
const SEPARATOR = '","';

export class RefList {
  readonly #refs: string[];
  /** The texts of whole chunks, as far as they have been made. */
  readonly #chunks: string[];
  readonly length: number;

  private constructor(refs: string[], chunks: string[]) {
    this.#refs = refs;
    this.#chunks = chunks;
    this.length = refs.length;
  }

  static of(refs: readonly string[]): RefList {
    return new RefList(refs.slice(), []);
  }

  /** This list with others behind it. */
  append(added: readonly string[]): RefList {
    const isNewest = this.#refs.length === this.length;
    const refs = isNewest ? this.#refs : this.#refs.slice(0, this.length);
    const chunks = isNewest ? this.#chunks : this.#chunks.slice(0, Math.floor(this.length / CHUNK_REFS));
    for (const ref of added) refs.push(ref);
    return new RefList(refs, chunks);
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
