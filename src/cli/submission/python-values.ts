/**
 * Values as Python has them, as far as `--define` needs them: an int is a bigint, a float a number; and what its built-in
 * functions and the methods of its texts make of them. Pure.
 */
import { FluxError } from "../../base/errors.ts";

export type Value = bigint | number | string | boolean | null | readonly Value[];

/** A power or a shift by more would fill the memory. */
const BITS_MAX = 1 << 20;
const TEXT_MAX = 1 << 26;

export function fail(text: string): never {
  throw new FluxError("EINVAL", text);
}

export function typeName(value: Value): string {
  if (value === null) return "NoneType";
  if (Array.isArray(value)) return "list";
  return { bigint: "int", number: "float", string: "str", boolean: "bool" }[typeof value as "bigint"];
}

export function isTrue(value: Value): boolean {
  if (value === null) return false;
  return Array.isArray(value) ? value.length > 0 : Boolean(value);
}

/** What `str` makes of a value. */
export function textOf(value: Value): string {
  if (typeof value === "string") return value;
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "number") return floatText(value);
  return Array.isArray(value) ? `[${value.map(reprOf).join(", ")}]` : String(value);
}

function reprOf(value: Value): string {
  return typeof value === "string" ? `'${value.replace(/[\\']/g, "\\$&")}'` : textOf(value);
}

function floatText(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
  if (Number.isInteger(value) && Math.abs(value) < 1e16) return `${value}.0`;
  return String(value).replace(/e([+-])(\d)$/, "e$10$2");
}

export function intOf(value: Value, base: Value = 10n): bigint {
  if (typeof value === "bigint") return value;
  if (typeof value === "boolean") return value ? 1n : 0n;
  if (typeof value === "number") {
    if (!Number.isFinite(value)) fail(`cannot convert float ${textOf(value)} to integer`);
    return BigInt(Math.trunc(value));
  }
  if (typeof value !== "string") return fail(`int() argument must be a string or a number, not '${typeName(value)}'`);
  const text = value.trim().replaceAll("_", "").toLowerCase();
  const prefix = { "16": "0x", "8": "0o", "2": "0b" }[String(base)] ?? "";
  const sign = text.startsWith("-") ? -1n : 1n;
  const digits = text.replace(/^[+-]/, "").replace(new RegExp(`^${prefix}`), "");
  const allowed = /^[\da-z]+$/.test(digits) && [...digits].every((digit) => Number.parseInt(digit, 36) < Number(base));
  if (!allowed) fail(`invalid literal for int() with base ${textOf(base)}: ${reprOf(value)}`);
  if (prefix !== "" || base === 10n) return sign * BigInt(prefix + digits);
  return sign * [...digits].reduce((sum, digit) => sum * (base as bigint) + BigInt(Number.parseInt(digit, 36)), 0n);
}

export function floatOf(value: Value): number {
  if (typeof value === "bigint" || typeof value === "boolean") return Number(value);
  if (typeof value === "number") return value;
  if (typeof value !== "string") return fail(`float() argument must be a string or a number, not '${typeName(value)}'`);
  const special = /^([+-]?)(inf(?:inity)?|nan)$/i.exec(value.trim());
  if (special !== null) return /nan/i.test(special[2]!) ? NaN : special[1] === "-" ? -Infinity : Infinity;
  if (!/^[+-]?(\d[\d_]*\.?[\d_]*|\.\d+)(e[+-]?\d+)?$/i.test(value.trim()))
    fail(`could not convert string to float: ${reprOf(value)}`);
  return Number(value.trim().replaceAll("_", ""));
}

function isNumber(value: Value): value is bigint | number | boolean {
  return typeof value === "bigint" || typeof value === "number" || typeof value === "boolean";
}

