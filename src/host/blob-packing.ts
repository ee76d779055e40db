/**
 * How blobs are stored in a database: as they are, or compressed. What a job leaves behind are small texts that are much
 * alike: those are compressed with a *dictionary* of what they have in common, and the request in a job's signed envelope
 * (RFC 15) without its base64, which hides from the compressor what it is.
 *
 * An object whose length is not the blob's begins with what says how it is to be read:
 *
 *     28 b5 2f fd   a zstd frame (RFC 8878)
 *     00 00 00 01   a zstd frame with the dictionary follows
 *     00 00 00 02   the same; in it are the lengths of two texts (two bytes each, the greater part first), the first text,
 *                   bytes that stand between the two as base64, the second text
 *     00 00 00 03   a directory in short form follows (`formats/packed-directory.ts`)
 *     00 00 00 04   a zstd frame with the dictionary follows, in it a directory in short form
 *     all else      an LZ4 block, as flux-core writes it; none begins with three zeros
 *
 * Invariant: what was packed once can be read for ever: the dictionary never changes, another one gets numbers of its own.
 */
import type * as NodeZlib from "node:zlib";
import { FluxError } from "../base/errors.ts";
import { decodeLz4 } from "../formats/lz4.ts";
import { packDirectory, unpackDirectory } from "../formats/packed-directory.ts";
import { DICTIONARY_TEXT } from "./blob-dictionary.ts";
import { zstdCompress, zstdDecompress } from "./codec.ts";

/** Shorter blobs hardly shrink, and a call of the compressor costs more than the bytes that it saves … */
const COMPRESSED_BYTES_MIN = 2048;
/** … unless the dictionary fits: what every job leaves behind is compressed from this length on. */
const ALIKE_BYTES_MIN = 256;
/** Longer blobs are better off without the dictionary. */
const DICTIONARY_BYTES_MAX: number = 64 * 1024;
const ZSTD_MAGIC: readonly number[] = [0x28, 0xb5, 0x2f, 0xfd];
const TAG_BYTES = 4;
const PLAIN_TEXT = 1;
const ENVELOPE = 2;
const DIRECTORY = 3;
const FULL_DIRECTORY = 4;
const LENGTHS_BYTES = 4;
/** Directories from this length on are worth their tag. */
const DIRECTORY_BYTES_MIN = 80;
/** Longer ones consist of references, which are compressed as well as they are. */
const DIRECTORY_BYTES_MAX = 8192;
/** Directories in short form from this length on have values in them. */
const FULL_BYTES_MIN = 512;
const TEXT_STARTS: readonly Buffer[] = ['{"timestamp":', '{"resources":'].map((start) => Buffer.from(start));
/** How the header of an envelope begins: the word `version`, and a zero, in base64. */
const ENVELOPE_START: Buffer = Buffer.from("dmVyc2lvbg");
const DOT = 0x2e;

let dictionary: Buffer | null | undefined;

/** The dictionary; null where this Node cannot use one. */
function readyDictionary(): Buffer | null {
  if (dictionary !== undefined) return dictionary;
  const zlib: typeof NodeZlib = process.getBuiltinModule("node:zlib");
  const text = Buffer.from(DICTIONARY_TEXT);
  // A Node that does not know the option says nothing.
  const isKnown = zlib.zstdCompressSync(text, { dictionary: text }).byteLength < text.byteLength / 8;
  return (dictionary = isKnown ? text : null);
}

/** A blob as it is stored: compressed where that makes it shorter. */
export function packed(data: Uint8Array): Uint8Array {
  const { byteLength } = data;
  if (byteLength >= DIRECTORY_BYTES_MIN && byteLength <= DIRECTORY_BYTES_MAX) {
    const directory = packDirectory(data);
    if (directory !== null) return packedDirectory(directory, data);
  }
  if (byteLength < ALIKE_BYTES_MIN) return data;
  const object = byteLength <= DICTIONARY_BYTES_MAX ? packedAlike(data) : null;
  if (object !== null) return object;
  if (byteLength < COMPRESSED_BYTES_MIN) return data;
  const compressed = zstdCompress(data);
  return compressed.byteLength < byteLength ? compressed : data;
}

