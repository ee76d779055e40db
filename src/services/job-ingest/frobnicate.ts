/**
 * Changes to a jobspec at submission, from the configuration: defaults of system attributes
 * (`policy.jobspec.defaults.system`, and those of the job's queue), and the constraints of its queue
 * (`queues.NAME.requires`).
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, memberAt, type JsonObject, type JsonValue } from "../../base/json.ts";
import { tryParseFsd } from "../../formats/duration.ts";
import { joinConstraints } from "../../sdk/job-constraints.ts";

export interface Defaults {
  readonly system: JsonObject;
  /** Per queue: its defaults and the properties its resources have. Null where queues have no names. */
  readonly queues: ReadonlyMap<string, { readonly system: JsonObject; readonly requires: readonly string[] }> | null;
}

export const NO_DEFAULTS: Defaults = { system: {}, queues: null };

/** Reads the tables of a configuration. Throws EINVAL with the key that is wrong. */
export function defaultsOf(config: JsonObject): Defaults {
  const table = config["queues"];
  const queues = new Map<string, { system: JsonObject; requires: string[] }>();
  const parents = new Map<string, string>();
  for (const [name, queue] of isJsonObject(table) ? Object.entries(table) : []) {
    if (!isJsonObject(queue)) throw new FluxError("EINVAL", `queues.${name} must be a table`);
    const requires = Array.isArray(queue["requires"]) ? (queue["requires"] as string[]) : [];
    queues.set(name, { system: systemDefaults(queue, `queues.${name}.`), requires });
    if (typeof queue["parent"] === "string") parents.set(name, queue["parent"]);
  }
  // A virtual queue has its parent's resources, and its parent's defaults where it has none of its own (RFC 33).
  for (const [name, parentName] of parents) {
    const parent = queues.get(parentName);
    if (parent === undefined) continue;
    queues.set(name, { system: { ...parent.system, ...queues.get(name)!.system }, requires: parent.requires });
  }
  return { system: systemDefaults(config, ""), queues: queues.size === 0 ? null : queues };
}

function systemDefaults(table: JsonObject, prefix: string): JsonObject {
  const value = memberAt(table, ["policy", "jobspec", "defaults", "system"]);
  if (!isJsonObject(value)) return {};
  const { duration } = value;
  if (typeof duration !== "string") return value;
  const seconds = tryParseFsd(duration);
  if (seconds === null)
    throw new FluxError("EINVAL", `${prefix}policy.jobspec.defaults.system.duration is not a valid FSD`);
  return { ...value, duration: Number.isFinite(seconds) ? seconds : 0 };
}

/** The jobspec with defaults and constraints; the same object where nothing changes. Throws EPERM for a wrong queue. */
export function frobnicate(jobspec: JsonValue, defaults: Defaults): JsonValue {
  if (defaults.queues === null && Object.keys(defaults.system).length === 0) return jobspec;
  const attributes = isJsonObject(jobspec) ? jobspec["attributes"] : undefined;
  if (!isJsonObject(jobspec) || !isJsonObject(attributes)) return jobspec;
  const given = isJsonObject(attributes["system"]) ? attributes["system"] : {};
  const queueName = given["queue"] ?? defaults.system["queue"];
  const queue = typeof queueName === "string" ? defaults.queues?.get(queueName) : undefined;
  if (defaults.queues !== null && queue === undefined) {
    if (queueName === undefined) throw new FluxError("EPERM", "no queue specified");
    throw new FluxError("EPERM", `Invalid queue '${String(queueName)}' specified`);
  }
  const system = withConstraints(fill(given, { ...defaults.system, ...queue?.system }), queue?.requires ?? []);
  return { ...jobspec, attributes: { ...attributes, system } };
}

function fill(given: JsonObject, defaults: JsonObject): JsonObject {
  const system: Record<string, JsonValue | undefined> = { ...given };
  for (const [key, value] of Object.entries(defaults)) {
    // A duration of 0 stands for "not said".
    if (system[key] === undefined || (key === "duration" && system[key] === 0)) system[key] = value;
  }
  return system;
}

function withConstraints(system: JsonObject, requires: readonly string[]): JsonObject {
  if (requires.length === 0) return system;
  const given = isJsonObject(system["constraints"]) ? [system["constraints"]] : [];
  const constraints = joinConstraints([...given, { properties: requires }]);
  return { ...system, constraints: constraints ?? {} };
}
