/**
 * What can be saved of a directory that cannot be read: the entries that are good, those of its pieces that are there, or
 * else its blob as a value.
 */
import { utf8Decode } from "../../base/bytes.ts";
import { isFluxError } from "../../base/errors.ts";
import { isJsonObject, parseJson, type JsonValue } from "../../base/json.ts";
import type { Blobref } from "../../formats/blobref.ts";
import { isTreeobj, makeValref, type Treeobj } from "../../formats/treeobj.ts";
import { isWideDirectory, parseWideDirectory } from "../../formats/wide-directory.ts";
import type { BlobStore } from "./blobs.ts";
import { Directory } from "./directories.ts";

/** Null where there is nothing. */
export async function rescueDirectory(store: BlobStore, ref: Blobref): Promise<Directory | Treeobj | null> {
  const blob = await loadStored(store, ref);
  if (blob === null) return null;
  if (isWideDirectory(blob)) return rescuePieces(store, ref, blob);
  const value = jsonOf(blob);
  if (isTreeobj(value)) return value;
  const entries = goodEntries(value);
  return entries === null ? makeValref([ref]) : new Directory(entries);
}

async function rescuePieces(store: BlobStore, ref: Blobref, blob: Uint8Array): Promise<Directory | Treeobj> {
  const directory = new Directory();
  try {
    for (const piece of parseWideDirectory(blob).pieces) {
      const bytes = await loadStored(store, piece.ref);
      for (const [name, entry] of goodEntries(bytes === null ? null : jsonOf(bytes)) ?? [])
        directory.entries.set(name, entry);
    }
  } catch (error) {
    if (!isFluxError(error, "EPROTO")) throw error;
    return makeValref([ref]);
  }
  return directory;
}

/** The entries of a directory that are tree objects; null where there is no directory to be seen. */
function goodEntries(value: JsonValue): [string, Treeobj][] | null {
  if (!isJsonObject(value) || value["type"] !== "dir" || !isJsonObject(value["data"])) return null;
  const { data } = value;
  return Object.keys(data).flatMap((name) => {
    const entry = data[name];
    return isTreeobj(entry) ? [[name, entry] satisfies [string, Treeobj]] : [];
  });
}

function jsonOf(blob: Uint8Array): JsonValue {
  try {
    return parseJson(utf8Decode(blob));
  } catch (error) {
    if (isFluxError(error)) return null;
    throw error;
  }
}

async function loadStored(store: BlobStore, ref: Blobref): Promise<Uint8Array | null> {
  try {
    return await store.loadStored(ref);
  } catch (error) {
    if (isFluxError(error, "ENOENT")) return null;
    throw error;
  }
}
