/**
 * Events that somebody other than the job manager appends to the eventlog of an active job. The journal does not have them,
 * but they are in the key-value store, and a watcher of the eventlog (RFC 41) is to see them.
 *
 * Invariants: an event is told once, and none that the journal tells. The store is looked at only some time after a watch has
 * begun, so a job that ends soon costs it nothing.
 */
import { base64Decode, utf8Decode } from "../../base/bytes.ts";
import { isFluxError } from "../../base/errors.ts";
import type { Clock, TimerHandle } from "../../base/ports.ts";
import type { Payload } from "../../protocol/message.ts";
import type { Handle, OpenStream } from "../../sdk/handle.ts";
import { parseEventlog, type JobEvent } from "../../sdk/job-protocol.ts";
import { LookupFlag, PRIMARY_NAMESPACE, type TreeObject } from "../../sdk/kvs-protocol.ts";
import { LineSplitter } from "./core.ts";

/** Until the store is looked at for a watch. */
const BEGIN_AFTER_MS = 100;
/** How long the journal may take to tell of an event that the store has. */
const JOURNAL_LAG_MS = 100;

export interface ForeignEventsOptions {
  readonly handle: Handle;
  readonly clock: Clock;
  /** Of the eventlog, in the primary namespace. */
  readonly key: string;
  /** Hears of events that only the store has. */
  readonly take: (events: readonly JobEvent[]) => void;
}

export class ForeignEvents {
  readonly #options: ForeignEventsOptions;
  readonly #splitter = new LineSplitter();
  readonly #known = new Set<string>();
  readonly #timers = new Set<TimerHandle>();
  #stream: OpenStream | null = null;
  #isStopped = false;

  constructor(options: ForeignEventsOptions) {
    this.#options = options;
    this.#after(BEGIN_AFTER_MS, () => this.#open());
  }

  /** The journal has told of these events. */
  know(events: readonly JobEvent[]): void {
    for (const event of events) this.#known.add(identity(event));
  }

  /** Nobody watches any more. */
  stop(): void {
    this.#isStopped = true;
    for (const timer of this.#timers) timer.cancel();
    this.#stream?.cancel();
  }

  #after(delayMs: number, action: () => void): void {
    const timer = this.#options.clock.after(delayMs, () => {
      this.#timers.delete(timer);
      action();
    });
    this.#timers.add(timer);
  }

  #open(): void {
    const { handle, key } = this.#options;
    const { Watch, WatchAppend, WaitCreate } = LookupFlag;
    const request = { namespace: PRIMARY_NAMESPACE, key, flags: Watch | WatchAppend | WaitCreate };
    const listener = {
      item: (payload: Payload | null) => this.#item(payload),
      // Without the service, or where the log was replaced by another, there is the journal alone.
      end: () => (this.#stream = null),
    };
    this.#stream = handle.open("kvs-watch.lookup", request, listener, { cancelTopic: "kvs-watch.cancel" });
  }

  #item(payload: Payload | null): void {
    const val = payload?.value["val"] as TreeObject | undefined;
    const bytes = val?.type === "val" ? base64Decode(val.data) : null;
    if (bytes === null || this.#isStopped) return;
    const events = this.#splitter
      .push(utf8Decode(bytes))
      .flatMap(eventsOf)
      .filter((event) => this.#isForeign(event));
    if (events.length > 0) this.#after(JOURNAL_LAG_MS, () => this.#tell(events));
  }

  #tell(events: readonly JobEvent[]): void {
    const foreign = events.filter((event) => this.#isForeign(event));
    this.know(foreign);
    if (foreign.length > 0) this.#options.take(foreign);
  }

  #isForeign(event: JobEvent): boolean {
    return !this.#known.has(identity(event));
  }
}

function identity({ timestamp, name }: JobEvent): string {
  return `${timestamp} ${name}`;
}

/** The event of a line; none where the line is no event, as people write what they like. */
function eventsOf(line: string): readonly JobEvent[] {
  try {
    return parseEventlog(line);
  } catch (error) {
    if (isFluxError(error)) return [];
    throw error;
  }
}
