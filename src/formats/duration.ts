/**
 * Flux Standard Duration (RFC 23): `N[SUFFIX]`, seconds unless a suffix says otherwise; and the renderings of durations
 * that commands print.
 *
 * A duration is a number of seconds, never negative, possibly Infinity.
 */
import { FluxError } from "../base/errors.ts";

const MULTIPLIERS: Readonly<Record<string, number>> = { "": 1, ms: 1e-3, s: 1, m: 60, h: 3600, d: 86400 };

const DECIMAL = /^\+?((?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)(ms|s|m|h|d)?$/;
const HEXADECIMAL = /^\+?0x([0-9a-f]*)(?:\.([0-9a-f]*))?(?:p([+-]?\d+))?(ms|s|m|h|d)?$/;
const INFINITE = /^\+?inf(inity)?$/i;

/** Reads a duration in seconds. Throws FluxError EINVAL where the text is none. */
export function parseFsd(text: string): number {
  const seconds = tryParseFsd(text);
  if (seconds === null) throw new FluxError("EINVAL", `invalid Flux standard duration '${text}'`);
  return seconds;
}

/** Reads a duration in seconds; null where the text is none. */
export function tryParseFsd(text: string): number | null {
  if (INFINITE.test(text)) return Infinity;
  // The exponent may be marked in upper case; the suffix may not be.
  const match = DECIMAL.exec(text.replace("E", "e"));
  if (match !== null) return Number(match[1]) * MULTIPLIERS[match[2] ?? ""]!;
  return parseHexadecimal(text);
}

/** The hexadecimal numbers of C's strtod(3). A final `d` is a digit there, unless an exponent stands before it. */
function parseHexadecimal(text: string): number | null {
  const match = HEXADECIMAL.exec(text.replace("0X", "0x").replace("P", "p"));
  if (match === null) return null;
  const [, whole = "", fraction = "", exponent = "0", suffix = ""] = match;
  if (whole + fraction === "") return null;
  const mantissa = Number.parseInt(`${whole}${fraction}`, 16);
  return mantissa * 2 ** (Number(exponent) - 4 * fraction.length) * MULTIPLIERS[suffix]!;
}

/**
 * Renders a duration in the unit that suits its size, with `digits` significant digits: `38.6ms`, `2.65475s`, `12.7273h`.
 * `flux uptime` prints two digits, logs and `flux overlay status` six.
 */
export function formatDuration(seconds: number, digits = 6): string {
  if (seconds === Infinity) return "infinity";
  const [divisor, suffix] = unitOf(seconds);
  return significant(seconds / divisor, digits) + suffix;
}

/** Renders a duration with two digits, as refusals of jobs do; a short one in milliseconds: `90ms`, `1.7m`. */
export function formatRoughly(seconds: number): string {
  if (seconds > 0 && seconds < 0.1) return `${significant(seconds * 1000, 2)}ms`;
  return formatDuration(seconds, 2);
}

/**
 * Renders a duration as `flux jobs` does: three decimals below ten seconds, four significant digits above, and nothing
 * finer than a millisecond: `1.234s`, `10.68s`, `1.033m`.
 */
export function formatFsd(seconds: number): string {
  if (seconds === Infinity) return "infinity";
  if (seconds < 1e-3) return "0s";
  if (seconds < 10) return `${seconds.toFixed(3)}s`;
  return formatDuration(seconds, 4);
}

function unitOf(seconds: number): readonly [number, string] {
  if (seconds > 0 && seconds < 0.1) return [1e-3, "ms"];
  if (seconds < 60) return [1, "s"];
  if (seconds < 3600) return [60, "m"];
  if (seconds < 86400) return [3600, "h"];
  return [86400, "d"];
}

/** What printf's `%.Ng` prints. */
function significant(value: number, digits: number): string {
  if (value === 0) return "0";
  const exponential = value.toExponential(digits - 1);
  const exponent = Number(exponential.slice(exponential.indexOf("e") + 1));
  if (exponent >= -4 && exponent < digits) {
    const fixed = value.toFixed(Math.max(0, digits - 1 - exponent));
    return fixed.includes(".") ? fixed.replace(/\.?0+$/, "") : fixed;
  }
  const mantissa = exponential.slice(0, exponential.indexOf("e")).replace(/\.?0+$/, "");
  const sign = exponent < 0 ? "-" : "+";
  return `${mantissa}e${sign}${String(Math.abs(exponent)).padStart(2, "0")}`;
}
