/**
 * The frames of the local connector (RFC 3 messages behind a magic and a length), cut out of a byte stream. Resumable at
 * any byte.
 */
import { concatBytes } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import { decodeChunks, decodeMessage, FRAME_HEADER_BYTES, FRAME_MAGIC, malformed } from "./codec.ts";
import type { Message } from "./message.ts";

/** Chunks shorter than this are joined with their neighbours, in bytes. */
const TINY_CHUNK_BYTES = 4096;

/**
 * Cuts a byte stream into messages. Feed it chunks of any size; it calls back once per whole message.
 * A frame that does not fit one chunk is gathered chunk by chunk, so memory stays within what was received; a long one is
 * never joined.
 */
export class FrameReader {
  readonly #maxFrameBytes: number;
  /** What came of a frame that is not complete. */
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

  /** Whether what comes next belongs to a frame of at least so many bytes. */
  isWithin(bytes: number): boolean {
    return this.#wanted >= bytes;
  }

  /** Takes a chunk. Throws FluxError EPROTO (garbage) or EMSGSIZE (beyond the limit); the stream is then unusable. */
  feed(chunk: Uint8Array, deliver: (message: Message) => void): void {
    const rest = this.#length === 0 ? chunk : this.#complete(chunk, deliver);
    if (rest !== null && rest.byteLength > 0) this.#read(rest, deliver);
  }

  /** Adds a chunk to the frame being gathered. Returns what comes after it, or null where it is not complete. */
  #complete(chunk: Uint8Array, deliver: (message: Message) => void): Uint8Array | null {
    const missing = this.#wanted - this.#length;
    if (this.#wanted === 0) {
      // Not even the header: a few bytes, joined with what came.
      const bytes = concatBytes([...this.#chunks, chunk]);
      this.#reset();
      return bytes;
    }
    if (chunk.byteLength < missing) {
      this.#gather(chunk);
      return null;
    }
    this.#gather(chunk.subarray(0, missing));
    const chunks = this.#chunks;
    const length = this.#length - FRAME_HEADER_BYTES;
    this.#reset();
    chunks[0] = chunks[0]!.subarray(FRAME_HEADER_BYTES);
    deliver(decodeChunks(chunks, length));
    return chunk.subarray(missing);
  }

  /** Reads the frames that begin in a chunk. */
  #read(bytes: Uint8Array, deliver: (message: Message) => void): void {
    let offset = 0;
    while (offset < bytes.byteLength) {
      const rest = bytes.byteLength - offset;
      if (rest < FRAME_HEADER_BYTES) {
        checkMagicPrefix(bytes, offset);
        return this.#gather(bytes.subarray(offset));
      }
      const length = this.#frameBytes(bytes, offset);
      if (rest < length) {
        this.#wanted = length;
        return this.#gather(bytes.subarray(offset));
      }
      const message = decodeMessage(bytes.subarray(offset + FRAME_HEADER_BYTES, offset + length));
      offset += length;
      deliver(message);
    }
  }

  #gather(chunk: Uint8Array): void {
    this.#length += chunk.byteLength;
    const last = this.#chunks.at(-1);
    // A peer that sends byte by byte must not make us keep an array for each.
    if (
      last !== undefined &&
      chunk.byteLength < TINY_CHUNK_BYTES &&
      last.byteLength < TINY_CHUNK_BYTES &&
      this.#chunks.length > 1
    )
      this.#chunks[this.#chunks.length - 1] = concatBytes([last, chunk]);
    else this.#chunks.push(chunk);
  }

  #reset(): void {
    this.#chunks = [];
    this.#length = 0;
    this.#wanted = 0;
  }

  #frameBytes(bytes: Uint8Array, offset: number): number {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset, FRAME_HEADER_BYTES);
    if (view.getUint32(0, true) !== FRAME_MAGIC) throw malformed("wrong magic");
    const length = view.getUint32(4, false) + FRAME_HEADER_BYTES;
    if (length > this.#maxFrameBytes)
      throw new FluxError("EMSGSIZE", `message of ${length} bytes exceeds the limit of ${this.#maxFrameBytes}`);
    return length;
  }
}

/** Garbage is refused at its first wrong byte, not after eight. */
function checkMagicPrefix(bytes: Uint8Array, offset: number): void {
  const magic = [0x12, 0x00, 0xee, 0xff];
  for (let index = 0; index < Math.min(4, bytes.byteLength - offset); index++)
    if (bytes[offset + index] !== magic[index]) throw malformed("wrong magic");
}
