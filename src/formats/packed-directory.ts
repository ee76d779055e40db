/**
 * The text of a directory (RFC 11) as it is kept on disk: what refers to blobs is a byte that says how, and the digest itself
 * instead of its hexadecimal digits and the words around them. A third of the text is left.
 *
 *     01  {"data":["sha1-DIGITS"],"type":"valref","ver":1}
 *     02  {"data":["sha1-DIGITS"],"type":"dirref","ver":1}
 *     03  "sha1-DIGITS"
 *     04 05 06  the same with sha256
 *
 * All other bytes stand for themselves: JSON has no bytes below 20 but blanks, which directories do not contain. Pure.
 */
import { concatBytes, hexDecode, hexEncode, latin1Decode, latin1Encode } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";

const START: Uint8Array = latin1Encode('{"data":{"');
const END: Uint8Array = latin1Encode('},"type":"dir","ver":1}');
const REFERENCES =
  /\{"data":\["sha(?:1-([0-9a-f]{40})|256-([0-9a-f]{64}))"\],"type":"(val|dir)ref","ver":1\}|"sha(?:1-([0-9a-f]{40})|256-([0-9a-f]{64}))"/g;
const VALREF = 1;
const DIRREF = 2;
const REF = 3;
const SHA256 = 3;
const LAST_CODE = 6;
const CONTROL_END = 0x20;
const SHA1_BYTES = 20;
const SHA256_BYTES = 32;

/** The short form of what may be the text of a directory; null where it is none. */
export function packDirectory(text: Uint8Array): Uint8Array | null {
  if (!matches(text, START, 0) || !matches(text, END, text.byteLength - END.byteLength)) return null;
  // Codes must be told from what was there.
  if (text.some((byte) => byte < CONTROL_END)) return null;
  const source = latin1Decode(text);
  const parts: Uint8Array[] = [];
  let position = 0;
  for (const found of source.matchAll(REFERENCES)) {
    const [all, sha1, sha256, type, bareSha1, bareSha256] = found;
    const kind = type === "val" ? VALREF : type === "dir" ? DIRREF : REF;
    const isLong = sha256 !== undefined || bareSha256 !== undefined;
    if (found.index > position) parts.push(text.subarray(position, found.index));
    parts.push(Uint8Array.of(isLong ? kind + SHA256 : kind), hexDecode((sha1 ?? sha256 ?? bareSha1 ?? bareSha256)!)!);
    position = found.index + all.length;
  }
  parts.push(text.subarray(position));
  return concatBytes(parts);
}

/** The text again. Throws EPROTO where it ends within a reference. */
export function unpackDirectory(packed: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [];
  let start = 0;
  for (let position = 0; position < packed.byteLength; position++) {
    const code = packed[position]!;
    if (code === 0 || code > LAST_CODE) continue;
    const isLong = code > SHA256;
    const end = position + 1 + (isLong ? SHA256_BYTES : SHA1_BYTES);
    if (end > packed.byteLength) throw new FluxError("EPROTO", "a packed directory ends within a reference");
    const kind = isLong ? code - SHA256 : code;
    const ref = `"${isLong ? "sha256" : "sha1"}-${hexEncode(packed.subarray(position + 1, end))}"`;
    const type = kind === VALREF ? "val" : "dir";
    const text = kind === REF ? ref : `{"data":[${ref}],"type":"${type}ref","ver":1}`;
    parts.push(packed.subarray(start, position), latin1Encode(text));
    start = end;
    position = end - 1;
  }
  parts.push(packed.subarray(start));
  return concatBytes(parts);
}

function matches(bytes: Uint8Array, part: Uint8Array, start: number): boolean {
  return start >= 0 && part.every((byte, index) => bytes[start + index] === byte);
}
