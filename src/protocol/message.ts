/**
 * The RFC 3 message as an object. Inside a process messages travel as these objects; `codec.ts` makes bytes of them
 * where they leave it.
 *
 * Invariants: a message is immutable once sent: receivers share it, with its payload. NORESPONSE and STREAMING exclude
 * each other. The route stack's first element is the most recent hop, the one to pop next.
 */
import { base64Encode, concatBytes, EMPTY_BYTES, utf8DecodeStrict, utf8Encode } from "../base/bytes.ts";
import { errnoSentence, FluxError } from "../base/errors.ts";
import { isJsonObject, parseJson, stringifyJson, type JsonObject } from "../base/json.ts";

export const MessageType = { Request: 1, Response: 2, Event: 4, Control: 8 } as const;
export type MessageType = (typeof MessageType)[keyof typeof MessageType];

export const MessageFlag = {
  Topic: 0x01,
  Payload: 0x02,
  NoResponse: 0x04,
  Route: 0x08,
  Upstream: 0x10,
  Private: 0x20,
  Streaming: 0x40,
  User1: 0x80,
} as const;

/** Who a message speaks for (RFC 12). */
export const Role = { None: 0, Owner: 1, User: 2, Local: 4, Admin: 8, All: 0xffffffff } as const;

export const USERID_UNKNOWN = 0xffffffff;
export const NODEID_ANY = 0xffffffff;
export const MATCHTAG_NONE = 0;

/** Bytes that came, or are made, in pieces: what is huge is never in one piece unless somebody asks for it. */
export interface PieceSource {
  readonly byteLength: number;
  /** Whether the pieces take no memory until they are asked for. */
  readonly isLazy?: boolean;
  /** The pieces from the beginning, each made when it is asked for. */
  pieces(): Iterator<Uint8Array>;
}

/** A payload that is JSON, bytes, pieces or several of them: each form is made when it is first asked for. */
export class Payload {
  #bytes: Uint8Array | null;
  #value: JsonObject | null;
  #source: PieceSource | null;

  private constructor(bytes: Uint8Array | null, value: JsonObject | null, source: PieceSource | null = null) {
    this.#bytes = bytes;
    this.#value = value;
    this.#source = source;
  }

  static json(value: object): Payload {
    return new Payload(null, value as JsonObject);
  }
  static raw(bytes: Uint8Array): Payload {
    return new Payload(bytes, null);
  }
  /** NUL-terminated text, as error texts and log lines are. */
  static text(text: string): Payload {
    return new Payload(utf8Encode(`${text}\0`), null);
  }

  /** Pieces, and the JSON object that they are where somebody in this process can have it at less cost. */
  static pieces(source: PieceSource, value: JsonObject | null = null): Payload {
    return new Payload(null, value, source);
  }

  /** The bytes as they travel: JSON and text with their terminating NUL. */
  get bytes(): Uint8Array {
    this.#bytes ??= this.#makeBytes();
    return this.#bytes;
  }

  #makeBytes(): Uint8Array {
    if (this.#source !== null) return concatBytes([...this.inPieces()]);
    return this.#value === null ? EMPTY_BYTES : utf8Encode(`${stringifyJson(this.#value)}\0`);
  }

  /** The length of `bytes`; what is in pieces stays so. */
  get byteLength(): number {
    return this.#source?.byteLength ?? this.bytes.byteLength;
  }

  /** The pieces, where they are not one already. */
  get source(): PieceSource | null {
    return this.#bytes === null ? this.#source : null;
  }

  /** The bytes as they came, in one piece or many, of which none is empty: what is only passed on is not joined. */
  *inPieces(): Generator<Uint8Array> {
    if (this.source === null) {
      if (this.bytes.byteLength > 0) yield this.bytes;
      return;
    }
    const iterator = this.source.pieces();
    for (let next = iterator.next(); next.done !== true; next = iterator.next()) yield next.value;
  }

  /** The JSON object. Throws FluxError EPROTO where the payload is not one, or lacks its NUL. */
  get value(): JsonObject {
    this.#value ??= parsePayload(this.bytes);
    return this.#value;
  }

