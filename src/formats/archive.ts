/**
 * The file archive format (RFC 37): files, directories and symbolic links as JSON objects, in a list or by path.
 *
 * Jobspec carries scripts and small files in it (`attributes.system.files`), `flux archive` a list with references to
 * blobs. Reading is strict about paths: an archive can never write outside of the directory it is unpacked in.
 *
 * Does not know disks: it turns bytes into entries and entries into bytes.
 */
import { base64Decode, base64Encode, utf8DecodeStrict, utf8Encode, utf8Length } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import { isJsonObject, stringifyJson, type JsonObject, type JsonValue } from "../base/json.ts";
import { isBlobref, type Blobref } from "./blobref.ts";

/** The bits of `mode` that say what an entry is, as stat(2) has them. */
const FileType = { MASK: 0o170000, REGULAR: 0o100000, DIRECTORY: 0o040000, SYMLINK: 0o120000 } as const;

/** A part of a file in the content store: offset and size in bytes, and the blob that holds it. */
export type BlobRegion = readonly [offset: number, size: number, blobref: Blobref];

interface Common {
  /** Relative, without `.` and `..`. */
  readonly path: string;
  /** Type and permissions, as st_mode. */
  readonly mode: number;
  /** Seconds since the Unix epoch. */
  readonly mtime?: number | undefined;
  readonly ctime?: number | undefined;
}

/** An entry, checked, by the kind of its content. */
export type ArchiveEntry =
  | (Common & { readonly kind: "directory" })
  | (Common & { readonly kind: "symlink"; readonly target: string })
  | (Common & { readonly kind: "bytes"; readonly bytes: Uint8Array })
  /** A hole of the given size in bytes. */
  | (Common & { readonly kind: "empty"; readonly size: number })
  | (Common & { readonly kind: "blobs"; readonly size: number; readonly regions: readonly BlobRegion[] });

/** Encodes the content of a regular file: as UTF-8 text where it is valid, else in base64. */
export function encodeFile(bytes: Uint8Array, options: { permissions?: number; mtime?: number } = {}): JsonObject {
  const { permissions = 0o600, mtime } = options;
  const common = { mode: FileType.REGULAR | permissions, ...(mtime !== undefined && { mtime }) };
  if (bytes.byteLength === 0) return { ...common, size: 0 };
  // JSON would need six characters for each NUL.
  const text = bytes.includes(0) ? null : utf8DecodeStrict(bytes);
  return text === null
    ? { ...common, size: bytes.byteLength, encoding: "base64", data: base64Encode(bytes) }
    : { ...common, size: bytes.byteLength, encoding: "utf-8", data: text };
}

/** Encodes a text as a regular file. */
export function encodeTextFile(text: string, options: { permissions?: number; mtime?: number } = {}): JsonObject {
  const { permissions = 0o600, mtime } = options;
  return {
    mode: FileType.REGULAR | permissions,
    ...(mtime !== undefined && { mtime }),
    size: utf8Length(text),
    ...(text !== "" && { encoding: "utf-8", data: text }),
  };
}

/** A file whose content is a JSON value. */
export function encodeJsonFile(value: JsonValue, options: { permissions?: number } = {}): JsonObject {
  return { mode: FileType.REGULAR | (options.permissions ?? 0o600), data: value };
}

/** Encodes an entry for the list form of an archive. */
export function encodeEntry(entry: ArchiveEntry): JsonObject {
  const { path, mode, mtime, ctime } = entry;
  const common = { path, mode, ...(mtime !== undefined && { mtime }), ...(ctime !== undefined && { ctime }) };
  switch (entry.kind) {
    case "directory":
      return common;
    case "symlink":
      return { ...common, data: entry.target };
    case "empty":
      return { ...common, size: entry.size };
    case "blobs":
      return { ...common, size: entry.size, encoding: "blobvec", data: entry.regions };
    case "bytes": {
      const { mode: _mode, ...content } = encodeFile(entry.bytes);
      return { ...common, ...content };
    }
  }
}

/** Reads an archive in either form. Throws FluxError EINVAL with the path and what is wrong. */
export function decodeArchive(value: JsonValue | undefined): ArchiveEntry[] {
  if (Array.isArray(value)) return (value as JsonValue[]).map((entry) => decodeEntry(entry));
  if (!isJsonObject(value)) throw new FluxError("EINVAL", "a file archive must be an array or an object");
  return Object.entries(value).map(([path, entry]) => decodeEntry(entry, path));
}

