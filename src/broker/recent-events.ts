/**
 * The latest events that passed a broker, so that a neighbour whose link broke need not miss any when it rejoins.
 *
 * Invariant: bounded in number and in bytes; what is kept is without gaps.
 */
import type { EventMessage } from "../protocol/message.ts";

const EVENTS_MAX = 512;
/** Payloads that are longer than this in sum are not kept, in bytes. */
const BYTES_MAX: number = 1024 * 1024;

export class RecentEvents {
  #events: EventMessage[] = [];
  #bytes = 0;

  /** Events come in the order of their numbers. */
  add(event: EventMessage): void {
    const last = this.#events.at(-1);
    if (last !== undefined && event.sequence !== last.sequence + 1) this.clear();
    const bytes = sizeOf(event);
    if (bytes > BYTES_MAX) return this.clear();
    this.#events.push(event);
    this.#bytes += bytes;
    let surplus = Math.max(0, this.#events.length - EVENTS_MAX * 2);
    let kept = this.#bytes;
    while (kept > BYTES_MAX) kept -= sizeOf(this.#events[surplus++]!);
    // Cut now and then, not at each event: shifting a long array costs.
    if (surplus === 0) return;
    if (this.#events.length > EVENTS_MAX) surplus = Math.max(surplus, this.#events.length - EVENTS_MAX);
    for (const old of this.#events.splice(0, surplus)) this.#bytes -= sizeOf(old);
  }

  clear(): void {
    this.#events = [];
    this.#bytes = 0;
  }

  /** The events after a number up to the latest, `until`; null where one of them is not kept. */
  after(sequence: number, until: number): EventMessage[] | null {
    if (sequence === until) return [];
    if (sequence > until) return null;
    const first = this.#events[0];
    if (first === undefined || first.sequence > sequence + 1) return null;
    return this.#events.filter((event) => event.sequence > sequence);
  }
}

function sizeOf({ payload }: EventMessage): number {
  return payload === null ? 0 : payload.byteLength;
}
