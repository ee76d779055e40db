/**
 * The client's side of the local connector: a message channel over the unix socket of a broker. One byte of handshake,
 * then RFC 3 frames in both directions.
 *
 * Invariants: what came before anybody listened is delivered first; garbage ends the connection; a loss is told once, and
 * not after `close`.
 *
 * It knows `local://PATH` only; what other forms of a URI mean is decided by who calls.
 */
import { FluxError, isFluxError } from "../base/errors.ts";
import type { ByteStream, Clock, Net } from "../base/ports.ts";
import { encodeFramePieces } from "../protocol/codec.ts";
import { FrameReader } from "../protocol/frame-reader.ts";
import { settleTransit, type Message } from "../protocol/message.ts";
import type { MessageChannel } from "./channel.ts";

const FRAME_BYTES_MAX = 2 ** 31 - 1;
const RETRIES_DEFAULT = 5;
const RETRY_DELAY_MS = 16;
const RETRY_DELAY_MAX_MS = 2000;
const SCHEME = "local://";

export interface LocalConnectOptions {
  /** How often a refused or missing socket is tried again (FLUX_LOCAL_CONNECTOR_RETRY_COUNT). */
  readonly retries?: number;
}

/** What a connection needs of the machine. */
export interface LocalConnectPorts {
  readonly net: Net;
  readonly clock: Clock;
}

/** The path in a `local://PATH` URI. Throws EINVAL. */
function socketPathOf(uri: string): string {
  if (!uri.startsWith(SCHEME) || uri.length === SCHEME.length)
    throw new FluxError("EINVAL", `'${uri}' is not a local:// URI`);
  return uri.slice(SCHEME.length);
}

/**
 * Connects to the broker at a `local://PATH` URI. Rejects with ENOENT (no socket), ECONNREFUSED (nobody listens), EPERM
 * (not for this user) or ECONNRESET.
 */
export async function connectLocal(
  ports: LocalConnectPorts,
  uri: string,
  options: LocalConnectOptions = {},
): Promise<MessageChannel> {
  const path = socketPathOf(uri);
  const stream = await connectWithRetries(ports, path, options.retries ?? RETRIES_DEFAULT);
  return channelOver(stream);
}

async function connectWithRetries(ports: LocalConnectPorts, path: string, retries: number): Promise<ByteStream> {
  let delayMs = RETRY_DELAY_MS;
  for (let attempt = 0; ; attempt++) {
    try {
      return await ports.net.connect({ kind: "unix", path });
    } catch (error) {
      const mayComeYet = isFluxError(error, "ENOENT", "ECONNREFUSED");
      if (!mayComeYet || attempt >= retries) {
        if (isFluxError(error, "ENOENT"))
          throw new FluxError("ENOENT", `broker socket ${path} was not found`, { cause: error });
        throw error;
      }
    }
    await new Promise<void>((resolve) => ports.clock.after(delayMs, resolve));
    delayMs = Math.min(delayMs * 2, RETRY_DELAY_MAX_MS);
  }
}

/** The channel over a stream whose other end is a broker's socket. Rejects with the errno of a refusal, or ECONNRESET. */
export function channelOver(stream: ByteStream): Promise<MessageChannel> {
  return new Promise((resolve, reject) => {
    const channel = new LocalChannel(stream);
    let answered = false;
    stream.start({
      data: (chunk) => {
        if (answered) return channel.receive(chunk);
        answered = true;
        const verdict = chunk[0]!;
        if (verdict !== 0) {
          stream.destroy();
          return reject(new FluxError(verdict));
        }
        if (chunk.byteLength > 1) channel.receive(chunk.subarray(1));
        resolve(channel);
      },
      close: (error) => {
        if (!answered) reject(new FluxError("ECONNRESET", undefined, { cause: error ?? undefined }));
        else channel.lost(error);
      },
    });
  });
}

class LocalChannel implements MessageChannel {
  readonly #stream: ByteStream;
  readonly #reader = new FrameReader(FRAME_BYTES_MAX);
  /** What came before anybody listened. */
  #early: Uint8Array[] = [];
  #deliver: ((message: Message) => void) | null = null;
  #closed: ((error: Error | null) => void) | null = null;
  #over: { error: Error | null } | null = null;

  constructor(stream: ByteStream) {
    this.#stream = stream;
  }

  start(receive: (message: Message) => void, closed: (error: Error | null) => void): void {
    this.#deliver = receive;
    this.#closed = closed;
    const early = this.#early;
    this.#early = [];
    for (const chunk of early) this.receive(chunk);
    if (this.#over !== null) closed(this.#over.error);
  }

  send(message: Message): void {
    if (this.#over !== null) return settleTransit(message);
    const bytes = encodeFramePieces(message);
    if (bytes instanceof Uint8Array) this.#stream.write(bytes);
    else for (let piece = bytes.next(); piece !== null; piece = bytes.next()) this.#stream.write(piece);
    settleTransit(message);
  }

  close(): void {
    this.#closed = null;
    this.#over = { error: null };
    this.#stream.end();
  }

  receive(chunk: Uint8Array): void {
    if (this.#deliver === null) {
      this.#early.push(chunk);
      return;
    }
    try {
      this.#reader.feed(chunk, this.#deliver);
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      this.lost(error);
      this.#stream.destroy();
    }
  }

  lost(error: Error | null): void {
    if (this.#over !== null) return;
    this.#over = { error };
    this.#closed?.(error);
  }
}
