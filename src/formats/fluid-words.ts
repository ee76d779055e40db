/**
 * The mnemonic form of a FLUID (RFC 19): each 32-bit half is three words out of 1,626.
 *
 * The low half comes first; within a half the first word is the least significant digit, base 1626. Words of a half are
 * joined by one hyphen, the halves by two.
 *
 * Does not know the words: the list is the mnemonicode project's, and whoever has it passes it in.
 */

const BASE = 1626;
const HALF_LIMIT = 2 ** 32;

/** A word list, prepared for both directions. */
export interface MnemonicWords {
  readonly words: readonly string[];
  readonly values: ReadonlyMap<string, number>;
}

/** Prepares a word list; null where it does not have 1,626 different words. Words after those are ignored. */
export function mnemonicWords(words: readonly string[]): MnemonicWords | null {
  const used = words.slice(0, BASE);
  const values = new Map(used.map((word, value) => [word.toLowerCase(), value]));
  return values.size === BASE ? { words: used, values } : null;
}

export function encodeWords(value: bigint, list: MnemonicWords): string {
  const low = Number(value & 0xffff_ffffn);
  const high = Number(value >> 32n);
  return `${encodeHalf(low, list)}--${encodeHalf(high, list)}`;
}

/** The value of two halves of three words each; null where the text is something else. */
export function decodeWords(text: string, list: MnemonicWords): bigint | null {
  const words = text.toLowerCase().split(/-+/);
  if (words.length !== 6) return null;
  const low = decodeHalf(words.slice(0, 3), list);
  const high = decodeHalf(words.slice(3), list);
  return low === null || high === null ? null : (BigInt(high) << 32n) | BigInt(low);
}

function encodeHalf(half: number, list: MnemonicWords): string {
  const digits = [half % BASE, Math.floor(half / BASE) % BASE, Math.floor(half / (BASE * BASE))];
  return digits.map((digit) => list.words[digit]!).join("-");
}

function decodeHalf(words: readonly string[], list: MnemonicWords): number | null {
  let half = 0;
  for (const word of words.toReversed()) {
    const digit = list.values.get(word);
    if (digit === undefined) return null;
    half = half * BASE + digit;
  }
  return half < HALF_LIMIT ? half : null;
}
