/**
 * The tables `policy` and `queues` of a configuration (RFC 33, flux-config-policy(5), flux-config-queues(5)): what jobs are
 * given where they say nothing, what they may ask for, and which queues there are.
 *
 * Invariant: a key that is not known is refused, so that a slip of the pen does not leave a limit without effect.
 */
import { FluxError } from "../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../base/json.ts";
import { tryParseFsd } from "./duration.ts";

export const LIMITED_SIZES = ["nnodes", "ncores", "ngpus"] as const;
export type LimitedSize = (typeof LIMITED_SIZES)[number];

/** Infinity stands for no limit where another table has one. */
export type SizeLimits = Readonly<Partial<Record<LimitedSize, number>>>;

export interface JobLimits {
  /** Seconds; undefined where unset, Infinity where unlimited. */
  readonly duration?: number;
  readonly max: SizeLimits;
  readonly min: SizeLimits;
}

export interface JobDefaults {
  /** Seconds; 0 is unlimited. */
  readonly duration?: number;
  readonly queue?: string;
}

export interface Policy {
  readonly defaults: JobDefaults;
  readonly limits: JobLimits;
}

export interface QueueConfig {
  /** Properties that the queue's resources have; those of the parent, for a virtual queue. */
  readonly requires: readonly string[];
  /** The queue whose resources a virtual queue shares; null for others. */
  readonly parent: string | null;
  /** Of a virtual queue: with what its parent has and it has not. */
  readonly policy: Policy;
}

export interface PolicyConfig {
  readonly policy: Policy;
  /** By name; null where queues have no names. */
  readonly queues: ReadonlyMap<string, QueueConfig> | null;
}

export const NO_POLICY: PolicyConfig = { policy: { defaults: {}, limits: { max: {}, min: {} } }, queues: null };

/** Reads both tables. Throws EINVAL with the table and what is wrong in it. */
export function parsePolicyConfig(config: JsonObject): PolicyConfig {
  const policy = policyOf(config["policy"], "policy");
  const queues = queuesOf(config["queues"]);
  const { queue } = policy.defaults;
  if (queue !== undefined && queues?.has(queue) !== true)
    throw new FluxError(
      "EINVAL",
      `the [policy] config table defines a default queue ${queue} that is not in [queues] table`,
    );
  return { policy, queues };
}

function fail(table: string, reason: string): never {
  throw new FluxError("EINVAL", `error parsing [${table}] config table: ${reason}`);
}

/** The word that configuration errors have for the type of a value. */
export function configType(value: JsonValue): string {
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "real";
  if (typeof value === "bigint") return "integer";
  return Array.isArray(value) ? "array" : typeof value;
}

/** A table with no other than these keys; an empty one where it is not there. */
function tableOf(value: JsonValue | undefined, name: string, keys: readonly string[]): JsonObject {
  if (value === undefined) return {};
  if (!isJsonObject(value)) return fail(name, `Expected object, got ${configType(value)}`);
  const unknown = Object.keys(value).filter((key) => !keys.includes(key));
  if (unknown.length > 0) fail(name, `${unknown.length} object item(s) left unpacked: ${unknown.join(", ")}`);
  return value;
}

function policyOf(value: JsonValue | undefined, name: string): Policy {
  const table = tableOf(value, name, ["access", "jobspec", "limits", "scheduler"]);
  checkAccess(table["access"], `${name}.access`);
  return { defaults: defaultsOf(table["jobspec"], `${name}.jobspec`), limits: limitsOf(table["limits"], name) };
}

function checkAccess(value: JsonValue | undefined, name: string): void {
  const table = tableOf(value, name, ["allow-user", "allow-group"]);
  for (const key of ["allow-user", "allow-group"]) {
    const names = table[key] ?? [];
    if (!Array.isArray(names) || (names as JsonValue[]).some((entry) => typeof entry !== "string"))
      fail(name, `'${key}' must be a string array`);
  }
}

