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
  { sent, refs }: Mismatch,
  load: (ref: string) => Promise<Uint8Array>,
): Promise<Continuation | null> {
  const blobs: Sent[] = [];
  let rest = new Uint8Array();
  let next = 0;
  for (const ref of refs) {
    if (next === sent.length) break;
    const blob = await load(ref);
    let offset = 0;
    for (; next < sent.length && offset < blob.byteLength; next++) {
      const piece = sent[next]!;
      const part = blob.subarray(offset, offset + piece.bytes);
      if (!isPiece(codec, part, piece, ref)) return null;
      offset += piece.bytes;
    }
    blobs.push({ ref, bytes: blob.byteLength });
    rest = blob.slice(offset);
  }
  // Pieces of no bytes are at the end of any blob.
  return sent.slice(next).some(({ bytes }) => bytes > 0) ? null : { blobs, rest };
}

function isPiece(codec: Codec, part: Uint8Array, piece: Sent, like: string): boolean {
  if (part.byteLength !== piece.bytes) return false;
  if (piece.ref === null) return true;
  const algorithm = like.slice(0, like.indexOf("-")) as HashAlgorithm;
  return piece.ref === `${algorithm}-${codec.digestHex(algorithm, part)}`;
}
