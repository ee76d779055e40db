/**
 * What a stored blob refers to, if it is a directory (RFC 11) or a directory in pieces: the digests of directories, of
 * pieces, and of the blobs of values. And where the walk over a checkpoint's blobs begins.
 *
 * A blob is a directory by what refers to it, not by itself: a value may look like one.
 */
import { concatBytes, hexDecode, utf8Decode } from "../../base/bytes.ts";
import { isFluxError } from "../../base/errors.ts";
import { isJsonObject, parseJson, type JsonObject, type JsonValue } from "../../base/json.ts";
import { isWideDirectory } from "../../formats/wide-directory.ts";

/** Digests, one behind the other. */
export interface References {
  readonly directories: Uint8Array;
  readonly values: Uint8Array;
}

/** How deep directories may lie in one blob. */
const DEPTH_MAX = 128;

/** The digest that a blobref names; null where it is none of this length. */
export function digestOf(blobref: JsonValue | undefined, digestLength: number): Uint8Array | null {
  if (typeof blobref !== "string") return null;
  const digest = hexDecode(blobref.slice(blobref.indexOf("-") + 1));
  return digest?.byteLength === digestLength ? digest : null;
}

/** Null where the blob is no directory. */
export function referencesOf(blob: Uint8Array, digestLength: number): References | null {
  const value = parsed(blob);
  if (value === null) return null;
  const found = { directories: [] as Uint8Array[], values: [] as Uint8Array[] };
  if (isWideDirectory(blob) && Array.isArray(value["data"])) {
    for (const piece of value["data"]) {
      const digest = isJsonObject(piece) ? digestOf(piece["ref"], digestLength) : null;
      if (digest !== null) found.directories.push(digest);
    }
  } else if (value["type"] === "dir") collect(value, found, digestLength, 0);
  else return null;
  return { directories: concatBytes(found.directories), values: concatBytes(found.values) };
}

function parsed(blob: Uint8Array): JsonObject | null {
  if (blob[0] !== 0x7b) return null;
  try {
    const value = parseJson(utf8Decode(blob));
    return isJsonObject(value) ? value : null;
  } catch (error) {
    if (isFluxError(error)) return null;
    throw error;
  }
}

function collect(
  object: JsonObject,
  found: { directories: Uint8Array[]; values: Uint8Array[] },
  digestLength: number,
  depth: number,
): void {
  const { type, data } = object;
  if (type === "dir" && isJsonObject(data) && depth < DEPTH_MAX)
    for (const name in data) {
      const entry = data[name];
      if (isJsonObject(entry)) collect(entry, found, digestLength, depth + 1);
    }
  if ((type !== "dirref" && type !== "valref") || !Array.isArray(data)) return;
  const list = type === "dirref" ? found.directories : found.values;
  for (const blobref of data) {
    const digest = digestOf(blobref, digestLength);
    if (digest !== null) list.push(digest);
  }
}

/** The directories from which everything of a checkpoint is reached, one behind the other; null where there is none. */
export function rootsOf(checkpoint: string, digestLength: number): Uint8Array | null {
  let value: JsonValue;
  try {
    value = parseJson(checkpoint);
  } catch (error) {
    if (isFluxError(error)) return null;
    throw error;
  }
  if (!isJsonObject(value)) return null;
  const root = digestOf(value["rootref"], digestLength);
  if (root === null) return null;
  const log = isJsonObject(value["log"]) ? value["log"] : {};
  const held = Array.isArray(log["held"]) ? log["held"] : [];
  const others = [log["namespaces"], ...held].map((blobref) => digestOf(blobref as JsonValue, digestLength));
  return concatBytes([root, ...others.filter((digest) => digest !== null)]);
}
