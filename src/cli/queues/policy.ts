/**
 * What the configuration says of queues (flux-config-queues(5), flux-config-policy(5), RFC 33): their resources, defaults
 * and limits. A queue's own policy counts before that of its parent, that before the general one, key by key.
 *
 * Pure. Does not know: the state of queues.
 */
import { isJsonObject, memberAt, type JsonObject, type JsonValue } from "../../base/json.ts";
import { tryParseFsd } from "../../formats/duration.ts";

export const RESOURCE_KINDS = ["nnodes", "ncores", "ngpus"] as const;
export type ResourceKind = (typeof RESOURCE_KINDS)[number];

const UNLIMITED = -1;

export class QueuePolicy {
  readonly #config: JsonObject;
  readonly #queue: JsonObject;
  readonly #parent: JsonObject;
  /** The queue that this one is another name of; empty where it is a queue of its own. */
  readonly parent: string;
  readonly isDefault: boolean;

  /** `name` is empty for the anonymous queue. */
  constructor(config: JsonObject, name: string) {
    this.#config = config;
    this.#queue = tableAt(config, ["queues", name]);
    const { parent } = this.#queue;
    this.parent = typeof parent === "string" ? parent : "";
    this.#parent = this.parent === "" ? {} : tableAt(config, ["queues", this.parent]);
    const standard = memberAt(config, ["policy", "jobspec", "defaults", "system", "queue"]);
    this.isDefault = name !== "" && standard === name;
  }

  /** Properties that the queue's resources have. */
  get requires(): readonly string[] {
    const requires = this.#queue["requires"] ?? this.#parent["requires"];
    return Array.isArray(requires) ? (requires as JsonValue[]).filter((name) => typeof name === "string") : [];
  }

  /** The duration in seconds of a job that names none. */
  get defaultDuration(): number {
    return this.#duration(["jobspec", "defaults", "system", "duration"]);
  }

  /** The longest duration in seconds that a job may ask for. */
  get maxDuration(): number {
    return this.#duration(["limits", "duration"]);
  }

  min(kind: ResourceKind): number {
    return this.#size("min", kind) ?? 0;
  }

  max(kind: ResourceKind): number {
    return this.#size("max", kind) ?? Infinity;
  }

  #size(bound: "min" | "max", kind: ResourceKind): number | null {
    const value = this.#effective(["limits", "job-size", bound, kind]);
    return typeof value === "number" && value !== UNLIMITED ? value : null;
  }

  /** Nothing, and a duration of 0, is no limit. */
  #duration(path: readonly string[]): number {
    const value = this.#effective(path);
    const seconds = typeof value === "number" ? value : typeof value === "string" ? tryParseFsd(value) : null;
    return seconds === null || seconds === 0 ? Infinity : seconds;
  }

  #effective(path: readonly string[]): JsonValue | undefined {
    for (const table of [this.#queue, this.#parent, this.#config]) {
      const value = memberAt(table, ["policy", ...path]);
      if (value !== undefined) return value;
    }
    return undefined;
  }
}

function tableAt(object: JsonObject, path: readonly string[]): JsonObject {
  const value = memberAt(object, path);
  return isJsonObject(value) ? value : {};
}
