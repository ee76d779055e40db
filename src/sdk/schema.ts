/**
 * The shapes of messages: a request is read once, whole, before anything is decided, and refused with a sentence that names
 * the member which is missing or wrong.
 *
 * Invariants: what a reader returns has the type that it says; members that no reader names are passed over, so that newer
 * clients may send more.
 */
import { FluxError } from "../base/errors.ts";
import { isJsonObject, type Integer, type JsonObject, type JsonValue } from "../base/json.ts";

/** Reads a value; `where` names it in errors. Throws EPROTO. */
export type Reader<T> = (value: JsonValue | undefined, where: string) => T;

function wrong(where: string, wanted: string): FluxError {
  return new FluxError("EPROTO", `Protocol error: '${where}' is missing or not ${wanted}`);
}

export const text: Reader<string> = (value, where) => {
  if (typeof value !== "string") throw wrong(where, "a string");
  return value;
};

/** A whole number that a double holds exactly. */
export const integer: Reader<number> = (value, where) => {
  if (typeof value !== "number" || !Number.isInteger(value)) throw wrong(where, "an integer");
  return value;
};

/** A finite number, whole or not. */
export const real: Reader<number> = (value, where) => {
  if (typeof value === "bigint") return Number(value);
  if (typeof value !== "number" || !Number.isFinite(value)) throw wrong(where, "a number");
  return value;
};

/** A flag, which some clients write as 0 or 1. */
export const flag: Reader<boolean> = (value, where) => {
  if (typeof value === "boolean") return value;
  if (value === 0 || value === 1) return value === 1;
  throw wrong(where, "true or false");
};

/** A job id, or another 64-bit integer. */
export const jobId: Reader<Integer> = (value, where) => {
  if (typeof value === "bigint" || (typeof value === "number" && Number.isInteger(value))) return value;
  throw wrong(where, "a job id");
};

export const dictionary: Reader<JsonObject> = (value, where) => {
  if (!isJsonObject(value)) throw wrong(where, "an object");
  return value;
};

/** Anything, but there. */
export const anything: Reader<JsonValue> = (value, where) => {
  if (value === undefined) throw wrong(where, "there");
  return value;
};

/** Null where the member is absent or null. */
export function optional<T>(reader: Reader<T>): Reader<T | null> {
  return (value, where) => (value === undefined || value === null ? null : reader(value, where));
}

export function list<T>(item: Reader<T>): Reader<T[]> {
  return (value, where) => {
    if (!Array.isArray(value)) throw wrong(where, "an array");
    return (value as JsonValue[]).map((element, index) => item(element, `${where}[${index}]`));
  };
}

/** An object with these members. */
export function record<T extends object>(members: { readonly [K in keyof T]: Reader<T[K]> }): Reader<T> {
  const names = Object.keys(members) as (keyof T & string)[];
  return (value, where) => {
    if (!isJsonObject(value)) throw wrong(where, "an object");
    const result: Partial<T> = {};
    for (const name of names) {
      const member = Object.hasOwn(value, name) ? value[name] : undefined;
      result[name] = members[name](member, where === "" ? name : `${where}.${name}`);
    }
    return result as T;
  };
}

/** Reads the payload of a request. Throws EPROTO. */
export type Shape<T> = (request: { readonly json: JsonObject }) => T;

/** The shape of a message: an object with these members. */
export function shape<T extends object>(members: { readonly [K in keyof T]: Reader<T[K]> }): Shape<T> {
  const reader = record<T>(members);
  return (request) => reader(request.json, "");
}
