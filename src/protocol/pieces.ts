/**
 * Messages on a link between brokers: cut into pieces of at most 64 KiB and interleaved, so that a message of any size
 * delays the others by a few pieces only. Pure, resumable at any byte.
 *
 * Invariants: control messages go first. Small messages keep their order among themselves. Messages of one flow keep their
 * order whatever their size; a flow is what must stay in order: the requests of one sender, the responses to one request,
 * the events. Large messages share the link round-robin with each other, and with small ones by turns. Of large messages
 * no more than a window is under way that the other side has not acknowledged: so they fill no buffer on the way in which
 * small ones would have to queue, and who cannot pass them on holds them back where they come from.
 *
 * A piece: flags (1 byte), length (3 bytes), flow number (4 bytes), then, on the first of several, the whole length of
 * the message (4 bytes), then the bytes. An acknowledgement has no bytes, and their number for a flow. It knows nothing
 * of what a message says.
 */
import { FluxError } from "../base/errors.ts";
import { concatBytes, EMPTY_BYTES } from "../base/bytes.ts";
import { Fifo } from "../base/fifo.ts";
import type { EncodedMessage } from "./codec.ts";

export const PIECE_BYTES_MAX: number = 64 * 1024;
/** A longer message is large, in bytes. */
export const SMALL_BYTES_MAX: number = 16 * 1024;
/** Bytes of large messages under way and not acknowledged. */
export const WINDOW_BYTES: number = 512 * 1024;
const HEADER_BYTES = 8;
const LENGTH_BYTES = 4;
const FLAG_FIRST = 1;
const FLAG_LAST = 2;
const FLAG_ACKNOWLEDGE = 4;
/** A large message gets a piece in after this many small ones. */
const SMALL_RUN_MAX = 16;

/** A message that waits to be sent. */
interface Waiting {
  readonly bytes: Uint8Array | EncodedMessage;
  /** Told when nothing of it waits any more. */
  readonly gone: (() => void) | null;
}

interface Flow {
  readonly number: number;
  readonly key: string;
  /** What waits; the head is being sent. */
  readonly messages: Waiting[];
  /** The bytes of the head that are sent next. */
  chunk: Uint8Array | null;
  /** How many bytes of the head have been sent. */
  sent: number;
}

/** Decides which bytes go next. */
export class PieceSender {
  readonly #control = new Fifo<Uint8Array>();
  readonly #small = new Fifo<Waiting>();
  readonly #bulk = new Fifo<Flow>();
  readonly #flows = new Map<string, Flow>();
  #nextFlow = 1;
  #smallRun = 0;
  #queuedBytes = 0;
  #unacknowledged = 0;
  #acknowledging = 0;

  /** Bytes of messages that are not sent yet. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Queues an encoded message. `gone` is called when the last of its bytes is taken, or all is dropped. */
  add(flowKey: string, bytes: Uint8Array | EncodedMessage, gone: (() => void) | null = null): void {
    this.#queuedBytes += bytes.byteLength;
    const flow = this.#flows.get(flowKey);
    const message = { bytes, gone };
    if (flow !== undefined) flow.messages.push(message);
    else if (isSmall(message)) this.#small.push(message);
    else this.#startFlow(flowKey, message);
  }

  /** Queues a control message: before everything else. */
  addControl(message: Uint8Array): void {
    this.#queuedBytes += message.byteLength;
    this.#control.push(message);
  }

  /** Tells the other side that so many bytes of large messages were taken. */
  acknowledge(byteLength: number): void {
    this.#acknowledging += byteLength;
  }

  /** The other side has taken so many bytes of large messages. */
  acknowledged(byteLength: number): void {
    this.#unacknowledged -= byteLength;
  }

