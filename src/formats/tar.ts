/**
 * The headers of tar archives (POSIX.1-2001 ustar, with pax records where a name, a link or a number does not fit), which
 * dumps of the key-value store are made of.
 *
 * Written is only what POSIX has. Read is also what GNU tar and older programs write: long names in members of their own,
 * numbers in base 256, headers without a magic.
 *
 * Invariant: what `encodeTarHeader` writes, `TarReader` reads as the same member. It does not know where bytes come from.
 */
import { concatBytes, latin1Decode, utf8Decode, utf8Encode } from "../base/bytes.ts";

export const TAR_BLOCK_BYTES = 512;

/** What a member is. `sparse`: a file with holes, in one of the ways of GNU tar; `other`: a device, a pipe and so on. */
export type TarKind = "file" | "hardlink" | "symlink" | "directory" | "sparse" | "other";

export interface TarMember {
  readonly path: string;
  readonly kind: TarKind;
  /** Bytes of content that follow the header. */
  readonly sizeBytes: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since the Unix epoch. */
  readonly mtime: number;
  /** Where a link leads; empty for other kinds. */
  readonly target: string;
  /** Further pax records, by keyword. */
  readonly records: ReadonlyMap<string, string>;
}

/** Type flags that are written. */
const FLAGS: Readonly<Record<"file" | "hardlink" | "symlink" | "directory", string>> = {
  file: "0",
  hardlink: "1",
  symlink: "2",
  directory: "5",
};
const FLAG_RECORDS = "x";
/** The kinds of the flags that are read; others are `other`. */
const KINDS: Readonly<Record<string, TarKind>> = {
  "\0": "file",
  "0": "file",
  "7": "file",
  "1": "hardlink",
  "2": "symlink",
  "5": "directory",
  S: "sparse",
};

/** Where the fields of a header are: offset and length in bytes. */
const FIELDS = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  flag: [156, 1],
  target: [157, 100],
  magic: [257, 6],
  prefix: [345, 155],
} as const;
type Field = keyof typeof FIELDS;

const MAGIC_USTAR = "ustar\0";
const BASE_256 = 0x80;
const NEGATIVE_BASE_256 = 0xff;

/** Zero bytes that fill the last block of a content. */
export function tarPaddingBytes(sizeBytes: number): number {
  return (TAR_BLOCK_BYTES - (sizeBytes % TAR_BLOCK_BYTES)) % TAR_BLOCK_BYTES;
}

/** What ends an archive. */
export function tarEnd(): Uint8Array {
  return new Uint8Array(2 * TAR_BLOCK_BYTES);
}

/** Writes a member's header, with a header of pax records before it where they are needed. */
export function encodeTarHeader(member: TarMember & { readonly kind: keyof typeof FLAGS }): Uint8Array {
  const records = new Map<string, string>();
  const { name, prefix } = splitPath(member.path) ?? { name: fitting(member.path), prefix: "" };
  if (!isAscii(member.path) || splitPath(member.path) === null) records.set("path", member.path);
  if (!isAscii(member.target) || member.target.length > FIELDS.target[1]) records.set("linkpath", member.target);
  for (const [keyword, value] of [
    ["uid", member.uid],
    ["gid", member.gid],
    ["size", member.sizeBytes],
    ["mtime", member.mtime],
  ] as const)
    if (!fitsOctal(keyword, value)) records.set(keyword, String(value));
  for (const [keyword, value] of member.records) records.set(keyword, value);
  const header = headerBlock(member, FLAGS[member.kind], { name, prefix, target: fitting(member.target) });
  if (records.size === 0) return header;
  const text = encodeRecords(records);
  const base = member.path.slice(member.path.lastIndexOf("/") + 1);
  const about = { ...member, sizeBytes: text.byteLength };
  const names = { name: fitting(`PaxHeader/${base}`), prefix: "", target: "" };
  const padding = new Uint8Array(tarPaddingBytes(text.byteLength));
  return concatBytes([headerBlock(about, FLAG_RECORDS, names), text, padding, header]);
}

