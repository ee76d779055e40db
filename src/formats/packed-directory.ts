/**
 * The text of a directory (RFC 11) as it is kept on disk: a reference to a blob is one byte that says of which kind, and the
 * raw digest, instead of hexadecimal digits and the words around them; a longer value is kept without its base64. References
 * shrink to a third, and values become readable for a compressor.
 *
 *     01  {"data":["sha1-DIGITS"],"type":"valref","ver":1}
 *     02  {"data":["sha1-DIGITS"],"type":"dirref","ver":1}
 *     03  "sha1-DIGITS"
 *     04 05 06  the same with sha256
 *     07        {"data":"BASE64","type":"val","ver":1}: the number of bytes, two of them, the greater part first, and the bytes
 *
 * All other bytes stand for themselves: JSON has no bytes below 20 but blanks, which directories do not contain. Pure.
 */
import {
  base64Decode,
  base64Encode,
  concatBytes,
  hexDecode,
  hexEncode,
  latin1Decode,
  latin1Encode,
} from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";

const START: Uint8Array = latin1Encode('{"data":{"');
const END: Uint8Array = latin1Encode('},"type":"dir","ver":1}');
const HASH = "sha(?:1-([0-9a-f]{40})|256-([0-9a-f]{64}))";
/** What has a short form: a value from 60 characters of base64 on, an entry with one reference, a reference elsewhere. */
const FOUND = new RegExp(
  [
    '\\{"data":"([A-Za-z0-9+/]{58,}={0,2})","type":"val","ver":1\\}',
    `\\{"data":\\["${HASH}"\\],"type":"(val|dir)ref","ver":1\\}`,
    `"${HASH}"`,
  ].join("|"),
  "g",
);
// oxlint-disable-next-line no-control-regex -- they are what is looked for
const CONTROL = /[\0-\x1f]/;
const VALREF = 1;
const DIRREF = 2;
const REF = 3;
const SHA256 = 3;
const VALUE = 7;
const VALUE_BYTES_MAX = 0xffff;
const SHA1_BYTES = 20;
const SHA256_BYTES = 32;

/** The short form of what may be the text of a directory; null where it is none. */
export function packDirectory(text: Uint8Array): Uint8Array | null {
  if (!matches(text, START, 0) || !matches(text, END, text.byteLength - END.byteLength)) return null;
  const source = latin1Decode(text);
  // A control character in the text itself could be taken for a code.
  if (CONTROL.test(source)) return null;
  const parts: Uint8Array[] = [];
  let position = 0;
  for (const found of source.matchAll(FOUND)) {
    const short = found[1] === undefined ? shortReference(found) : shortValue(found[1]);
    if (short === null) continue;
    if (found.index > position) parts.push(text.subarray(position, found.index));
    parts.push(...short);
    position = found.index + found[0].length;
  }
  parts.push(text.subarray(position));
  return concatBytes(parts);
}

function shortReference([, , sha1, sha256, type, bareSha1, bareSha256]: RegExpExecArray): Uint8Array[] {
  const kind = type === "val" ? VALREF : type === "dir" ? DIRREF : REF;
  const isLong = sha256 !== undefined || bareSha256 !== undefined;
  return [Uint8Array.of(isLong ? kind + SHA256 : kind), hexDecode((sha1 ?? sha256 ?? bareSha1 ?? bareSha256)!)!];
}

/** Null where the value is too long, or its base64 would not come out the same again. */
function shortValue(base64: string): Uint8Array[] | null {
  const bytes = base64Decode(base64);
  if (bytes === null || bytes.byteLength > VALUE_BYTES_MAX || base64Encode(bytes) !== base64) return null;
  return [Uint8Array.of(VALUE, bytes.byteLength >>> 8, bytes.byteLength & 0xff), bytes];
}

/** The text again. Throws EPROTO where it ends within a reference or a value. */
export function unpackDirectory(packed: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [];
  let start = 0;
  for (let position = 0; position < packed.byteLength; position++) {
    const code = packed[position]!;
    if (code === 0 || code > VALUE) continue;
    const first = position + (code === VALUE ? 3 : 1);
    const end = first + lengthAt(packed, position);
    // A length that is cut off is no number, which is not below anything.
    if (!(end <= packed.byteLength)) throw new FluxError("EPROTO", "a packed directory ends within an entry");
    parts.push(packed.subarray(start, position), latin1Encode(longForm(code, packed.subarray(first, end))));
    start = end;
    position = end - 1;
  }
  parts.push(packed.subarray(start));
  return concatBytes(parts);
}

/** How many bytes belong to a code. */
function lengthAt(packed: Uint8Array, position: number): number {
  const code = packed[position]!;
  if (code === VALUE) return packed[position + 1]! * 256 + packed[position + 2]!;
  return code > SHA256 ? SHA256_BYTES : SHA1_BYTES;
}

function longForm(code: number, bytes: Uint8Array): string {
  if (code === VALUE) return `{"data":"${base64Encode(bytes)}","type":"val","ver":1}`;
  const isLong = code > SHA256;
  const kind = isLong ? code - SHA256 : code;
  const ref = `"${isLong ? "sha256" : "sha1"}-${hexEncode(bytes)}"`;
  return kind === REF ? ref : `{"data":[${ref}],"type":"${kind === VALREF ? "val" : "dir"}ref","ver":1}`;
}

function matches(bytes: Uint8Array, part: Uint8Array, start: number): boolean {
  return start >= 0 && part.every((byte, index) => bytes[start + index] === byte);
}
