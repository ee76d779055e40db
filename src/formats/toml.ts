/**
 * TOML (version 1.0), as Flux is configured with it (flux-config(5)): parsed to plain JSON values.
 *
 * Dates and times, which JSON lacks, become text in RFC 3339 form; infinities and NaN are refused.
 */
import { parse, TomlDate, TomlError } from "smol-toml";
import { FluxError } from "../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../base/json.ts";

/**
 * Parses TOML. Throws FluxError EINVAL: with `source` its text is `source:line: reason`, else `line N: reason`.
 */
export function parseToml(text: string, source?: string): JsonObject {
  let table: unknown;
  try {
    table = parse(text, { integersAsBigInt: "asNeeded" });
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // The first line is the reason; a picture of the place follows.
    const reason = error.message.split("\n")[0]!.replace(/^Invalid TOML document: /, "");
    const where = source === undefined ? `line ${error.line}` : `${source}:${error.line}`;
    throw new FluxError("EINVAL", `${where}: ${reason}`, { cause: error });
  }
  return toJson(table, "", source) as JsonObject;
}

/**
 * Puts the tables of several files together. Tables of the same name are merged key by key, at every level; of two values
 * that are not both tables, the later one stands.
 */
export function mergeConfig(objects: readonly JsonObject[]): JsonObject {
  return objects.reduce((merged, object) => mergeTables(merged, object), {});
}

function mergeTables(left: JsonObject, right: JsonObject): JsonObject {
  const merged = new Map(Object.entries(left));
  for (const [key, value] of Object.entries(right)) {
    const known = merged.get(key);
    merged.set(key, isJsonObject(known) && isJsonObject(value) ? mergeTables(known, value) : value);
  }
  return Object.fromEntries(merged);
}

function toJson(value: unknown, path: string, source: string | undefined): JsonValue {
  if (value instanceof TomlDate) return value.toISOString();
  if (Array.isArray(value)) return value.map((item, index) => toJson(item, `${path}[${index}]`, source));
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value).map(([key, item]) => {
      return [key, toJson(item, path === "" ? key : `${path}.${key}`, source)] as const;
    });
    return Object.fromEntries(entries);
  }
  if (typeof value === "number" && !Number.isFinite(value)) {
    const prefix = source === undefined ? "" : `${source}: `;
    throw new FluxError("EINVAL", `${prefix}${path}: ${value} has no place in a configuration`);
  }
  return value as JsonValue;
}
