/**
 * Waiting for the end of jobs that were submitted with the flag `waitable` (`job-manager.wait`).
 *
 * Invariants: every waitable job's end is reported to one waiter exactly once; a finished one that nobody waited for is
 * kept, in a few words, until somebody does.
 */
import { FluxError } from "../../base/errors.ts";
import type { Integer, JsonObject } from "../../base/json.ts";
import { FLUID_ANY } from "../../formats/fluid.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { JobFlag, JobState } from "../../sdk/job-protocol.ts";
import type { Folded, Job } from "./job.ts";
import { errorTextOf } from "./outcome.ts";

/** A waitable job that ended and was not waited for yet. */
export interface Zombie {
  readonly id: Integer;
  readonly userid: number;
  readonly urgency: number;
  readonly priority: number;
  readonly tSubmit: number;
  readonly annotations: JsonObject | null;
  /** Empty for a successful job. */
  readonly errorText: string;
}

interface Waiter {
  /** Null for any job. */
  readonly id: Integer | null;
}

function isWaitable(job: { readonly flags: number }): boolean {
  return (job.flags & JobFlag.Waitable) !== 0;
}

export class Waits {
  readonly #waiters = new Map<IncomingRequest, Waiter>();
  readonly #zombies = new Map<Integer, Zombie>();
  /** Waitable jobs that are active. */
  #activeCount = 0;

  get zombies(): Iterable<Zombie> {
    return this.#zombies.values();
  }

  began(job: Job): void {
    if (isWaitable(job)) this.#activeCount += 1;
  }

  /** A job is inactive, and its record complete in the KVS. */
  ended(job: Job): void {
    if (!isWaitable(job)) return;
    this.#activeCount -= 1;
    const zombie = zombieOf(job.id, job);
    const waiter = this.#waiterFor(job.id);
    if (waiter === null) this.#zombies.set(job.id, zombie);
    else this.#answer(waiter, zombie);
    if (this.#activeCount === 0 && this.#zombies.size === 0) this.#refuseRest();
  }

  /** A job that ended before a restart: whether somebody waited for it is not known any more. */
  restored(id: Integer, job: Folded): void {
    if (isWaitable(job)) this.#zombies.set(id, zombieOf(id, job));
  }

  /** Answers now or when the job ends. `active` is the job where it is known. Throws ECHILD. */
  wait(request: IncomingRequest, id: Integer, active: Job | null): void {
    if (id === -1 || id === FLUID_ANY) return this.#waitAny(request);
    const zombie = this.#zombies.get(id);
    if (zombie !== undefined) return this.#answer(request, zombie);
    if (active === null || (active.state === JobState.Inactive && !isWaitable(active)))
      throw new FluxError("ECHILD", "invalid job id, or job may be inactive and not waitable");
    if (!isWaitable(active)) throw new FluxError("ECHILD", "job was not submitted with FLUX_JOB_WAITABLE");
    for (const waiter of this.#waiters.values())
      if (waiter.id === id) throw new FluxError("ECHILD", "job id already has a waiter");
    this.#waiters.set(request, { id });
  }

  disconnect(disconnect: IncomingRequest): void {
    for (const request of this.#waiters.keys()) if (request.sender === disconnect.sender) this.#waiters.delete(request);
  }

  /** Forgets a job that is purged. */
  purged(id: Integer): void {
    this.#zombies.delete(id);
  }

  #waitAny(request: IncomingRequest): void {
    const [first] = this.#zombies.values();
    if (first !== undefined) return this.#answer(request, first);
    if (this.#activeCount <= this.#waiters.size) throw new FluxError("ECHILD", "there are no more waitable jobs");
    this.#waiters.set(request, { id: null });
  }

  #waiterFor(id: Integer): IncomingRequest | null {
    let any: IncomingRequest | null = null;
    for (const [request, waiter] of this.#waiters) {
      if (waiter.id === id) return request;
      if (waiter.id === null) any ??= request;
    }
    return any;
  }

  #answer(request: IncomingRequest, zombie: Zombie): void {
    this.#waiters.delete(request);
    this.#zombies.delete(zombie.id);
    request.respond({ id: zombie.id, success: zombie.errorText === "", errstr: zombie.errorText });
  }

  #refuseRest(): void {
    for (const request of this.#waiters.keys())
      request.respondError(new FluxError("ECHILD", "there are no more waitable jobs"));
    this.#waiters.clear();
  }
}

function zombieOf(id: Integer, job: Folded): Zombie {
  const { userid, urgency, priority, tSubmit, annotations } = job;
  return { id, userid, urgency, priority, tSubmit, annotations, errorText: errorTextOf(job) };
}
