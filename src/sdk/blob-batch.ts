/**
 * Many blobs in one payload: `content.store-batch` and `content-backing.store-batch`, by which the key-value store hands a
 * checkpoint over. Each blob stands behind its length (u32, big-endian).
 *
 * Many digests in one payload, one behind the other: `content.touch`, `.adopt` and `.forget`.
 */
import { FluxError } from "../base/errors.ts";
import type { Payload } from "../protocol/message.ts";

const LENGTH_BYTES = 4;

export function encodeBlobs(blobs: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const blob of blobs) length += LENGTH_BYTES + blob.byteLength;
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  let offset = 0;
  for (const blob of blobs) {
    view.setUint32(offset, blob.byteLength);
    bytes.set(blob, offset + LENGTH_BYTES);
    offset += LENGTH_BYTES + blob.byteLength;
  }
  return bytes;
}

/** The same of blobs that came as payloads, which may be in pieces: they are joined here, once. */
export function encodePayloads(payloads: readonly (Payload | null)[]): Uint8Array {
  let length = 0;
  for (const payload of payloads) length += LENGTH_BYTES + (payload?.byteLength ?? 0);
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  let offset = 0;
  for (const payload of payloads) {
    view.setUint32(offset, payload?.byteLength ?? 0);
    offset += LENGTH_BYTES;
    if (payload !== null)
      for (const piece of payload.inPieces()) {
        bytes.set(piece, offset);
        offset += piece.byteLength;
      }
  }
  return bytes;
}

/** The blobs of a payload, as views of it. Throws EPROTO where it is cut short. */
export function decodeBlobs(bytes: Uint8Array): Uint8Array[] {
  const blobs: Uint8Array[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let offset = 0; offset < bytes.byteLength;) {
    const start = offset + LENGTH_BYTES;
    const end = start > bytes.byteLength ? Infinity : start + view.getUint32(offset);
    if (end > bytes.byteLength) throw new FluxError("EPROTO", "a batch of blobs is cut short");
    blobs.push(bytes.subarray(start, end));
    offset = end;
  }
  return blobs;
}

/** The digests of a payload, as views of it. Throws EPROTO where one is cut short. */
export function splitDigests(bytes: Uint8Array, digestLength: number): Uint8Array[] {
  if (bytes.byteLength % digestLength !== 0) throw new FluxError("EPROTO", "incorrect hash size");
  const digests: Uint8Array[] = [];
  for (let offset = 0; offset < bytes.byteLength; offset += digestLength)
    digests.push(bytes.subarray(offset, offset + digestLength));
  return digests;
}
