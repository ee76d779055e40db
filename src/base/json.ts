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

/** Parses JSON text. Throws FluxError EPROTO with the parser's complaint where the text is not JSON. */
export function parseJson(text: string): JsonValue {
  try {
    if (!LONG_INTEGER.test(text)) return JSON.parse(text) as JsonValue;
    return JSON.parse(text, reviveInteger as (key: string, value: unknown) => unknown) as JsonValue;
  } catch (error) {
    throw new FluxError("EPROTO", `invalid JSON: ${(error as Error).message}`, { cause: error });
  }
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

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
