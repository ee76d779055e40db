/**
 * Everything that happens in an instance as one stream: events of all jobs (RFC 21), of resources (RFC 44), of queues, in
 * the order of time, each with a position from which a later stream goes on.
 *
 * Invariants: a stream that goes on from a position tells no event again that came at or before it, and each that came
 * after it; positions of one stream never go back. Events are ordered by time, then kind, then job, then as they came.
 *
 * What arrives is held back for a moment, so that the sources, which are asked separately, agree on the order. Only the
 * instance owner may ask for all of this.
 *
 * A source that goes away (its service is loaded anew, or the broker is started again) does not end the stream: all sources
 * are asked again, from the position that has been told last.
 */
import { FluxError, isFluxError, type ErrnoName } from "../base/errors.ts";
import { isJsonObject, type Integer, type JsonObject, type JsonValue } from "../base/json.ts";
import type { Clock } from "../base/ports.ts";
import { formatFluid, parseFluid } from "../formats/fluid.ts";
import type { Payload } from "../protocol/message.ts";
import type { Handle, OpenStream } from "./handle.ts";
import { compareIds, parseEventlog, type JobEvent } from "./job-protocol.ts";
import { LookupFlag, PRIMARY_NAMESPACE, type TreeObject } from "./kvs-protocol.ts";
import { lookupText } from "./kvs-text.ts";
import { valBytes } from "../formats/treeobj.ts";
import { utf8Decode } from "../base/bytes.ts";

export type EventKind = "job" | "queue" | "resource";
export const EVENT_KINDS: readonly EventKind[] = ["job", "queue", "resource"];

/** Where the job manager notes what is done to queues: an eventlog (RFC 18). */
export const QUEUE_LOG_KEY = "checkpoint.queue-eventlog";
/** How long events are held back, so that those that came a little earlier come before them. */
const SETTLE_MS = 100;
/** Told by the journal of jobs, and in no eventlog: they are not told again. */
const VOLATILE = "annotations";
/** How long to wait before lost sources are asked again. */
const REOPEN_MS = 250;
/** How a source ends that may come back: unloaded, not loaded yet, its rank or its broker away. */
const AWAY: readonly ErrnoName[] = ["ENODATA", "ENOSYS", "ECANCELED", "EHOSTUNREACH", "ECONNRESET"];

export interface InstanceEvent {
  /** Goes on from here: `from` of a later stream. */
  readonly position: string;
  /** Seconds since the epoch. */
  readonly timestamp: number;
  readonly kind: EventKind;
  /** Of a job's event: which. */
  readonly id?: Integer;
  readonly name: string;
  readonly context?: JsonObject;
  /** With a job's `submit`: its jobspec without environment. */
  readonly jobspec?: JsonObject;
  /** With a job's `alloc`, and with `resource-define`: the resource set. */
  readonly R?: JsonObject;
}

export interface EventOptions {
  readonly clock: Clock;
  /** A position to go on from; "start" is the beginning; without it, only what happens from now on. */
  readonly from?: string;
  /** Default: all. */
  readonly kinds?: readonly EventKind[];
  /** Ends with what has happened so far. */
  readonly follow?: boolean;
  readonly signal?: AbortSignal;
  /** Makes a connection anew where the broker was lost; rejects where that is in vain. Without it, the stream ends then. */
  readonly reconnect?: () => Promise<Handle>;
  /** Hears that a source is away, and is waited for. */
  readonly waiting?: (error: FluxError) => void;
}

/** What orders events. */
interface Place {
  readonly timestamp: number;
  readonly kind: EventKind;
  readonly id: Integer;
  /** Among those with the same time, kind and job. */
  readonly number: number;
}

type Told = Omit<InstanceEvent, "position">;

function comparePlaces(left: Place, right: Place): number {
  if (left.timestamp !== right.timestamp) return left.timestamp - right.timestamp;
  if (left.kind !== right.kind) return left.kind < right.kind ? -1 : 1;
  return compareIds(left.id, right.id) || left.number - right.number;
}

function positionText({ timestamp, kind, id, number }: Place): string {
  return `${timestamp}:${kind}:${formatFluid(id, "f58plain")}:${number}`;
}

/** Reads a position. Throws FluxError EINVAL for what is none. */
export function parsePosition(text: string): Place {
  const match = /^(\d+(?:\.\d+)?):(job|queue|resource):(f\w+):(\d+)$/.exec(text);
  if (match === null)
    throw new FluxError(
      "EINVAL",
      `'${text}' is no position in a stream of events: take it from 'position' of an event`,
    );
  return {
    timestamp: Number(match[1]),
    kind: match[2] as EventKind,
    id: parseFluid(match[3]!),
    number: Number(match[4]),
  };
}

