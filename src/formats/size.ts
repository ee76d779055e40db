/** Sizes in bytes as people write them: a number, and K, M, G or T for powers of 1024. */
import { FluxError } from "../base/errors.ts";

const SUFFIXES = "KMGT";

/** Reads a size. Throws EINVAL. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?$/i.exec(text);
  if (match === null) throw new FluxError("EINVAL", `'${text}' is no size: a number, and K, M, G or T`);
  const power = match[2] === "" ? 0 : SUFFIXES.indexOf(match[2]!.toUpperCase()) + 1;
  return Math.floor(Number(match[1]) * 1024 ** power);
}

/** The shortest form with at most one decimal. */
export function formatSize(bytes: number): string {
  let value = bytes;
  let power = 0;
  while (value >= 1024 && power < SUFFIXES.length) {
    value /= 1024;
    power += 1;
  }
  const digits = Number.isInteger(value) ? String(value) : value.toFixed(1);
  return power === 0 ? digits : `${digits}${SUFFIXES[power - 1]}`;
}
