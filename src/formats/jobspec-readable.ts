/**
 * What must hold of a jobspec that nobody validates (`--flags=novalidate`, or a configuration without validator): the
 * types of what other services read. It is stored and read again at every restart, so nothing may stumble over it.
 */
import { FluxError } from "../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../base/json.ts";
import type { Jobspec } from "./jobspec.ts";

type Check = (value: JsonValue) => boolean;

const isText: Check = (value) => typeof value === "string";
const isNumber: Check = (value) => typeof value === "number" && Number.isFinite(value);
const isList =
  (item: Check): Check =>
  (value) =>
    Array.isArray(value) && (value as JsonValue[]).every(item);

/** The members of a table that are there are of the right type. */
function hasMembers(value: JsonValue | undefined, checks: Readonly<Record<string, Check>>): boolean {
  return isJsonObject(value) && Object.entries(checks).every(([key, check]) => isAbsentOr(check, value[key]));
}

function isAbsentOr(check: Check, value: JsonValue | undefined): boolean {
  return value === undefined || check(value);
}

const isVertex: Check = (value) => hasMembers(value, { with: (children) => isList(isVertex)(children) });

const isCount: Check = (value) => hasMembers(value, { per_slot: isNumber, total: isNumber });

const isTask: Check = (value) =>
  hasMembers(value, { command: isList(isText), count: isCount }) && (value as JsonObject)["command"] !== undefined;

const SYSTEM: Readonly<Record<string, Check>> = {
  duration: isNumber,
  queue: isText,
  bank: isText,
  cwd: isText,
  environment: isJsonObject,
  job: (value) => hasMembers(value, { name: isText }),
  shell: (value) => hasMembers(value, { options: isJsonObject }),
  dependencies: isList(isJsonObject),
  constraints: isJsonObject,
};

/** Throws EINVAL with what cannot be read. */
export function checkReadable(value: JsonValue): Jobspec {
  const jobspec: JsonObject = isJsonObject(value) ? value : {};
  const attributes = jobspec["attributes"];
  const system = isJsonObject(attributes) ? (attributes["system"] ?? {}) : null;
  if (!isJsonObject(system)) throw new FluxError("EINVAL", "jobspec: attributes.system must be an object");
  const wrong = Object.keys(SYSTEM).find((key) => !isAbsentOr(SYSTEM[key]!, system[key]));
  if (wrong !== undefined) throw new FluxError("EINVAL", `jobspec: attributes.system.${wrong} cannot be read`);
  for (const [key, check] of [
    ["resources", isList(isVertex)],
    ["tasks", isList(isTask)],
  ] as const) {
    const part = jobspec[key];
    if (part === undefined || !check(part)) throw new FluxError("EINVAL", `jobspec: ${key} cannot be read`);
  }
  return jobspec as Jobspec;
}
