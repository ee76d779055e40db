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
export const WINDOW_BYTES: number = 256 * 1024;
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

  /** The next bytes to write, header and body apart so that nothing is copied; null where nothing may go now. */
  next(): readonly Uint8Array[] | null {
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

  #whole(message: Uint8Array): readonly Uint8Array[] {
    this.#queuedBytes -= message.byteLength;
    return piece(FLAG_FIRST | FLAG_LAST, 0, message, null);
  }

  #pieceOf(flow: Flow): readonly Uint8Array[] {
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

function piece(flags: number, flow: number, body: Uint8Array, total: number | null): readonly Uint8Array[] {
  const header = new Uint8Array(HEADER_BYTES + (total === null ? 0 : LENGTH_BYTES));
  const view = new DataView(header.buffer);
  view.setUint32(0, body.byteLength, false);
  header[0] = flags;
  view.setUint32(4, flow, false);
  if (total !== null) view.setUint32(8, total, false);
  return body.byteLength === 0 ? [header] : [header, body];
}

interface Assembly {
  readonly chunks: Uint8Array[];
  readonly total: number;
  length: number;
}

/** A piece of a large message of which bytes are to come. */
interface PieceUnderWay {
  readonly flow: number;
  readonly isLast: boolean;
  left: number;
}

export interface PieceEvents {
  /** A whole message, in chunks that are views of what came. */
  message(chunks: readonly Uint8Array[], byteLength: number): void;
  /** The other side has taken so many bytes of large messages. */
  acknowledged(byteLength: number): void;
}

/** Puts messages together again. The bytes of large ones are never copied on the way. */
export class PieceReader {
  readonly #maxMessageBytes: number;
  readonly #assemblies = new Map<number, Assembly>();
  /** What came of a header or of a small message that is not complete. */
  #chunks: Uint8Array[] = [];
  #length = 0;
  /** How many bytes are needed to go on with that. */
  #wanted = 0;
  /** The piece of a large message that is being received. */
  #piece: PieceUnderWay | null = null;
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
    let bytes = chunk;
    if (this.#length > 0) {
      this.#chunks.push(chunk);
      this.#length += chunk.byteLength;
      if (this.#length < this.#wanted) return;
      bytes = concatBytes(this.#chunks);
      this.#chunks = [];
      this.#length = 0;
    }
    for (let offset = 0; offset < bytes.byteLength;) {
      const end: number =
        this.#piece === null ? this.#begin(bytes, offset, events) : this.#continue(this.#piece, bytes, offset, events);
      if (end < 0) return;
      offset = end;
    }
  }

  /** Keeps what is not complete until so many bytes are there. */
  #keep(bytes: Uint8Array, offset: number, wanted: number): -1 {
    this.#chunks.push(bytes.subarray(offset));
    this.#length = bytes.byteLength - offset;
    this.#wanted = wanted;
    return -1;
  }

  /** Reads what begins at an offset: a whole small message, or the header of a piece. Returns where it ends, or -1. */
  #begin(bytes: Uint8Array, offset: number, events: PieceEvents): number {
    const available = bytes.byteLength - offset;
    if (available < HEADER_BYTES) return this.#keep(bytes, offset, HEADER_BYTES);
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, available);
    const flags = bytes[offset]!;
    const length = view.getUint32(0, false) & 0xffffff;
    const flow = view.getUint32(4, false);
    if (length > PIECE_BYTES_MAX || flags > FLAG_ACKNOWLEDGE)
      throw new FluxError("EPROTO", "malformed piece on a link between brokers");
    const headerBytes = HEADER_BYTES + (flags === FLAG_FIRST ? LENGTH_BYTES : 0);
    const isSmall = flow === 0 || flags === FLAG_ACKNOWLEDGE;
    const wanted = headerBytes + (isSmall ? length : 0);
    if (available < wanted) return this.#keep(bytes, offset, wanted);
    if (flags === FLAG_ACKNOWLEDGE) events.acknowledged(flow);
    else if (isSmall) events.message([bytes.subarray(offset + headerBytes, offset + wanted)], length);
    else {
      const isFirst = (flags & FLAG_FIRST) !== 0;
      if (isFirst) this.#expect(flow, flags === FLAG_FIRST ? view.getUint32(HEADER_BYTES, false) : length);
      this.#piece = { flow, isLast: (flags & FLAG_LAST) !== 0, left: length };
    }
    return offset + wanted;
  }

  /** Takes bytes of the piece that is being received. Returns where they end. */
  #continue(piece: PieceUnderWay, bytes: Uint8Array, offset: number, events: PieceEvents): number {
    const body = bytes.subarray(offset, offset + piece.left);
    const assembly = this.#assemblies.get(piece.flow);
    if (assembly === undefined || assembly.length + body.byteLength > assembly.total)
      throw new FluxError("EPROTO", "a piece on a link between brokers belongs to no message");
    assembly.chunks.push(body);
    assembly.length += body.byteLength;
    this.#bulkBytes += body.byteLength;
    piece.left -= body.byteLength;
    if (piece.left === 0) this.#finish(piece, assembly, events);
    return offset + body.byteLength;
  }

  #finish({ flow, isLast }: PieceUnderWay, assembly: Assembly, events: PieceEvents): void {
    this.#piece = null;
    if (!isLast) return;
    this.#assemblies.delete(flow);
    if (assembly.length !== assembly.total)
      throw new FluxError("EPROTO", "a message on a link between brokers is cut short");
    events.message(assembly.chunks, assembly.total);
  }

  #expect(flow: number, total: number): void {
    if (total > this.#maxMessageBytes)
      throw new FluxError("EMSGSIZE", `message of ${total} bytes exceeds the limit of ${this.#maxMessageBytes}`);
    if (this.#assemblies.has(flow)) throw new FluxError("EPROTO", "two messages in one flow of a link");
    this.#assemblies.set(flow, { chunks: [], total, length: 0 });
  }
}
