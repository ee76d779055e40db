/**
 * RFC 3 bytes: messages to and from their encoding, and the frames of the local connector. Resumable at any byte.
 *
 * Where the RFC and the C library differ, the C library is followed: it is what interoperates (magic in little-endian
 * order, length without the header, no NUL after route and topic strings).
 *
 * Invariants: the decoder refuses what is malformed with EPROTO, never throws anything else, and never allocates more
 * than it has received or than the frame limit allows.
 */
import { concatBytes, latin1Decode, utf8Decode, utf8Encode } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import { MessageFlag, MessageType, Payload, type Message } from "./message.ts";

const FRAME_MAGIC = 0xffee0012;
const FRAME_HEADER_BYTES = 8;
const PROTO_BYTES = 20;
const PROTO_MAGIC = 0x8e;
const PROTO_VERSION = 0x01;
const DERIVED_FLAGS: number = MessageFlag.Topic | MessageFlag.Payload | MessageFlag.Route;

function partHeaderBytes(length: number): number {
  return length < 255 ? 1 : 5;
}

/** The encoded form of a short ASCII string, or of any string. */
function encodeString(text: string): Uint8Array {
  return utf8Encode(text);
}

/** Encodes a message without the frame header. */
export function encodeMessage(message: Message): Uint8Array {
  return encodeWithHeader(message, 0);
}

/** Encodes a message as a frame of the local connector. */
export function encodeFrame(message: Message): Uint8Array {
  const frame = encodeWithHeader(message, FRAME_HEADER_BYTES);
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  view.setUint32(0, FRAME_MAGIC, true);
  view.setUint32(4, frame.byteLength - FRAME_HEADER_BYTES, false);
  return frame;
}

function encodeWithHeader(message: Message, headerBytes: number): Uint8Array {
  const isControl = message.type === MessageType.Control;
  const topic = isControl ? null : encodeString(message.topic);
  const payload = message.payload === null ? null : message.payload.bytes;
  const route = isControl ? null : message.route.map(encodeString);
  let length = headerBytes + 1 + PROTO_BYTES;
  if (topic !== null) length += partHeaderBytes(topic.byteLength) + topic.byteLength;
  if (payload !== null) length += partHeaderBytes(payload.byteLength) + payload.byteLength;
  if (route !== null) {
    length += 1;
    for (const hop of route) length += partHeaderBytes(hop.byteLength) + hop.byteLength;
  }
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  let offset = headerBytes;
  if (route !== null) {
    for (const hop of route) offset = putPart(bytes, view, offset, hop);
    bytes[offset++] = 0;
  }
  if (topic !== null) offset = putPart(bytes, view, offset, topic);
  if (payload !== null) offset = putPart(bytes, view, offset, payload);
  putProto(bytes, view, offset, message, topic !== null, payload !== null, route !== null);
  return bytes;
}

function putPart(bytes: Uint8Array, view: DataView, offset: number, part: Uint8Array): number {
  if (part.byteLength < 255) {
    bytes[offset++] = part.byteLength;
  } else {
    bytes[offset] = 255;
    view.setUint32(offset + 1, part.byteLength, false);
    offset += 5;
  }
  bytes.set(part, offset);
  return offset + part.byteLength;
}

