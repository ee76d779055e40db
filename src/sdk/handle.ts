/**
 * The Handle: RPCs, streams, events and requests over a message channel. The same class serves a program connected to
 * the local socket, a service inside the broker and the job shells.
 *
 * Invariants:
 * 1. Every request with a matchtag settles exactly once, also when the channel is lost (ECONNRESET).
 * 2. A matchtag is used again only after its last response has arrived.
 * 3. Callbacks run in the order in which messages arrived.
 *
 * It does not know which services exist, nor how the bytes travel.
 */
import { base64Encode } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import type { JsonObject } from "../base/json.ts";
import {
  errorOfResponse,
  hasFlag,
  isFromOwner,
  MATCHTAG_NONE,
  MessageFlag,
  MessageType,
  NODEID_ANY,
  Payload,
  Role,
  settleTransit,
  USERID_UNKNOWN,
  type EventMessage,
  type Message,
  type RequestMessage,
  type ResponseMessage,
} from "../protocol/message.ts";
import type { MessageChannel } from "./channel.ts";
import { IncomingRequest } from "./request.ts";
import { ResponseStream } from "./stream.ts";

/** JSON objects become JSON payloads; bytes go raw; null is no payload. */
export type PayloadLike = object | Uint8Array | Payload | null;

export interface RequestOptions {
  /** The rank to serve the request; default: the nearest broker that has the service. */
  readonly nodeid?: number;
  /** Skip this broker and start at its parent in the tree. */
  readonly upstream?: boolean;
  /** Gives the call up: it fails with ECANCELED. A stream is asked to end, as `OpenStream.cancel` does. */
  readonly signal?: AbortSignal;
  /** Speak for another user; only the instance owner is believed. */
  readonly userid?: number;
  readonly rolemask?: number;
}

export interface StreamOptions extends RequestOptions {
  /** The topic that ends the stream at its service, called with `{matchtag}`. */
  readonly cancelTopic?: string;
}

/** A callback per response of a stream, then exactly one end: null after ENODATA, the error otherwise. */
export interface StreamListener {
  /** A promise: the item has not been taken until it resolves. Then a service that sends in turn waits with the next one. */
  item(payload: Payload | null): unknown;
  end(error: FluxError | null): void;
}

/** An open streaming request. */
export interface OpenStream {
  readonly matchtag: number;
  /** Asks the service, where `cancelTopic` is known, to end the stream; its last response still arrives. */
  cancel(): void;
}

export interface EventOptions {
  /** Only the owner and the sender receive it. */
  readonly isPrivate?: boolean;
}

/** The event by which a broker tells its own clients that events were missed; only who hears all (prefix "") need care. */
export const GAP_TOPIC = "overlay.gap";

export interface SubscribeOptions {
  /** Hears only what was published with the rights of the instance owner: any user may publish under any topic. */
  readonly ownerOnly?: boolean;
}

export interface Subscription {
  cancel(): void;
}

export interface HandleOptions {
  /** Told of an event whose payload was not what its listener reads; nobody else is troubled by it. */
  badEvent?(topic: string, error: FluxError): void;
  /** Told of an error of a listener that nobody foresaw, instead of whoever delivered the message. */
  bug?(where: string, error: unknown): void;
}

interface Pending {
  readonly topic: string;
  readonly streaming: boolean;
  respond(response: ResponseMessage): unknown;
  fail(error: FluxError): void;
}

function payloadOf(value: PayloadLike | undefined): Payload | null {
  if (value === null || value === undefined) return null;
  if (value instanceof Payload) return value;
  return value instanceof Uint8Array ? Payload.raw(value) : Payload.json(value);
}

export class Handle {
  readonly #channel: MessageChannel;
  readonly #options: HandleOptions;
  readonly #pending = new Map<number, Pending>();
  readonly #subscriptions = new Map<string, Set<(event: EventMessage) => void>>();
  readonly #closeListeners = new Set<(error: FluxError) => void>();
  #nextMatchtag = 1;
  #closed: FluxError | null = null;
  #onRequest: ((request: IncomingRequest) => void) | null = null;
  #onUntagged: ((response: ResponseMessage) => void) | null = null;

  constructor(channel: MessageChannel, options: HandleOptions = {}) {
    this.#channel = channel;
    this.#options = options;
    channel.start(
      (message) => this.#receive(message),
      (error) =>
        this.#lose(new FluxError("ECONNRESET", "the connection to the broker was lost", { cause: error ?? undefined })),
    );
  }

  /** Calls a method and resolves with its JSON answer (an empty object where it has no payload). Rejects with FluxError. */
  async rpc<T = JsonObject>(topic: string, payload?: PayloadLike, options: RequestOptions = {}): Promise<T> {
    const answer = await this.call(topic, payload, options);
    return (answer === null ? {} : answer.value) as T;
  }

