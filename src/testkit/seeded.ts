/**
 * A seeded generator: everything that is random in a simulation comes from one, forked by name so that a change in one
 * place does not shift the dice of another. xoshiro128** over a hash of the seed.
 */

export class Seeded {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  constructor(seed: string | number) {
    const words = seedWords(String(seed));
    [this.#a, this.#b, this.#c, this.#d] = words;
  }

  /** A generator of its own, determined by this one's seed state and the name. */
  fork(name: string): Seeded {
    return new Seeded(`${this.uint32()}:${name}`);
  }

  uint32(): number {
    const product = Math.imul(this.#b, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = (this.#d << 11) | (this.#d >>> 21);
    return result;
  }

  /** Uniform in [0, 1). */
  fraction(): number {
    return this.uint32() / 0x1_0000_0000;
  }

  /** An integer in [0, bound). */
  below(bound: number): number {
    return Math.floor(this.fraction() * bound);
  }

  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  chance(probability: number): boolean {
    return this.fraction() < probability;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }

  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let index = 0; index < length; index++) bytes[index] = this.uint32() >>> 24;
    return bytes;
  }
}

function seedWords(text: string): [number, number, number, number] {
  const words: number[] = [];
  let state = 0x811c9dc5;
  for (let round = 0; round < 4; round++) {
    for (let index = 0; index < text.length; index++) state = Math.imul(state ^ text.charCodeAt(index), 0x01000193);
    state = Math.imul(state ^ (state >>> 15) ^ round, 0x2c1b3c6d);
    words.push((state ^ (state >>> 12)) | 1);
  }
  return words as [number, number, number, number];
}
