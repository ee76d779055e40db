/**
 * What to schedule next: a queue in order of priority over a pool of resources, first come first served.
 *
 * A pass starts with the first job and ends at the first that does not fit; it is not tried again before something was
 * freed, came up, or overtook it. So a pass costs what changed, not what waits. Jobs further back are not looked at: a
 * pass that backfills would continue behind the blocked job with the time its reservation leaves.
 */
import { FluxError } from "../../base/errors.ts";
import type { Integer, JsonObject } from "../../base/json.ts";
import type { NodeShare, ResourcePool } from "./pool.ts";
import { PendingQueue, type PendingJob } from "./queue.ts";
import { requestOf, type ConstraintParser, type JobRequest } from "./request.ts";

export interface Grant {
  readonly job: PendingJob;
  readonly shares: readonly NodeShare[];
  /** Seconds since the epoch; expiration 0 = none. */
  readonly starttime: number;
  readonly expiration: number;
}

export interface Pass {
  readonly grants: readonly Grant[];
  /** The job that does not fit, where it had not been found so before. */
  readonly blocked: PendingJob | null;
}

export class SchedulerCore {
  readonly pool: ResourcePool;
  readonly queue: PendingQueue = new PendingQueue();
  readonly #parseConstraint: ConstraintParser;
  #blocked: { id: Integer; generation: number } | null = null;
  /** End of the instance's own allocation; 0 = none. Allocations do not outlive it. */
  instanceExpiration = 0;

  constructor(pool: ResourcePool, parseConstraint: ConstraintParser) {
    this.pool = pool;
    this.#parseConstraint = parseConstraint;
  }

  /** What a jobspec asks for. Throws FluxError EINVAL: it is malformed, or more than there is. */
  check(jobspec: JsonObject): JobRequest {
    const request = requestOf(jobspec, this.#parseConstraint);
    const shortage = this.pool.shortage(request);
    if (shortage !== null) throw new FluxError("EINVAL", `unsatisfiable request: ${shortage}`);
    return request;
  }

  /** Whether a pass could do anything that the previous one did not. */
  get isPassDue(): boolean {
    const { first } = this.queue;
    if (first === undefined) return false;
    return this.#blocked?.id !== first.id || this.#blocked.generation !== this.pool.generation;
  }

  /** Allocates for as many jobs as fit, in order. */
  pass(now: number): Pass {
    const grants: Grant[] = [];
    while (this.isPassDue) {
      const job = this.queue.first!;
      const shares = this.pool.allocate(job.id, job.request);
      if (shares === null) {
        const isNew = this.#blocked?.id !== job.id;
        this.#blocked = { id: job.id, generation: this.pool.generation };
        return { grants, blocked: isNew ? job : null };
      }
      this.queue.remove(job.id);
      grants.push({ job, shares, starttime: now, expiration: this.#expirationOf(job.request, now) });
    }
    return { grants, blocked: null };
  }

  #expirationOf(request: JobRequest, now: number): number {
    if (request.duration <= 0) return this.instanceExpiration;
    const own = now + request.duration;
    return this.instanceExpiration > 0 ? Math.min(own, this.instanceExpiration) : own;
  }
}