function headerBlock(
  member: TarMember,
  flag: string,
  names: { readonly name: string; readonly prefix: string; readonly target: string },
): Uint8Array {
  const block = new Uint8Array(TAR_BLOCK_BYTES);
  putText(block, "name", names.name);
  putText(block, "prefix", names.prefix);
  putText(block, "target", names.target);
  putText(block, "flag", flag);
  putText(block, "magic", MAGIC_USTAR);
  putAscii(block, FIELDS.magic[0] + FIELDS.magic[1], "00");
  putNumber(block, "mode", member.mode);
  putNumber(block, "uid", member.uid);
  putNumber(block, "gid", member.gid);
  putNumber(block, "size", member.sizeBytes);
  putNumber(block, "mtime", member.mtime);
  const [offset, length] = FIELDS.checksum;
  putAscii(block, offset, `${octal(checksums(block).unsigned, length - 2)}\0 `);
  return block;
}

function putText(block: Uint8Array, field: Field, text: string): void {
  const [offset, length] = FIELDS[field];
  if (text.length <= length && isAscii(text)) putAscii(block, offset, text);
  else block.set(utf8Encode(text).subarray(0, length), offset);
}

function putAscii(block: Uint8Array, offset: number, text: string): void {
  for (let index = 0; index < text.length; index++) block[offset + index] = text.charCodeAt(index);
}

/** A number too big for its field is also in a pax record: what stands in the field is then for older readers. */
function putNumber(block: Uint8Array, field: Field, value: number): void {
  const [offset, length] = FIELDS[field];
  const text = octal(value, length - 1);
  if (value >= 0 && text.length === length - 1) return putAscii(block, offset, text);
  let rest = BigInt(value);
  for (let index = length - 1; index > 0; index--) {
    block[offset + index] = Number(BigInt.asUintN(8, rest));
    rest >>= 8n;
  }
  block[offset] = value < 0 ? NEGATIVE_BASE_256 : BASE_256;
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, "0");
}

function fitsOctal(field: "uid" | "gid" | "size" | "mtime", value: number): boolean {
  return value >= 0 && value < 8 ** (FIELDS[field][1] - 1);
}

/** A path in the two fields that ustar has for it, or null where it does not fit. */
function splitPath(path: string): { name: string; prefix: string } | null {
  const [nameBytes, prefixBytes] = [FIELDS.name[1], FIELDS.prefix[1]];
  if (path.length <= nameBytes) return { name: path, prefix: "" };
  const slash = path.indexOf("/", path.length - nameBytes - 1);
  if (slash <= 0 || slash > prefixBytes || slash === path.length - 1) return null;
  return { name: path.slice(slash + 1), prefix: path.slice(0, slash) };
}

/** As much of a text as fits into a field, in whole characters. */
function fitting(text: string): string {
  let end = text.length;
  while (utf8Encode(text.slice(0, end)).byteLength > FIELDS.name[1]) end--;
  return text.slice(0, end);
}

function isAscii(text: string): boolean {
  return /^[\x20-\x7e]*$/.test(text);
}

/** Pax records: lines of a length, a keyword and a value. */
function encodeRecords(records: ReadonlyMap<string, string>): Uint8Array {
  const lines: Uint8Array[] = [];
  for (const [keyword, value] of records) {
    const content = utf8Encode(` ${keyword}=${value}\n`);
    let length = content.byteLength;
    // The length counts its own digits.
    while (String(length).length + content.byteLength !== length) length = String(length).length + content.byteLength;
    lines.push(utf8Encode(String(length)), content);
  }
  return concatBytes(lines);
}

/** Reads pax records; null where they are malformed. */
export function decodeTarRecords(bytes: Uint8Array): Map<string, string> | null {
  const records = new Map<string, string>();
  let offset = 0;
  while (offset < bytes.byteLength) {
    const space = bytes.indexOf(0x20, offset);
    const digits = space < 0 ? "" : latin1Decode(bytes, offset, space);
    const end = offset + Number(digits);
    if (!/^\d{1,10}$/.test(digits) || end <= space + 1 || end > bytes.byteLength || bytes[end - 1] !== 0x0a)
      return null;
    const equals = bytes.indexOf(0x3d, space);
    if (equals < 0 || equals >= end) return null;
    records.set(utf8Decode(bytes.subarray(space + 1, equals)), utf8Decode(bytes.subarray(equals + 1, end - 1)));
    offset = end;
  }
  return records;
}

