/**
 * The jobs that wait for resources, by priority (high first), then by submit time, then by id: a heap that knows where
 * each job is, so that taking one out of the middle costs as little as taking the first.
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

export class PendingQueue {
  readonly #heap: PendingJob[] = [];
  readonly #places = new Map<Integer, number>();

  get size(): number {
    return this.#heap.length;
  }

  get first(): PendingJob | undefined {
    return this.#heap[0];
  }

  /** All jobs, in the order in which they come. */
  inOrder(): PendingJob[] {
    return this.#heap.toSorted((left, right) => (goesBefore(left, right) ? -1 : 1));
  }

  get(id: Integer): PendingJob | undefined {
    const place = this.#places.get(id);
    return place === undefined ? undefined : this.#heap[place];
  }

  add(job: PendingJob): void {
    this.#heap.push(job);
    this.#places.set(job.id, this.#heap.length - 1);
    this.#up(this.#heap.length - 1);
  }

  remove(id: Integer): PendingJob | undefined {
    const place = this.#places.get(id);
    if (place === undefined) return undefined;
    const job = this.#heap[place]!;
    const last = this.#heap.pop()!;
    this.#places.delete(id);
    if (last !== job) {
      this.#put(place, last);
      this.#settle(place);
    }
    return job;
  }

  /** Returns whether the job is here. */
  prioritize(id: Integer, priority: number): boolean {
    const place = this.#places.get(id);
    if (place === undefined) return false;
    this.#heap[place]!.priority = priority;
    this.#settle(place);
    return true;
  }

  #settle(place: number): void {
    this.#up(place);
    this.#down(place);
  }

  #put(place: number, job: PendingJob): void {
    this.#heap[place] = job;
    this.#places.set(job.id, place);
  }

  #up(start: number): void {
    let place = start;
    while (place > 0) {
      const parent = (place - 1) >>> 1;
      if (!goesBefore(this.#heap[place]!, this.#heap[parent]!)) return;
      this.#swap(place, parent);
      place = parent;
    }
  }

  #down(start: number): void {
    let place = start;
    for (;;) {
      let least = place;
      for (const child of [2 * place + 1, 2 * place + 2])
        if (child < this.#heap.length && goesBefore(this.#heap[child]!, this.#heap[least]!)) least = child;
      if (least === place) return;
      this.#swap(place, least);
      place = least;
    }
  }

  #swap(left: number, right: number): void {
    const job = this.#heap[left]!;
    this.#put(left, this.#heap[right]!);
    this.#put(right, job);
  }
}

function goesBefore(left: PendingJob, right: PendingJob): boolean {
  if (left.priority !== right.priority) return left.priority > right.priority;
  if (left.submitTime !== right.submitTime) return left.submitTime < right.submitTime;
  return left.id < right.id;
}
