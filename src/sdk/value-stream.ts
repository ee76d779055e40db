/**
 * Long values in pieces: cut into blobs on their way into the store, fetched blob by blob on their way out, some at a
 * time. So a value of any length takes a bounded memory, and delays nobody.
 *
 * Blobs are for the instance owner only (RFC 10); who is not sends and fetches values whole.
 */
import { base64Encode, concatBytes, EMPTY_BYTES } from "../base/bytes.ts";
import { FluxError, isFluxError } from "../base/errors.ts";
import { blobrefDigest, blobrefFromDigest, type HashName } from "../formats/blobref.ts";
import { makeVal, makeValref, type Treeobj } from "../formats/treeobj.ts";
import { Payload, type PieceSource } from "../protocol/message.ts";
import type { Handle } from "./handle.ts";
import { inOrder, Window } from "./window.ts";

/** Length of the blobs of a long value, in bytes: a multiple of three, so that the base64 of each is a part of the whole's. */
export const VALUE_PIECE_BYTES: number = 768 * 1024;
/** A value that is not longer stays in the transaction, in bytes. */
const SHORT_VALUE_BYTES: number = 64 * 1024;
/** Blobs of one value under way at once. */
const WINDOW = 6;

/** Chunks of a value, of any lengths. */
export type ValueSource = Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/** Chunks gathered to a piece, not joined. */
export class Gathering implements PieceSource {
  readonly chunks: Uint8Array[] = [];
  byteLength = 0;

  /** Takes what fits; returns the rest. */
  add(chunk: Uint8Array): Uint8Array {
    const part = chunk.subarray(0, VALUE_PIECE_BYTES - this.byteLength);
    if (part.byteLength > 0) this.chunks.push(part);
    this.byteLength += part.byteLength;
    return chunk.subarray(part.byteLength);
  }

  pieces(): Iterator<Uint8Array> {
    return this.chunks.values();
  }
}

/**
 * Stores a value and resolves with the tree object that holds it. Rejects with what the store or the source says; a
 * source that ends in an error leaves blobs that nobody refers to, and the store removes them.
 */
export async function storeValue(handle: Handle, source: ValueSource): Promise<Treeobj> {
  const store = new ValueStore(handle);
  let gathering = new Gathering();
  for await (const chunk of source) {
    for (let rest = gathering.add(chunk); ; rest = gathering.add(rest)) {
      if (gathering.byteLength < VALUE_PIECE_BYTES) break;
      await store.add(gathering);
      gathering = new Gathering();
    }
  }
  return store.finish(gathering);
}

/** The blobs of one value, on their way into the store. */
export class ValueStore {
  readonly #handle: Handle;
  readonly #isAllowed: boolean;
  readonly #refs: string[] = [];
  readonly #window = new Window(WINDOW);
  /** All pieces, where this user may store no blobs. */
  #whole: Uint8Array[] | null = null;

  /** `isAllowed`: it is known that this user may store blobs. */
  constructor(handle: Handle, isAllowed = false) {
    this.#handle = handle;
    this.#isAllowed = isAllowed;
  }

  /** Takes a piece; resolves when there is room for another. */
  async add(piece: Gathering): Promise<void> {
    if (this.#whole !== null) return void this.#whole.push(...piece.chunks);
    const position = this.#refs.length;
    this.#refs.push("");
    const stored = this.#store(position, piece);
    // The first answer tells whether this user may store blobs at all.
    if (position === 0 && !this.#isAllowed) await stored;
    await this.#window.add(stored);
  }

  async #store(position: number, piece: Gathering): Promise<void> {
    try {
      const answer = await this.#handle.call("content.store", Payload.pieces(piece));
      const digest = answer?.bytes ?? EMPTY_BYTES;
      const hash: HashName = digest.byteLength === 20 ? "sha1" : "sha256";
      this.#refs[position] = blobrefFromDigest(hash, digest);
    } catch (error) {
      if (position === 0 && isFluxError(error, "EPERM")) this.#whole = piece.chunks;
      else throw error;
    }
  }

  async finish(last: Gathering): Promise<Treeobj> {
    if (this.#refs.length === 0 && last.byteLength <= SHORT_VALUE_BYTES) return makeVal(concatBytes(last.chunks));
    if (last.byteLength > 0) await this.add(last);
    await this.#window.finish();
    return this.#whole === null ? makeValref(this.#refs) : valOf(this.#whole);
  }
}

/** A value as one object. */
function valOf(chunks: readonly Uint8Array[]): Treeobj {
  return { ver: 1, type: "val", data: base64Encode(concatBytes(chunks)) };
}

/**
 * The blobs of a value, in order; some are fetched ahead. Throws EIO where one is missing, EPERM where this user may not
 * fetch blobs.
 */
export function loadBlobs(handle: Handle, refs: readonly string[]): AsyncGenerator<Uint8Array> {
  return inOrder(refs, WINDOW, (ref) => loadBlob(handle, ref));
}

async function loadBlob(handle: Handle, ref: string): Promise<Uint8Array> {
  try {
    const answer = await handle.call("content.load", blobrefDigest(ref));
    return answer?.bytes ?? EMPTY_BYTES;
  } catch (error) {
    if (!isFluxError(error, "ENOENT")) throw error;
    throw new FluxError("EIO", `blob ${ref} is missing`, { cause: error });
  }
}
