/**
 * LZ4 blocks, read only: databases of flux-core hold blobs so compressed. A block is a series of sequences: a token, literal
 * bytes, and a match, which repeats bytes from so far back; the last sequence has no match.
 */
import { FluxError } from "../base/errors.ts";

const MATCH_MIN = 4;
/** A length of this value in the token goes on in the bytes that follow. */
const LENGTH_MORE = 15;
const LENGTH_BYTE_MORE = 255;

/** The `size` bytes that a block holds. Throws EPROTO where it is damaged. */
export function decodeLz4(block: Uint8Array, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let from = 0;
  let to = 0;
  const lengthOf = (nibble: number): number => {
    let length = nibble;
    if (nibble < LENGTH_MORE) return length;
    for (;;) {
      const more = block[from++];
      if (more === undefined) throw damaged();
      length += more;
      if (more < LENGTH_BYTE_MORE) return length;
    }
  };
  while (from < block.byteLength) {
    const token = block[from++]!;
    const literals = lengthOf(token >> 4);
    if (from + literals > block.byteLength || to + literals > size) throw damaged();
    bytes.set(block.subarray(from, from + literals), to);
    from += literals;
    to += literals;
    if (from === block.byteLength) break;
    const distance = block[from]! | ((block[from + 1] ?? 0) << 8);
    from += 2;
    const length = lengthOf(token & LENGTH_MORE) + MATCH_MIN;
    if (distance === 0 || distance > to || to + length > size) throw damaged();
    // What is repeated may overlap what it makes.
    for (const end = to + length; to < end; to++) bytes[to] = bytes[to - distance]!;
  }
  if (to !== size) throw damaged();
  return bytes;
}

function damaged(): FluxError {
  return new FluxError("EPROTO", "an LZ4 block is damaged");
}
