/**
 * The one stream of `resource.acquire` (RFC 28): the scheduler gets the inventory and who is up, then what changes.
 *
 * Invariants: ranks that are gone for good are told once; the ranks told as up, less those told as down, are the ranks that are up.
 * A client that asks without a stream gets the first response, and keeps others from acquiring until it is gone.
 */
import { FluxError } from "../../base/errors.ts";
import { Idset } from "../../formats/idset.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import type { ResourceState } from "./core.ts";

export class Acquisition {
  readonly #state: ResourceState;
  #request: IncomingRequest | null = null;
  /** What the scheduler believes; null until it has been told the inventory. */
  #told: Idset | null = null;
  #toldLost = new Idset();
  #isMuted = false;

  constructor(state: ResourceState) {
    this.#state = state;
  }

  get isActive(): boolean {
    return this.#request !== null;
  }

  /** Throws FluxError EBUSY while another has it. */
  open(request: IncomingRequest): void {
    if (this.#request !== null) throw new FluxError("EBUSY", "resources are already acquired");
    this.#request = request;
    this.#told = null;
    this.update();
  }

  /** Tells what changed since it was last told. */
  update(): void {
    if (this.#request === null || this.#state.resources === null) return;
    const { up, lost } = this.#state;
    if (this.#told === null) {
      // Jobs may hold something on ranks that are gone: a scheduler hears of these first, and then that they are gone.
      this.#request.respond({ resources: this.#state.acquirable.toJSON(), up: up.toString() });
      if (!lost.isEmpty && !this.#request.isFinished)
        this.#request.respond({ down: lost.toString(), shrink: lost.toString() });
    } else {
      if (!this.#isListening(this.#request)) return;
      const came = up.subtract(this.#told);
      const went = this.#told.subtract(up);
      const shrink = lost.subtract(this.#toldLost);
      if (came.isEmpty && went.isEmpty && shrink.isEmpty) return;
      this.#request.respond({
        ...(came.isEmpty ? {} : { up: came.toString() }),
        ...(went.isEmpty && shrink.isEmpty ? {} : { down: went.union(shrink).toString() }),
        ...(shrink.isEmpty ? {} : { shrink: shrink.toString() }),
      });
    }
    this.#toldLost = lost;
    this.#told = up;
  }

  setExpiration(expiration: number): void {
    const request = this.#request;
    if (this.#told !== null && request !== null && this.#isListening(request)) request.respond({ expiration });
  }

  #isListening(request: IncomingRequest): boolean {
    return !this.#isMuted && !request.isFinished;
  }

  /** Says nothing of what changes any more: the instance is shutting down. */
  mute(): void {
    this.#isMuted = true;
  }

  /** Whoever sent this is gone; returns whether it was the acquirer. */
  forget(sender: string): boolean {
    if (this.#request?.sender !== sender) return false;
    this.#request = null;
    return true;
  }

  cancel(cancel: IncomingRequest): void {
    const request = this.#request;
    if (request === null || request.sender !== cancel.sender || request.matchtag !== cancel.json["matchtag"]) return;
    this.end(new FluxError("ECANCELED"));
  }

  end(error: FluxError): void {
    if (this.#request?.isFinished === false) this.#request.respondError(error);
    this.#request = null;
  }
}
