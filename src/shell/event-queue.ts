/**
 * What a shell host has to tell the execution service: events are sent in order, and kept until the service has confirmed
 * them, so that none is missed when the connection between them breaks.
 *
 * Invariant: bounded; of events that were sent long ago and never confirmed the oldest are dropped first.
 */
import type { Integer } from "../base/json.ts";
import type { HostEvent } from "../protocol/shell-host.ts";

const TOLD_MAX = 8192;

export class EventQueue {
  #waiting: HostEvent[] = [];
  /** Told and not confirmed, from ordinal `#through - length + 1` to `#through`. */
  #told: HostEvent[] = [];
  #through = 0;

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  push(event: HostEvent): void {
    this.#waiting.push(event);
  }

  /** Takes what waits, to be told, with the ordinal of the last of it. */
  take(): { events: HostEvent[]; through: number } {
    const events = this.#waiting;
    this.#waiting = [];
    this.#told.push(...events);
    if (this.#told.length > 2 * TOLD_MAX) this.#told = this.#told.slice(-TOLD_MAX);
    this.#through += events.length;
    return { events, through: this.#through };
  }

  /** All up to an ordinal has arrived. */
  confirm(through: number): void {
    const unconfirmed = Math.max(0, this.#through - through);
    if (unconfirmed < this.#told.length) this.#told = unconfirmed === 0 ? [] : this.#told.slice(-unconfirmed);
  }

  /**
   * Somebody listens anew, who has heard all up to `since`; null where it does not know what others heard before it: then
   * entries of logs, which these may have written, are not told again.
   */
  again(since: number | null): void {
    if (since !== null) this.confirm(since);
    const missed = since === null ? this.#told.filter(({ type }) => type !== "log") : this.#told;
    this.#through -= this.#told.length;
    this.#told = [];
    this.#waiting = [...missed, ...this.#waiting];
  }

  /** The jobs of which something is to be told. */
  get jobs(): Integer[] {
    return this.#waiting.map(({ id }) => id);
  }
}