/** A header as it stands in one block, pax records and long names not considered. */
export interface TarBlock {
  readonly flag: string;
  readonly member: TarMember;
}

/** Reads a header block; null where it is none: its checksum or a number in it is wrong. */
export function decodeTarBlock(block: Uint8Array): TarBlock | null {
  const sums = checksums(block);
  const stored = numberOf(block, "checksum");
  if (stored !== sums.unsigned && stored !== sums.signed) return null;
  const numbers = (["mode", "uid", "gid", "size", "mtime"] as const).map((field) => numberOf(block, field));
  const [mode, uid, gid, sizeBytes, mtime] = numbers;
  if (numbers.includes(null) || sizeBytes! < 0) return null;
  const isUstar = latin1Decode(block, FIELDS.magic[0], FIELDS.magic[0] + FIELDS.magic[1]) === MAGIC_USTAR;
  const prefix = isUstar ? textOf(block, "prefix") : "";
  const name = textOf(block, "name");
  const path = prefix === "" ? name : `${prefix}/${name}`;
  const flag = latin1Decode(block, FIELDS.flag[0], FIELDS.flag[0] + 1);
  let kind = KINDS[flag] ?? "other";
  // Before ustar there was no flag for directories.
  if (kind === "file" && path.endsWith("/")) kind = "directory";
  const hasContent = kind === "file" || kind === "sparse" || kind === "other";
  const member = {
    path,
    kind,
    sizeBytes: hasContent ? sizeBytes! : 0,
    mode: mode!,
    uid: uid!,
    gid: gid!,
    mtime: mtime!,
    target: kind === "hardlink" || kind === "symlink" ? textOf(block, "target") : "",
    records: new Map<string, string>(),
  };
  return { flag, member };
}

function textOf(block: Uint8Array, field: Field): string {
  const [offset, length] = FIELDS[field];
  const bytes = block.subarray(offset, offset + length);
  const end = bytes.indexOf(0);
  return utf8Decode(end < 0 ? bytes : bytes.subarray(0, end));
}

function numberOf(block: Uint8Array, field: Field): number | null {
  const [offset, length] = FIELDS[field];
  const first = block[offset]!;
  if (first === BASE_256 || first === NEGATIVE_BASE_256) {
    let value = first === NEGATIVE_BASE_256 ? -1n : 0n;
    for (const byte of block.subarray(offset + 1, offset + length)) value = (value << 8n) | BigInt(byte);
    return Number.isSafeInteger(Number(value)) ? Number(value) : null;
  }
  const text = latin1Decode(block, offset, offset + length)
    .replace(/[\0 ]+$/, "")
    .trimStart();
  return /^[0-7]*$/.test(text) ? Number.parseInt(text === "" ? "0" : text, 8) : null;
}

/** The sums of a header's bytes, its checksum taken as blanks; old programs took bytes as signed. */
function checksums(block: Uint8Array): { unsigned: number; signed: number } {
  const [offset, length] = FIELDS.checksum;
  let unsigned = length * 0x20;
  let signed = unsigned;
  for (let index = 0; index < TAR_BLOCK_BYTES; index++) {
    if (index >= offset && index < offset + length) continue;
    const byte = block[index]!;
    unsigned += byte;
    signed += byte < 0x80 ? byte : byte - 0x100;
  }
  return { unsigned, signed };
}

/** A member of a dump: the fields that are the same for all are filled in. */
export function plainMember(
  kind: "file" | "symlink",
  path: string,
  values: Partial<Omit<TarMember, "kind" | "path">>,
): TarMember & { readonly kind: "file" | "symlink" } {
  const common = {
    sizeBytes: 0,
    mode: 0o644,
    uid: 0,
    gid: 0,
    mtime: 0,
    target: "",
    records: new Map<string, string>(),
  };
  return { ...common, ...values, kind, path };
}

/** Whether a block is all zero, as those at the end of an archive. */
export function isZeroBlock(block: Uint8Array): boolean {
  return block.every((byte) => byte === 0);
}
