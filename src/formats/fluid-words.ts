/**
 * The mnemonic form of a FLUID (RFC 19): each 32-bit half is three words out of 1,626.
 *
 * The low half comes first; within a half the first word is the least significant digit, base 1626. Words of a half are
 * joined by one hyphen, the halves by two.
 */
import { MNEMONIC_WORDS } from "./mnemonic-words.ts";

const BASE = 1626;
const HALF_LIMIT = 2 ** 32;

/** A word list, prepared for both directions when it is first needed. */
interface Words {
  readonly words: readonly string[];
  readonly values: ReadonlyMap<string, number>;
}

let prepared: Words | null = null;

function wordList(): Words {
  if (prepared !== null) return prepared;
  const words = MNEMONIC_WORDS.trim().split(/\s+/);
  prepared = { words, values: new Map(words.map((word, value) => [word, value])) };
  return prepared;
}

export function encodeWords(value: bigint): string {
  const low = Number(value & 0xffff_ffffn);
  const high = Number(value >> 32n);
  return `${encodeHalf(low)}--${encodeHalf(high)}`;
}

/** The value of two halves of three words each; null where the text is something else. */
export function decodeWords(text: string): bigint | null {
  const words = text.toLowerCase().split(/-+/);
  if (words.length !== 6) return null;
  const low = decodeHalf(words.slice(0, 3));
  const high = decodeHalf(words.slice(3));
  return low === null || high === null ? null : (BigInt(high) << 32n) | BigInt(low);
}

function encodeHalf(half: number): string {
  const digits = [half % BASE, Math.floor(half / BASE) % BASE, Math.floor(half / (BASE * BASE))];
  const { words } = wordList();
  return digits.map((digit) => words[digit]!).join("-");
}

function decodeHalf(words: readonly string[]): number | null {
  let half = 0;
  for (const word of words.toReversed()) {
    const digit = wordList().values.get(word);
    if (digit === undefined) return null;
    half = half * BASE + digit;
  }
  return half < HALF_LIMIT ? half : null;
}
