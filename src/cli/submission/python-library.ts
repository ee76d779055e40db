/** The functions that code of `--define` may call, and the methods of texts. Pure. */
import { compare, fail, floatOf, intOf, isTrue, textOf, typeName, type Value } from "./python-values.ts";

type Function = (...values: Value[]) => Value;

function items(value: Value): readonly Value[] {
  if (typeof value === "string") return [...value];
  return Array.isArray(value) ? value : fail(`'${typeName(value)}' object is not iterable`);
}

function numeric(value: Value): bigint | number {
  if (typeof value === "bigint" || typeof value === "number") return value;
  return typeof value === "boolean" ? BigInt(value) : fail(`bad operand type: '${typeName(value)}'`);
}

function textArgument(value: Value | undefined): string {
  return typeof value === "string" ? value : fail(`a text is needed, not '${typeName(value ?? null)}'`);
}

function extreme(operator: string, values: readonly Value[]): Value {
  const all = values.length === 1 ? items(values[0]!) : values;
  if (all.length === 0) fail("an empty list has no smallest or largest item");
  return all.reduce((best, each) => (compare(operator, each, best) ? each : best));
}

function round(value: Value, digits: Value = null): Value {
  const number = numeric(value);
  if (typeof number === "bigint") return number;
  const places = digits === null ? 0 : Number(intOf(digits));
  const scaled = number * 10 ** places;
  const near = Math.round(scaled);
  // Halves go to the even neighbour.
  const rounded = Math.abs(scaled % 1) === 0.5 && near % 2 !== 0 ? near - 1 : near;
  return digits === null ? BigInt(rounded) : rounded / 10 ** places;
}

function inBase(value: Value, base: number, prefix: string): string {
  const number = intOf(value);
  return `${number < 0n ? "-" : ""}${prefix}${(number < 0n ? -number : number).toString(base)}`;
}

export const FUNCTIONS: ReadonlyMap<string, Function> = new Map<string, Function>([
  ["int", (value = 0n, base = 10n) => intOf(value, base)],
  ["float", (value = 0) => floatOf(value)],
  ["str", (value = "") => textOf(value)],
  ["bool", (value = false) => isTrue(value)],
  ["len", (value = null) => BigInt(items(value).length)],
  [
    "abs",
    (value = null) => {
      const number = numeric(value);
      return number < 0 ? -number : number;
    },
  ],
  ["round", (value = null, digits = null) => round(value, digits)],
  ["min", (...values) => extreme("<", values)],
  ["max", (...values) => extreme(">", values)],
  ["list", (value = []) => items(value)],
  ["sorted", (value = []) => [...items(value)].sort((a, b) => (compare("<", a, b) ? -1 : 1))],
  ["reversed", (value = []) => [...items(value)].reverse()],
  ["ord", (value = null) => BigInt(textArgument(value).codePointAt(0) ?? fail("ord() expected a character"))],
  ["chr", (value = null) => String.fromCodePoint(Number(intOf(value)))],
  ["hex", (value = null) => inBase(value, 16, "0x")],
  ["oct", (value = null) => inBase(value, 8, "0o")],
  ["bin", (value = null) => inBase(value, 2, "0b")],
]);

type Method = (text: string, ...values: Value[]) => Value;

function strip(text: string, which: Value | undefined, left: boolean, right: boolean): string {
  const isStripped = (char: string): boolean =>
    which === undefined || which === null ? /\s/.test(char) : textArgument(which).includes(char);
  const chars = [...text];
  const from = left ? chars.findIndex((char) => !isStripped(char)) : 0;
  const to = right ? chars.findLastIndex((char) => !isStripped(char)) + 1 : chars.length;
  return from < 0 ? "" : chars.slice(from, to).join("");
}

function split(text: string, separator: Value, limit: Value): Value {
  const most = limit === null ? -1 : Number(intOf(limit));
  const parts =
    separator === null
      ? strip(text, null, true, true)
          .split(/\s+/)
          .filter((part) => part !== "")
      : text.split(textArgument(separator) || fail("empty separator"));
  if (most < 0 || parts.length <= most + 1) return parts;
  const glue = separator === null ? " " : textArgument(separator);
  return [...parts.slice(0, most), parts.slice(most).join(glue)];
}