function packedDirectory(directory: Uint8Array, data: Uint8Array): Uint8Array {
  const words = directory.byteLength < FULL_BYTES_MIN ? null : readyDictionary();
  return words === null
    ? tagged(DIRECTORY, directory, data)
    : tagged(FULL_DIRECTORY, zstdCompress(directory, words), data);
}

/** A blob of a job; null where it is none, or where nothing is won. */
function packedAlike(data: Uint8Array): Uint8Array | null {
  const isText = TEXT_STARTS.some((start) => beginsWith(data, start));
  if (!isText && !beginsWith(data, ENVELOPE_START)) return null;
  const words = readyDictionary();
  if (words === null) return null;
  const content = isText ? data : opened(data);
  if (content === null) return null;
  const object = tagged(isText ? PLAIN_TEXT : ENVELOPE, zstdCompress(content, words), data);
  return object === data ? null : object;
}

/** What says how to read it, and the short form of a blob; the blob itself where that is no shorter. */
function tagged(tag: number, short: Uint8Array, data: Uint8Array): Uint8Array {
  if (short.byteLength + TAG_BYTES >= data.byteLength) return data;
  const object = new Uint8Array(TAG_BYTES + short.byteLength);
  object[TAG_BYTES - 1] = tag;
  object.set(short, TAG_BYTES);
  return object;
}

function beginsWith(data: Uint8Array, start: Buffer): boolean {
  for (let at = 0; at < start.byteLength; at++) if (data[at] !== start[at]) return false;
  return true;
}

/** An envelope with what is between its dots decoded; null where that is not base64 that comes out the same again. */
function opened(data: Uint8Array): Buffer | null {
  const text = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  const start = text.indexOf(DOT) + 1;
  const end = text.indexOf(DOT, start);
  if (start === 0 || end < 0) return null;
  const encoded = text.toString("latin1", start, end);
  const decoded = Buffer.from(encoded, "base64");
  if (decoded.toString("base64") !== encoded) return null;
  const lengths = Buffer.alloc(LENGTHS_BYTES);
  lengths.writeUInt16BE(start, 0);
  lengths.writeUInt16BE(data.byteLength - end, 2);
  return Buffer.concat([lengths, text.subarray(0, start), decoded, text.subarray(end)]);
}

function closed(content: Uint8Array): Uint8Array {
  const text = Buffer.from(content.buffer, content.byteOffset, content.byteLength);
  if (text.byteLength < LENGTHS_BYTES) throw new FluxError("EPROTO", "an object is too short");
  const start = LENGTHS_BYTES + text.readUInt16BE(0);
  const end = text.byteLength - text.readUInt16BE(2);
  if (start > end) throw new FluxError("EPROTO", "an object is too short");
  const encoded = Buffer.from(text.toString("base64", start, end), "latin1");
  return new Uint8Array(Buffer.concat([text.subarray(LENGTHS_BYTES, start), encoded, text.subarray(end)]));
}

/** The blob of an object that is not as long as it. Throws EPROTO where it is damaged. */
export function unpacked(object: Uint8Array, size: number): Uint8Array {
  const data = content(object, size);
  if (data.byteLength !== size) throw new FluxError("EPROTO", `${data.byteLength} bytes instead of ${size}`);
  return data;
}

function content(object: Uint8Array, size: number): Uint8Array {
  if (ZSTD_MAGIC.every((byte, index) => object[index] === byte)) return zstdDecompress(object, size);
  const isTagged = object[0] === 0 && object[1] === 0 && object[2] === 0;
  if (!isTagged) return decodeLz4(object, size);
  if (object[TAG_BYTES - 1] === DIRECTORY) return unpackDirectory(object.subarray(TAG_BYTES));
  const words = readyDictionary();
  if (words === null) throw new FluxError("EPROTO", "this version of Node cannot read it: it has no zstd dictionaries");
  const frame = object.subarray(TAG_BYTES);
  if (object[TAG_BYTES - 1] === FULL_DIRECTORY) return unpackDirectory(zstdDecompress(frame, size, words));
  if (object[TAG_BYTES - 1] === PLAIN_TEXT) return zstdDecompress(frame, size, words);
  if (object[TAG_BYTES - 1] === ENVELOPE) return closed(zstdDecompress(frame, size + LENGTHS_BYTES, words));
  throw new FluxError("EPROTO", "it is of a later version");
}
