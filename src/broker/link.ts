/**
 * A link to a neighbour: messages over a secured byte stream, in pieces.
 *
 * Invariants: `closed` is called exactly once, and nothing is delivered after it. Large messages are acknowledged only while
 * the links to which they would be passed on have room: so every queue on the way is bounded, and small messages overtake
 * them all. It knows no ranks and no topics.
 */
import { errorText, FluxError } from "../base/errors.ts";
import type { ByteStream, Clock } from "../base/ports.ts";
import { decodeChunks, encodeMessage, encodeMessagePieces } from "../protocol/codec.ts";
import { MessageType, settleTransit, type Message } from "../protocol/message.ts";
import { PieceReader, PieceSender, WINDOW_BYTES, type PieceEvents } from "../protocol/pieces.ts";
import { TURN_BYTES_MAX } from "../sdk/turns.ts";
import { Control } from "./edge.ts";
import type { Pace } from "./pace.ts";

/** The largest message between brokers: a guard against nonsense, far beyond what services send. */
const LINK_MESSAGE_BYTES_MAX: number = 2 ** 31 - 1;

/** A link with more than this waiting takes no more large messages from elsewhere, in bytes. */
const QUEUE_BYTES_MAX: number = 2 * 1024 * 1024;
/** Large messages are acknowledged this many bytes at a time. */
const ACKNOWLEDGED_BYTES: number = WINDOW_BYTES / 4;

export interface LinkEvents {
  message(message: Message): void;
  /** Whether what comes over this link can be passed on; `resume` is to be called when that changes. */
  hasRoom?(): boolean;
  /** This link has room again. */
  relieved?(): void;
  /** The link is gone: null after a clean end, why otherwise. */
  closed(reason: string | null): void;
}

export class Link {
  readonly #stream: ByteStream;
  readonly #clock: Clock;
  readonly #pace: Pace;
  readonly #sender = new PieceSender();
  readonly #reader = new PieceReader(LINK_MESSAGE_BYTES_MAX);
  #writable = true;
  #open = true;
  #ending = false;
  #fault: string | null = null;
  #events: LinkEvents | null = null;
  /** Bytes of large messages that came and are not acknowledged. */
  #owed = 0;
  #awaitsTurn = false;
  #wasFull = false;
  /** Bytes written since the last turn that was waited for. */
  #turnBytes = 0;
  #isDeferred = false;
  /** When something last came or went (milliseconds, monotonic). */
  receivedMs: number;
  sentMs: number;

  constructor(stream: ByteStream, clock: Clock, pace: Pace) {
    this.#stream = stream;
    this.#clock = clock;
    this.#pace = pace;
    this.receivedMs = this.sentMs = clock.monotonicMs();
  }

  get identity(): string | null {
    return this.#stream.identity;
  }

  /** Bytes that wait to be sent. */
  get queuedBytes(): number {
    return this.#sender.queuedBytes;
  }

  /** Whether so much waits to be sent that no more large messages should come. */
  get isFull(): boolean {
    return this.#sender.queuedBytes > QUEUE_BYTES_MAX;
  }

  start(events: LinkEvents): void {
    this.#events = events;
    const pieces: PieceEvents = {
      message: (chunks, byteLength) => {
        if (this.#open) events.message(decodeChunks(chunks, byteLength));
      },
      acknowledged: (byteLength) =>
        this.#pace.wait(() => {
          this.#sender.acknowledged(byteLength);
          this.#pump();
        }),
    };
    this.#stream.start({
      data: (chunk) => this.#receive(chunk, pieces),
      drain: () => {
        this.#writable = true;
        this.#pump();
      },
      close: (error) => {
        if (!this.#open) return;
        this.#open = false;
        this.#sender.clear();
        events.closed(this.#fault ?? (error === null ? null : errorText(error)));
        if (this.#wasFull) events.relieved?.();
      },
    });
  }

  send(message: Message): void {
    if (!this.#open || this.#ending) return settleTransit(message);
    if (message.type === MessageType.Control && message.controlType !== Control.Resync)
      this.#sender.addControl(encodeMessage(message));
    else {
      const gone = message.transit === undefined ? null : () => settleTransit(message);
      this.#sender.add(flowOf(message), encodeMessagePieces(message), gone);
    }
    this.#pump();
  }

  /** What comes over this link can be passed on again. */
  resume(): void {
    if (this.#owed >= ACKNOWLEDGED_BYTES) this.#acknowledge();
  }

  /** Sends what waits, then closes. */
  end(): void {
    this.#ending = true;
    this.#pump();
  }

  destroy(): void {
    this.#stream.destroy();
  }

  #receive(chunk: Uint8Array, pieces: PieceEvents): void {
    this.receivedMs = this.#clock.monotonicMs();
    if (!this.#open || this.#fault !== null) return;
    try {
      this.#reader.feed(chunk, pieces);
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      this.#fault = error.message;
      this.#stream.destroy();
    }
    this.#owed += this.#reader.takeBulkBytes();
    if (this.#owed >= ACKNOWLEDGED_BYTES) this.#acknowledge();
  }

  #acknowledge(): void {
    if (this.#awaitsTurn) return;
    this.#awaitsTurn = true;
    this.#pace.wait(() => {
      this.#awaitsTurn = false;
      if (!this.#open || this.#events?.hasRoom?.() === false) return;
      this.#sender.acknowledge(this.#owed);
      this.#owed = 0;
      this.#pump();
    });
  }

  /** Writes what may go now; in one turn a bounded part of it, so that others get theirs. */
  #pump(): void {
    while (this.#writable && this.#open && !this.#isDeferred) {
      const piece = this.#sender.next();
      if (piece === null) {
        if (this.#ending && this.#sender.queuedBytes === 0) this.#stream.end();
        break;
      }
      this.sentMs = this.#clock.monotonicMs();
      for (const bytes of piece) {
        this.#writable = this.#stream.write(bytes);
        this.#turnBytes += bytes.byteLength;
      }
      if (this.#turnBytes >= TURN_BYTES_MAX) this.#defer();
    }
    if (this.isFull) this.#wasFull = true;
    else if (this.#wasFull) {
      this.#wasFull = false;
      this.#events?.relieved?.();
    }
  }

  #defer(): void {
    this.#isDeferred = true;
    this.#clock.defer(() => {
      this.#isDeferred = false;
      this.#turnBytes = 0;
      this.#pump();
    });
  }
}

/** What must stay in order with each other. */
function flowOf(message: Message): string {
  switch (message.type) {
    case MessageType.Request:
      return `q${message.route.at(-1) ?? ""}`;
    case MessageType.Response:
      return `r${message.matchtag} ${message.route.at(-1) ?? ""}`;
    case MessageType.Event:
      return "e";
    // That events begin anew is said between those before and those after.
    case MessageType.Control:
      return "e";
  }
}