  /** The text, without the NUL; null where it is not NUL-terminated UTF-8. */
  get text(): string | null {
    return textOf(this.bytes);
  }

  toString(): string {
    return this.text ?? base64Encode(this.bytes);
  }
}

function textOf(bytes: Uint8Array): string | null {
  const end = bytes.byteLength - 1;
  return end >= 0 && bytes[end] === 0 ? utf8DecodeStrict(bytes.subarray(0, end)) : null;
}

function parsePayload(bytes: Uint8Array): JsonObject {
  const text = textOf(bytes);
  if (text === null) throw new FluxError("EPROTO", "payload is not NUL-terminated text");
  const value = parseJson(text);
  if (!isJsonObject(value)) throw new FluxError("EPROTO", "payload is not a JSON object");
  return value;
}

/** Told when a message has left this process, or has been dealt with here: its sender is held back until then. */
export interface Transit {
  left(byteLength: number): void;
  /** Whether it is all the same how long the payload was: one that never travels need not be encoded for that. */
  readonly ignoresLength?: boolean;
}

interface CommonFields {
  readonly topic: string;
  readonly payload: Payload | null;
  /** Flags without Topic, Payload and Route, which the codec derives. */
  readonly flags: number;
  readonly userid: number;
  readonly rolemask: number;
  readonly route: readonly string[];
  /** Told once, when nothing waits for this message any more. Never travels. */
  readonly transit?: Transit | undefined;
}

export interface RequestMessage extends CommonFields {
  readonly type: typeof MessageType.Request;
  readonly nodeid: number;
  readonly matchtag: number;
}
export interface ResponseMessage extends CommonFields {
  readonly type: typeof MessageType.Response;
  /** 0 = success. */
  readonly errnum: number;
  readonly matchtag: number;
}
export interface EventMessage extends CommonFields {
  readonly type: typeof MessageType.Event;
  /** 0 until the leader assigned one. */
  readonly sequence: number;
}
export interface ControlMessage extends CommonFields {
  readonly type: typeof MessageType.Control;
  readonly controlType: number;
  readonly status: number;
}
export type Message = RequestMessage | ResponseMessage | EventMessage | ControlMessage;

export function hasFlag(message: { readonly flags: number }, flag: number): boolean {
  return (message.flags & flag) !== 0;
}

/** Whether a message speaks with the rights of the instance owner (RFC 12). */
export function isFromOwner(message: { readonly rolemask: number }): boolean {
  return (message.rolemask & Role.Owner) !== 0;
}

/** Nothing waits for a message any more. */
export function settleTransit(message: Pick<CommonFields, "transit" | "payload">): void {
  const { transit, payload } = message;
  transit?.left(transit.ignoresLength === true || payload === null ? 0 : payload.byteLength);
}

/** Whether a response must be sent to a request. */
export function expectsResponse(request: RequestMessage): boolean {
  return !hasFlag(request, MessageFlag.NoResponse);
}

/** A response to a request, with everything that RFC 3 says is copied from it. */
export function responseTo(request: RequestMessage, errnum: number, payload: Payload | null): ResponseMessage {
  return {
    type: MessageType.Response,
    topic: request.topic,
    payload,
    flags: request.flags & MessageFlag.Streaming,
    userid: USERID_UNKNOWN,
    rolemask: Role.None,
    route: request.route,
    errnum,
    matchtag: request.matchtag,
  };
}

/** An error response; the sentence travels only where it says more than the errno. */
export function errorResponseTo(request: RequestMessage, error: FluxError): ResponseMessage {
  return responseTo(request, error.errnum, error.hasText ? Payload.text(error.message) : null);
}

/** The error that a failed response carries. */
export function errorOfResponse(response: ResponseMessage): FluxError {
  const text = response.payload?.text ?? null;
  return text === null || text === "" || text === errnoSentence(response.errnum)
    ? new FluxError(response.errnum)
    : new FluxError(response.errnum, text);
}

/** The topic of the notice that a client is gone: the last word of the request's topic replaced. */
export function disconnectTopic(topic: string): string {
  const dot = topic.lastIndexOf(".");
  return dot < 0 ? "disconnect" : `${topic.slice(0, dot)}.disconnect`;
}
