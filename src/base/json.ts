/**
 * JSON whose integers survive.
 *
 * A Flux job id is a 64-bit integer (RFC 19), and JSON numbers beyond 2^53 lose digits in `JSON.parse`. The canonical
 * form used everywhere in this code: an integer is a `number` where that is exact, a `bigint` beyond. Because a value
 * has one form only, canonical integers can be compared with `===` and be keys of a Map.
 */
import { FluxError } from "./errors.ts";

export type JsonValue = null | boolean | number | bigint | string | readonly JsonValue[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: JsonValue | undefined;
}

/** An integer in canonical form. */
export type Integer = number | bigint;

/** Sixteen digits in a row is the shortest decimal integer that can be beyond 2^53. */
const LONG_INTEGER = /\d{16}/;

/** Brings an integer into canonical form. */
export function canonicalInteger(value: bigint): Integer {
  return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}

/** How deep arrays and objects may be nested: code that walks a value recursively has a limited stack. */
const JSON_DEPTH_MAX = 1024;

/**
 * Parses JSON text. Throws FluxError EPROTO with the parser's complaint where the text is not JSON, or is nested deeper
 * than JSON_DEPTH_MAX.
 */
export function parseJson(text: string): JsonValue {
  if (isTooDeep(text)) throw new FluxError("EPROTO", `invalid JSON: nested deeper than ${JSON_DEPTH_MAX}`);
  try {
    if (!LONG_INTEGER.test(text)) return JSON.parse(text) as JsonValue;
    return JSON.parse(text, reviveInteger as (key: string, value: unknown) => unknown) as JsonValue;
  } catch (error) {
    throw new FluxError("EPROTO", `invalid JSON: ${(error as Error).message}`, { cause: error });
  }
}

/** Reads a word that may be JSON: its value where it is, else the text itself. */
export function jsonOrText(text: string): JsonValue {
  try {
    return parseJson(text);
  } catch (error) {
    if (error instanceof FluxError) return text;
    throw error;
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/** Counts brackets outside of strings; text too short to be nested that deep is not looked at. */
function isTooDeep(text: string): boolean {
  if (text.length < 2 * JSON_DEPTH_MAX) return false;
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) at = endOfString(text, at);
    else if (code === OPEN_ARRAY || code === OPEN_OBJECT) {
      if (++depth > JSON_DEPTH_MAX) return true;
    } else if (code === CLOSE_ARRAY || code === CLOSE_OBJECT) depth--;
  }
  return false;
}

/** Where the string that begins at a quote ends; the end of the text where it does not. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let before = end;
    while (text.charCodeAt(before - 1) === BACKSLASH) before--;
    if ((end - before) % 2 === 0) return end;
  }
  return text.length;
}

function reviveInteger(_key: string, value: unknown, context: { source?: string }): unknown {
  if (typeof value !== "number" || Number.isSafeInteger(value) || context.source === undefined) return value;
  return /^-?\d+$/.test(context.source) ? canonicalInteger(BigInt(context.source)) : value;
}

/** Makes JSON text; a bigint becomes a plain JSON integer. */
export function stringifyJson(value: unknown): string {
  try {
    return JSON.stringify(value);
  } catch (error) {
    // JSON.stringify refuses a bigint. They are rare (job ids of instances older than six days), so pay only then.
    if (!(error instanceof TypeError)) throw error;
    return JSON.stringify(value, (_key, item: unknown) =>
      typeof item === "bigint" ? JSON.rawJSON(item.toString()) : item,
    );
  }
}

/** A number that programs in C are to read as a real: 2 is written `2.0`. For payloads only: it is no number in memory. */
export function realNumber(value: number): JsonValue {
  return JSON.rawJSON(Number.isInteger(value) ? value.toFixed(1) : String(value)) as unknown as JsonValue;
}

/** Reads JSON text; reals stay as they are written, as `realNumber` makes them. Throws SyntaxError. */
export function parseJsonReals(text: string): JsonValue {
  const revive = (key: string, value: unknown, context: { source?: string }): unknown =>
    typeof value === "number" && /[.eE]/.test(context.source ?? "")
      ? JSON.rawJSON(context.source!)
      : reviveInteger(key, value, context);
  return JSON.parse(text, revive as (key: string, value: unknown) => unknown) as JsonValue;
}

/** The text of a number that `realNumber` or `parseJsonReals` has made; null for anything else. */
export function textOfReal(value: JsonValue | undefined): string | null {
  return JSON.isRawJSON(value) ? value.rawJSON : null;
}

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The member of a member of an object; undefined where the path leads nowhere, or through what is no object. */
export function memberAt(value: JsonValue | undefined, path: readonly string[]): JsonValue | undefined {
  for (const key of path) {
    if (!isJsonObject(value) || !Object.hasOwn(value, key)) return undefined;
    value = value[key];
  }
  return value;
}
