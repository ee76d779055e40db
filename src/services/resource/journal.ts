/**
 * The history of resource events for `resource.journal` (RFC 44): what happened so far, a sentinel, then what happens.
 *
 * Invariant: it holds at most a limit of events; where some were dropped, a `truncate` event stands in their place.
 */
import type { FluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { RequestSet } from "../../sdk/request-set.ts";
import type { ResourceEvent } from "./core.ts";

const JOURNAL_EVENTS_MAX = 100_000;

export class Journal {
  readonly #events: { readonly event: ResourceEvent; readonly R: JsonObject | undefined }[] = [];
  readonly #listeners = new RequestSet<null>();
  #limit: number;

  constructor(limit: number = JOURNAL_EVENTS_MAX) {
    this.#limit = limit;
  }

  /** How many events are held; where it is lowered, the oldest go. */
  set limit(limit: number) {
    this.#limit = limit;
    this.#truncate();
  }

  get listeners(): RequestSet<null> {
    return this.#listeners;
  }

  /** Adds an event; `R` comes with `resource-define`. */
  add(event: ResourceEvent, R?: JsonObject): void {
    this.#events.push({ event, R });
    this.#truncate();
    for (const [request] of this.#listeners) request.respond(answer([event], R));
  }

  /** The event `truncate` counts, and has the time of the last event that was dropped. */
  #truncate(): void {
    const excess = this.#events.length - this.#limit;
    if (excess <= 0) return;
    const { timestamp } = this.#events[excess]!.event;
    this.#events.splice(0, excess + 1, { event: { timestamp, name: "truncate" }, R: undefined });
  }

  /** Opens a listener: all that is known, then the sentinel. */
  open(request: IncomingRequest): void {
    for (const { event, R } of this.#events) request.respond(answer([event], R));
    request.respond({ events: [] });
    this.#listeners.add(request, null);
  }

  close(error: FluxError): void {
    this.#listeners.failAll(error);
  }
}

function answer(events: readonly ResourceEvent[], R: JsonObject | undefined): object {
  return R === undefined ? { events } : { events, R };
}