function putProto(
  bytes: Uint8Array,
  view: DataView,
  offset: number,
  message: Message,
  hasTopic: boolean,
  hasPayload: boolean,
  hasRoute: boolean,
): void {
  bytes[offset] = PROTO_BYTES;
  bytes[offset + 1] = PROTO_MAGIC;
  bytes[offset + 2] = PROTO_VERSION;
  bytes[offset + 3] = message.type;
  bytes[offset + 4] =
    (message.flags & ~DERIVED_FLAGS) |
    (hasTopic ? MessageFlag.Topic : 0) |
    (hasPayload ? MessageFlag.Payload : 0) |
    (hasRoute ? MessageFlag.Route : 0);
  view.setUint32(offset + 5, message.userid, false);
  view.setUint32(offset + 9, message.rolemask, false);
  const [first, second] = protoWords(message);
  view.setUint32(offset + 13, first, false);
  view.setUint32(offset + 17, second, false);
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

function malformed(what: string): FluxError {
  return new FluxError("EPROTO", `malformed message: ${what}`);
}

/** Decodes one message (without frame header). The payload is a view of `bytes`. Throws FluxError EPROTO. */
export function decodeMessage(bytes: Uint8Array): Message {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const proto = bytes.byteLength - PROTO_BYTES;
  if (proto < 1 || bytes[proto - 1] !== PROTO_BYTES) throw malformed("no PROTO part");
  if (bytes[proto] !== PROTO_MAGIC || bytes[proto + 1] !== PROTO_VERSION) throw malformed("bad PROTO magic or version");
  const type = bytes[proto + 2]!;
  const wireFlags = bytes[proto + 3]!;
  const reader = new PartReader(bytes, view, proto - 1);
  const route: string[] = [];
  if ((wireFlags & MessageFlag.Route) !== 0) {
    for (let part = reader.next(); part.end > part.start; part = reader.next())
      route.push(latin1Decode(bytes, part.start, part.end));
  }
  let topic = "";
  if ((wireFlags & MessageFlag.Topic) !== 0) {
    const part = reader.next();
    topic = utf8Decode(bytes.subarray(part.start, part.end));
  }
  let payload: Payload | null = null;
  if ((wireFlags & MessageFlag.Payload) !== 0) {
    const part = reader.next();
    payload = Payload.raw(bytes.subarray(part.start, part.end));
  }
  if (!reader.done) throw malformed("parts that no flag announces");
  const flags = wireFlags & ~DERIVED_FLAGS;
  if ((flags & MessageFlag.NoResponse) !== 0 && (flags & MessageFlag.Streaming) !== 0)
    throw malformed("both NORESPONSE and STREAMING");
  const userid = view.getUint32(proto + 4, false);
  const rolemask = view.getUint32(proto + 8, false);
  const first = view.getUint32(proto + 12, false);
  const second = view.getUint32(proto + 16, false);
  const common = { topic, payload, flags, userid, rolemask, route };
  switch (type) {
    case MessageType.Request:
      return { type, ...common, nodeid: first, matchtag: second };
    case MessageType.Response:
      return { type, ...common, errnum: first, matchtag: second };
    case MessageType.Event:
      return { type, ...common, sequence: first };
    case MessageType.Control:
      return { type, ...common, controlType: first, status: second };
    default:
      throw malformed(`unknown type ${type}`);
  }
}

class PartReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #end: number;
  #offset = 0;

  constructor(bytes: Uint8Array, view: DataView, end: number) {
    this.#bytes = bytes;
    this.#view = view;
    this.#end = end;
  }

  get done(): boolean {
    return this.#offset === this.#end;
  }

  next(): { start: number; end: number } {
    let offset = this.#offset;
    if (offset >= this.#end) throw malformed("a part is missing");
    let length = this.#bytes[offset++]!;
    if (length === 255) {
      if (offset + 4 > this.#end) throw malformed("a part is cut short");
      length = this.#view.getUint32(offset, false);
      offset += 4;
    }
    if (offset + length > this.#end) throw malformed("a part is cut short");
    this.#offset = offset + length;
    return { start: offset, end: this.#offset };
  }
}

/**
 * Cuts a byte stream into messages. Feed it chunks of any size; it calls back once per whole message.
 * A large frame is gathered chunk by chunk and joined once, so memory stays within what was received.
 */
export class FrameReader {
  readonly #maxFrameBytes: number;
  #chunks: Uint8Array[] = [];
  #length = 0;
  /** Bytes of the frame being gathered, with its header; 0 while the header is not complete. */
  #wanted = 0;

  constructor(maxFrameBytes: number) {
    this.#maxFrameBytes = maxFrameBytes;
  }

  /** Bytes held of a frame that is not complete yet. */
  get pendingBytes(): number {
    return this.#length;
  }

  /** Takes a chunk. Throws FluxError EPROTO (garbage) or EMSGSIZE (beyond the limit); the stream is then unusable. */
  feed(chunk: Uint8Array, deliver: (message: Message) => void): void {
    if (chunk.byteLength === 0) return;
    this.#chunks.push(chunk);
    this.#length += chunk.byteLength;
    if (this.#wanted > this.#length) return;
    let bytes = concatBytes(this.#chunks);
    this.#chunks = [];
    let offset = 0;
    for (;;) {
      const rest = bytes.byteLength - offset;
      if (rest < FRAME_HEADER_BYTES) {
        this.#checkMagicPrefix(bytes, offset);
        this.#wanted = 0;
        break;
      }
      this.#wanted = this.#frameBytes(bytes, offset);
      if (rest < this.#wanted) break;
      const end = offset + this.#wanted;
      const message = decodeMessage(bytes.subarray(offset + FRAME_HEADER_BYTES, end));
      offset = end;
      deliver(message);
    }
    bytes = bytes.subarray(offset);
    this.#length = bytes.byteLength;
    if (bytes.byteLength > 0) this.#chunks.push(bytes);
  }

  #frameBytes(bytes: Uint8Array, offset: number): number {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, FRAME_HEADER_BYTES);
    if (view.getUint32(0, true) !== FRAME_MAGIC) throw malformed("wrong magic");
    const length = view.getUint32(4, false) + FRAME_HEADER_BYTES;
    if (length > this.#maxFrameBytes)
      throw new FluxError("EMSGSIZE", `message of ${length} bytes exceeds the limit of ${this.#maxFrameBytes}`);
    return length;
  }

  /** Garbage is refused at its first wrong byte, not after eight. */
  #checkMagicPrefix(bytes: Uint8Array, offset: number): void {
    const magic = [0x12, 0x00, 0xee, 0xff];
    for (let index = 0; index < Math.min(4, bytes.byteLength - offset); index++)
      if (bytes[offset + index] !== magic[index]) throw malformed("wrong magic");
  }
}
