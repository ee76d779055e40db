/**
 * KVS tree objects (RFC 11, version 1): what a key holds. A value, by itself (val) or in blobs (valref); a directory, by
 * itself (dir) or in a blob (dirref); a symbolic link.
 *
 * Objects are plain JSON, made here and checked here; they are values and are not changed. Directories with millions of
 * entries are checked once, where they arrive.
 */
import { base64Decode, base64Encode } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import { isJsonObject, parseJson, type JsonValue } from "../base/json.ts";
import { isBlobref, type Blobref } from "./blobref.ts";

// Type aliases, not interfaces: only those can be passed where any JSON object is taken.
type Tree<Type extends string, Data> = { readonly ver: 1; readonly type: Type; readonly data: Data };
/** The value itself, in base64. */
export type Val = Tree<"val", string>;
/** The blobs whose concatenation is the value. */
export type Valref = Tree<"valref", readonly Blobref[]>;
export type DirEntries = { readonly [name: string]: Treeobj };
export type Dir = Tree<"dir", DirEntries>;
/** The one blob that holds the directory. */
export type Dirref = Tree<"dirref", readonly Blobref[]>;
export type Symlink = Tree<"symlink", { readonly target: string; readonly namespace?: string }>;
export type Treeobj = Val | Valref | Dir | Dirref | Symlink;

/** Directories may hold directories themselves, but not without bound. */
const DIR_DEPTH_MAX = 128;

export function makeVal(bytes: Uint8Array): Val {
  return { ver: 1, type: "val", data: bytes.byteLength === 0 ? "" : base64Encode(bytes) };
}

export function makeValref(blobrefs: readonly Blobref[]): Valref {
  return { ver: 1, type: "valref", data: blobrefs };
}

export function makeDir(entries: DirEntries = {}): Dir {
  return { ver: 1, type: "dir", data: entries };
}

export function makeDirref(blobref: Blobref): Dirref {
  return { ver: 1, type: "dirref", data: [blobref] };
}

/** A link to a key, in another namespace where one is named. */
export function makeSymlink(target: string, namespace?: string): Symlink {
  return { ver: 1, type: "symlink", data: namespace === undefined ? { target } : { namespace, target } };
}

/** The bytes of a value. Throws FluxError EPROTO where the data is not base64. */
export function valBytes(object: Val): Uint8Array {
  const bytes = base64Decode(object.data);
  if (bytes === null) throw invalid("the data of a val must be base64");
  return bytes;
}

/** Reads a tree object. Throws FluxError EPROTO where the text is none. */
export function parseTreeobj(text: string): Treeobj {
  return checkTreeobj(parseJson(text));
}

/** Checks a tree object, all that is in it included, and returns it. Throws FluxError EPROTO with what is wrong. */
export function checkTreeobj(value: JsonValue | undefined): Treeobj {
  check(value, 0);
  return value as unknown as Treeobj;
}

export function isTreeobj(value: JsonValue | undefined): value is Treeobj {
  try {
    check(value, 0);
    return true;
  } catch (error) {
    if (error instanceof FluxError) return false;
    throw error;
  }
}

function check(value: JsonValue | undefined, depth: number): void {
  if (depth > DIR_DEPTH_MAX) throw invalid("directories are nested too deep");
  if (!isJsonObject(value)) throw invalid("not an object");
  const { ver, type, data } = value as Record<string, JsonValue | undefined>;
  if (ver !== 1) throw invalid(`version ${String(ver)} is not supported`);
  switch (type) {
    case "val":
      if (typeof data !== "string" || base64Decode(data) === null) throw invalid("the data of a val must be base64");
      return;
    case "valref":
      return checkBlobrefs(data, type);
    case "dirref":
      checkBlobrefs(data, type);
      if ((data as readonly string[]).length !== 1) throw invalid("a dirref has one blobref");
      return;
    case "dir":
      if (!isJsonObject(data)) throw invalid("the data of a dir must be an object");
      for (const name of Object.keys(data)) check(data[name], depth + 1);
      return;
    case "symlink":
      return checkSymlink(data);
    default:
      throw invalid(`type ${JSON.stringify(type)} is unknown`);
  }
}

function checkBlobrefs(data: JsonValue | undefined, type: string): void {
  if (!Array.isArray(data) || data.length === 0 || !data.every(isBlobref)) {
    throw invalid(`the data of a ${type} must be a non-empty array of blobrefs`);
  }
}

function checkSymlink(data: JsonValue | undefined): void {
  if (!isJsonObject(data) || typeof data["target"] !== "string") throw invalid("a symlink must have a target");
  if (data["namespace"] !== undefined && typeof data["namespace"] !== "string") {
    throw invalid("the namespace of a symlink must be a string");
  }
}

function invalid(reason: string): FluxError {
  return new FluxError("EPROTO", `invalid tree object: ${reason}`);
}