function defaultsOf(value: JsonValue | undefined, name: string): JobDefaults {
  const table = tableOf(value, name, ["defaults"]);
  const defaults = tableOf(table["defaults"], name, ["system"]);
  const { duration, queue } = tableOf(defaults["system"], name, ["duration", "queue"]);
  if (queue !== undefined && typeof queue !== "string") fail(name, "'defaults.system.queue' is not a string");
  const seconds = typeof duration === "string" ? tryParseFsd(duration) : null;
  if (duration !== undefined && seconds === null) fail(name, "'defaults.system.duration' is not a valid FSD");
  return {
    ...(seconds === null ? {} : { duration: Number.isFinite(seconds) ? seconds : 0 }),
    ...(queue === undefined ? {} : { queue: queue as string }),
  };
}

function limitsOf(value: JsonValue | undefined, policy: string): JobLimits {
  const name = `${policy}.limits`;
  const { duration, "job-size": size } = tableOf(value, name, ["duration", "job-size"]);
  const { max, min } = tableOf(size, `${name}.job-size`, ["max", "min"]);
  const sizes = { max: sizesOf(max, `${name}.max`), min: sizesOf(min, `${name}.min`) };
  if (duration === undefined) return sizes;
  const seconds = typeof duration === "string" ? tryParseFsd(duration) : null;
  if (seconds === null || seconds < 0) return fail(name, "'duration' is not a valid FSD");
  return { ...sizes, duration: seconds === 0 ? Infinity : seconds };
}

function sizesOf(value: JsonValue | undefined, name: string): SizeLimits {
  const limits: Partial<Record<LimitedSize, number>> = {};
  for (const [key, limit] of Object.entries(tableOf(value, name, LIMITED_SIZES))) {
    if (typeof limit !== "number" || !Number.isInteger(limit))
      return fail(name, `Expected integer, got ${configType(limit!)}`);
    if (limit < -1) fail(name, "values must be >= -1");
    limits[key as LimitedSize] = limit === -1 ? Infinity : limit;
  }
  return limits;
}

function queuesOf(value: JsonValue | undefined): ReadonlyMap<string, QueueConfig> | null {
  if (value === undefined) return null;
  if (!isJsonObject(value)) return fail("queues", "not a table");
  const queues = new Map<string, QueueConfig>();
  for (const name of Object.keys(value)) queues.set(name, queueOf(name, value));
  // A virtual queue has its parent's resources, and its parent's policy where it has none of its own.
  for (const [name, queue] of queues) {
    if (queue.parent === null) continue;
    const parent = queues.get(queue.parent)!;
    queues.set(name, { ...queue, requires: parent.requires, policy: inherit(queue.policy, parent.policy) });
  }
  return queues.size === 0 ? null : queues;
}

function queueOf(name: string, queues: JsonObject): QueueConfig {
  const where = `queues.${name}`;
  const table = tableOf(queues[name], where, ["requires", "parent", "policy"]);
  const { requires, parent } = table;
  if (requires !== undefined && !isPropertyList(requires))
    fail(where, "'requires' must be an array of property strings (RFC 20)");
  if (parent !== undefined) checkParent(where, table, queues);
  const policy = policyOf(table["policy"], `${where}.policy`);
  if (policy.defaults.queue !== undefined) fail(where, "'policy' must not define a default queue!");
  return {
    requires: (requires ?? []) as string[],
    parent: (parent as string | undefined) ?? null,
    policy,
  };
}

function checkParent(where: string, table: JsonObject, queues: JsonObject): void {
  const { parent } = table;
  if (typeof parent !== "string") return fail(where, "'parent' must be a string");
  const other = Object.hasOwn(queues, parent) ? queues[parent] : undefined;
  if (!isJsonObject(other)) return fail(where, `parent queue '${parent}' is not configured`);
  if (table["requires"] !== undefined) fail(where, "a virtual queue must not set 'requires'");
  if (other === table) fail(where, "parent queue is itself");
  if (other["parent"] !== undefined) fail(where, `parent queue '${parent}' is itself a virtual queue`);
}

/** Properties are words without the characters that RFC 20 reserves. */
function isPropertyList(value: JsonValue): boolean {
  return (
    Array.isArray(value) &&
    (value as JsonValue[]).every((name) => typeof name === "string" && /^[^\s!&'"^`|()]+$/.test(name))
  );
}

function inherit(own: Policy, parent: Policy): Policy {
  const max = { ...parent.limits.max, ...own.limits.max };
  const min = { ...parent.limits.min, ...own.limits.min };
  return {
    defaults: { ...parent.defaults, ...own.defaults },
    limits: { ...parent.limits, ...own.limits, max, min },
  };
}
