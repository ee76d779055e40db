/**
 * A value that grew by appending and consists of other blobs than before: whether it still begins with what a watcher was
 * sent, which the key-value store has merged meanwhile. Blobs are named by their hashes, so that is certain.
 */
import type { Codec, HashAlgorithm } from "../../base/ports.ts";
import type { Mismatch, Sent } from "./core.ts";

export interface Continuation {
  /** The blobs that hold what was sent. */
  readonly blobs: readonly Sent[];
  /** What the last of them holds besides. */
  readonly rest: Uint8Array;
}

/** Loads blobs until they hold all that was sent. Null where they hold something else. */
export async function continuationOf(
  codec: Codec,
  { sent, blobs: sources }: Mismatch,
  load: (ref: string) => Promise<Uint8Array>,
): Promise<Continuation | null> {
  const blobs: Sent[] = [];
  let rest = new Uint8Array();
  let next = 0;
  for (const source of sources) {
    if (next === sent.length) break;
    const blob = typeof source === "string" ? await load(source) : source;
    let offset = 0;
    for (; next < sent.length && offset < blob.byteLength; next++) {
      const piece = sent[next]!;
      const part = blob.subarray(offset, offset + piece.bytes);
      if (!isPiece(codec, part, piece)) return null;
      offset += piece.bytes;
    }
    blobs.push({ ref: typeof source === "string" ? source : null, bytes: blob.byteLength });
    rest = blob.slice(offset);
  }
  // Pieces of no bytes are at the end of any blob.
  return sent.slice(next).some(({ bytes }) => bytes > 0) ? null : { blobs, rest };
}

function isPiece(codec: Codec, part: Uint8Array, piece: Sent): boolean {
  if (part.byteLength !== piece.bytes) return false;
  if (piece.ref === null) return true;
  const algorithm = piece.ref.slice(0, piece.ref.indexOf("-")) as HashAlgorithm;
  return piece.ref === `${algorithm}-${codec.digestHex(algorithm, part)}`;
}
