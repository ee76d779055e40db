/**
 * Archives of files in the key-value store (RFC 37): `archive.NAME` holds a list of entries, whose larger files are blobs
 * in the content store. `archive.NAME_blobs` refers to these blobs, so that they live as long as the archive. Files may
 * be mapped instead: then rank 0 reads them when they are asked for.
 *
 * Here: finding, reading and removing archives. See `archive-create.ts` and `archive-extract.ts`.
 */
import { isFluxError, FluxError } from "../base/errors.ts";
import type { JsonValue } from "../base/json.ts";
import { decodeArchive, type ArchiveEntry } from "../formats/archive.ts";
import { globExpression } from "../formats/glob.ts";
import { KvsTransaction, type Kvs } from "./kvs.ts";

/** The name of an archive that nobody named. */
export const ARCHIVE_DEFAULT_NAME = "main";

export function archiveKey(name: string): string {
  return `archive.${name}`;
}

export function archiveBlobsKey(name: string): string {
  return `archive.${name}_blobs`;
}

/** The list that is stored under an archive's key. Throws ENOENT; EINVAL where it is no list. */
export async function readArchiveList(kvs: Kvs, name: string): Promise<readonly JsonValue[]> {
  const list = await kvs.get(archiveKey(name));
  if (!Array.isArray(list)) throw new FluxError("EINVAL", `${archiveKey(name)} is not an archive: it is no list`);
  return list;
}

/** Reads an archive. Throws ENOENT; EINVAL where an entry is malformed or its path not safe. */
export async function readArchive(kvs: Kvs, name: string): Promise<ArchiveEntry[]> {
  return decodeArchive((await readArchiveList(kvs, name)) as JsonValue);
}

/** The entries whose paths match a shell pattern; all of them where there is none. */
export function matchingEntries<Entry extends { readonly path: string }>(
  entries: readonly Entry[],
  pattern: string | null,
): readonly Entry[] {
  if (pattern === null) return entries;
  const expression = globExpression(pattern);
  return entries.filter(({ path }) => expression.test(path));
}

export async function archiveExists(kvs: Kvs, name: string): Promise<boolean> {
  try {
    await kvs.getTreeObject(archiveKey(name));
    return true;
  } catch (error) {
    if (isFluxError(error, "ENOENT")) return false;
    throw error;
  }
}

/** Removes an archive; files mapped for it are let go. None is no error. */
export async function removeArchive(kvs: Kvs, name: string): Promise<void> {
  await unmapArchive(kvs, name);
  await kvs.commit(new KvsTransaction().unlink(archiveKey(name)).unlink(archiveBlobsKey(name)));
}

/** Lets go of the files that are mapped for an archive. */
async function unmapArchive(kvs: Kvs, name: string): Promise<void> {
  try {
    await kvs.handle.rpc("content.mmap-remove", { tag: name }, { nodeid: 0 });
  } catch (error) {
    if (!isFluxError(error, "ENOENT", "ENOSYS")) throw error;
  }
}