interface Held {
  readonly event: Told;
  readonly arrivedMs: number;
  /** Null for what is in no eventlog. */
  readonly place: Place | null;
}

/** Puts events of several sources in order, numbers them, and leaves out those at or before a position. */
export class EventOrder {
  #held: Held[] = [];
  /** The events of one time, kind and job are numbered as they come. */
  readonly #numbers = new Map<string, { timestamp: number; count: number }>();
  #last: Place | null;

  constructor(from: Place | null) {
    this.#last = from;
  }

  add(event: Told, arrivedMs: number): void {
    if (event.name === VOLATILE && event.kind === "job") {
      if (this.#last !== null && arrivedMs === BACKLOG) return;
      this.#held.push({ event, arrivedMs, place: null });
      return;
    }
    const key = `${event.kind}:${event.id ?? 0}`;
    const seen = this.#numbers.get(key);
    const number = seen?.timestamp === event.timestamp ? seen.count : 0;
    this.#numbers.set(key, { timestamp: event.timestamp, count: number + 1 });
    // A job that is over has no more events.
    if (event.name === "clean") this.#numbers.delete(key);
    const place = { timestamp: event.timestamp, kind: event.kind, id: event.id ?? 0, number };
    if (this.#last !== null && comparePlaces(place, this.#last) <= 0 && arrivedMs === BACKLOG) return;
    this.#held.push({ event, arrivedMs, place });
  }

  /** The events that arrived up to a time, in order. */
  take(untilMs: number): InstanceEvent[] {
    const due = this.#held.filter(({ arrivedMs }) => arrivedMs <= untilMs);
    if (due.length === 0) return [];
    this.#held = this.#held.filter(({ arrivedMs }) => arrivedMs > untilMs);
    return this.#tell(due);
  }

  /** What came late, and would not be told again from the last position, as what else is held back. */
  takeLate(): InstanceEvent[] {
    const last = this.#last;
    return last === null
      ? []
      : this.#tell(this.#held.filter(({ place }) => place !== null && comparePlaces(place, last) < 0));
  }

  #tell(due: Held[]): InstanceEvent[] {
    due.sort((left, right) => order(left, right));
    return due.map(({ event, place }) => {
      if (place !== null && (this.#last === null || comparePlaces(place, this.#last) > 0)) this.#last = place;
      return { position: this.#last === null ? "start" : positionText(this.#last), ...event };
    });
  }
}

/** When that arrived which had happened before the stream began. */
const BACKLOG = 0;

function order(left: Held, right: Held): number {
  if (left.place !== null && right.place !== null) return comparePlaces(left.place, right.place);
  return left.event.timestamp - right.event.timestamp;
}

/**
 * The events of an instance. Ends when it has told what has happened (`follow: false`), when the signal aborts, or by
 * rejecting with the error of the first source that fails for good, as one that was not there to begin with.
 */
export async function* instanceEvents(handle: Handle, options: EventOptions): AsyncGenerator<InstanceEvent> {
  const { clock, follow = true, signal, reconnect, waiting } = options;
  let connection = handle;
  let from = options.from ?? null;
  let mayWait = false;
  for (;;) {
    const stream = new EventStream(connection, options, from);
    let lost: FluxError;
    try {
      for await (const event of stream.events()) {
        if (event.position !== "start") from = event.position;
        yield event;
      }
      return;
    } catch (error) {
      mayWait ||= stream.isOpen;
      if (!isFluxError(error, ...AWAY) || !follow || !mayWait) throw error;
      lost = error;
    } finally {
      stream.close();
    }
    if (stream.isOpen) waiting?.(lost);
    from ??= stream.beginning;
    if (signal?.aborted === true) return;
    if (!lost.is("ECONNRESET")) await new Promise<void>((resolve) => clock.after(REOPEN_MS, resolve));
    else if (reconnect === undefined) throw lost;
    else connection = await reconnect();
  }
}

class EventStream {
  readonly #handle: Handle;
  readonly #options: EventOptions;
  readonly #order: EventOrder;
  readonly #isFromPast: boolean;
  readonly #streams: OpenStream[] = [];
  /** The position at which it began, of one that tells only what happens from then on. */
  readonly beginning: string;
  #isOpen = false;
  #wake: (() => void) | null = null;
  #error: FluxError | null = null;

  constructor(handle: Handle, options: EventOptions, from: string | null) {
    this.#handle = handle;
    this.#options = options;
    this.#isFromPast = from !== null;
    this.beginning = from ?? positionText({ timestamp: options.clock.now(), kind: "job", id: 0, number: 0 });
    this.#order = new EventOrder(from === null || from === "start" ? null : parsePosition(from));
  }

  /** All sources have told what had happened before. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  async *events(): AsyncGenerator<InstanceEvent> {
    const { clock, kinds = EVENT_KINDS, follow = true, signal } = this.#options;
    const sources: Readonly<Record<EventKind, () => Promise<void>>> = {
      job: () => this.#followJobs(),
      queue: () => this.#followQueues(),
      resource: () => this.#followResources(),
    };
    signal?.addEventListener("abort", () => this.#wake?.());
    await Promise.all(kinds.map((kind) => sources[kind]()));
    this.#isOpen = true;
    yield* this.#order.take(BACKLOG);
    if (!follow) return;
    for (;;) {
      if (signal?.aborted === true) return;
      yield* this.#order.take(clock.monotonicMs() - SETTLE_MS);
      if (this.#error !== null) {
        yield* this.#order.takeLate();
        throw this.#error;
      }
      await new Promise<void>((resolve) => {
        const timer = clock.after(SETTLE_MS, resolve, { background: true });
        this.#wake = () => {
          timer.cancel();
          resolve();
        };
      });
    }
  }

  close(): void {
    for (const stream of this.#streams) stream.cancel();
  }

  #add(event: Told, isPast: boolean): void {
    if (isPast && !this.#isFromPast) return;
    this.#order.add(event, isPast ? BACKLOG : this.#options.clock.monotonicMs());
  }

  #fail(error: FluxError): void {
    this.#error ??= error;
    this.#wake?.();
  }

  /** Opens a stream; resolves once what had happened before has been told. */
  #open(
    topic: string,
    request: JsonObject,
    item: (payload: JsonObject) => boolean,
    options: { cancelTopic: string; nodeid?: number },
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      const listener = {
        item: (payload: Payload | null) => {
          if (item(payload?.value ?? {})) resolve();
        },
        end: (error: FluxError | null) => {
          const lost = new FluxError(
            error?.errnum ?? "ENODATA",
            `${topic}: ${error?.message ?? "the stream has ended"}`,
          );
          reject(lost);
          this.#fail(lost);
        },
      };
      this.#streams.push(this.#handle.open(topic, request, listener, options));
    });
  }

  #followJobs(): Promise<void> {
    let isPast = true;
    const item = ({ id, events, jobspec, R }: JsonObject): boolean => {
      if (id === -1) return !(isPast = false);
      for (const event of events as unknown as readonly JobEvent[]) {
        const more = {
          ...(event.name === "submit" && isJsonObject(jobspec) && { jobspec }),
          ...(event.name === "alloc" && isJsonObject(R) && { R }),
        };
        this.#add({ ...told("job", event), id: id as Integer, ...more }, isPast);
      }
      return false;
    };
    const cancelTopic = "job-manager.events-journal-cancel";
    return this.#open("job-manager.events-journal", { full: this.#isFromPast }, item, { cancelTopic });
  }

