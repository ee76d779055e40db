/**
 * The open streaming requests of a method, with what is known of each: found again by a cancel request (same sender,
 * matchtag in the payload) and by a disconnect notice (same sender).
 */
import type { FluxError } from "../base/errors.ts";
import type { IncomingRequest } from "./request.ts";

export class RequestSet<T> {
  readonly #entries = new Map<IncomingRequest, T>();

  get size(): number {
    return this.#entries.size;
  }

  /** Keeps nothing for a sender that has gone meanwhile: nobody would take it out again. */
  add(request: IncomingRequest, state: T): void {
    if (!request.isAbandoned) this.#entries.set(request, state);
  }

  has(request: IncomingRequest): boolean {
    return this.#entries.has(request);
  }

  delete(request: IncomingRequest): boolean {
    return this.#entries.delete(request);
  }

  [Symbol.iterator](): MapIterator<[IncomingRequest, T]> {
    return this.#entries.entries();
  }

  /** Takes out what a cancel request means; the caller ends it. */
  takeCanceled(cancel: IncomingRequest): [IncomingRequest, T] | null {
    const { matchtag } = cancel.json;
    for (const entry of this.#entries) {
      const [request] = entry;
      if (request.matchtag !== matchtag || request.sender !== cancel.sender) continue;
      this.#entries.delete(request);
      return entry;
    }
    return null;
  }

  /** Takes out everything that a sender had open; it is gone, so nothing is sent. */
  takeDisconnected(disconnect: IncomingRequest): [IncomingRequest, T][] {
    const gone = [...this.#entries].filter(([request]) => request.sender === disconnect.sender);
    for (const [request] of gone) this.#entries.delete(request);
    return gone;
  }

  /** Ends every request with an error and forgets them. */
  failAll(error: FluxError): void {
    const requests = [...this.#entries.keys()];
    this.#entries.clear();
    for (const request of requests) request.respondError(error);
  }
}
