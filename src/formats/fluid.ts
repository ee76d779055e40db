/**
 * FLUID, the Flux locally unique ID (RFC 19): generation, and every text form a person or a program may write it in.
 *
 * A FLUID is an unsigned 64-bit integer: 40 bits of milliseconds since an epoch, 14 bits of generator id, 10 bits of
 * sequence number. In this code it is an `Integer` in canonical form: a number up to 2^53, a bigint beyond.
 *
 * Invariants: ids of one generator strictly increase, whatever the clock does; `parseFluid(formatFluid(id, form))` is
 * `id` for every form.
 *
 * Does not know the clock: its reading is an argument.
 */
import { FluxError } from "../base/errors.ts";
import { canonicalInteger, type Integer } from "../base/json.ts";
import { EMOJI_DIGITS, EMOJI_VALUES } from "./fluid-emoji.ts";
import { decodeWords, encodeWords } from "./fluid-words.ts";

/**
 * The text forms: `f58` is `ƒ…`, `f58plain` the same with an ASCII `f`, `dec`, `hex` is `0x…`, `dothex` four groups of
 * four digits, `kvs` the KVS directory of the job, `words` the mnemonic form, `emoji` base 576.
 */
export type FluidForm = "f58" | "f58plain" | "dec" | "hex" | "dothex" | "kvs" | "words" | "emoji";

export const FLUID_FORMS: readonly FluidForm[] = ["f58", "f58plain", "dec", "hex", "dothex", "kvs", "words", "emoji"];

/** The largest FLUID. */
export const FLUID_MAX: bigint = 0xffff_ffff_ffff_ffffn;
/** The job id that means "any job" in some requests; no generator makes it. */
export const FLUID_ANY: bigint = FLUID_MAX;

const TIMESTAMP_MAX_MS = 2 ** 40 - 1;
const GENERATOR_MAX = 2 ** 14 - 1;
const SEQUENCE_MAX = 2 ** 10 - 1;
/** Up to this timestamp the whole id is below 2^53. */
const NUMBER_TIMESTAMP_MAX_MS = 2 ** 29 - 1;

const F58_DIGITS = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const F58_VALUES: ReadonlyMap<string, number> = new Map([...F58_DIGITS].map((digit, value) => [digit, value]));

export interface FluidParts {
  /** Milliseconds since the epoch of the generator. */
  readonly timestampMs: number;
  readonly generator: number;
  readonly sequence: number;
}

/** Makes an id of its three parts. Throws FluxError EOVERFLOW where a part does not fit in its bits. */
export function composeFluid(parts: FluidParts): Integer {
  const { timestampMs, generator, sequence } = parts;
  if (!fits(timestampMs, TIMESTAMP_MAX_MS) || !fits(generator, GENERATOR_MAX) || !fits(sequence, SEQUENCE_MAX)) {
    throw new FluxError("EOVERFLOW", `FLUID part out of range: ${timestampMs}, ${generator}, ${sequence}`);
  }
  const low = generator * 1024 + sequence;
  if (timestampMs <= NUMBER_TIMESTAMP_MAX_MS) return timestampMs * 2 ** 24 + low;
  return canonicalInteger((BigInt(timestampMs) << 24n) | BigInt(low));
}

export function fluidParts(id: Integer): FluidParts {
  const value = BigInt(id);
  return {
    timestampMs: Number(value >> 24n),
    generator: Number((value >> 10n) & 0x3fffn),
    sequence: Number(value & 0x3ffn),
  };
}

/**
 * Makes ids. One generator exists per rank: its generator id is the rank, modulo 2^14.
 *
 * More than 1,024 ids in one millisecond take the next millisecond in advance instead of waiting, and a clock that goes
 * back is ignored until it has caught up; so ids always increase.
 */
export class FluidGenerator {
  readonly #generator: number;
  readonly #epochMs: number;
  #timestampMs = 0;
  #sequence = -1;

  /** `epochMs` is the reading of the clock at which timestamps are 0. */
  constructor(options: { generator: number; epochMs: number }) {
    if (!fits(options.generator, GENERATOR_MAX)) {
      throw new FluxError("EINVAL", `FLUID generator id ${options.generator} is not in the range 0-${GENERATOR_MAX}`);
    }
    this.#generator = options.generator;
    this.#epochMs = options.epochMs;
  }