  /** Calls a method and resolves with its payload as it came: for answers that are raw bytes. */
  call(topic: string, payload?: PayloadLike, options: RequestOptions = {}): Promise<Payload | null> {
    return new Promise((resolve, reject) => {
      const matchtag = this.#begin(topic, payload, options, 0, {
        topic,
        streaming: false,
        respond: (response) => (response.errnum === 0 ? resolve(response.payload) : reject(errorOfResponse(response))),
        fail: reject,
      });
      if (matchtag !== MATCHTAG_NONE) this.#watchAbort(options.signal, matchtag, reject);
    });
  }

  /** Opens a streaming request with callbacks: what services use. */
  open(
    topic: string,
    payload: PayloadLike | undefined,
    listener: StreamListener,
    options: StreamOptions = {},
  ): OpenStream {
    const end = (error: FluxError): void => listener.end(error.is("ENODATA") ? null : error);
    const matchtag = this.#begin(topic, payload, options, MessageFlag.Streaming, {
      topic,
      streaming: true,
      respond: (response) => (response.errnum === 0 ? listener.item(response.payload) : end(errorOfResponse(response))),
      fail: end,
    });
    const cancel = (): void => {
      if (options.cancelTopic !== undefined && this.#pending.has(matchtag))
        this.send(options.cancelTopic, { matchtag }, options.nodeid === undefined ? {} : { nodeid: options.nodeid });
    };
    if (options.signal?.aborted === true) cancel();
    else options.signal?.addEventListener("abort", cancel, { once: true });
    return { matchtag, cancel };
  }

  /** Opens a streaming request as an async iterable of JSON answers. Leaving the loop cancels it. */
  stream<T = JsonObject>(topic: string, payload?: PayloadLike, options: StreamOptions = {}): ResponseStream<T> {
    return new ResponseStream<T>((listener) => this.open(topic, payload, listener, options));
  }

  /** Sends a request that gets no response. */
  send(topic: string, payload?: PayloadLike, options: RequestOptions = {}): void {
    this.#sendRequest(topic, payload, options, MessageFlag.NoResponse, MATCHTAG_NONE);
  }

  /**
   * Sends a streaming request without a matchtag: its responses are told apart by what they say (the protocols of RFC 27
   * and RFC 32 use the job id), so any number may be open at once. They arrive at the listener of `onUntagged`.
   */
  sendUntagged(topic: string, payload?: PayloadLike, options: RequestOptions = {}): void {
    this.#sendRequest(topic, payload, options, MessageFlag.Streaming, MATCHTAG_NONE);
  }

  /** Sets who takes the responses, errors included, to requests without a matchtag. */
  onUntagged(listener: (response: ResponseMessage) => void): void {
    this.#onUntagged = listener;
  }

  /** Publishes an event; resolves with its sequence number once the leader has taken it. */
  async publish(topic: string, payload?: PayloadLike, options: EventOptions = {}): Promise<number> {
    const body = payloadOf(payload);
    const flags = options.isPrivate === true ? MessageFlag.Private : 0;
    // The event's own payload travels in base64.
    const request = body === null ? { topic, flags } : { topic, flags, payload: base64Encode(body.bytes) };
    return (await this.rpc<{ seq: number }>("event.publish", request, { nodeid: 0 })).seq;
  }

  /** Publishes an event without waiting for it to be taken. */
  sendEvent(topic: string, payload?: PayloadLike, options: EventOptions = {}): void {
    this.#transmit({
      type: MessageType.Event,
      topic,
      payload: payloadOf(payload),
      flags: options.isPrivate === true ? MessageFlag.Private : 0,
      userid: USERID_UNKNOWN,
      rolemask: Role.None,
      route: [],
      sequence: 0,
    });
  }

  /**
   * Receives the events whose topic begins with a prefix. Resolves once none can be missed any more; one who was refused
   * hears nothing.
   */
  async subscribe(
    prefix: string,
    listener: (event: EventMessage) => void,
    { ownerOnly = false }: SubscribeOptions = {},
  ): Promise<Subscription> {
    // A listener may come twice, by two subscriptions: each is heard, and canceled, for itself.
    const own = (event: EventMessage): void => {
      if (!ownerOnly || isFromOwner(event)) listener(event);
    };
    const listeners = this.#subscriptions.get(prefix) ?? new Set();
    this.#subscriptions.set(prefix, listeners.add(own));
    const forget = (): boolean => {
      const isKnown = listeners.delete(own);
      if (listeners.size === 0 && this.#subscriptions.get(prefix) === listeners) this.#subscriptions.delete(prefix);
      return isKnown;
    };
    try {
      await this.rpc("event.subscribe", { topic: prefix });
    } catch (error) {
      forget();
      throw error;
    }
    return {
      cancel: () => {
        if (forget() && this.#closed === null) this.send("event.unsubscribe", { topic: prefix });
      },
    };
  }

  /** Sets who answers the requests that arrive here (see `service.ts`). */
  serveRequests(listener: (request: IncomingRequest) => void): void {
    this.#onRequest = listener;
  }

  /** Sends a response; `IncomingRequest` is what handlers use. */
  respond(response: ResponseMessage): void {
    if (this.#closed === null) this.#channel.send(response);
    else settleTransit(response);
  }

  /** Whether the channel is gone. */
  get isClosed(): boolean {
    return this.#closed !== null;
  }

  /** Calls back when the channel is lost or closed. */
  onClose(listener: (error: FluxError) => void): void {
    this.#closeListeners.add(listener);
  }

  /** Ends the connection; what is pending fails with ECANCELED. */
  close(): void {
    if (this.#closed !== null) return;
    this.#channel.close();
    this.#lose(new FluxError("ECANCELED", "the connection to the broker was closed"));
  }

  #begin(
    topic: string,
    payload: PayloadLike | undefined,
    options: RequestOptions,
    flags: number,
    pending: Pending,
  ): number {
    if (this.#closed !== null) {
      pending.fail(this.#closed);
      return MATCHTAG_NONE;
    }
    const matchtag = this.#allocateMatchtag();
    this.#pending.set(matchtag, pending);
    this.#sendRequest(topic, payload, options, flags, matchtag);
    return matchtag;
  }

  #allocateMatchtag(): number {
    let matchtag = this.#nextMatchtag;
    while (this.#pending.has(matchtag)) matchtag = matchtag >= 0x7fffffff ? 1 : matchtag + 1;
    this.#nextMatchtag = matchtag >= 0x7fffffff ? 1 : matchtag + 1;
    return matchtag;
  }

  #sendRequest(
    topic: string,
    payload: PayloadLike | undefined,
    options: RequestOptions,
    flags: number,
    matchtag: number,
  ): void {
    this.#transmit({
      type: MessageType.Request,
      topic,
      payload: payloadOf(payload),
      flags: flags | (options.upstream === true ? MessageFlag.Upstream : 0),
      userid: options.userid ?? USERID_UNKNOWN,
      rolemask: options.rolemask ?? Role.None,
      route: [],
      nodeid: options.nodeid ?? NODEID_ANY,
      matchtag,
    });
  }

  #transmit(message: Message): void {
    if (this.#closed === null) this.#channel.send(message);
  }

  /** An abandoned call keeps its matchtag until the response came, so that the number cannot be mistaken. */
  #watchAbort(signal: AbortSignal | undefined, matchtag: number, reject: (error: FluxError) => void): void {
    if (signal === undefined) return;
    const abandon = (): void => {
      const pending = this.#pending.get(matchtag);
      if (pending === undefined) return;
      const ignore = (): void => {};
      this.#pending.set(matchtag, {
        topic: pending.topic,
        streaming: pending.streaming,
        respond: ignore,
        fail: ignore,
      });
      reject(new FluxError("ECANCELED", `${pending.topic}: canceled`));
    };
    if (signal.aborted) abandon();
    else signal.addEventListener("abort", abandon, { once: true });
  }

  #receive(message: Message): unknown {
    switch (message.type) {
      case MessageType.Response:
        return this.#receiveResponse(message);
      case MessageType.Event:
        return this.#receiveEvent(message);
      case MessageType.Request:
        return this.#receiveRequest(message);
      case MessageType.Control:
        return;
    }
  }

  #receiveResponse(response: ResponseMessage): unknown {
    try {
      return this.#takeResponse(response);
    } catch (error) {
      this.#unforeseen(`response to ${response.topic}`, error);
      return undefined;
    }
  }

  #unforeseen(where: string, error: unknown): void {
    if (this.#options.bug === undefined) throw error;
    this.#options.bug(where, error);
  }

  #takeResponse(response: ResponseMessage): unknown {
    if (response.matchtag === MATCHTAG_NONE) return this.#onUntagged?.(response);
    const pending = this.#pending.get(response.matchtag);
    if (pending === undefined) return;
    if (!pending.streaming || response.errnum !== 0) this.#pending.delete(response.matchtag);
    return pending.respond(response);
  }

  #receiveEvent(event: EventMessage): void {
    for (const [prefix, listeners] of this.#subscriptions)
      if (event.topic.startsWith(prefix)) for (const listener of listeners) this.#tell(listener, event);
  }

  /** Anybody may publish anything: what a listener cannot read is the fault of the one who sent it. */
  #tell(listener: (event: EventMessage) => void, event: EventMessage): void {
    try {
      listener(event);
    } catch (error) {
      if (error instanceof FluxError) this.#options.badEvent?.(event.topic, error);
      else this.#unforeseen(`${event.topic} event`, error);
    }
  }

  #receiveRequest(request: RequestMessage): void {
    const incoming = new IncomingRequest(this, request);
    if (this.#onRequest !== null) this.#onRequest(incoming);
    else if (!hasFlag(request, MessageFlag.NoResponse))
      incoming.respondError(new FluxError("ENOSYS", `No service matching ${request.topic} is registered`));
  }

  #lose(error: FluxError): void {
    if (this.#closed !== null) return;
    this.#closed = error;
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const each of pending) each.fail(error);
    for (const listener of this.#closeListeners) listener(error);
  }
}
