/**
 * RFC 3 bytes: messages to and from their encoding, whole or in pieces.
 *
 * Where the RFC and the C library differ, the C library is followed: it is what interoperates (magic in little-endian
 * order, length without the header, no NUL after route and topic strings).
 *
 * Invariants: the decoder refuses what is malformed with EPROTO, never throws anything else, and never allocates more
 * than it has received or than the frame limit allows.
 */
import { concatBytes, latin1Decode, utf8Decode, utf8Encode, utf8Length } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import { MessageFlag, MessageType, Payload, type Message, type PieceSource } from "./message.ts";

export const FRAME_MAGIC = 0xffee0012;
export const FRAME_HEADER_BYTES = 8;
const PROTO_BYTES = 20;
const PROTO_MAGIC = 0x8e;
const PROTO_VERSION = 0x01;
/** A longer payload is not copied into one array with its message, in bytes. */
const WHOLE_PAYLOAD_BYTES_MAX: number = 32 * 1024;
/** A message longer than this is gathered, and handed on, in the pieces in which it came, in bytes. */
const GATHERED_BYTES_MAX: number = 128 * 1024;
/** Route and topic of a message that is handed on in pieces are within so many bytes. */
const HEAD_BYTES_MAX: number = 32 * 1024;
const DERIVED_FLAGS: number = MessageFlag.Topic | MessageFlag.Payload | MessageFlag.Route;

function partHeaderBytes(length: number): number {
  return length < 255 ? 1 : 5;
}

/** An encoded message that is too long to be one array: its bytes, a piece at a time. */
export class EncodedMessage {
  readonly byteLength: number;
  #head: Uint8Array | null;
  readonly #pieces: Iterator<Uint8Array>;
  #tail: Uint8Array | null;

  constructor(head: Uint8Array, source: PieceSource, tail: Uint8Array) {
    this.byteLength = head.byteLength + source.byteLength + tail.byteLength;
    this.#head = head;
    this.#pieces = source.pieces();
    this.#tail = tail;
  }

  /** Whether all has been given. */
  get isOver(): boolean {
    return this.#tail === null;
  }

  /** The next bytes, never none of them; null at the end. */
  next(): Uint8Array | null {
    if (this.#head !== null) {
      const head = this.#head;
      this.#head = null;
      return head;
    }
    if (this.#tail === null) return null;
    for (let next = this.#pieces.next(); next.done !== true; next = this.#pieces.next())
      if (next.value.byteLength > 0) return next.value;
    const tail = this.#tail;
    this.#tail = null;
    return tail;
  }
}

/** Encodes a message without the frame header. */
export function encodeMessage(message: Message): Uint8Array {
  return encodeWhole(message, 0);
}

/** Encodes a message as a frame of the local connector. */
export function encodeFrame(message: Message): Uint8Array {
  return encodeWhole(message, FRAME_HEADER_BYTES);
}

/** Encodes a message without the frame header; a long one in pieces, without copying its payload. */
export function encodeMessagePieces(message: Message): Uint8Array | EncodedMessage {
  return isLong(message) ? encodeLong(message, 0) : encodeWhole(message, 0);
}

/** Encodes a message as a frame of the local connector; a long one in pieces, without copying its payload. */
export function encodeFramePieces(message: Message): Uint8Array | EncodedMessage {
  return isLong(message) ? encodeLong(message, FRAME_HEADER_BYTES) : encodeWhole(message, FRAME_HEADER_BYTES);
}

function isLong({ payload }: Message): boolean {
  return payload !== null && payload.byteLength > WHOLE_PAYLOAD_BYTES_MAX;
}

function encodeWhole(message: Message, headerBytes: number): Uint8Array {
  const payload = message.payload === null ? null : message.payload.bytes;
  const payloadLength = payload === null ? -1 : payload.byteLength;
  const bytes = new Uint8Array(
    headBytes(message, headerBytes, payloadLength) + Math.max(0, payloadLength) + 1 + PROTO_BYTES,
  );
  let offset = putHead(bytes, message, headerBytes, payloadLength, bytes.byteLength);
  if (payload !== null) {
    bytes.set(payload, offset);
    offset += payload.byteLength;
  }
  putProto(bytes, offset, message, payload !== null);
  return bytes;
}

function encodeLong(message: Message, headerBytes: number): EncodedMessage {
  const payload = message.payload!;
  const { byteLength } = payload;
  const head = new Uint8Array(headBytes(message, headerBytes, byteLength));
  const tail = new Uint8Array(1 + PROTO_BYTES);
  putHead(head, message, headerBytes, byteLength, head.byteLength + byteLength + tail.byteLength);
  putProto(tail, 0, message, true);
  return new EncodedMessage(head, payload.source ?? onePiece(payload.bytes), tail);
}

function onePiece(bytes: Uint8Array): PieceSource {
  return { byteLength: bytes.byteLength, pieces: () => [bytes].values() };
}

/** How long everything before the payload's bytes is. */
function headBytes(message: Message, headerBytes: number, payloadLength: number): number {
  let length = headerBytes;
  if (message.type !== MessageType.Control) {
    length += 1 + stringPartBytes(message.topic);
    for (const hop of message.route) length += stringPartBytes(hop);
  }
  return payloadLength < 0 ? length : length + partHeaderBytes(payloadLength);
}

function stringPartBytes(text: string): number {
  const length = utf8Length(text);
  return partHeaderBytes(length) + length;
}

/** Writes everything before the payload's bytes; returns where they begin. */
function putHead(
  bytes: Uint8Array,
  message: Message,
  headerBytes: number,
  payloadLength: number,
  frameLength: number,
): number {
  let offset = headerBytes;
  if (headerBytes > 0) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, FRAME_HEADER_BYTES);
    view.setUint32(0, FRAME_MAGIC, true);
    view.setUint32(4, frameLength - FRAME_HEADER_BYTES, false);
  }
  if (message.type !== MessageType.Control) {
    for (const hop of message.route) offset = putString(bytes, offset, hop);
    bytes[offset++] = 0;
    offset = putString(bytes, offset, message.topic);
  }
  return payloadLength < 0 ? offset : putPartHeader(bytes, offset, payloadLength);
}