  #followResources(): Promise<void> {
    let isPast = true;
    const item = ({ events, R }: JsonObject): boolean => {
      const list = events as unknown as readonly JobEvent[];
      if (list.length === 0) return !(isPast = false);
      for (const event of list) this.#add({ ...told("resource", event), ...(isJsonObject(R) && { R }) }, isPast);
      return false;
    };
    return this.#open("resource.journal", {}, item, { cancelTopic: "resource.journal-cancel", nodeid: 0 });
  }

  async #followQueues(): Promise<void> {
    let text = "";
    try {
      text = await lookupText(this.#handle, QUEUE_LOG_KEY);
    } catch (error) {
      if (!isFluxError(error, "ENOENT")) throw error;
    }
    for (const event of parseEventlog(text)) this.#add(told("queue", event), true);
    if (this.#options.follow === false) return;
    let known = text.length;
    const { Watch, WatchAppend, WaitCreate } = LookupFlag;
    const item = ({ val }: JsonObject): boolean => {
      const news = textOf(val);
      const fresh = news.slice(known);
      known = Math.max(0, known - news.length);
      for (const event of parseEventlog(fresh)) this.#add(told("queue", event), false);
      return false;
    };
    const request = { namespace: PRIMARY_NAMESPACE, key: QUEUE_LOG_KEY, flags: Watch | WatchAppend | WaitCreate };
    // What is there is known already: the stream is not waited for.
    this.#open("kvs-watch.lookup", request, item, { cancelTopic: "kvs-watch.cancel" }).catch((error: unknown) => {
      if (!isFluxError(error)) throw error;
    });
  }
}

function textOf(val: JsonValue | undefined): string {
  const object = val as unknown as TreeObject | undefined;
  return object?.type === "val" ? utf8Decode(valBytes(object)) : "";
}

function told(kind: EventKind, { timestamp, name, context }: JobEvent): Told {
  return { timestamp, kind, name, ...(context !== undefined && { context }) };
}