/** `left operator right`. Throws FluxError EINVAL as Python would raise. */
export function binary(operator: string, left: Value, right: Value): Value {
  if (operator === "+" && typeof left === "string" && typeof right === "string") return left + right;
  if (operator === "+" && Array.isArray(left) && Array.isArray(right)) return [...left, ...right];
  if (operator === "*" && typeof right === "string" && typeof left === "bigint") return repeat(right, left);
  if (operator === "*" && typeof left === "string" && typeof right === "bigint") return repeat(left, right);
  if (!isNumber(left) || !isNumber(right))
    return fail(`unsupported operand type(s) for ${operator}: '${typeName(left)}' and '${typeName(right)}'`);
  if (typeof left !== "number" && typeof right !== "number") return integers(operator, BigInt(left), BigInt(right));
  return floats(operator, Number(left), Number(right));
}

function repeat(text: string, times: bigint): string {
  if (BigInt(text.length) * times > TEXT_MAX) fail("the text becomes too long");
  return times <= 0n ? "" : text.repeat(Number(times));
}

function integers(operator: string, left: bigint, right: bigint): Value {
  if (right === 0n && /^[/%]/.test(operator)) fail("division by zero");
  const floor = (): bigint => {
    const quotient = left / right;
    return left % right !== 0n && left < 0n !== right < 0n ? quotient - 1n : quotient;
  };
  const isHuge = (bits: bigint): boolean => bits > BITS_MAX;
  switch (operator) {
    case "+":
      return left + right;
    case "-":
      return left - right;
    case "*":
      return left * right;
    case "/":
      return Number(left) / Number(right);
    case "//":
      return floor();
    case "%":
      return left - floor() * right;
    case "**":
      if (right < 0n) return Number(left) ** Number(right);
      if (isHuge(right * BigInt(left.toString(2).length))) fail("the number becomes too large");
      return left ** right;
    case "<<":
      if (isHuge(right)) fail("the number becomes too large");
      return right < 0n ? fail("negative shift count") : left << right;
    case ">>":
      return right < 0n ? fail("negative shift count") : left >> right;
    case "&":
      return left & right;
    case "|":
      return left | right;
    default:
      return left ^ right;
  }
}

function floats(operator: string, left: number, right: number): Value {
  if (right === 0 && /^[/%]/.test(operator)) fail("float division by zero");
  switch (operator) {
    case "+":
      return left + right;
    case "-":
      return left - right;
    case "*":
      return left * right;
    case "/":
      return left / right;
    case "//":
      return Math.floor(left / right);
    case "%":
      return left - Math.floor(left / right) * right;
    case "**":
      return left ** right;
    default:
      return fail(`unsupported operand type(s) for ${operator}: 'float' and 'float'`);
  }
}

/** Negative, zero or positive, as `left` comes before `right`, is equal, or comes after; throws where there is no order. */
export function compare(operator: string, left: Value, right: Value): boolean {
  if (operator === "==") return isEqual(left, right);
  if (operator === "!=") return !isEqual(left, right);
  const ordered = (isNumber(left) && isNumber(right)) || (typeof left === "string" && typeof right === "string");
  if (!ordered) fail(`'${operator}' not supported between instances of '${typeName(left)}' and '${typeName(right)}'`);
  const [a, b] = [left as number, right as number];
  if (operator === "<") return a < b;
  if (operator === ">") return a > b;
  return operator === "<=" ? a <= b : a >= b;
}

export function isEqual(left: Value, right: Value): boolean {
  if (isNumber(left) && isNumber(right)) return Number(left) === Number(right);
  if (Array.isArray(left) && Array.isArray(right))
    return left.length === right.length && left.every((each, index) => isEqual(each as Value, right[index] as Value));
  return left === right;
}

/** `item in container`. */
export function contains(container: Value, item: Value): boolean {
  if (typeof container === "string" && typeof item === "string") return container.includes(item);
  if (Array.isArray(container)) return container.some((each: Value) => isEqual(each, item));
  return fail(`argument of type '${typeName(container)}' is not iterable`);
}
