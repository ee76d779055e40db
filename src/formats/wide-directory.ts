/**
 * How a wide directory of the key-value store is stored: in pieces, so that a change writes a few kilobytes, whatever the
 * size of the directory. Readers outside never see it: `content.load` joins the pieces into the one text that RFC 11
 * has for a directory.
 *
 * The entries, sorted by name in code point order, are cut before each name that `startsPiece`. A piece is stored as the
 * directory (RFC 11) of its entries. The directory's own blob, whose hash is its blobref, lists them, and the number of
 * entries:
 *
 *     {"data":[{"first":NAME,"ref":BLOBREF},...],"size":INTEGER,"type":"pieces","ver":1}
 *
 * Invariants: a directory with more than PLAIN_ENTRIES_MAX entries that was changed here is stored so, others are not; where
 * it is cut depends on its names alone, so equal content has an equal blobref, whatever came before.
 *
 * It does not know how blobs are hashed, stored or fetched.
 */
import { latin1Decode, utf8Decode, utf8Encode } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import { isJsonObject, parseJson, type JsonValue } from "../base/json.ts";
import { isBlobref, type Blobref } from "./blobref.ts";

/** A directory with more entries than this is stored in pieces. */
export const PLAIN_ENTRIES_MAX = 512;

/** A piece: the first name in it, and its blob. */
export interface PieceReference {
  readonly first: string;
  readonly ref: Blobref;
}

const PIECES_START = '{"data":[{"first":"';
const PIECES_END = ',"type":"pieces","ver":1}';
const DIRECTORY_START = '{"data":{';
const DIRECTORY_END = '},"type":"dir","ver":1}';

/** A wide directory: its pieces in order, and the number of entries in all of them. */
export interface WideDirectory {
  readonly pieces: readonly PieceReference[];
  readonly size: number;
}

/** One name in so many starts a piece, on average; a power of two. */
const PIECE_ENTRIES_MEAN = 256;

/** Whether a piece starts with this name: whether the low bits of its hash (FNV-1a of its UTF-8, then mixed) are zero. */
export function startsPiece(name: string): boolean {
  let hash = 0x811c9dc5;
  for (let index = 0; index < name.length; index++) {
    const unit = name.charCodeAt(index);
    if (unit >= 0x80) return isCut(hashOfBytes(utf8Encode(name)));
    hash = Math.imul(hash ^ unit, 0x01000193);
  }
  return isCut(hash);
}

function hashOfBytes(bytes: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash;
}

/** The low bits of FNV-1a depend on the low bits of the bytes alone: names in a series would all be cut, or none. */
function isCut(hash: number): boolean {
  let mixed = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return ((mixed ^ (mixed >>> 16)) & (PIECE_ENTRIES_MEAN - 1)) === 0;
}

/** Whether a blob has the form of a directory in pieces. Cheap: it looks at both ends only. */
export function isWideDirectory(blob: Uint8Array): boolean {
  const { byteLength } = blob;
  if (byteLength < PIECES_START.length + PIECES_END.length) return false;
  return (
    latin1Decode(blob, byteLength - PIECES_END.length) === PIECES_END &&
    latin1Decode(blob, 0, PIECES_START.length) === PIECES_START
  );
}

/** Reads the blob of a directory in pieces. Throws EPROTO where it is not well-formed. */
export function parseWideDirectory(blob: Uint8Array): WideDirectory {
  const value = parseJson(utf8Decode(blob));
  if (!isJsonObject(value) || value["ver"] !== 1 || value["type"] !== "pieces") throw malformed();
  const { data, size } = value;
  if (!Array.isArray(data) || data.length === 0 || !Number.isSafeInteger(size)) throw malformed();
  return { pieces: data.map(pieceOf), size: size as number };
}

function pieceOf(value: JsonValue): PieceReference {
  if (!isJsonObject(value)) throw malformed();
  const { first, ref } = value;
  if (typeof first !== "string" || !isBlobref(ref)) throw malformed();
  return { first, ref };
}

function malformed(): FluxError {
  return new FluxError("EPROTO", "a directory in pieces is malformed");
}

/** One member of a directory's blob. */
export function pieceText({ first, ref }: PieceReference): string {
  return `{"first":${quoteName(first)},"ref":"${ref}"}`;
}

/** The text of a directory's blob, of its members and the number of all entries. */
export function wideDirectoryText(members: readonly string[], size: number): string {
  return `{"data":[${members.join(",")}],"size":${size},"type":"pieces","ver":1}`;
}

/** The text that RFC 11 has for the whole directory, of the blobs of its pieces in order. Throws EPROTO where one is no directory. */
export function joinPieces(blobs: readonly Uint8Array[]): Uint8Array {
  let length = DIRECTORY_START.length + DIRECTORY_END.length;
  const members = blobs.map(membersOf).filter((bytes) => bytes.byteLength > 0);
  for (const bytes of members) length += bytes.byteLength;
  const joined = new Uint8Array(length + Math.max(0, members.length - 1));
  joined.set(utf8Encode(DIRECTORY_START));
  let offset = DIRECTORY_START.length;
  for (const bytes of members) {
    if (offset > DIRECTORY_START.length) joined[offset++] = 0x2c;
    joined.set(bytes, offset);
    offset += bytes.byteLength;
  }
  joined.set(utf8Encode(DIRECTORY_END), offset);
  return joined;
}

/** What is between the braces of a directory's text. */
function membersOf(blob: Uint8Array): Uint8Array {
  const end = blob.byteLength - DIRECTORY_END.length;
  if (
    end < DIRECTORY_START.length ||
    latin1Decode(blob, 0, DIRECTORY_START.length) !== DIRECTORY_START ||
    latin1Decode(blob, end) !== DIRECTORY_END
  )
    throw new FluxError("EPROTO", "a piece of a directory is malformed");
  return blob.subarray(DIRECTORY_START.length, end);
}

/** The text of a directory (RFC 11), or of a piece of one, of its members in order. */
export function directoryTextOf(members: readonly string[]): string {
  return `${DIRECTORY_START}${members.join(",")}${DIRECTORY_END}`;
}

/** A name as the text of a directory has it: control characters are written with upper-case digits. */
export function quoteName(name: string): string {
  const json = JSON.stringify(name);
  return json.includes("\\u")
    ? json.replace(/\\u[0-9a-f]{4}/g, (escape) => `\\u${escape.slice(2).toUpperCase()}`)
    : json;
}

/** Compares names by code points: less than zero where `left` comes first. */
export function compareNames(left: string, right: string): number {
  if (left === right) return 0;
  const shared = Math.min(left.length, right.length);
  for (let index = 0; index < shared; index++) {
    const a = left.charCodeAt(index);
    const b = right.charCodeAt(index);
    // Surrogates stand for code points beyond all others, though they are not the greatest units.
    if (a !== b) return isSurrogate(a) === isSurrogate(b) ? a - b : isSurrogate(a) ? 1 : -1;
  }
  return left.length - right.length;
}

function isSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xe000;
}
