/**
 * Jobs in the order in which they come: by priority (high first), then by submit time, then by id. A treap, in which
 * adding, removing and finding cost the logarithm of the number of jobs, and each part of which knows the shortest
 * duration in it: so the first job that is short enough is found without looking at the others.
 *
 * Invariant: the priority of a job does not change while it is here.
 */
import type { Integer } from "../../base/json.ts";
import type { JobRequest } from "./request.ts";

export interface PendingJob {
  readonly id: Integer;
  readonly userid: number;
  priority: number;
  readonly submitTime: number;
  readonly request: JobRequest;
}

interface Part {
  readonly job: PendingJob;
  /** A part's weight is not less than those of its children; weights are scattered, so the tree is flat. */
  readonly weight: number;
  left: Part | null;
  right: Part | null;
  /** The shortest duration here and below. */
  shortest: number;
}

/** Whether a job's turn comes before another's. */
export function goesBefore(left: PendingJob, right: PendingJob): boolean {
  if (left.priority !== right.priority) return left.priority > right.priority;
  if (left.submitTime !== right.submitTime) return left.submitTime < right.submitTime;
  return left.id < right.id;
}

/** Seconds; jobs without a limit take for ever. */
export function durationOf({ request }: PendingJob): number {
  return request.duration > 0 ? request.duration : Infinity;
}

export class JobOrder {
  #root: Part | null = null;
  #weight = 0x9e3779b9;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get first(): PendingJob | undefined {
    let part = this.#root;
    while (part?.left) part = part.left;
    return part?.job;
  }

  add(job: PendingJob): void {
    const [before, after] = split(this.#root, job);
    const part = { job, weight: this.#nextWeight(), left: null, right: null, shortest: durationOf(job) };
    this.#root = merge(merge(before, part), after);
    this.#size++;
  }

  /** Removes a job that is here. */
  remove(job: PendingJob): void {
    this.#root = without(this.#root, job);
    this.#size--;
  }

  /** The first job that takes at most so many seconds. */
  firstWithin(seconds: number): PendingJob | undefined {
    let part = this.#root;
    while (part !== null && part.shortest <= seconds) {
      if (part.left !== null && part.left.shortest <= seconds) part = part.left;
      else if (durationOf(part.job) <= seconds) return part.job;
      else part = part.right;
    }
    return undefined;
  }

  /** The first job that comes after another, which need not be here; null = the first of all. */
  after(job: PendingJob | null): PendingJob | undefined {
    if (job === null) return this.first;
    let found: PendingJob | undefined;
    let part = this.#root;
    while (part !== null) {
      if (goesBefore(job, part.job)) {
        found = part.job;
        part = part.left;
      } else part = part.right;
    }
    return found;
  }

  *[Symbol.iterator](): Generator<PendingJob, void, undefined> {
    const above: Part[] = [];
    let part = this.#root;
    while (part !== null || above.length > 0) {
      while (part !== null) {
        above.push(part);
        part = part.left;
      }
      const next: Part = above.pop()!;
      yield next.job;
      part = next.right;
    }
  }

  /** Scattered numbers (xorshift). */
  #nextWeight(): number {
    let weight = this.#weight;
    weight ^= weight << 13;
    weight ^= weight >>> 17;
    weight ^= weight << 5;
    this.#weight = weight;
    return weight;
  }
}

function renew(part: Part): Part {
  part.shortest = Math.min(durationOf(part.job), part.left?.shortest ?? Infinity, part.right?.shortest ?? Infinity);
  return part;
}

/** What comes before a job, and what after. */
function split(part: Part | null, job: PendingJob): [Part | null, Part | null] {
  if (part === null) return [null, null];
  if (goesBefore(job, part.job)) {
    const [before, after] = split(part.left, job);
    part.left = after;
    return [before, renew(part)];
  }
  const [before, after] = split(part.right, job);
  part.right = before;
  return [renew(part), after];
}

function merge(left: Part | null, right: Part | null): Part | null {
  if (left === null) return right;
  if (right === null) return left;
  if (left.weight > right.weight) {
    left.right = merge(left.right, right);
    return renew(left);
  }
  right.left = merge(left, right.left);
  return renew(right);
}

function without(part: Part | null, job: PendingJob): Part | null {
  if (part === null) return null;
  if (part.job === job) return merge(part.left, part.right);
  if (goesBefore(job, part.job)) part.left = without(part.left, job);
  else part.right = without(part.right, job);
  return renew(part);
}
