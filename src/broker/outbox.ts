/**
 * What is on its way to one client: frames in order, long ones a piece at a time as the client reads.
 *
 * Invariants: no more is handed to the stream than it takes at once and a little more; what a turn writes is bounded, so
 * that a client that reads fast keeps nobody waiting either.
 */
import { Fifo } from "../base/fifo.ts";
import type { ByteStream } from "../base/ports.ts";
import { encodeFrame, encodeFramePieces, type EncodedMessage } from "../protocol/codec.ts";
import { settleTransit, type Message } from "../protocol/message.ts";
import { TURN_BYTES_MAX } from "../sdk/turns.ts";
import type { Pace } from "./pace.ts";

/** What frames are written to. */
export type OutboxStream = Pick<ByteStream, "write" | "buffered">;

interface Waiting {
  readonly bytes: Uint8Array | EncodedMessage;
  readonly message: Message;
  /** What it takes in memory while it waits, in bytes. */
  readonly heldBytes: number;
}

export class Outbox {
  readonly #stream: OutboxStream;
  readonly #pace: Pick<Pace, "wait">;
  readonly #waiting = new Fifo<Waiting>();
  /** Bytes of what waits that are not written, and how many of them take memory. */
  #waitingBytes = 0;
  #heldBytes = 0;
  #isWritable = true;
  #isDeferred = false;
  /** Bytes of long frames written since the last turn that was waited for. */
  #turnBytes = 0;
  #whenIdle: (() => void) | null = null;

  constructor(stream: OutboxStream, pace: Pick<Pace, "wait">) {
    this.#stream = stream;
    this.#pace = pace;
  }

  /** Bytes that the client has not taken. */
  get owedBytes(): number {
    return this.#stream.buffered + this.#waitingBytes;
  }
  /** Bytes of memory that this takes. */
  get heldBytes(): number {
    return this.#stream.buffered + this.#heldBytes;
  }

  send(message: Message): void {
    const { payload } = message;
    const isShort = payload === null || (payload.source === null && payload.byteLength <= TURN_BYTES_MAX);
    if (isShort && this.#isWritable && this.#waiting.length === 0) {
      this.#isWritable = this.#stream.write(encodeFrame(message));
      return settleTransit(message);
    }
    const bytes = encodeFramePieces(message);
    const heldBytes = payload?.source?.isLazy === true ? 0 : bytes.byteLength;
    this.#waiting.push({ bytes, message, heldBytes });
    this.#waitingBytes += bytes.byteLength;
    this.#heldBytes += heldBytes;
    this.#pump();
  }

  /** The stream takes more. */
  drained(): void {
    this.#isWritable = true;
    this.#pump();
  }

  /** Calls back once everything has been handed to the stream. */
  whenIdle(callback: () => void): void {
    if (this.#waiting.length === 0) callback();
    else this.#whenIdle = callback;
  }

  /** The client is gone: nothing waits any more. */
  clear(): void {
    this.#waitingBytes = 0;
    this.#heldBytes = 0;
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift())
      settleTransit(next.message);
  }

  #pump(): void {
    while (this.#isWritable && !this.#isDeferred && this.#waiting.length > 0) {
      if (this.#turnBytes >= TURN_BYTES_MAX) return this.#defer();
      const chunk = this.#next();
      this.#turnBytes += chunk.byteLength;
      this.#waitingBytes -= chunk.byteLength;
      this.#isWritable = this.#stream.write(chunk);
    }
    if (this.#waiting.length > 0) return;
    this.#whenIdle?.();
    this.#whenIdle = null;
  }

  /** The next bytes; who has been sent whole is let go. */
  #next(): Uint8Array {
    const { bytes, message, heldBytes } = this.#waiting.first!;
    const chunk = bytes instanceof Uint8Array ? bytes : bytes.next()!;
    if (bytes instanceof Uint8Array || bytes.isOver) {
      this.#waiting.shift();
      this.#heldBytes -= heldBytes;
      settleTransit(message);
    }
    return chunk;
  }

  #defer(): void {
    this.#isDeferred = true;
    this.#pace.wait(() => {
      this.#isDeferred = false;
      this.#turnBytes = 0;
      this.#pump();
    });
  }
}
