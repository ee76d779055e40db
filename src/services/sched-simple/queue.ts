/**
 * The jobs that wait for resources, in order, and grouped by shape: jobs that ask for the same but for their duration.
 * What does not fit one of a shape fits none of it, so a pass looks at shapes.
 *
 * Invariants: a job is here once; a shape is here while it has jobs; the firsts are the first jobs of all shapes.
 */
import { assert } from "../../base/assert.ts";
import type { Integer } from "../../base/json.ts";
import { JobOrder, type PendingJob } from "./job-order.ts";

export interface Shape {
  readonly jobs: JobOrder;
  /** The generation of the pool at which none of it fitted; -1 = none. */
  failedAt: number;
}

export class PendingQueue {
  readonly #jobs = new Map<Integer, PendingJob>();
  readonly #shapes = new Map<string, Shape>();
  readonly #firsts = new JobOrder();

  get size(): number {
    return this.#jobs.size;
  }

  /** The first job of each shape. */
  get firsts(): JobOrder {
    return this.#firsts;
  }

  /** The first jobs, at most so many, in the order in which they come. */
  leading(count: number): PendingJob[] {
    const leading = new JobOrder();
    let shapes = 0;
    // They are among the first so many of the first so many shapes.
    for (const { request } of this.#firsts) {
      if (shapes++ === count) break;
      let jobs = 0;
      for (const job of this.#shapes.get(request.shape)!.jobs) {
        if (jobs++ === count) break;
        leading.add(job);
      }
    }
    const result: PendingJob[] = [];
    for (const job of leading) {
      if (result.length === count) break;
      result.push(job);
    }
    return result;
  }

  get(id: Integer): PendingJob | undefined {
    return this.#jobs.get(id);
  }

  shapeOf(job: PendingJob): Shape {
    return this.#shapes.get(job.request.shape)!;
  }

  add(job: PendingJob): void {
    assert(!this.#jobs.has(job.id), `job ${job.id} waits twice`);
    this.#jobs.set(job.id, job);
    const key = job.request.shape;
    const shape = this.#shapes.get(key) ?? { jobs: new JobOrder(), failedAt: -1 };
    if (shape.jobs.size === 0) this.#shapes.set(key, shape);
    this.#change(shape, () => shape.jobs.add(job));
  }

  remove(id: Integer): PendingJob | undefined {
    const job = this.#jobs.get(id);
    if (job === undefined) return undefined;
    this.#jobs.delete(id);
    const shape = this.shapeOf(job);
    this.#change(shape, () => shape.jobs.remove(job));
    if (shape.jobs.size === 0) this.#shapes.delete(job.request.shape);
    return job;
  }

  /** Returns the job, where it is here. */
  prioritize(id: Integer, priority: number): PendingJob | undefined {
    const job = this.remove(id);
    if (job === undefined) return undefined;
    job.priority = priority;
    this.add(job);
    return job;
  }

  #change(shape: Shape, change: () => void): void {
    const before = shape.jobs.first;
    change();
    const { first } = shape.jobs;
    if (first === before) return;
    if (before !== undefined) this.#firsts.remove(before);
    if (first !== undefined) this.#firsts.add(first);
  }
}
