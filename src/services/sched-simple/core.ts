/**
 * What to schedule next: jobs in order of priority over a pool of resources.
 *
 * A job that does not fit holds back those behind it that could use the same nodes. Under the policy `fifo` all of them
 * wait; under `easy` (EASY backfill) the blocked job gets a reservation, the earliest start that the expected ends of
 * running jobs allow, and jobs behind it run in the meantime if they end before that or leave its resources alone.
 *
 * Invariants: nothing that was placed later makes a reservation later; a job that fits and would delay nobody does not
 * wait (work conserving), within the limit of shapes that one pass looks at.
 *
 * Cost: a pass looks at what can have changed. New jobs are looked at alone; jobs of one shape are looked at once; only
 * when resources came back are all shapes looked at, and none where nothing is free.
 */
import { FluxError } from "../../base/errors.ts";
import type { Integer, JsonObject } from "../../base/json.ts";
import { Bits } from "./bits.ts";
import { durationOf, goesBefore, JobOrder, type PendingJob } from "./job-order.ts";
import type { NodeShare } from "./nodes.ts";
import { earliestStart, forecast, type Start } from "./plan.ts";
import type { ResourcePool } from "./pool.ts";
import { PendingQueue } from "./queue.ts";
import { requestOf, type ConstraintParser, type JobRequest } from "./request.ts";

/** Jobs that one pass starts; with more to start, the next pass goes on, and others have their turn in between. */
const GRANTS_PER_PASS_MAX = 256;
/** Shapes that a pass looks at; with more, the last in order wait for a pass in which those before them are gone. */
const SHAPES_PER_PASS_MAX = 1000;

export type Policy = "fifo" | "easy";

export interface Grant {
  readonly job: PendingJob;
  readonly shares: readonly NodeShare[];
  /** Seconds since the epoch; expiration 0 = none. */
  readonly starttime: number;
  readonly expiration: number;
  /** The blocked job that this one overtook; null where it was its turn. */
  readonly overtaken: PendingJob | null;
  /** When that one is expected to start; null where nobody is overtaken or it cannot be told. */
  readonly shadow: number | null;
}

/** A blocked job, and what its waiting means for others. */
interface Reservation {
  readonly job: PendingJob;
  /** Nodes it could use; null = all. */
  readonly nodes: Bits | null;
  /** Found out when it is first asked for; null = it cannot be told. */
  start: Start | null | undefined;
}

export class SchedulerCore {
  readonly pool: ResourcePool;
  readonly queue: PendingQueue = new PendingQueue();
  #policy: Policy;
  readonly #parseConstraint: ConstraintParser;
  #reservations: Reservation[] = [];
  /** The state of the pool that has been looked at. */
  #generation = -1;
  /** Jobs that came since. */
  readonly #fresh = new Set<PendingJob>();
  /** End of the instance's own allocation; 0 = none. Allocations do not outlive it. */
  instanceExpiration = 0;

  constructor(pool: ResourcePool, parseConstraint: ConstraintParser, policy: Policy = "easy") {
    this.pool = pool;
    this.#parseConstraint = parseConstraint;
    this.#policy = policy;
  }

  get policy(): Policy {
    return this.#policy;
  }

  set policy(policy: Policy) {
    this.#policy = policy;
    this.#generation = -1;
  }

