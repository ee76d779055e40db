/**
 * The frobnicator: changes to a jobspec at submission, from the configuration. Its plugins are `defaults`
 * (`policy.jobspec.defaults.system`, and those of the job's queue) and `constraints` (`queues.NAME.requires`).
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../../base/json.ts";
import type { PolicyConfig, QueueConfig } from "../../formats/policy-config.ts";
import { joinConstraints } from "../../sdk/job-constraints.ts";

export const FROBNICATORS: readonly string[] = ["defaults", "constraints"];

/** What the plugins, in their order, do to a jobspec: a new one, or the same object where nothing changes. */
export function frobnicate(jobspec: JsonValue, plugins: readonly string[], policy: PolicyConfig): JsonValue {
  let changed = jobspec;
  for (const plugin of plugins) {
    if (plugin === "defaults") changed = withDefaults(changed, policy);
    if (plugin === "constraints") changed = withQueueConstraints(changed, policy);
  }
  return changed;
}

/** Whether the built-in plugins have anything to do. */
export function isIdle({ policy, queues }: PolicyConfig): boolean {
  return queues === null && Object.keys(policy.defaults).length === 0;
}

/** Throws EPERM where no queue, or a wrong one, is named. */
function withDefaults(jobspec: JsonValue, policy: PolicyConfig): JsonValue {
  if (isIdle(policy)) return jobspec;
  const { defaults } = policy.policy;
  return changeSystem(jobspec, (given) => {
    const queueName = given["queue"] ?? defaults.queue;
    const queue = findQueue(policy, queueName);
    if (policy.queues !== null && queue === undefined) {
      if (queueName === undefined) throw new FluxError("EPERM", "no queue specified");
      throw noQueue(queueName);
    }
    return fill(given, { ...defaults, ...queue?.policy.defaults });
  });
}

/** The resources of a job are those of its queue. */
function withQueueConstraints(jobspec: JsonValue, policy: PolicyConfig): JsonValue {
  return changeSystem(jobspec, (given) => {
    const queue = findQueue(policy, given["queue"]);
    if (policy.queues !== null && queue === undefined && given["queue"] !== undefined) throw noQueue(given["queue"]);
    const requires = queue?.requires ?? [];
    if (requires.length === 0) return given;
    const own = isJsonObject(given["constraints"]) ? [given["constraints"]] : [];
    return { ...given, constraints: joinConstraints([...own, { properties: requires }]) ?? {} };
  });
}

function noQueue(name: JsonValue): FluxError {
  return new FluxError("EPERM", `Invalid queue '${String(name)}' specified`);
}

function findQueue({ queues }: PolicyConfig, name: JsonValue | undefined): QueueConfig | undefined {
  return typeof name === "string" ? queues?.get(name) : undefined;
}

/** The jobspec with other system attributes; one whose attributes cannot be read stays for the validator. */
function changeSystem(jobspec: JsonValue, change: (system: JsonObject) => JsonObject): JsonValue {
  const attributes = isJsonObject(jobspec) ? jobspec["attributes"] : undefined;
  if (!isJsonObject(jobspec) || !isJsonObject(attributes)) return jobspec;
  const given = isJsonObject(attributes["system"]) ? attributes["system"] : {};
  const system = change(given);
  return system === given ? jobspec : { ...jobspec, attributes: { ...attributes, system } };
}

function fill(given: JsonObject, defaults: JsonObject): JsonObject {
  const system: Record<string, JsonValue | undefined> = { ...given };
  for (const [key, value] of Object.entries(defaults)) {
    // A duration of 0 stands for "not said".
    if (system[key] === undefined || (key === "duration" && system[key] === 0)) system[key] = value;
  }
  return system;
}