function rsplit(text: string, separator: Value, limit: Value): Value {
  const parts = split(text, separator, null) as readonly string[];
  const most = limit === null ? -1 : Number(intOf(limit));
  if (most < 0 || parts.length <= most + 1) return parts;
  const glue = separator === null ? " " : textArgument(separator);
  return [parts.slice(0, parts.length - most).join(glue), ...parts.slice(parts.length - most)];
}

function padded(
  text: string,
  width: Value | undefined,
  fill: Value | undefined,
  side: "left" | "right" | "both",
): string {
  const size = Number(intOf(width ?? 0n));
  if (size > 1 << 16) fail("the text becomes too long");
  const char = fill === undefined ? " " : textArgument(fill);
  const missing = Math.max(0, size - text.length);
  const before = side === "left" ? missing : side === "right" ? 0 : Math.floor(missing / 2);
  return char.repeat(before) + text + char.repeat(missing - before);
}

function partition(text: string, separator: string, at: number, whole: "first" | "last"): Value {
  if (at >= 0) return [text.slice(0, at), separator, text.slice(at + separator.length)];
  return whole === "first" ? [text, "", ""] : ["", "", text];
}

function anyOf(value: Value | undefined, test: (part: string) => boolean): boolean {
  return Array.isArray(value) ? value.some((part: Value) => test(textArgument(part))) : test(textArgument(value));
}

export const METHODS: ReadonlyMap<string, Method> = new Map<string, Method>([
  ["upper", (text) => text.toUpperCase()],
  ["lower", (text) => text.toLowerCase()],
  ["title", (text) => text.toLowerCase().replace(/\p{L}+/gu, (word) => word[0]!.toUpperCase() + word.slice(1))],
  ["capitalize", (text) => text.slice(0, 1).toUpperCase() + text.slice(1).toLowerCase()],
  ["swapcase", (text) => text.replace(/\p{L}/gu, (c) => (c === c.toUpperCase() ? c.toLowerCase() : c.toUpperCase()))],
  ["strip", (text, which) => strip(text, which, true, true)],
  ["lstrip", (text, which) => strip(text, which, true, false)],
  ["rstrip", (text, which) => strip(text, which, false, true)],
  ["replace", (text, from, to) => text.replaceAll(textArgument(from), () => textArgument(to))],
  [
    "removeprefix",
    (text, part) => (text.startsWith(textArgument(part)) ? text.slice(textArgument(part).length) : text),
  ],
  [
    "removesuffix",
    (text, part) =>
      part !== "" && text.endsWith(textArgument(part)) ? text.slice(0, -textArgument(part).length) : text,
  ],
  ["split", (text, separator = null, limit = null) => split(text, separator, limit)],
  ["rsplit", (text, separator = null, limit = null) => rsplit(text, separator, limit)],
  ["splitlines", (text) => text.replace(/\r?\n$/, "").split(/\r?\n/)],
  ["partition", (text, part) => partition(text, textArgument(part), text.indexOf(textArgument(part)), "first")],
  ["rpartition", (text, part) => partition(text, textArgument(part), text.lastIndexOf(textArgument(part)), "last")],
  ["join", (text, parts = []) => items(parts).map(textArgument).join(text)],
  ["startswith", (text, part) => anyOf(part, (each) => text.startsWith(each))],
  ["endswith", (text, part) => anyOf(part, (each) => text.endsWith(each))],
  ["find", (text, part) => BigInt(text.indexOf(textArgument(part)))],
  ["rfind", (text, part) => BigInt(text.lastIndexOf(textArgument(part)))],
  ["count", (text, part) => BigInt(text.split(textArgument(part)).length - 1)],
  [
    "zfill",
    (text, width) =>
      text.replace(
        /^([+-]?)(.*)$/s,
        (_, sign: string, rest: string) => sign + padded(rest, intOf(width ?? 0n) - BigInt(sign.length), "0", "left"),
      ),
  ],
  ["ljust", (text, width, fill) => padded(text, width, fill, "right")],
  ["rjust", (text, width, fill) => padded(text, width, fill, "left")],
  ["center", (text, width, fill) => padded(text, width, fill, "both")],
  ["isdigit", (text) => /^\d+$/.test(text)],
  ["isnumeric", (text) => /^\p{N}+$/u.test(text)],
  ["isalpha", (text) => /^\p{L}+$/u.test(text)],
  ["isalnum", (text) => /^[\p{L}\p{N}]+$/u.test(text)],
  ["isupper", (text) => text !== text.toLowerCase() && text === text.toUpperCase()],
  ["islower", (text) => text !== text.toUpperCase() && text === text.toLowerCase()],
]);
