/**
 * A link to a neighbour: messages over a secured byte stream, in pieces.
 *
 * Invariant: `closed` is called exactly once, and nothing is delivered after it. It knows no ranks and no topics.
 */
import { errorText, FluxError } from "../base/errors.ts";
import type { ByteStream, Clock } from "../base/ports.ts";
import { decodeMessage, encodeMessage } from "../protocol/codec.ts";
import { MessageType, type Message } from "../protocol/message.ts";
import { PieceReader, PieceSender } from "../protocol/pieces.ts";

/** The largest message between brokers: a guard against nonsense, far beyond what services send. */
const LINK_MESSAGE_BYTES_MAX: number = 2 ** 31 - 1;

export interface LinkEvents {
  message(message: Message): void;
  /** The link is gone: null after a clean end, why otherwise. */
  closed(reason: string | null): void;
}

export class Link {
  readonly #stream: ByteStream;
  readonly #clock: Clock;
  readonly #sender = new PieceSender();
  readonly #reader = new PieceReader(LINK_MESSAGE_BYTES_MAX);
  #writable = true;
  #open = true;
  #ending = false;
  #fault: string | null = null;
  /** When something last came or went (milliseconds, monotonic). */
  receivedMs: number;
  sentMs: number;

  constructor(stream: ByteStream, clock: Clock) {
    this.#stream = stream;
    this.#clock = clock;
    this.receivedMs = this.sentMs = clock.monotonicMs();
  }

  get identity(): string | null {
    return this.#stream.identity;
  }

  /** Bytes that wait to be sent. */
  get queuedBytes(): number {
    return this.#sender.queuedBytes;
  }

  start(events: LinkEvents): void {
    this.#stream.start({
      data: (chunk) => this.#receive(chunk, events),
      drain: () => {
        this.#writable = true;
        this.#pump();
      },
      close: (error) => {
        if (!this.#open) return;
        this.#open = false;
        events.closed(this.#fault ?? (error === null ? null : errorText(error)));
      },
    });
  }

  send(message: Message): void {
    if (!this.#open || this.#ending) return;
    const bytes = encodeMessage(message);
    if (message.type === MessageType.Control) this.#sender.addControl(bytes);
    else this.#sender.add(flowOf(message), bytes);
    this.#pump();
  }

  /** Sends what waits, then closes. */
  end(): void {
    this.#ending = true;
    this.#pump();
  }

  destroy(): void {
    this.#stream.destroy();
  }

  #receive(chunk: Uint8Array, events: LinkEvents): void {
    this.receivedMs = this.#clock.monotonicMs();
    if (!this.#open || this.#fault !== null) return;
    try {
      this.#reader.feed(chunk, (bytes) => {
        if (this.#open) events.message(decodeMessage(bytes));
      });
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      this.#fault = error.message;
      this.#stream.destroy();
    }
  }

  #pump(): void {
    while (this.#writable && this.#open) {
      const bytes = this.#sender.next();
      if (bytes === null) {
        if (this.#ending) this.#stream.end();
        return;
      }
      this.sentMs = this.#clock.monotonicMs();
      this.#writable = this.#stream.write(bytes);
    }
  }
}

/** What must stay in order with each other. */
function flowOf(message: Exclude<Message, { type: typeof MessageType.Control }>): string {
  switch (message.type) {
    case MessageType.Request:
      return `q${message.route.at(-1) ?? ""}`;
    case MessageType.Response:
      return `r${message.matchtag} ${message.route.at(-1) ?? ""}`;
    case MessageType.Event:
      return "e";
  }
}
