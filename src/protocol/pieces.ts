/**
 * Messages on a link between brokers: cut into pieces of at most 64 KiB and interleaved, so that a message of any size
 * delays the others by a few pieces only. Pure, resumable at any byte.
 *
 * Invariants: control messages go first. Small messages (one piece) keep their order among themselves. Messages of one
 * flow keep their order whatever their size; a flow is what must stay in order: the requests of one sender, the responses
 * to one request, the events. Large messages share the link round-robin with each other, and with small ones by turns.
 *
 * A piece: flags (1 byte), length (3 bytes), flow number (4 bytes), then, on the first of several, the whole length of
 * the message (4 bytes), then the bytes. It knows nothing of what a message says.
 */
import { FluxError } from "../base/errors.ts";
import { concatBytes } from "../base/bytes.ts";

export const PIECE_BYTES_MAX: number = 64 * 1024;
const HEADER_BYTES = 8;
const LENGTH_BYTES = 4;
const FLAG_FIRST = 1;
const FLAG_LAST = 2;
/** A large message gets a piece in after this many small ones. */
const SMALL_RUN_MAX = 16;

interface Flow {
  readonly number: number;
  readonly key: string;
  /** What waits; the head is being sent. */
  readonly messages: Uint8Array[];
  offset: number;
}

/** A queue whose head is taken in constant time. */
class Fifo<T> {
  #items: T[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }
  push(item: T): void {
    this.#items.push(item);
  }
  shift(): T | undefined {
    if (this.#head >= this.#items.length) return undefined;
    const item = this.#items[this.#head++];
    if (this.#head > 1024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }
}

/** Decides which bytes go next. */
export class PieceSender {
  readonly #control = new Fifo<Uint8Array>();
  readonly #small = new Fifo<Uint8Array>();
  readonly #bulk = new Fifo<Flow>();
  readonly #flows = new Map<string, Flow>();
  #nextFlow = 1;
  #smallRun = 0;
  #queuedBytes = 0;

  /** Bytes of messages that are not sent yet. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Queues an encoded message. */
  add(flowKey: string, message: Uint8Array): void {
    this.#queuedBytes += message.byteLength;
    const flow = this.#flows.get(flowKey);
    if (flow !== undefined) {
      flow.messages.push(message);
      return;
    }
    if (message.byteLength <= PIECE_BYTES_MAX) this.#small.push(message);
    else this.#startFlow(flowKey, message);
  }

  /** Queues a control message: before everything else. */
  addControl(message: Uint8Array): void {
    this.#queuedBytes += message.byteLength;
    this.#control.push(message);
  }

  /** The next bytes to write, or null where nothing waits. */
  next(): Uint8Array | null {
    const control = this.#control.shift();
    if (control !== undefined) return this.#whole(control);
    if (this.#bulk.length === 0 || this.#smallRun < SMALL_RUN_MAX) {
      const small = this.#small.shift();
      if (small !== undefined) {
        this.#smallRun++;
        return this.#whole(small);
      }
    }
    this.#smallRun = 0;
    const flow = this.#bulk.shift();
    return flow === undefined ? null : this.#pieceOf(flow);
  }

  #startFlow(key: string, message: Uint8Array): void {
    const flow: Flow = { number: this.#nextFlow, key, messages: [message], offset: 0 };
    this.#nextFlow = this.#nextFlow >= 0xffffffff ? 1 : this.#nextFlow + 1;
    this.#flows.set(key, flow);
    this.#bulk.push(flow);
  }

  #whole(message: Uint8Array): Uint8Array {
    this.#queuedBytes -= message.byteLength;
    return piece(FLAG_FIRST | FLAG_LAST, 0, message, null);
  }

  #pieceOf(flow: Flow): Uint8Array {
    const message = flow.messages[0]!;
    const end = Math.min(flow.offset + PIECE_BYTES_MAX, message.byteLength);
    const body = message.subarray(flow.offset, end);
    const isFirst = flow.offset === 0;
    const isLast = end === message.byteLength;
    flow.offset = end;
    this.#queuedBytes -= body.byteLength;
    if (isLast) this.#advance(flow);
    else this.#bulk.push(flow);
    const flags = (isFirst ? FLAG_FIRST : 0) | (isLast ? FLAG_LAST : 0);
    return piece(flags, flow.number, body, isFirst ? message.byteLength : null);
  }

  /** A message of the flow is through: small ones behind it join the others, the next large one takes its turn. */
  #advance(flow: Flow): void {
    flow.messages.shift();
    flow.offset = 0;
    let next = flow.messages[0];
    while (next !== undefined && next.byteLength <= PIECE_BYTES_MAX) {
      this.#small.push(next);
      flow.messages.shift();
      next = flow.messages[0];
    }
    if (next === undefined) this.#flows.delete(flow.key);
    else this.#bulk.push(flow);
  }
}