function putPartHeader(bytes: Uint8Array, offset: number, length: number): number {
  if (length < 255) {
    bytes[offset] = length;
    return offset + 1;
  }
  bytes[offset] = 255;
  putUint32(bytes, offset + 1, length);
  return offset + 5;
}

function putUint32(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value >>> 24;
  bytes[offset + 1] = value >>> 16;
  bytes[offset + 2] = value >>> 8;
  bytes[offset + 3] = value;
}

function putString(bytes: Uint8Array, offset: number, text: string): number {
  const { length } = text;
  // Route ids and topics are short ASCII: written here, byte by byte, they cost no array of their own.
  if (length < 255) {
    let index = 0;
    for (; index < length; index++) {
      const code = text.charCodeAt(index);
      if (code >= 0x80) break;
      bytes[offset + 1 + index] = code;
    }
    if (index === length) {
      bytes[offset] = length;
      return offset + 1 + length;
    }
  }
  const part = utf8Encode(text);
  const start = putPartHeader(bytes, offset, part.byteLength);
  bytes.set(part, start);
  return start + part.byteLength;
}

function putProto(bytes: Uint8Array, offset: number, message: Message, hasPayload: boolean): void {
  const isControl = message.type === MessageType.Control;
  bytes[offset] = PROTO_BYTES;
  bytes[offset + 1] = PROTO_MAGIC;
  bytes[offset + 2] = PROTO_VERSION;
  bytes[offset + 3] = message.type;
  bytes[offset + 4] =
    (message.flags & ~DERIVED_FLAGS) |
    (isControl ? 0 : MessageFlag.Topic | MessageFlag.Route) |
    (hasPayload ? MessageFlag.Payload : 0);
  putUint32(bytes, offset + 5, message.userid);
  putUint32(bytes, offset + 9, message.rolemask);
  const [first, second] = protoWords(message);
  putUint32(bytes, offset + 13, first);
  putUint32(bytes, offset + 17, second);
}

function protoWords(message: Message): readonly [number, number] {
  switch (message.type) {
    case MessageType.Request:
      return [message.nodeid, message.matchtag];
    case MessageType.Response:
      return [message.errnum, message.matchtag];
    case MessageType.Event:
      return [message.sequence, 0];
    case MessageType.Control:
      return [message.controlType, message.status];
  }
}

export function malformed(what: string): FluxError {
  return new FluxError("EPROTO", `malformed message: ${what}`);
}

/** Decodes one message (without frame header). The payload is a view of `bytes`. Throws FluxError EPROTO. */
export function decodeMessage(bytes: Uint8Array): Message {
  const proto = bytes.byteLength - PROTO_BYTES;
  if (proto < 1 || bytes[proto - 1] !== PROTO_BYTES) throw malformed("no PROTO part");
  const reader = new PartReader(bytes, proto - 1);
  return decodeParts(bytes, proto, reader, (start, end) => Payload.raw(bytes.subarray(start, end)));
}

/**
 * Decodes one message (without frame header) that came in chunks. A long one is not joined: its payload is made of views
 * of the chunks. Throws FluxError EPROTO.
 */
export function decodeChunks(chunks: readonly Uint8Array[], byteLength: number): Message {
  if (byteLength <= GATHERED_BYTES_MAX) return decodeMessage(concatBytes(chunks));
  const head = firstBytes(chunks, HEAD_BYTES_MAX);
  const tail = lastBytes(chunks, 1 + PROTO_BYTES);
  if (tail[0] !== PROTO_BYTES) throw malformed("no PROTO part");
  const reader = new PartReader(head, byteLength - 1 - PROTO_BYTES);
  return decodeParts(tail, 1, reader, (start, end) => Payload.pieces(rangeOf(chunks, start, end)));
}

