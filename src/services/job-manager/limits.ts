/**
 * Limits on the size and duration of jobs from the configuration (flux-config-policy(5)): general ones, and those of a
 * queue, which go before.
 */
import { FluxError } from "../../base/errors.ts";
import { formatRoughly } from "../../formats/duration.ts";
import type { Jobspec } from "../../formats/jobspec.ts";
import { jobspecCounts } from "../../formats/jobspec-counts.ts";
import {
  LIMITED_SIZES,
  NO_POLICY,
  type JobLimits,
  type LimitedSize,
  type PolicyConfig,
} from "../../formats/policy-config.ts";

export class Limits {
  #config: PolicyConfig = NO_POLICY;

  configure(config: PolicyConfig): void {
    this.#config = config;
  }

  /** Throws EINVAL with the limit on its size that a job exceeds. */
  checkSize(jobspec: Jobspec, queue: string): void {
    const general = this.#config.policy.limits;
    const own = this.#ofQueue(queue);
    const suffix = queue === "" ? "" : ` for queue ${queue}`;
    if (isUnset(general) && (own === undefined || isUnset(own))) return;
    const sizes = sizesOf(jobspec);
    for (const size of LIMITED_SIZES) {
      const requested = sizes[size];
      const max = own?.max[size] ?? general.max[size];
      if (max !== undefined && requested > max)
        throw new FluxError("EINVAL", `requested ${size} (${requested}) exceeds policy limit of ${max}${suffix}`);
    }
    for (const size of LIMITED_SIZES) {
      const requested = sizes[size];
      const min = own?.min[size] ?? general.min[size];
      if (min !== undefined && requested < min)
        throw new FluxError("EINVAL", `requested ${size} (${requested}) is under policy limit of ${min}${suffix}`);
    }
  }

  /** Throws EINVAL where a duration (seconds, 0 = unlimited) exceeds its limit. */
  checkDuration(duration: number, queue: string): void {
    const limit = this.#ofQueue(queue)?.duration ?? this.#config.policy.limits.duration;
    if (limit === undefined || limit === Infinity || (duration > 0 && duration <= limit)) return;
    const asked = duration === 0 ? "unlimited" : formatRoughly(duration);
    const suffix = queue === "" ? "" : ` for queue ${queue}`;
    throw new FluxError(
      "EINVAL",
      `requested duration (${asked}) exceeds policy limit of ${formatRoughly(limit)}${suffix}`,
    );
  }

  #ofQueue(queue: string): JobLimits | undefined {
    return this.#config.queues?.get(queue)?.policy.limits;
  }
}

function isUnset({ max, min }: JobLimits): boolean {
  return Object.keys(max).length === 0 && Object.keys(min).length === 0;
}

function sizesOf(jobspec: Jobspec): Record<LimitedSize, number> {
  try {
    const { nnodes, nslots, coresPerSlot, gpusPerSlot } = jobspecCounts(jobspec);
    return { nnodes, ncores: nslots * coresPerSlot, ngpus: nslots * gpusPerSlot };
  } catch (error) {
    // A jobspec beyond version 1 cannot be counted: the scheduler will say what it thinks of it.
    if (error instanceof FluxError) return { nnodes: 0, ncores: 0, ngpus: 0 };
    throw error;
  }
}
