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
/** How many events of the past go into one message. */
const BATCH_EVENTS_MAX = 1000;

export class Journal {
  readonly #events: ResourceEvent[] = [];
  readonly #listeners = new RequestSet<null>();
  /** The inventory of today; it comes with `resource-define`. */
  readonly #inventory: () => JsonObject | undefined;
  #limit: number;

  constructor(inventory: () => JsonObject | undefined, limit: number = JOURNAL_EVENTS_MAX) {
    this.#inventory = inventory;
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

  /** Adds an event, and shows it to who listens. */
  add(event: ResourceEvent): void {
    this.#events.push(event);
    this.#truncate();
    for (const [request] of this.#listeners) request.respond(this.#answer([event]));
  }

  /** The event `truncate` counts, and has the time of the last event that was dropped. */
  #truncate(): void {
    const excess = this.#events.length - this.#limit;
    if (excess <= 0) return;
    const { timestamp } = this.#events[excess]!;
    this.#events.splice(0, excess + 1, { timestamp, name: "truncate" });
  }

  /** Opens a listener: all that is known, then the sentinel. */
  open(request: IncomingRequest): void {
    let batch: ResourceEvent[] = [];
    const flush = (): void => {
      if (batch.length > 0) request.respond(this.#answer(batch));
      batch = [];
    };
    for (const event of this.#events) {
      if (isDefine(event) || batch.length === BATCH_EVENTS_MAX) flush();
      batch.push(event);
      if (isDefine(event)) flush();
    }
    flush();
    request.respond({ events: [] });
    this.#listeners.add(request, null);
  }

  close(error: FluxError): void {
    this.#listeners.failAll(error);
  }

  #answer(events: readonly ResourceEvent[]): object {
    return events.some(isDefine) ? { events, R: this.#inventory() } : { events };
  }
}

function isDefine(event: ResourceEvent): boolean {
  return event.name === "resource-define";
}
