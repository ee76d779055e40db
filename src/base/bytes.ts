/**
 * Bytes and text: the conversions every layer uses, in one place.
 *
 * Pure. Results never share memory with a pooled buffer that is reused: a returned array may be kept.
 */

const encoder = new TextEncoder();
const strictDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export const EMPTY_BYTES: Uint8Array = new Uint8Array(0);

function view(bytes: Uint8Array) {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Encodes text as UTF-8. */
export function utf8Encode(text: string): Uint8Array {
  return encoder.encode(text);
}

/** Decodes UTF-8; malformed sequences become U+FFFD. */
export function utf8Decode(bytes: Uint8Array): string {
  return view(bytes).toString("utf8");
}

/** Decodes UTF-8, or returns null where the bytes are not well-formed UTF-8. */
export function utf8DecodeStrict(bytes: Uint8Array): string | null {
  try {
    return strictDecoder.decode(bytes);
  } catch {
    return null;
  }
}

/** Decodes a slice of bytes in which every byte is one character (Latin-1). */
export function latin1Decode(bytes: Uint8Array, start = 0, end: number = bytes.byteLength): string {
  return view(bytes).toString("latin1", start, end);
}

/** Encodes text in which every character is one byte (Latin-1). */
export function latin1Encode(text: string): Uint8Array {
  return copyOf(Buffer.from(text, "latin1"));
}

/** Encodes bytes as base64 with padding (RFC 4648 section 4). */
export function base64Encode(bytes: Uint8Array): string {
  return view(bytes).toString("base64");
}

/** Encodes the UTF-8 of a text as base64. */
export function base64EncodeText(text: string): string {
  return base64Encode(utf8Encode(text));
}

/** How many bytes base64 stands for. */
export function base64ByteLength(text: string): number {
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  return (text.length / 4) * 3 - padding;
}

/** Decodes base64, or returns null where the text is not base64. */
export function base64Decode(text: string): Uint8Array | null {
  const bytes = pooledBase64(text);
  return bytes === null ? null : copyOf(bytes);
}

export function isBase64(text: string): boolean {
  return pooledBase64(text) !== null;
}

/** What base64 stands for, in memory that may be part of a pool; null where the text is not base64. */
function pooledBase64(text: string): Uint8Array | null {
  if (text.length % 4 !== 0) return null;
  const bytes = Buffer.from(text, "base64");
  // The decoder takes the URL-safe alphabet too, skips what it does not know and stops at padding: then bytes are missing.
  const isWhole = bytes.byteLength === base64ByteLength(text) && !text.includes("-") && !text.includes("_");
  return isWhole ? bytes : null;
}

/** Encodes bytes as lower-case hexadecimal digits. */
export function hexEncode(bytes: Uint8Array): string {
  return view(bytes).toString("hex");
}

/** Decodes hexadecimal digits, or returns null where the text is not hexadecimal. */
export function hexDecode(text: string): Uint8Array | null {
  if (text.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(text)) return null;
  return copyOf(Buffer.from(text, "hex"));
}

/** The number of bytes that text takes in UTF-8. */
export function utf8Length(text: string): number {
  return Buffer.byteLength(text, "utf8");
}

/** Joins chunks into one array. One chunk is returned as it is, without a copy. */
export function concatBytes(chunks: readonly Uint8Array[]): Uint8Array {
  if (chunks.length === 1) return chunks[0]!;
  let length = 0;
  for (const chunk of chunks) length += chunk.byteLength;
  const joined = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    joined.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return joined;
}

export function bytesEqual(left: Uint8Array, right: Uint8Array): boolean {
  if (left.byteLength !== right.byteLength) return false;
  for (let index = 0; index < left.byteLength; index++) if (left[index] !== right[index]) return false;
  return true;
}

/** A small pooled buffer would pin its whole pool: keep a copy of its own for what is kept. */
function copyOf(bytes: Uint8Array): Uint8Array {
  return bytes.buffer.byteLength === bytes.byteLength ? bytes : new Uint8Array(bytes);
}
