/**
 * KVS tree objects (RFC 11, version 1): what a key holds. A value, by itself (val) or in blobs (valref); a directory, by
 * itself (dir) or in a blob (dirref); a symbolic link.
 *
 * Objects are plain JSON, made here and checked here; they are values and are not changed. Directories with millions of
 * entries are checked once, where they arrive.
 */
import { base64Decode, base64Encode, base64EncodeText, isBase64 } from "../base/bytes.ts";
import { FluxError, type ErrnoName } from "../base/errors.ts";
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

/** A tree object has these and no others: `ver`, `type`, `data`. */
export const TREEOBJ_MEMBERS = 3;

/** Directories may hold directories themselves, but not without bound. */
const DIR_DEPTH_MAX = 128;

const NOT_BASE64 = "the data of a val must be base64";

export function makeVal(bytes: Uint8Array): Val {
  return { ver: 1, type: "val", data: bytes.byteLength === 0 ? "" : base64Encode(bytes) };
}

export function makeTextVal(text: string): Val {
  return { ver: 1, type: "val", data: base64EncodeText(text) };
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
  if (bytes === null) throw new FluxError("EPROTO", `invalid tree object: ${NOT_BASE64}`);
  return bytes;
}

/** Reads a tree object. Throws FluxError EPROTO where the text is none. */
export function parseTreeobj(text: string): Treeobj {
  return checkTreeobj(parseJson(text));
}

/** Checks a tree object, all that is in it included, and returns it. Throws FluxError with what is wrong. */
export function checkTreeobj(value: JsonValue | undefined, errno: ErrnoName = "EPROTO"): Treeobj {
  const wrong = whatIsWrong(value, 0);
  if (wrong !== null) throw new FluxError(errno, `invalid tree object: ${wrong}`);
  return value as unknown as Treeobj;
}

export function isTreeobj(value: JsonValue | undefined): value is Treeobj {
  return whatIsWrong(value, 0) === null;
}

/** Null where nothing is. */
function whatIsWrong(value: JsonValue | undefined, depth: number): string | null {
  if (depth > DIR_DEPTH_MAX) return "directories are nested too deep";
  if (!isJsonObject(value)) return "not an object";
  const { ver, type, data } = value as Record<string, JsonValue | undefined>;
  if (ver !== 1) return `version ${String(ver)} is not supported`;
  if (Object.keys(value).length > TREEOBJ_MEMBERS) return "there are other members than ver, type and data";
  switch (type) {
    case "val":
      return typeof data === "string" && isBase64(data) ? null : NOT_BASE64;
    case "valref":
      return wrongBlobrefs(data, type);
    case "dirref":
      return (
        wrongBlobrefs(data, type) ?? ((data as readonly string[]).length === 1 ? null : "a dirref has one blobref")
      );
    case "dir":
      return wrongEntries(data, depth);
    case "symlink":
      return wrongSymlink(data);
    default:
      return `type ${JSON.stringify(type)} is unknown`;
  }
}

function wrongBlobrefs(data: JsonValue | undefined, type: string): string | null {
  if (Array.isArray(data) && data.length > 0 && data.every(isBlobref)) return null;
  return `the data of a ${type} must be a non-empty array of blobrefs`;
}

function wrongEntries(data: JsonValue | undefined, depth: number): string | null {
  if (!isJsonObject(data)) return "the data of a dir must be an object";
  for (const name of Object.keys(data)) {
    const wrong = whatIsWrong(data[name], depth + 1);
    if (wrong !== null) return wrong;
  }
  return null;
}

function wrongSymlink(data: JsonValue | undefined): string | null {
  if (!isJsonObject(data) || typeof data["target"] !== "string") return "a symlink must have a target";
  const { namespace } = data;
  return namespace === undefined || typeof namespace === "string"
    ? null
    : "the namespace of a symlink must be a string";
}
