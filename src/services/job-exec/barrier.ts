/**
 * The barrier of a job's shells: each enters once, all are let go when the last has come. Barriers follow one another.
 *
 * Invariant: a shell that waits is answered: let go, or refused with ECANCELED.
 */
import { FluxError } from "../../base/errors.ts";
import type { TimerHandle } from "../../base/ports.ts";
import { Idset } from "../../formats/idset.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import type { JobExecution } from "./job.ts";
import type { ExecWorld } from "./world.ts";

export class Barrier {
  readonly #world: ExecWorld;
  readonly #job: JobExecution;
  /** Seconds from the first shell to the last; 0 = any. */
  readonly #timeout: number;
  readonly #timedOut: (missing: Idset) => void;
  /** Who waits, with the broker rank where that is told. */
  #waiting: { readonly request: IncomingRequest; readonly rank: number | null }[] = [];
  #timer: TimerHandle | null = null;
  /** All shells have been let go once. */
  isPassed = false;

  constructor(world: ExecWorld, job: JobExecution, timeout: number, timedOut: (missing: Idset) => void) {
    this.#world = world;
    this.#job = job;
    this.#timeout = timeout;
    this.#timedOut = timedOut;
  }

  enter(request: IncomingRequest): void {
    if (this.#job.fatal !== null || this.#job.phase === "finished")
      return request.respondError(new FluxError("ECANCELED", "job got a fatal exception"));
    const { rank } = request.json;
    this.#waiting.push({ request, rank: typeof rank === "number" ? rank : null });
    if (this.#waiting.length >= this.#job.ranks.length) return this.#release();
    if (this.#timer !== null || this.#timeout === 0) return;
    this.#timer = this.#world.context.ports.clock.after(this.#timeout * 1000, () => this.#expire());
  }

  cancel(why: string): void {
    this.#timer?.cancel();
    this.#timer = null;
    for (const { request } of this.#waiting.splice(0)) request.respondError(new FluxError("ECANCELED", why));
  }

  #expire(): void {
    const here = new Set(this.#waiting.map(({ rank }) => rank));
    this.#timedOut(Idset.from(this.#job.ranks.filter((rank) => !here.has(rank))));
  }

  #release(): void {
    this.isPassed = true;
    this.#timer?.cancel();
    this.#timer = null;
    for (const { request } of this.#waiting.splice(0)) request.respond();
  }
}
