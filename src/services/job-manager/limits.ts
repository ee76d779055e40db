/**
 * Limits on the size and duration of jobs from the configuration (flux-config-policy(5)): general ones, and those of a
 * queue, which go before.
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../../base/json.ts";
import { formatDuration, tryParseFsd } from "../../formats/duration.ts";
import type { Jobspec } from "../../formats/jobspec.ts";
import { jobspecCounts } from "../../formats/jobspec-counts.ts";

const SIZES = ["nnodes", "ncores", "ngpus"] as const;
type Size = (typeof SIZES)[number];

interface LimitSet {
  /** Seconds; undefined where unset, Infinity where unlimited. */
  readonly duration?: number;
  readonly max: Partial<Record<Size, number>>;
  readonly min: Partial<Record<Size, number>>;
}

export class Limits {
  #general: LimitSet = { max: {}, min: {} };
  #byQueue = new Map<string, LimitSet>();

  /**
   * Reads `policy.limits` and `queues.NAME.policy.limits`; what a virtual queue does not limit, its parent may. Throws
   * EINVAL with the key that is wrong.
   */
  configure(config: JsonObject): void {
    const general = limitsOf(config, "");
    const byQueue = new Map<string, LimitSet>();
    const queues = config["queues"];
    for (const [name, queue] of isJsonObject(queues) ? Object.entries(queues) : [])
      if (isJsonObject(queue)) byQueue.set(name, limitsOf(queue, `queues.${name}.`));
    for (const [name, queue] of isJsonObject(queues) ? Object.entries(queues) : []) {
      const parent =
        isJsonObject(queue) && typeof queue["parent"] === "string" ? byQueue.get(queue["parent"]) : undefined;
      if (parent !== undefined) byQueue.set(name, inherit(byQueue.get(name)!, parent));
    }
    this.#general = general;
    this.#byQueue = byQueue;
  }

  /** Throws EINVAL with the limit that a job exceeds. */
  check(jobspec: Jobspec, queue: string): void {
    this.checkDuration(jobspec.attributes.system?.duration ?? 0, queue);
    const own = this.#byQueue.get(queue);
    const suffix = queue === "" ? "" : ` for queue ${queue}`;
    if (isUnset(this.#general) && (own === undefined || isUnset(own))) return;
    const sizes = sizesOf(jobspec);
    for (const size of SIZES) {
      const requested = sizes[size];
      const max = own?.max[size] ?? this.#general.max[size];
      if (max !== undefined && requested > max)
        throw new FluxError("EINVAL", `requested ${size} (${requested}) exceeds policy limit of ${max}${suffix}`);
      const min = own?.min[size] ?? this.#general.min[size];
      if (min !== undefined && requested < min)
        throw new FluxError("EINVAL", `requested ${size} (${requested}) is below policy limit of ${min}${suffix}`);
    }
  }

  /** Throws EINVAL where a duration (seconds, 0 = unlimited) exceeds its limit. */
  checkDuration(duration: number, queue: string): void {
    const limit = this.#byQueue.get(queue)?.duration ?? this.#general.duration;
    if (limit === undefined || limit === Infinity || (duration > 0 && duration <= limit)) return;
    const asked = duration === 0 ? "unlimited" : formatDuration(duration);
    const suffix = queue === "" ? "" : ` for queue ${queue}`;
    throw new FluxError(
      "EINVAL",
      `requested duration (${asked}) exceeds policy limit of ${formatDuration(limit)}${suffix}`,
    );
  }
}

function inherit(own: LimitSet, parent: LimitSet): LimitSet {
  return { ...parent, ...own, max: { ...parent.max, ...own.max }, min: { ...parent.min, ...own.min } };
}

function isUnset({ max, min }: LimitSet): boolean {
  return Object.keys(max).length === 0 && Object.keys(min).length === 0;
}

function limitsOf(table: JsonObject, prefix: string): LimitSet {
  const policy = table["policy"];
  const limits = isJsonObject(policy) ? policy["limits"] : undefined;
  if (!isJsonObject(limits)) return { max: {}, min: {} };
  const size = limits["job-size"];
  const where = `${prefix}policy.limits`;
  const set = {
    max: sizeLimits(isJsonObject(size) ? size["max"] : undefined, `${where}.job-size.max`),
    min: sizeLimits(isJsonObject(size) ? size["min"] : undefined, `${where}.job-size.min`),
  };
  const { duration } = limits;
  return duration === undefined ? set : { ...set, duration: durationLimit(duration, `${where}.duration`) };
}

function durationLimit(value: JsonValue, where: string): number {
  const seconds = typeof value === "number" ? value : typeof value === "string" ? tryParseFsd(value) : null;
  if (seconds === null || seconds < 0) throw new FluxError("EINVAL", `${where} is not a valid FSD`);
  return seconds === 0 ? Infinity : seconds;
}

function sizeLimits(value: JsonValue | undefined, where: string): Partial<Record<Size, number>> {
  const limits: Partial<Record<Size, number>> = {};
  if (value === undefined) return limits;
  if (!isJsonObject(value)) throw new FluxError("EINVAL", `${where} must be a table`);
  for (const [key, limit] of Object.entries(value)) {
    const size = SIZES.find((name) => name === key);
    if (size === undefined || typeof limit !== "number" || !Number.isInteger(limit) || limit < -1)
      throw new FluxError("EINVAL", `${where}.${key} must be an integer >= -1`);
    // -1 stands for no limit.
    limits[size] = limit === -1 ? Infinity : limit;
  }
  return limits;
}

function sizesOf(jobspec: Jobspec): Record<Size, number> {
  try {
    const { nnodes, nslots, coresPerSlot, gpusPerSlot } = jobspecCounts(jobspec);
    return { nnodes, ncores: nslots * coresPerSlot, ngpus: nslots * gpusPerSlot };
  } catch (error) {
    // A jobspec beyond version 1 cannot be counted: the scheduler will say what it thinks of it.
    if (error instanceof FluxError) return { nnodes: 0, ncores: 0, ngpus: 0 };
    throw error;
  }
}
