/**
 * Attributes of a jobspec by dotted name, as `--setattr`, `--setopt` and the event `jobspec-update` (RFC 21) give them.
 *
 * A jobspec is a value: setting makes a new one that shares what did not change.
 */
import { FluxError } from "../base/errors.ts";
import { isJsonObject, jsonOrText, memberAt, type JsonObject, type JsonValue } from "../base/json.ts";
import type { Jobspec } from "./jobspec.ts";

/** The most parts of a dotted name: a hostile name must not nest without bound. */
const KEY_DEPTH_MAX = 64;

/** Reads `KEY` or `KEY=VAL`: VAL as JSON where it is JSON, else as text; 1 where it is left out. */
export function parseKeyValue(argument: string): { key: string; value: JsonValue } {
  const at = argument.indexOf("=");
  const key = at < 0 ? argument : argument.slice(0, at);
  if (key === "") throw new FluxError("EINVAL", `'${argument}': a key is missing`);
  return { key, value: at < 0 ? 1 : jsonOrText(argument.slice(at + 1)) };
}

/**
 * Sets an attribute. `system.` is assumed where the name does not begin with `system.`, `user.` or `.`.
 * Throws FluxError EINVAL where a part of the name is there already and is no object.
 */
export function setAttribute(jobspec: Jobspec, key: string, value: JsonValue): Jobspec {
  return setPath(jobspec, `attributes.${attributePath(key)}`, value);
}

export function setShellOption(jobspec: Jobspec, key: string, value: JsonValue): Jobspec {
  return setPath(jobspec, `attributes.system.shell.options.${key}`, value);
}

export function getShellOption(jobspec: Jobspec, key: string): JsonValue | undefined {
  return getPath(jobspec, `attributes.system.shell.options.${key}`);
}

/** Applies a `jobspec-update` event: full dotted names and their new values. */
export function updateJobspec(jobspec: Jobspec, updates: Readonly<Record<string, JsonValue | undefined>>): Jobspec {
  let updated = jobspec;
  for (const [path, value] of Object.entries(updates)) {
    if (value !== undefined) updated = setPath(updated, path, value);
  }
  return updated;
}

/** Sets a value by a dotted name from the top. */
export function setPath<T extends JsonObject>(object: T, path: string, value: JsonValue): T {
  const parts = path.split(".");
  if (parts.includes("") || parts.includes("__proto__") || parts.length > KEY_DEPTH_MAX) throw failed(path, value);
  return setAt(object, parts, value, () => failed(path, value)) as T;
}

/** The value by a dotted name from the top; undefined where a part of it is not there. */
export function getPath(object: JsonObject, path: string): JsonValue | undefined {
  return memberAt(object, path.split("."));
}

function attributePath(key: string): string {
  if (key.startsWith(".")) return key.slice(1);
  return key.startsWith("system.") || key.startsWith("user.") ? key : `system.${key}`;
}

function setAt(object: JsonObject, parts: readonly string[], value: JsonValue, failure: () => FluxError): JsonObject {
  const [part, ...rest] = parts as [string, ...string[]];
  if (rest.length === 0) return { ...object, [part]: value };
  const child = Object.hasOwn(object, part) ? object[part] : undefined;
  if (child !== undefined && !isJsonObject(child)) throw failure();
  return { ...object, [part]: setAt(child ?? {}, rest, value, failure) };
}

function failed(path: string, value: JsonValue): FluxError {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return new FluxError("EINVAL", `failed to set ${path} to ${text}`);
}