  /** The next id, given the reading of the clock in milliseconds. Throws FluxError EOVERFLOW after 34 years. */
  next(nowMs: number): Integer {
    const elapsedMs = Math.floor(nowMs - this.#epochMs);
    if (elapsedMs > this.#timestampMs) {
      this.#timestampMs = elapsedMs;
      this.#sequence = 0;
    } else if (this.#sequence < SEQUENCE_MAX) {
      this.#sequence += 1;
    } else {
      this.#timestampMs += 1;
      this.#sequence = 0;
    }
    return composeFluid({ timestampMs: this.#timestampMs, generator: this.#generator, sequence: this.#sequence });
  }

  /** The timestamp that an id made at `nowMs` would have, in milliseconds since the epoch. */
  timestampMs(nowMs: number): number {
    return Math.max(Math.floor(nowMs - this.#epochMs), this.#timestampMs);
  }
}

/** How ids are shown to people in an environment: terminals and files that cannot hold ƒ get a plain f. */
export function f58FormOf(env: Readonly<Record<string, string | undefined>>): "f58" | "f58plain" {
  return needsAscii(env) ? "f58plain" : "f58";
}

function needsAscii(env: Readonly<Record<string, string | undefined>>): boolean {
  if (env["FLUX_F58_FORCE_ASCII"] !== undefined) return true;
  // The plain locale C, where nobody insists on it by LC_ALL, is taken for C.UTF-8.
  if (env["LC_ALL"]) return !/utf-?8/i.test(env["LC_ALL"]);
  const locale = env["LC_CTYPE"] || env["LANG"];
  return locale !== undefined && locale !== "" && !/utf-?8/i.test(locale) && locale !== "C" && locale !== "POSIX";
}

/**
 * Writes an id in one of the text forms.
 * Throws FluxError EINVAL where `id` is not an unsigned 64-bit integer.
 */
export function formatFluid(id: Integer, form: FluidForm = "f58"): string {
  const value = checkedValue(id);
  switch (form) {
    case "f58":
      return `ƒ${formatBase(value, F58_DIGITS)}`;
    case "f58plain":
      return `f${formatBase(value, F58_DIGITS)}`;
    case "dec":
      return value.toString();
    case "hex":
      return `0x${value.toString(16)}`;
    case "dothex":
      return formatDothex(value);
    case "kvs":
      return `job.${formatDothex(value)}`;
    case "emoji":
      return formatBase(value, EMOJI_DIGITS);
    case "words":
      return encodeWords(value);
  }
}

/** The KVS directory of a job (RFC 16): `job.` and the dotted hexadecimal form. */
export function fluidKvsPath(id: Integer): string {
  return `job.${formatDothex(checkedValue(id))}`;
}

/** Reads an id in any text form, with blanks around it ignored. Throws FluxError EINVAL where the text is no FLUID. */
export function parseFluid(text: string): Integer {
  const id = tryParseFluid(text);
  if (id === null) throw new FluxError("EINVAL", `invalid jobid: ${text}`);
  return id;
}

/** Reads an id in any text form; null where the text is no FLUID. */
export function tryParseFluid(text: string): Integer | null {
  const trimmed = text.trim();
  const value = parseForm(trimmed);
  return value === null || value > FLUID_MAX ? null : canonicalInteger(value);
}

/** The order of the tests is the RFC's: it makes the forms unambiguous. */
function parseForm(text: string): bigint | null {
  if (text.includes(".")) return parseDothex(text.startsWith("job.") ? text.slice(4) : text);
  if (text.includes("-")) return decodeWords(text);
  if (text.startsWith("ƒ") || text.startsWith("f")) return parseBase(text.slice(1), 58n, F58_VALUES);
  const first = text.codePointAt(0);
  // A first byte 0xf0 and a second 0x9f: the code points from U+1F000 to U+1FFFF.
  if (first !== undefined && first >= 0x1f000 && first <= 0x1ffff) return parseBase(text, 576n, EMOJI_VALUES);
  if (/^0x[0-9a-f]+$/i.test(text)) return BigInt(text.toLowerCase());
  return /^\d+$/.test(text) ? BigInt(text) : null;
}

function checkedValue(id: Integer): bigint {
  if (typeof id === "number" && !Number.isSafeInteger(id)) throw new FluxError("EINVAL", `${id} is not a FLUID`);
  const value = BigInt(id);
  if (value < 0n || value > FLUID_MAX) throw new FluxError("EINVAL", `${value} is not a FLUID`);
  return value;
}

function formatBase(value: bigint, digits: string | readonly string[]): string {
  const base = BigInt(digits.length);
  let rest = value;
  let text = "";
  // Most ids are below 2^53, where number arithmetic is several times as fast.
  while (rest > 0x1f_ffff_ffff_ffffn) {
    text = digits[Number(rest % base)]! + text;
    rest /= base;
  }
  let small = Number(rest);
  if (small === 0 && text === "") return digits[0]!;
  while (small > 0) {
    text = digits[small % digits.length]! + text;
    small = Math.floor(small / digits.length);
  }
  return text;
}

function parseBase(text: string, base: bigint, values: ReadonlyMap<string, number>): bigint | null {
  if (text === "") return null;
  let value = 0n;
  for (const digit of text) {
    const digitValue = values.get(digit);
    if (digitValue === undefined || value > FLUID_MAX) return null;
    value = value * base + BigInt(digitValue);
  }
  return value;
}

function formatDothex(value: bigint): string {
  const hex = value.toString(16).padStart(16, "0");
  return `${hex.slice(0, 4)}.${hex.slice(4, 8)}.${hex.slice(8, 12)}.${hex.slice(12)}`;
}

function parseDothex(text: string): bigint | null {
  if (!/^[0-9a-f]{1,4}(\.[0-9a-f]{1,4}){3}$/i.test(text)) return null;
  const groups = text.split(".").map((group) => group.padStart(4, "0"));
  return BigInt(`0x${groups.join("")}`);
}

function fits(value: number, max: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= max;
}