/** Reads an entry; `path` is its key in an archive that is an object. Throws FluxError EINVAL with what is wrong. */
export function decodeEntry(value: JsonValue | undefined, path?: string): ArchiveEntry {
  if (!isJsonObject(value)) throw invalid(path ?? "?", "not an object");
  const name = path ?? value["path"];
  if (typeof name !== "string" || !isSafePath(name)) throw invalid(String(name), "the path is missing or not safe");
  const { mode, mtime, ctime, size, encoding, data } = value as Record<string, JsonValue | undefined>;
  if (typeof mode !== "number" || !Number.isSafeInteger(mode) || mode < 0)
    throw invalid(name, "mode is not an integer");
  if (size !== undefined && (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0)) {
    throw invalid(name, "size is not an integer >= 0");
  }
  const common = { path: name, mode, mtime: seconds(mtime, name), ctime: seconds(ctime, name) };
  switch (mode & FileType.MASK) {
    case FileType.DIRECTORY:
      if (data !== undefined || size !== undefined) throw invalid(name, "a directory has no data");
      return { ...common, kind: "directory" };
    case FileType.SYMLINK:
      if (typeof data !== "string" || data === "") throw invalid(name, "a symbolic link must have a target");
      return { ...common, kind: "symlink", target: data };
    case FileType.REGULAR:
      if (encoding === "blobvec") return { ...common, kind: "blobs", ...decodeBlobs(data, size, name) };
      if (data === undefined) return { ...common, kind: "empty", size: size ?? 0 };
      return { ...common, kind: "bytes", bytes: decodeBytes(data, encoding, size, name) };
    default:
      throw invalid(name, `mode ${mode.toString(8)} is of no file, directory or symbolic link`);
  }
}

function decodeBytes(
  data: JsonValue,
  encoding: JsonValue | undefined,
  size: number | undefined,
  name: string,
): Uint8Array {
  if (encoding === undefined) return utf8Encode(stringifyJson(data));
  if (typeof data !== "string") throw invalid(name, "data must be a string");
  const bytes = encoding === "utf-8" ? utf8Encode(data) : encoding === "base64" ? base64Decode(data) : null;
  if (bytes === null) throw invalid(name, `data is not in the encoding ${JSON.stringify(encoding)}`);
  if (size !== undefined && bytes.byteLength !== size) {
    throw invalid(name, `data has ${bytes.byteLength} bytes, but size is ${size}`);
  }
  return bytes;
}

function decodeBlobs(
  data: JsonValue | undefined,
  size: number | undefined,
  name: string,
): { size: number; regions: readonly BlobRegion[] } {
  if (!Array.isArray(data) || size === undefined)
    throw invalid(name, "a blobvec must have an array of regions and a size");
  let end = 0;
  for (const region of data as readonly unknown[]) {
    if (!isRegion(region)) throw invalid(name, "a region must have an offset, a size and a blobref");
    if (region[0] < end || region[0] + region[1] > size) throw invalid(name, "regions overlap or exceed the size");
    end = region[0] + region[1];
  }
  return { size, regions: data as unknown as readonly BlobRegion[] };
}

function isRegion(region: unknown): region is BlobRegion {
  if (!Array.isArray(region) || region.length !== 3) return false;
  const [offset, size, blobref] = region as unknown[];
  return Number.isSafeInteger(offset) && Number.isSafeInteger(size) && (size as number) >= 0 && isBlobref(blobref);
}

/** Whether a path stays below the directory that it is used in. */
export function isSafePath(path: string): boolean {
  if (path === "" || path.startsWith("/") || path.includes("\0")) return false;
  return path.split("/").every((part) => part !== "" && part !== "." && part !== "..");
}

function seconds(value: JsonValue | undefined, name: string): number | undefined {
  if (value !== undefined && typeof value !== "number") throw invalid(name, "a time is not a number");
  return value;
}

function invalid(path: string, reason: string): FluxError {
  return new FluxError("EINVAL", `file archive: ${path}: ${reason}`);
}
