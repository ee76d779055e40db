/**
 * Lets clients look on: summaries of the messages of services (`module.trace`) and of the links to neighbours
 * (`overlay.trace`).
 *
 * Invariants: it costs nothing while nobody looks on. The messages by which one looks on are not shown.
 */
import { FluxError } from "../base/errors.ts";
import type { JsonObject } from "../base/json.ts";
import type { Clock } from "../base/ports.ts";
import { globExpression } from "../formats/glob.ts";
import { MessageType, type Message } from "../protocol/message.ts";
import type { IncomingRequest } from "../sdk/request.ts";
import { RequestSet } from "../sdk/request-set.ts";
import { invalidMember, requireInteger } from "../sdk/service.ts";

/** Takes a message that a party sent (`tx`) or got (`rx`). */
export type Tap = (prefix: "tx" | "rx", message: Message) => void;

interface Filter {
  readonly typemask: number;
  readonly topic: RegExp;
  readonly isFull: boolean;
  /** Of modules; all where it is empty. */
  readonly names: ReadonlySet<string>;
  /** Of a neighbour; null is any. */
  readonly rank: number | null;
}

const ANY_RANK = -1;
const OWN_TOPIC = /^(module|overlay)\.(trace|disconnect)$/;

export class Tracing {
  readonly #clock: Clock;
  readonly #requests = new RequestSet<Filter>();
  /** Called when the first begins, and when the last has ended. */
  readonly #switched: (isOn: boolean) => void;

  constructor(clock: Clock, switched: (isOn: boolean) => void) {
    this.#clock = clock;
    this.#switched = switched;
  }

  get isOn(): boolean {
    return this.#requests.size > 0;
  }

  /** The method `trace`. */
  begin(request: IncomingRequest): undefined {
    const { names, nodeid, topic_glob: glob, full } = request.json;
    const list = names === undefined ? [] : names;
    if (!Array.isArray(list) || !list.every((name) => typeof name === "string")) throw invalidMember("names");
    const wasOn = this.isOn;
    this.#requests.add(request, {
      typemask: requireInteger(request.json, "typemask"),
      topic: globExpression(typeof glob === "string" && glob !== "" ? glob : "*"),
      isFull: full === true || full === 1,
      names: new Set(list),
      rank: typeof nodeid === "number" && nodeid !== ANY_RANK && nodeid < 2 ** 31 ? nodeid : null,
    });
    if (!wasOn) this.#switched(true);
    return undefined;
  }

  /** Whoever looked on has gone. */
  disconnect(request: IncomingRequest): undefined {
    const wasOn = this.isOn;
    this.#requests.takeDisconnected(request);
    if (wasOn && !this.isOn) this.#switched(false);
    return undefined;
  }

  /** Shows a message to those who look on: at a module by its name, at a neighbour by its rank. */
  show(
    prefix: "tx" | "rx",
    message: Message,
    { name = null, rank = ANY_RANK }: { readonly name?: string | null; readonly rank?: number },
  ): void {
    if (OWN_TOPIC.test(message.topic)) return;
    let brief: JsonObject | null = null;
    for (const [request, filter] of this.#requests) {
      if ((filter.typemask & message.type) === 0) continue;
      if (name !== null && filter.names.size > 0 && !filter.names.has(name)) continue;
      if (filter.rank !== null && rank !== ANY_RANK && filter.rank !== rank) continue;
      if (message.type !== MessageType.Control && !filter.topic.test(message.topic)) continue;
      brief ??= summary(this.#clock.now(), prefix, message, name, rank);
      request.respond({ ...brief, ...(filter.isFull ? contentOf(message) : { payload: null, errstr: "" }) });
    }
  }

  close(): void {
    this.#requests.failAll(new FluxError("ENODATA"));
  }
}

function summary(timestamp: number, prefix: string, message: Message, name: string | null, rank: number): JsonObject {
  const errnum = errnumOf(message);
  return {
    timestamp,
    prefix,
    rank,
    name,
    type: message.type,
    topic: message.topic,
    // The text of an error is not counted.
    payload_size: errnum === 0 ? (message.payload?.byteLength ?? 0) : 0,
    errnum,
  };
}

function errnumOf(message: Message): number {
  return message.type === MessageType.Response ? message.errnum : 0;
}

/** The payload where it is a JSON object; the text of an error. */
function contentOf(message: Message): JsonObject {
  const { payload } = message;
  try {
    if (errnumOf(message) !== 0) return { payload: null, errstr: payload?.text ?? "" };
    return { payload: payload?.value ?? null, errstr: "" };
  } catch (error) {
    if (error instanceof FluxError) return { payload: null, errstr: "" };
    throw error;
  }
}
