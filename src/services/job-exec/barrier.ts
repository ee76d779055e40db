/**
 * The barrier of a job's shells: each enters once, all are let go when the last has come. Barriers follow one another.
 *
 * Invariant: a shell that waits is answered: let go, or refused (ECANCELED; EIO where another has ended). Shells of
 * flux-core mark the request as one without a response, and wait for one all the same.
 */
import { FluxError, type ErrnoName } from "../../base/errors.ts";
import type { TimerHandle } from "../../base/ports.ts";
import { Idset } from "../../formats/idset.ts";
import { errorResponseTo, responseTo } from "../../protocol/message.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import type { JobExecution } from "./job.ts";
import type { ExecWorld } from "./world.ts";

const SHELL_ENDED = "a shell of the job has ended";

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
  /** A shell has ended: the others would wait for it for ever. */
  #isBroken = false;

  constructor(world: ExecWorld, job: JobExecution, timeout: number, timedOut: (missing: Idset) => void) {
    this.#world = world;
    this.#job = job;
    this.#timeout = timeout;
    this.#timedOut = timedOut;
  }

  enter(request: IncomingRequest): void {
    if (this.#job.fatal !== null || this.#job.phase === "finished")
      return this.#answer(request, new FluxError("ECANCELED", "job got a fatal exception"));
    if (this.#isBroken) return this.#answer(request, new FluxError("EIO", SHELL_ENDED));
    const { rank } = request.json;
    this.#waiting.push({ request, rank: typeof rank === "number" ? rank : null });
    if (this.#waiting.length >= this.#job.ranks.length) return this.#release();
    // Who has passed it once waits for others that are at work, as long as that takes.
    if (this.#timer !== null || this.#timeout === 0 || this.isPassed) return;
    this.#timer = this.#world.context.ports.clock.after(this.#timeout * 1000, () => this.#expire());
  }

  cancel(why: string): void {
    this.#refuseAll("ECANCELED", why);
  }

  /** One of the shells has ended. */
  shellEnded(): void {
    this.#isBroken = true;
    this.#refuseAll("EIO", SHELL_ENDED);
  }

  #refuseAll(errno: ErrnoName, why: string): void {
    this.#timer?.cancel();
    this.#timer = null;
    for (const { request } of this.#waiting.splice(0)) this.#answer(request, new FluxError(errno, why));
  }

  #expire(): void {
    const here = new Set(this.#waiting.map(({ rank }) => rank));
    this.#timedOut(Idset.from(this.#job.ranks.filter((rank) => !here.has(rank))));
  }

  #release(): void {
    this.isPassed = true;
    this.#timer?.cancel();
    this.#timer = null;
    for (const { request } of this.#waiting.splice(0)) this.#answer(request, null);
  }

  #answer({ message, isAbandoned }: IncomingRequest, error: FluxError | null): void {
    const response = error === null ? responseTo(message, 0, null) : errorResponseTo(message, error);
    if (!isAbandoned) this.#world.context.handle.respond(response);
  }
}