  /** The next bytes to write, or null where nothing may go now. */
  next(): Uint8Array | null {
    if (this.#acknowledging > 0) {
      const bytes = piece(FLAG_ACKNOWLEDGE, this.#acknowledging, EMPTY_BYTES, null);
      this.#acknowledging = 0;
      return bytes;
    }
    const control = this.#control.shift();
    if (control !== undefined) return this.#whole(control);
    const bulkMayGo = this.#bulk.length > 0 && this.#unacknowledged < WINDOW_BYTES;
    if (!bulkMayGo || this.#smallRun < SMALL_RUN_MAX) {
      const small = this.#small.shift();
      if (small !== undefined) {
        this.#smallRun++;
        small.gone?.();
        return this.#whole(small.bytes as Uint8Array);
      }
    }
    this.#smallRun = 0;
    return bulkMayGo ? this.#pieceOf(this.#bulk.shift()!) : null;
  }

  /** Drops what waits. */
  clear(): void {
    for (let small = this.#small.shift(); small !== undefined; small = this.#small.shift()) small.gone?.();
    for (const flow of this.#flows.values()) for (const { gone } of flow.messages) gone?.();
    this.#flows.clear();
    while (this.#bulk.shift() !== undefined);
    this.#queuedBytes = 0;
  }

  #startFlow(key: string, message: Waiting): void {
    const flow: Flow = { number: this.#nextFlow, key, messages: [message], chunk: null, sent: 0 };
    this.#nextFlow = this.#nextFlow >= 0xffffffff ? 1 : this.#nextFlow + 1;
    this.#flows.set(key, flow);
    this.#bulk.push(flow);
  }

  #whole(message: Uint8Array): Uint8Array {
    this.#queuedBytes -= message.byteLength;
    return piece(FLAG_FIRST | FLAG_LAST, 0, message, null);
  }

  #pieceOf(flow: Flow): Uint8Array {
    const { bytes: message } = flow.messages[0]!;
    const chunk = flow.chunk ?? (message instanceof Uint8Array ? message : message.next()!);
    const body = chunk.subarray(0, PIECE_BYTES_MAX);
    const isFirst = flow.sent === 0;
    flow.chunk = body.byteLength === chunk.byteLength ? null : chunk.subarray(body.byteLength);
    flow.sent += body.byteLength;
    const isLast = flow.sent === message.byteLength;
    this.#queuedBytes -= body.byteLength;
    this.#unacknowledged += body.byteLength;
    if (isLast) this.#advance(flow);
    else this.#bulk.push(flow);
    // A message of one piece says so by having a flow; a small one has none.
    const flags = (isFirst ? FLAG_FIRST : 0) | (isLast ? FLAG_LAST : 0);
    return piece(flags, flow.number, body, isFirst && !isLast ? message.byteLength : null);
  }

  /** A message of the flow is through: small ones behind it join the others, the next large one takes its turn. */
  #advance(flow: Flow): void {
    flow.messages.shift()!.gone?.();
    flow.sent = 0;
    let next = flow.messages[0];
    while (next !== undefined && isSmall(next)) {
      this.#small.push(next);
      flow.messages.shift();
      next = flow.messages[0];
    }
    if (next === undefined) this.#flows.delete(flow.key);
    else this.#bulk.push(flow);
  }
}

function isSmall({ bytes }: Waiting): boolean {
  return bytes instanceof Uint8Array && bytes.byteLength <= SMALL_BYTES_MAX;
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
  readonly chunks: Uint8Array[];
  readonly total: number;
  length: number;
}

export interface PieceEvents {
  /** A whole message, in chunks that are views of what came. */
  message(chunks: readonly Uint8Array[], byteLength: number): void;
  /** The other side has taken so many bytes of large messages. */
  acknowledged(byteLength: number): void;
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
  #bulkBytes = 0;

  constructor(maxMessageBytes: number) {
    this.#maxMessageBytes = maxMessageBytes;
  }

  /** Bytes of large messages that came since this was asked last. */
  takeBulkBytes(): number {
    const bytes = this.#bulkBytes;
    this.#bulkBytes = 0;
    return bytes;
  }

  /** Takes bytes in pieces of any size. Throws FluxError EPROTO or EMSGSIZE; the link is then unusable. */
  feed(chunk: Uint8Array, events: PieceEvents): void {
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
      if (length > PIECE_BYTES_MAX || flags > FLAG_ACKNOWLEDGE)
        throw new FluxError("EPROTO", "malformed piece on a link between brokers");
      const headerBytes = HEADER_BYTES + (flags === FLAG_FIRST ? LENGTH_BYTES : 0);
      const end = offset + headerBytes + length;
      if (end > bytes.byteLength) {
        this.#wanted = end - offset;
        break;
      }
      const body = bytes.subarray(offset + headerBytes, end);
      this.#take(flags, view, offset, body, events);
      offset = end;
    }
    const rest = bytes.subarray(offset);
    this.#chunks = rest.byteLength === 0 ? [] : [rest];
    this.#length = rest.byteLength;
  }

  #take(flags: number, view: DataView, offset: number, body: Uint8Array, events: PieceEvents): void {
    const flow = view.getUint32(offset + 4, false);
    if (flags === FLAG_ACKNOWLEDGE) return events.acknowledged(flow);
    if (flow !== 0) this.#bulkBytes += body.byteLength;
    if (flags === (FLAG_FIRST | FLAG_LAST)) return events.message([body], body.byteLength);
    if (flags === FLAG_FIRST) this.#begin(flow, view.getUint32(offset + HEADER_BYTES, false));
    const assembly = this.#assemblies.get(flow);
    if (assembly === undefined || assembly.length + body.byteLength > assembly.total)
      throw new FluxError("EPROTO", "a piece on a link between brokers belongs to no message");
    assembly.chunks.push(body);
    assembly.length += body.byteLength;
    if ((flags & FLAG_LAST) === 0) return;
    this.#assemblies.delete(flow);
    if (assembly.length !== assembly.total)
      throw new FluxError("EPROTO", "a message on a link between brokers is cut short");
    events.message(assembly.chunks, assembly.total);
  }

  #begin(flow: number, total: number): void {
    if (total > this.#maxMessageBytes)
      throw new FluxError("EMSGSIZE", `message of ${total} bytes exceeds the limit of ${this.#maxMessageBytes}`);
    if (this.#assemblies.has(flow)) throw new FluxError("EPROTO", "two messages in one flow of a link");
    this.#assemblies.set(flow, { chunks: [], total, length: 0 });
  }
}
