/**
 * Annotations of jobs (RFC 27): a dictionary that the scheduler (key `sched`) and users (key `user`) write to. Pure.
 */
import { isJsonObject, type JsonObject, type JsonValue } from "../base/json.ts";

/**
 * The dictionary after an update: dictionaries merge, other values replace, null removes; what became empty goes.
 * Null where nothing is left. The arguments are not changed.
 */
export function mergeAnnotations(current: JsonObject | null, update: JsonObject): JsonObject | null {
  const merged: Record<string, JsonValue | undefined> = { ...current };
  for (const [key, value] of Object.entries(update)) {
    if (value === undefined) continue;
    const next = isJsonObject(value) ? mergeAnnotations(dictionaryOf(merged[key]), value) : value;
    if (next === null) delete merged[key];
    else merged[key] = next;
  }
  return Object.keys(merged).length === 0 ? null : merged;
}

/** The annotations without those of the scheduler, which are void once a request for resources ended without them. */
export function withoutScheduler(current: JsonObject | null): JsonObject | null {
  if (current === null || current["sched"] === undefined) return current;
  return mergeAnnotations(current, { sched: null });
}

function dictionaryOf(value: JsonValue | undefined): JsonObject | null {
  return isJsonObject(value) ? value : null;
}
