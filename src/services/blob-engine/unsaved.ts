/**
 * Blobs that the key-value store has not put into the backing store yet, because its log has them: who reads past the
 * caches, as `flux dump --no-cache` does, gets those too.
 */
import { EMPTY_BYTES } from "../../base/bytes.ts";
import { FluxError, isFluxError } from "../../base/errors.ts";
import { isWideDirectory, joinPieces, parseWideDirectory } from "../../formats/wide-directory.ts";
import type { Handle } from "../../sdk/handle.ts";
import { digestOf } from "./references.ts";

/** A blob, a directory in pieces as one; some of them may be stored. Null where nobody has it. */
export async function loadUnsaved(
  handle: Handle,
  digest: Uint8Array,
  loadStored: (digest: Uint8Array) => Promise<Uint8Array | null>,
): Promise<Uint8Array | null> {
  const blob = await unsaved(handle, digest);
  if (blob === null || !isWideDirectory(blob)) return blob;
  const pieces: Uint8Array[] = [];
  for (const { ref } of parseWideDirectory(blob).pieces) {
    const piece = digestOf(ref, digest.byteLength);
    const bytes = piece === null ? null : ((await loadStored(piece)) ?? (await unsaved(handle, piece)));
    if (bytes === null) throw new FluxError("EIO", `a piece of a directory is missing: ${ref}`);
    pieces.push(bytes);
  }
  return joinPieces(pieces);
}

async function unsaved(handle: Handle, digest: Uint8Array): Promise<Uint8Array | null> {
  try {
    return (await handle.call("kvs.load-blob", digest))?.bytes ?? EMPTY_BYTES;
  } catch (error) {
    if (isFluxError(error, "ENOENT", "ENOSYS")) return null;
    throw error;
  }
}
