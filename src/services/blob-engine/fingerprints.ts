/**
 * A set of digests, kept as their first 95 bits: twelve bytes each, whatever their number. A bit of salt tells two kinds
 * of members apart.
 *
 * Invariant: a digest that was added is found. One that was not may be found, too, with a chance of one in 2^95 for each
 * member; since the question is what may be removed, that errs on the safe side.
 */

const WORDS = 3;
const CAPACITY_MIN = 64;
/** Of every hundred places at most so many are taken. */
const LOAD_PERCENT_MAX = 60;
const REMOVED = 0xffffffff;

export type Salt = 0 | 1;

export class Fingerprints {
  #words: Uint32Array = new Uint32Array(CAPACITY_MIN * WORDS);
  #mask: number = CAPACITY_MIN - 1;
  #size = 0;
  /** Places that are taken, by members and by marks of removed ones. */
  #taken = 0;
  readonly #key: Uint32Array = new Uint32Array(WORDS);

  get size(): number {
    return this.#size;
  }
  get bytes(): number {
    return this.#words.byteLength;
  }

  /** Returns whether it is new. */
  add(digest: Uint8Array, salt: Salt = 0): boolean {
    this.#setKey(digest, salt);
    if (this.#find() >= 0) return false;
    if ((this.#taken + 1) * 100 > (this.#mask + 1) * LOAD_PERCENT_MAX) this.#rebuild();
    this.#insert();
    this.#size += 1;
    this.#taken += 1;
    return true;
  }

  has(digest: Uint8Array, salt: Salt = 0): boolean {
    if (this.#size === 0) return false;
    this.#setKey(digest, salt);
    return this.#find() >= 0;
  }

  /** Returns whether it was there. */
  delete(digest: Uint8Array, salt: Salt = 0): boolean {
    if (this.#size === 0) return false;
    this.#setKey(digest, salt);
    const at = this.#find();
    if (at < 0) return false;
    this.#words.fill(REMOVED, at, at + WORDS);
    this.#size -= 1;
    return true;
  }

  clear(): void {
    this.#words = new Uint32Array(CAPACITY_MIN * WORDS);
    this.#mask = CAPACITY_MIN - 1;
    this.#size = 0;
    this.#taken = 0;
  }

  #setKey(digest: Uint8Array, salt: Salt): void {
    for (let word = 0, at = 0; word < WORDS; word++, at += 4)
      this.#key[word] = (digest[at]! << 24) | (digest[at + 1]! << 16) | (digest[at + 2]! << 8) | digest[at + 3]!;
    this.#key[2] = (this.#key[2]! & ~1) | salt;
    // Two keys have a meaning of their own: no member may look like them.
    const isEmpty = (this.#key[0]! | this.#key[1]! | this.#key[2]!) === 0;
    if (isEmpty || this.#key[0] === REMOVED) this.#key[0] = 1;
  }

  /** Where the key is, or -1. */
  #find(): number {
    const words = this.#words;
    const [first, second, third] = this.#key as unknown as [number, number, number];
    for (let place = (first ^ second) & this.#mask; ; place = (place + 1) & this.#mask) {
      const at = place * WORDS;
      const word = words[at]!;
      if (word === first && words[at + 1] === second && words[at + 2] === third) return at;
      if (word === 0 && words[at + 1] === 0 && words[at + 2] === 0) return -1;
    }
  }

  #insert(): void {
    const words = this.#words;
    let place = (this.#key[0]! ^ this.#key[1]!) & this.#mask;
    for (;;) {
      const at = place * WORDS;
      if (words[at] === 0 && words[at + 1] === 0 && words[at + 2] === 0) return words.set(this.#key, at);
      place = (place + 1) & this.#mask;
    }
  }

  #rebuild(): void {
    const old = this.#words;
    const added = this.#key.slice();
    let capacity = CAPACITY_MIN;
    while ((this.#size + 1) * 2 * 100 > capacity * LOAD_PERCENT_MAX) capacity *= 2;
    this.#words = new Uint32Array(capacity * WORDS);
    this.#mask = capacity - 1;
    this.#taken = this.#size;
    for (let at = 0; at < old.length; at += WORDS) {
      const isEmpty = (old[at]! | old[at + 1]! | old[at + 2]!) === 0;
      if (isEmpty || old[at] === REMOVED) continue;
      this.#key.set(old.subarray(at, at + WORDS));
      this.#insert();
    }
    this.#key.set(added);
  }
}