/** The first bytes of some chunks, at least this many where there are as many. */
function firstBytes(chunks: readonly Uint8Array[], atLeast: number): Uint8Array {
  let count = 0;
  for (let length = 0; length < atLeast && count < chunks.length; count++) length += chunks[count]!.byteLength;
  return concatBytes(chunks.slice(0, count));
}

/** The last bytes of some chunks. */
function lastBytes(chunks: readonly Uint8Array[], count: number): Uint8Array {
  const bytes = new Uint8Array(count);
  let start = count;
  for (let index = chunks.length - 1; start > 0; index--) {
    const part = chunks[index]!.subarray(-start);
    start -= part.byteLength;
    bytes.set(part, start);
  }
  return bytes;
}

/** A range of some chunks, as views of them. */
function rangeOf(chunks: readonly Uint8Array[], start: number, end: number): PieceSource {
  const parts: Uint8Array[] = [];
  let offset = 0;
  for (const chunk of chunks) {
    const from = Math.max(0, start - offset);
    const to = Math.min(chunk.byteLength, end - offset);
    if (from < to) parts.push(chunk.subarray(from, to));
    offset += chunk.byteLength;
  }
  return { byteLength: end - start, pieces: () => parts.values() };
}

/** Decodes what `reader` reads, with the PROTO part of `bytes` at `proto`. */
function decodeParts(
  bytes: Uint8Array,
  proto: number,
  reader: PartReader,
  payloadOf: (start: number, end: number) => Payload,
): Message {
  if (bytes[proto] !== PROTO_MAGIC || bytes[proto + 1] !== PROTO_VERSION) throw malformed("bad PROTO magic or version");
  const type = bytes[proto + 2]!;
  const wireFlags = bytes[proto + 3]!;
  const route = (wireFlags & MessageFlag.Route) === 0 ? [] : reader.route();
  const topic = (wireFlags & MessageFlag.Topic) === 0 ? "" : reader.text();
  let payload: Payload | null = null;
  if ((wireFlags & MessageFlag.Payload) !== 0) {
    reader.next();
    payload = payloadOf(reader.start, reader.end);
  }
  if (!reader.done) throw malformed("parts that no flag announces");
  const flags = wireFlags & ~DERIVED_FLAGS;
  if ((flags & MessageFlag.NoResponse) !== 0 && (flags & MessageFlag.Streaming) !== 0)
    throw malformed("both NORESPONSE and STREAMING");
  const userid = uint32(bytes, proto + 4);
  const rolemask = uint32(bytes, proto + 8);
  const first = uint32(bytes, proto + 12);
  const second = uint32(bytes, proto + 16);
  switch (type) {
    case MessageType.Request:
      return { type, topic, payload, flags, userid, rolemask, route, nodeid: first, matchtag: second };
    case MessageType.Response:
      return { type, topic, payload, flags, userid, rolemask, route, errnum: first, matchtag: second };
    case MessageType.Event:
      return { type, topic, payload, flags, userid, rolemask, route, sequence: first };
    case MessageType.Control:
      return { type, topic, payload, flags, userid, rolemask, route, controlType: first, status: second };
    default:
      throw malformed(`unknown type ${type}`);
  }
}

function uint32(bytes: Uint8Array, offset: number): number {
  return ((bytes[offset]! << 24) | (bytes[offset + 1]! << 16) | (bytes[offset + 2]! << 8) | bytes[offset + 3]!) >>> 0;
}

/** Reads the parts of a message one after the other, from its first bytes. */
class PartReader {
  readonly #bytes: Uint8Array;
  /** Where the PROTO part begins: what is before it are the parts. */
  readonly #limit: number;
  /** The part that was read last. */
  start = 0;
  end = 0;

  constructor(bytes: Uint8Array, limit: number) {
    this.#bytes = bytes;
    this.#limit = limit;
  }

  get done(): boolean {
    return this.end === this.#limit;
  }

  next(): void {
    let offset = this.end;
    if (offset >= this.#limit) throw malformed("a part is missing");
    let length = this.#byteAt(offset++);
    if (length === 255) {
      if (offset + 4 > this.#limit) throw malformed("a part is cut short");
      this.#byteAt(offset + 3);
      length = uint32(this.#bytes, offset);
      offset += 4;
    }
    if (offset + length > this.#limit) throw malformed("a part is cut short");
    this.start = offset;
    this.end = offset + length;
  }

  /** Route and topic lie within the first bytes of any message. */
  #byteAt(offset: number): number {
    const byte = this.#bytes[offset];
    if (byte === undefined) throw malformed("a route or topic is too long");
    return byte;
  }

  route(): string[] {
    const route: string[] = [];
    for (;;) {
      this.next();
      if (this.end === this.start) return route;
      route.push(latin1Decode(this.#bytes, this.start, this.#within()));
    }
  }

  text(): string {
    this.next();
    return utf8Decode(this.#bytes.subarray(this.start, this.#within()));
  }

  #within(): number {
    if (this.end > this.#bytes.byteLength) throw malformed("a route or topic is too long");
    return this.end;
  }
}