function piece(flags: number, flow: number, body: Uint8Array, total: number | null): Uint8Array {
  const headerBytes = HEADER_BYTES + (total === null ? 0 : LENGTH_BYTES);
  const bytes = new Uint8Array(headerBytes + body.byteLength);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, body.byteLength, false);
  bytes[0] = flags;
  view.setUint32(4, flow, false);
  if (total !== null) view.setUint32(8, total, false);
  bytes.set(body, headerBytes);
  return bytes;
}

interface Assembly {
  readonly bytes: Uint8Array;
  length: number;
}

/** Puts messages together again. */
export class PieceReader {
  readonly #maxMessageBytes: number;
  readonly #assemblies = new Map<number, Assembly>();
  /** What came of pieces that are not complete. */
  #chunks: Uint8Array[] = [];
  #length = 0;
  /** How many bytes the next piece takes, as far as is known. */
  #wanted = HEADER_BYTES;

  constructor(maxMessageBytes: number) {
    this.#maxMessageBytes = maxMessageBytes;
  }

  /** Takes bytes in pieces of any size. Throws FluxError EPROTO or EMSGSIZE; the link is then unusable. */
  feed(chunk: Uint8Array, deliver: (message: Uint8Array) => void): void {
    this.#chunks.push(chunk);
    this.#length += chunk.byteLength;
    // Joined once per piece, however small the chunks.
    if (this.#length < this.#wanted) return;
    const bytes = concatBytes(this.#chunks);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let offset = 0;
    this.#wanted = HEADER_BYTES;
    while (bytes.byteLength - offset >= HEADER_BYTES) {
      const flags = bytes[offset]!;
      const length = view.getUint32(offset, false) & 0xffffff;
      if (length > PIECE_BYTES_MAX || flags > (FLAG_FIRST | FLAG_LAST))
        throw new FluxError("EPROTO", "malformed piece on a link between brokers");
      const headerBytes = HEADER_BYTES + (flags === FLAG_FIRST ? LENGTH_BYTES : 0);
      const end = offset + headerBytes + length;
      if (end > bytes.byteLength) {
        this.#wanted = end - offset;
        break;
      }
      const body = bytes.subarray(offset + headerBytes, end);
      if (flags === (FLAG_FIRST | FLAG_LAST)) deliver(body);
      else this.#assemble(flags, view, offset, body, deliver);
      offset = end;
    }
    const rest = bytes.subarray(offset);
    this.#chunks = rest.byteLength === 0 ? [] : [rest];
    this.#length = rest.byteLength;
  }

  #assemble(
    flags: number,
    view: DataView,
    offset: number,
    body: Uint8Array,
    deliver: (message: Uint8Array) => void,
  ): void {
    const flow = view.getUint32(offset + 4, false);
    if (flags === FLAG_FIRST) this.#begin(flow, view.getUint32(offset + HEADER_BYTES, false));
    const assembly = this.#assemblies.get(flow);
    if (assembly === undefined || assembly.length + body.byteLength > assembly.bytes.byteLength)
      throw new FluxError("EPROTO", "a piece on a link between brokers belongs to no message");
    assembly.bytes.set(body, assembly.length);
    assembly.length += body.byteLength;
    if ((flags & FLAG_LAST) === 0) return;
    this.#assemblies.delete(flow);
    if (assembly.length !== assembly.bytes.byteLength)
      throw new FluxError("EPROTO", "a message on a link between brokers is cut short");
    deliver(assembly.bytes);
  }

  #begin(flow: number, total: number): void {
    if (total > this.#maxMessageBytes)
      throw new FluxError("EMSGSIZE", `message of ${total} bytes exceeds the limit of ${this.#maxMessageBytes}`);
    if (this.#assemblies.has(flow)) throw new FluxError("EPROTO", "two messages in one flow of a link");
    this.#assemblies.set(flow, { bytes: new Uint8Array(total), length: 0 });
  }
}
