/**
 * The barrier of a job's shells: each enters once, all are let go when the last has come. Barriers follow one another.
 *
 * Invariant: a shell that waits is answered: let go, or refused with ECANCELED.
 */
import { FluxError } from "../../base/errors.ts";
import type { TimerHandle } from "../../base/ports.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import type { JobExecution } from "./job.ts";
import type { ExecWorld } from "./world.ts";

export class Barrier {
  readonly #world: ExecWorld;
  readonly #job: JobExecution;
  readonly #timedOut: (note: string) => void;
  #waiting: IncomingRequest[] = [];
  #timer: TimerHandle | null = null;

  constructor(world: ExecWorld, job: JobExecution, timedOut: (note: string) => void) {
    this.#world = world;
    this.#job = job;
    this.#timedOut = timedOut;
  }

  enter(request: IncomingRequest): void {
    if (this.#job.fatal !== null || this.#job.phase === "finished")
      return request.respondError(new FluxError("ECANCELED", "job got a fatal exception"));
    this.#waiting.push(request);
    if (this.#waiting.length >= this.#job.ranks.length) return this.#release();
    const { barrierTimeout } = this.#world.settings;
    if (this.#timer !== null || barrierTimeout === 0) return;
    const note = `start barrier timeout: ${barrierTimeout}s after the first, not all shells have come`;
    this.#timer = this.#world.context.ports.clock.after(barrierTimeout * 1000, () => this.#timedOut(note));
  }

  cancel(why: string): void {
    this.#timer?.cancel();
    this.#timer = null;
    for (const request of this.#waiting.splice(0)) request.respondError(new FluxError("ECANCELED", why));
  }

  #release(): void {
    this.#timer?.cancel();
    this.#timer = null;
    for (const request of this.#waiting.splice(0)) request.respond();
  }
}
