/**
 * ByteStream over a unix socket by the native addon: messages of a broker's clients come and go without the stream objects
 * of Node, which cost a start-up milliseconds, and each small message more than its decoding.
 *
 * Invariants: `close` is delivered exactly once and last; nothing is delivered before `start`, and never inside it; what
 * is written in one turn leaves in one system call where it fits; the descriptor is closed once, by the addon.
 */
import { assert } from "../base/assert.ts";
import { concatBytes } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import type { ByteStream, PeerCredentials, StreamEvents } from "../base/ports.ts";
import { attention } from "./attention.ts";
import { Heard, type NativeAddon, type NativeStream } from "./native.ts";

/** Chunks that together are not longer than this are joined: one call costs more than copying them. */
const JOINED_BYTES_MAX = 32 * 1024;
/** With so much queued, a writer is asked to wait. */
const QUEUE_BYTES_MAX = 64 * 1024;

export class UnixStream implements ByteStream {
  readonly identity = null;
  readonly #addon: NativeAddon;
  readonly #fd: number;
  #credentials: PeerCredentials | null | undefined;
  /** Null once it is closed. */
  #stream: NativeStream | null;
  #events: StreamEvents | null = null;
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  /** How much of the first chunk has been taken. */
  #taken = 0;
  #flushIsDue = false;
  /** The kernel took less than there was: it tells when there is room. */
  #awaitsRoom = false;
  /** A writer was told to wait. */
  #owesDrain = false;
  #paused = false;
  /** The owner has written its last; the other side is told when all has gone. */
  #isEnding = false;
  #hasShutDown = false;
  /** The other side has written its last. */
  #otherEnded = false;
  #error: FluxError | null = null;
  #told = false;

  /** Takes a connected socket over. */
  constructor(addon: NativeAddon, fd: number) {
    this.#addon = addon;
    this.#fd = fd;
    this.#stream = addon.streamOpen(fd, this.#onHeard);
  }

  get credentials(): PeerCredentials | null {
    if (this.#credentials === undefined)
      this.#credentials = this.#stream === null ? null : this.#addon.peerCredentials(this.#fd);
    return this.#credentials;
  }

  start(events: StreamEvents): void {
    assert(this.#events === null, "a stream is started once");
    process.nextTick(() => {
      this.#events = events;
      if (this.#stream === null) this.#tellClose();
      else if (!this.#paused) this.#addon.streamRead(this.#stream, true);
    });
  }

  readonly #onHeard = (heard: number, data: Uint8Array | number): void => {
    if (heard === Heard.data) {
      attention.heard(this);
      this.#events?.data(data as Uint8Array);
    } else if (heard === Heard.room) this.#onRoom();
    else this.#onEnd(data as number);
  };

  /** The other side sends no more. What is queued for it may still be read, unless the connection broke. */
  #onEnd(errnum: number): void {
    this.#otherEnded = true;
    if (errnum !== 0) return this.#fail(errnum);
    this.#isEnding = true;
    this.#flush();
  }

  #fail(errnum: number): void {
    this.#error ??= new FluxError(errnum);
    this.#close();
  }

  write(chunk: Uint8Array): boolean {
    if (this.#stream === null || this.#isEnding) return true;
    this.#queue.push(chunk);
    this.#queuedBytes += chunk.byteLength;
    if (!this.#flushIsDue && !this.#awaitsRoom) {
      this.#flushIsDue = true;
      process.nextTick(this.#flush);
    }
    const hasRoom = this.#queuedBytes < QUEUE_BYTES_MAX;
    if (!hasRoom) this.#owesDrain = true;
    return hasRoom;
  }

  readonly #flush = (): void => {
    this.#flushIsDue = false;
    if (this.#awaitsRoom) return;
    this.#send();
    if (this.#stream === null || this.#awaitsRoom) return;
    if (this.#isEnding) return this.#finish();
    if (!this.#owesDrain) return;
    this.#owesDrain = false;
    // Not now: as long as the other side reads as fast as we write, this would go on for ever, and nobody else have a turn.
    setImmediate(() => {
      if (this.#stream !== null) this.#events?.drain?.();
    });
  };

  /** Gives the kernel what it takes. */
  #send(): void {
    while (this.#stream !== null && this.#queue.length > 0) {
      this.#joinShort();
      const chunk = this.#queue[0]!;
      const taken = this.#addon.streamWrite(this.#stream, chunk, this.#taken);
      if (taken < 0) return this.#fail(-taken);
      attention.wrote(this);
      this.#queuedBytes -= taken;
      this.#taken += taken;
      if (this.#taken < chunk.byteLength) {
        this.#awaitsRoom = true;
        this.#addon.streamAwaitRoom(this.#stream, true);
        return;
      }
      this.#queue.shift();
      this.#taken = 0;
    }
  }

  /** Makes one of the chunks in front, as many as are short together. */
  #joinShort(): void {
    let count = 0;
    for (let length = 0; count < this.#queue.length; count++) {
      length += this.#queue[count]!.byteLength;
      if (length > JOINED_BYTES_MAX) break;
    }
    if (count > 1) this.#queue.splice(0, count, concatBytes(this.#queue.slice(0, count)));
  }

  #onRoom(): void {
    this.#awaitsRoom = false;
    this.#flush();
  }

  /** All has been sent: the other side reads the end. When both sides have ended, it is over. */
  #finish(): void {
    if (this.#otherEnded) return this.#close();
    if (this.#hasShutDown) return;
    this.#hasShutDown = true;
    this.#addon.streamShutdown(this.#stream!);
  }

  get buffered(): number {
    return this.#queuedBytes;
  }

  pause(): void {
    this.#paused = true;
    if (this.#stream !== null) this.#addon.streamRead(this.#stream, false);
  }

  resume(): void {
    this.#paused = false;
    if (this.#stream !== null && this.#events !== null && !this.#otherEnded) this.#addon.streamRead(this.#stream, true);
  }

  end(): void {
    if (this.#stream === null) return;
    this.#isEnding = true;
    this.#flush();
  }

  destroy(): void {
    this.#error = null;
    this.#close();
  }

  #close(): void {
    if (this.#stream === null) return;
    this.#addon.streamClose(this.#stream);
    this.#stream = null;
    this.#queue = [];
    this.#queuedBytes = 0;
    process.nextTick(() => this.#tellClose());
  }

  #tellClose(): void {
    if (this.#told || this.#events === null) return;
    this.#told = true;
    this.#events.close(this.#error);
  }
}

/** Connects to a unix socket. Throws FluxError where nobody accepts. */
export function connectUnix(addon: NativeAddon, path: string): UnixStream {
  const fd = addon.connectUnix(path);
  if (fd < 0) throw new FluxError(-fd);
  return new UnixStream(addon, fd);
}
