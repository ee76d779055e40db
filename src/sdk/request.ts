/**
 * A request as its handler sees it: who asks, what, and how to answer.
 *
 * Invariant: a request that expects a response gets exactly one final one; a second is a bug and ends the broker. A
 * streaming request gets any number of items before an error response (ENODATA = the normal end).
 */
import { assert } from "../base/assert.ts";
import { FluxError } from "../base/errors.ts";
import type { JsonObject } from "../base/json.ts";
import {
  errorResponseTo,
  expectsResponse,
  hasFlag,
  isFromOwner,
  MessageFlag,
  Payload,
  responseTo,
  type RequestMessage,
  type ResponseMessage,
  type Transit,
} from "../protocol/message.ts";

/** What sends the responses: the Handle that received the request. */
interface Responder {
  respond(response: ResponseMessage): void;
}

export class IncomingRequest {
  readonly message: RequestMessage;
  readonly #responder: Responder;
  #finished = false;
  #abandoned = false;

  constructor(responder: Responder, message: RequestMessage) {
    this.#responder = responder;
    this.message = message;
  }

  get topic(): string {
    return this.message.topic;
  }
  get matchtag(): number {
    return this.message.matchtag;
  }
  get userid(): number {
    return this.message.userid;
  }
  get rolemask(): number {
    return this.message.rolemask;
  }
  /** The route id of the program that sent the request: the same for all requests of one connection. */
  get sender(): string {
    return this.message.route.at(-1) ?? "";
  }
  get isStreaming(): boolean {
    return hasFlag(this.message, MessageFlag.Streaming);
  }
  get isOwner(): boolean {
    return isFromOwner(this.message);
  }
  /** Whether the final response has been given (or none is wanted). */
  get isFinished(): boolean {
    return this.#finished;
  }

  /** Whether the sender has gone: nothing is sent, and nothing need be kept for it. */
  get isAbandoned(): boolean {
    return this.#abandoned;
  }
  abandon(): void {
    this.#abandoned = true;
  }

  /** The JSON payload; an absent one reads as an empty object. Throws EPROTO. */
  get json(): JsonObject {
    return this.message.payload === null ? {} : this.message.payload.value;
  }
  /** The payload as bytes; an absent one has none. */
  get bytes(): Uint8Array | null {
    return this.message.payload === null ? null : this.message.payload.bytes;
  }

  /** Answers: a JSON object, bytes, or nothing. On a streaming request this is one item. */
  respond(payload: object | Uint8Array | Payload | null = null): void {
    this.#respond(payload, undefined);
  }

  /**
   * The same; resolves when nothing of the answer waits in this process any more. Whoever streams much is held back so by
   * who reads slowly.
   */
  respondInTurn(payload: object | Uint8Array | Payload | null): Promise<void> {
    return new Promise((resolve) => {
      if (!this.#respond(payload, { left: () => resolve(), ignoresLength: true })) resolve();
    });
  }

  #respond(payload: object | Uint8Array | Payload | null, transit: Transit | undefined): boolean {
    if (!this.#mayRespond()) return false;
    if (!this.isStreaming) this.#finished = true;
    const body =
      payload === null || payload instanceof Payload
        ? payload
        : payload instanceof Uint8Array
          ? Payload.raw(payload)
          : Payload.json(payload);
    const response = responseTo(this.message, 0, body);
    this.#responder.respond(transit === undefined ? response : { ...response, transit });
    return true;
  }

  /** Answers with an error; this is the final response of a streaming request too. */
  respondError(error: FluxError): void {
    if (!this.#mayRespond()) return;
    this.#finished = true;
    this.#responder.respond(errorResponseTo(this.message, error));
  }

  /** Ends a streaming request normally. */
  end(): void {
    this.respondError(new FluxError("ENODATA"));
  }

  #mayRespond(): boolean {
    if (this.#abandoned || !expectsResponse(this.message)) return false;
    assert(!this.#finished, `second final response to ${this.topic}`);
    return true;
  }
}
