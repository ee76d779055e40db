/**
 * What a program reads or writes, as JSON carries it (RFC 24, 42): text as it is, other bytes in base64. Pure.
 *
 * Invariant: what is encoded decodes to the same bytes, whichever form was chosen.
 */
import { base64Decode, base64Encode, utf8DecodeStrict, utf8Encode } from "../base/bytes.ts";
import type { JsonObject } from "../base/json.ts";

/** From this length on, a piece is sampled for control characters. */
const LONG_BYTES = 1024;
/** One byte in so many is looked at. */
const SAMPLE_STEP = 16;
/** If more than one byte in so many is a control character, which JSON writes in six characters, base64 is far shorter. */
const CONTROL_SHARE = 4;

export interface StreamData {
  readonly data?: string;
  readonly encoding?: string;
  readonly eof?: boolean;
}

/** Null is the end of the stream. */
export function encodeStreamData(bytes: Uint8Array | null): StreamData {
  if (bytes === null) return { eof: true };
  const text = isMostlyControl(bytes) ? null : utf8DecodeStrict(bytes);
  return text === null ? { data: base64Encode(bytes), encoding: "base64" } : { data: text };
}

/** The bytes of an I/O object; null where it has none. */
export function decodeStreamData({ data, encoding }: JsonObject): Uint8Array | null {
  if (typeof data !== "string") return null;
  return encoding === "base64" ? base64Decode(data) : utf8Encode(data);
}

function isMostlyControl(bytes: Uint8Array): boolean {
  if (bytes.byteLength < LONG_BYTES) return false;
  let count = 0;
  for (let at = 0; at < bytes.byteLength; at += SAMPLE_STEP) {
    const byte = bytes[at]!;
    // Tab, newline and carriage return are short in JSON, too.
    if (byte < 32 && byte !== 9 && byte !== 10 && byte !== 13) count++;
  }
  return count * CONTROL_SHARE * SAMPLE_STEP > bytes.byteLength;
}