  /** What a jobspec asks for. Throws EINVAL where it is malformed, EOVERFLOW where it asks for more than there is. */
  check(jobspec: JsonObject): JobRequest {
    const request = requestOf(jobspec, this.#parseConstraint);
    const shortage = this.pool.shortage(request);
    if (shortage !== null) throw new FluxError("EOVERFLOW", `unsatisfiable request: ${shortage}`);
    return request;
  }

  add(job: PendingJob): void {
    this.queue.add(job);
    this.#arrived(job);
  }

  remove(id: Integer): PendingJob | undefined {
    const job = this.queue.remove(id);
    if (job !== undefined) this.#left(job);
    return job;
  }

  prioritize(id: Integer, priority: number): void {
    const job = this.queue.get(id);
    if (job === undefined) return;
    this.#left(job);
    this.queue.prioritize(id, priority);
    this.#arrived(job);
  }

  /** Whether a pass could do anything that the previous one did not. */
  get isPassDue(): boolean {
    if (this.queue.size === 0) return false;
    return this.#generation !== this.pool.generation || this.#fresh.size > 0;
  }

  /** Allocates for as many jobs as may start now. */
  pass(now: number): Grant[] {
    const grants: Grant[] = [];
    if (this.#generation === this.pool.generation) this.#lookAtFresh(now, grants);
    else {
      this.#generation = this.pool.generation;
      this.#reservations = [];
      this.#lookAtAll(now, grants);
    }
    this.#fresh.clear();
    // Where it stopped short, the next one begins anew.
    if (grants.length >= GRANTS_PER_PASS_MAX) this.#generation = -1;
    return grants;
  }

  /** When the first of the waiting jobs are expected to start, in seconds since the epoch, in their order. */
  forecast(count: number, now: number): { id: Integer; time: number }[] {
    return forecast(this.pool, this.queue.leading(count), now);
  }

  #arrived(job: PendingJob): void {
    this.#fresh.add(job);
    // Those it comes before may have to make room for it.
    if (this.#reservations.some((reservation) => goesBefore(job, reservation.job))) this.#generation = -1;
  }

  #left(job: PendingJob): void {
    this.#fresh.delete(job);
    if (this.#reservations.some((reservation) => reservation.job === job)) this.#generation = -1;
  }

  #lookAtFresh(now: number, grants: Grant[]): void {
    const fresh = [...this.#fresh].sort((left, right) => (goesBefore(left, right) ? -1 : 1));
    for (const job of fresh) {
      if (this.pool.table.freeCores === 0 || grants.length >= GRANTS_PER_PASS_MAX) return;
      this.#place(job, now, grants);
    }
  }

  #lookAtAll(now: number, grants: Grant[]): void {
    const { firsts } = this.queue;
    /** Jobs that are short enough, behind ones of their shape that are not. */
    const short = new JobOrder();
    let last: PendingJob | null = null;
    for (let count = 0; count < SHAPES_PER_PASS_MAX && this.pool.table.freeCores > 0;) {
      if (grants.length >= GRANTS_PER_PASS_MAX) return;
      const first = firsts.after(last);
      const overtaking = short.first;
      const isShort = overtaking !== undefined && (first === undefined || goesBefore(overtaking, first));
      const job = isShort ? overtaking : first;
      if (job === undefined) return;
      if (isShort) short.remove(job);
      else last = job;
      const shape = this.queue.shapeOf(job);
      if (!this.#place(job, now, grants)) count++;
      else if (!isShort) continue;
      if (shape.failedAt === this.#generation) continue;
      const next = shape.jobs.firstWithin(this.#timeLeft(job, now));
      if (next !== undefined && next !== job) short.add(next);
    }
  }

  /** Starts a job if it may. Returns whether it did. */
  #place(job: PendingJob, now: number, grants: Grant[]): boolean {
    const shape = this.queue.shapeOf(job);
    if (shape.failedAt === this.#generation) {
      this.#reserve(job);
      return false;
    }
    const nodes = this.pool.matching(job.request.constraint);
    const concerned = this.#reservations.filter((reservation) => overlap(reservation.nodes, nodes));
    if (concerned.length > 0 && this.policy === "fifo") {
      this.#reserve(job);
      return false;
    }
    const shares = this.#find(job, concerned, now);
    if (shares === null) {
      this.#reserve(job);
      return false;
    }
    this.queue.remove(job.id);
    const expiration = this.#expirationOf(job.request, now);
    this.pool.hold(job.id, shares, expiration);
    const [first] = concerned;
    const shadow = first?.start?.time ?? null;
    grants.push({ job, shares, starttime: now, expiration, overtaken: first?.job ?? null, shadow });
    return true;
  }

  /** What a job may have now beside reservations that concern it. */
  #find(job: PendingJob, concerned: readonly Reservation[], now: number): readonly NodeShare[] | null {
    const { pool } = this;
    const shares = pool.find(job.request);
    if (shares === null) {
      this.queue.shapeOf(job).failedAt = this.#generation;
      return null;
    }
    if (concerned.length === 0) return shares;
    const unknown = new Bits(pool.table.nodes.length);
    const withheld: NodeShare[] = [];
    let isUnknown = false;
    for (const reservation of concerned) {
      const start = this.#startOf(reservation, now);
      if (start !== null) {
        if (now + durationOf(job) > start.time) withheld.push(...start.shares);
        continue;
      }
      // Without an idea of when it starts, all that it could use is kept for it.
      if (reservation.nodes === null) return null;
      unknown.addAll(reservation.nodes);
      isUnknown = true;
    }
    if (withheld.length === 0 && !isUnknown) return shares;
    const taken = pool.table.takeFree(withheld);
    const beside = pool.find(job.request, isUnknown ? unknown : null);
    for (const share of taken) pool.table.giveBack(share);
    return beside;
  }

  /** Keeps what a blocked job will need from those behind it, unless it waits for the same nodes as another. */
  #reserve(job: PendingJob): void {
    const nodes = this.pool.matching(job.request.constraint);
    // In a queue in strict order, whoever waits behind a waiting job holds back those behind it, too.
    const isCovered = (reservation: Reservation): boolean =>
      this.policy === "easy"
        ? overlap(reservation.nodes, nodes)
        : reservation.nodes === null || reservation.nodes === nodes;
    if (!this.#reservations.some(isCovered)) this.#reservations.push({ job, nodes, start: undefined });
  }

  #startOf(reservation: Reservation, now: number): Start | null {
    if (reservation.start === undefined) reservation.start = earliestStart(this.pool, reservation.job.request, now);
    return reservation.start;
  }

  /** Seconds that a job may take without delaying anybody; -1 where it cannot be told. */
  #timeLeft(job: PendingJob, now: number): number {
    if (this.policy === "fifo") return -1;
    const nodes = this.pool.matching(job.request.constraint);
    let left = Infinity;
    for (const reservation of this.#reservations) {
      if (!overlap(reservation.nodes, nodes)) continue;
      left = Math.min(left, (this.#startOf(reservation, now)?.time ?? -1) - now);
    }
    return left;
  }

  #expirationOf(request: JobRequest, now: number): number {
    if (request.duration <= 0) return this.instanceExpiration;
    const own = now + request.duration;
    return this.instanceExpiration > 0 ? Math.min(own, this.instanceExpiration) : own;
  }
}

/** Whether two jobs could want the same node; null = they may use any. */
function overlap(left: Bits | null, right: Bits | null): boolean {
  if (left === null || right === null) return true;
  return left.intersects(right);
}
