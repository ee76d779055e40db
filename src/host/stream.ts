/**
 * ByteStream over a socket of Node, plain or TLS.
 *
 * Invariants: `close` is delivered exactly once and last; nothing is delivered before `start`, and never inside it;
 * what is written in one turn leaves in one system call where it fits.
 */
import type { Socket } from "node:net";
import { assert } from "../base/assert.ts";
import { concatBytes } from "../base/bytes.ts";
import { FluxError, type ErrnoName } from "../base/errors.ts";
import type { ByteStream, PeerCredentials, StreamEvents } from "../base/ports.ts";
import { errnoOf } from "./errors.ts";

/** Chunks of one turn that together are not longer than this are joined: one call costs more than copying them. */
const JOINED_BYTES_MAX = 32 * 1024;

export interface StreamFacts {
  /** Asked once, when somebody wants to know: it may load the native addon. */
  readonly credentials: (() => PeerCredentials | null) | null;
  readonly identity: string | null;
}

export class SocketStream implements ByteStream {
  readonly identity: string | null;
  #findCredentials: (() => PeerCredentials | null) | null;
  #credentials: PeerCredentials | null = null;
  readonly #socket: Socket;
  #events: StreamEvents | null = null;
  #error: Error | null = null;
  /** The socket has closed; the owner may not have been told yet. */
  #closed = false;
  #told = false;
  /** What was written in this turn. */
  #chunks: Uint8Array[] = [];
  #chunkBytes = 0;
  /** A writer was told to wait, and the socket may not know. */
  #owesDrain = false;
  #paused = false;
  /** The owner asked for the end: what goes wrong afterwards is of no interest to it. */
  #abandoned = false;

  constructor(socket: Socket, facts: StreamFacts) {
    this.#socket = socket;
    this.#findCredentials = facts.credentials;
    this.identity = facts.identity;
    this.#closed = socket.closed;
    if (socket.errored !== null) this.#error = streamError(socket.errored);
    socket.on("error", (error) => {
      this.#error ??= streamError(error);
    });
    socket.on("close", () => {
      this.#closed = true;
      this.#tellClose();
    });
  }

  get credentials(): PeerCredentials | null {
    if (this.#findCredentials !== null) this.#credentials = this.#findCredentials();
    this.#findCredentials = null;
    return this.#credentials;
  }

  start(events: StreamEvents): void {
    assert(this.#events === null, "a stream is started once");
    // The socket's own listeners are attached a tick later, so that nothing runs inside this call.
    process.nextTick(() => {
      this.#events = events;
      if (this.#closed) {
        this.#tellClose();
        return;
      }
      this.#socket.on("data", (chunk: Uint8Array) => events.data(chunk));
      this.#socket.on("drain", this.#tellDrain);
      if (this.#paused) this.#socket.pause();
      else this.#socket.resume();
    });
  }

  write(chunk: Uint8Array): boolean {
    if (this.#closed || !this.#socket.writable) return true;
    if (this.#chunks.length === 0) process.nextTick(this.#flush);
    this.#chunks.push(chunk);
    this.#chunkBytes += chunk.byteLength;
    const hasRoom = this.buffered < this.#socket.writableHighWaterMark;
    if (!hasRoom) this.#owesDrain = true;
    return hasRoom;
  }

  readonly #flush = (): void => {
    const chunks = this.#chunks;
    const isShort = this.#chunkBytes <= JOINED_BYTES_MAX;
    this.#chunks = [];
    this.#chunkBytes = 0;
    if (chunks.length === 0 || this.#closed || !this.#socket.writable) return;
    let hasRoom: boolean;
    if (chunks.length === 1 || isShort) hasRoom = this.#socket.write(concatBytes(chunks));
    else {
      this.#socket.cork();
      for (const chunk of chunks.slice(0, -1)) this.#socket.write(chunk);
      hasRoom = this.#socket.write(chunks.at(-1)!);
      this.#socket.uncork();
    }
    const owesDrain = this.#owesDrain && hasRoom;
    this.#owesDrain = false;
    if (owesDrain) this.#tellDrain();
  };

  /** Not now: as long as the other side reads as fast as we write, this would go on for ever, and nobody else have a turn. */
  readonly #tellDrain = (): void => {
    setImmediate(() => {
      if (!this.#closed) this.#events?.drain?.();
    });
  };

  get buffered(): number {
    return this.#socket.writableLength + this.#chunkBytes;
  }

  pause(): void {
    this.#paused = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#paused = false;
    if (this.#events !== null) this.#socket.resume();
  }

  end(): void {
    this.#flush();
    this.#socket.end();
    // A paused socket would not notice the other side's end.
    if (!this.#paused && this.#events !== null) this.#socket.resume();
  }

  destroy(): void {
    this.#abandoned = true;
    this.#socket.destroy();
  }

  #tellClose(): void {
    if (this.#told || this.#events === null) return;
    this.#told = true;
    this.#events.close(this.#abandoned ? null : this.#error);
  }
}

/** What went wrong with a stream, in the words of the platform. */
function streamError(error: Error): FluxError {
  if (error instanceof FluxError) return error;
  const otherwise: ErrnoName = isTlsError(error) ? "EPROTO" : "EIO";
  const errnum = errnoOf(error, otherwise);
  return otherwise === "EPROTO"
    ? new FluxError(errnum, `the secured stream broke: ${tlsReason(error)}`, { cause: error })
    : new FluxError(errnum, undefined, { cause: error });
}

/** Whether an error comes from the TLS library. */
export function isTlsError(error: Error): boolean {
  const code = (error as { code?: unknown }).code;
  return typeof code === "string" && (code.startsWith("ERR_SSL") || code.startsWith("ERR_TLS"));
}

/** The reason out of a message of the TLS library, without its internals. */
export function tlsReason(error: Error): string {
  const reason = (error as { reason?: unknown }).reason;
  if (typeof reason === "string") return reason;
  return error.message.split(":")[5] ?? error.message;
}
