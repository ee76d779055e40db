/**
 * Writing checkpoints: the blobs that the current roots reach and the content store lacks, then the roots, then the log
 * is cut. And reading the last one at the start.
 *
 * The checkpoint object is Flux's own (`version`, `rootref`, `sequence`, `timestamp`) with one member more, `log`: the
 * number of the last redo log record it contains, the directory of the namespaces besides the primary one (a blobref, or
 * null), and the roots that are held by readers. The collector of the content store keeps what these reach.
 */
import { FluxError, isFluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../../base/json.ts";
import { orNull } from "../../base/promises.ts";
import { isBlobref } from "../../formats/blobref.ts";
import { checkCheckpoint, checkpointList, type Checkpoint } from "../../formats/checkpoint.ts";
import { encodeBlobs } from "../../sdk/blob-batch.ts";
import type { ModuleContext } from "../../sdk/module.ts";
import type { Handle } from "../../sdk/handle.ts";
import { PRIMARY_NAMESPACE } from "../../sdk/kvs-protocol.ts";
import { bytesOf } from "./blob-index.ts";
import type { LeaderSnapshot, SavedState } from "./core.ts";
import type { Node } from "./node-cache.ts";
import { STORE_BATCH_BYTES, STORE_BATCH_COUNT, STORE_TURN_BYTES } from "./protocol.ts";

/** The last checkpoint, or null where there is none (or no store that keeps any). Rejects where one cannot be read. */
export async function readCheckpoint(handle: Handle, ownerUserid: number): Promise<SavedState | null> {
  const answer = await orNull(handle.rpc("content.checkpoint-get", {}), "ENOENT", "ENOSYS");
  if (answer === null) return null;
  const [newest] = checkpointList(answer["value"]);
  return savedState(newest, ownerUserid);
}

/** What begins with a root that somebody names: no redo log follows it. */
export function foreignRoot(rootref: string, ownerUserid: number): SavedState {
  const primary = { name: PRIMARY_NAMESPACE, owner: ownerUserid, flags: 0, rootref, rootseq: 0, created: 0 };
  return { number: 0, isForeign: true, primary, directory: null, held: [], timestamp: null };
}

/** Throws EINVAL where a root is named by another hash than the instance uses: nothing of its tree could be found. */
export function checkHash(context: ModuleContext, rootref: string): void {
  const hash = context.attribute("content.hash") ?? "sha1";
  const [used] = rootref.split("-");
  if (used !== hash)
    throw new FluxError(
      "EINVAL",
      `the content store has blobs by ${used}, not ${hash}: start with -Scontent.hash=${used}`,
    );
}

/** Throws EINVAL or EPROTO where it is no checkpoint that can be gone on from: to begin with nothing would lose what it holds. */
function savedState(value: JsonValue, ownerUserid: number): SavedState {
  const { rootref, sequence = 0, timestamp = null, log } = readable(value);
  const primary = { name: PRIMARY_NAMESPACE, owner: ownerUserid, flags: 0, rootref, rootseq: sequence, created: 0 };
  if (!isJsonObject(log)) return { number: 0, isForeign: true, primary, directory: null, held: [], timestamp };
  const { number, namespaces, held } = log;
  if (typeof number !== "number" || !(namespaces === null || isBlobref(namespaces)))
    throw new FluxError("EPROTO", "the checkpoint in the content store does not tell what follows it in the redo log");
  const heldRefs = Array.isArray(held) ? held.filter(isBlobref) : [];
  return { number, isForeign: false, primary, directory: namespaces, held: heldRefs, timestamp };
}

function readable(value: JsonValue): Checkpoint {
  try {
    return checkCheckpoint(value);
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
    throw new FluxError("EINVAL", `the KVS cannot begin with what the content store has: ${error.message}`);
  }
}

function checkpointObject(
  { number, primary, directory }: LeaderSnapshot,
  held: string[],
  timestamp: number,
): JsonObject {
  return {
    version: 1,
    rootref: primary.rootref,
    sequence: primary.rootseq,
    timestamp,
    log: { number, namespaces: directory, held },
  };
}

/** Stores blobs in the content service, some at a time, referred-to ones first; others may go on in between. */
export async function storeBlobs(
  handle: Handle,
  nodes: ReadonlyMap<string, Node>,
  nextTurn: () => Promise<void>,
): Promise<void> {
  let blobs: Uint8Array[] = [];
  let length = 0;
  let turnLength = 0;
  for (const node of nodes.values()) {
    const bytes = bytesOf(node);
    blobs.push(bytes);
    length += bytes.byteLength;
    turnLength += bytes.byteLength;
    if (blobs.length >= STORE_BATCH_COUNT || length >= STORE_BATCH_BYTES) {
      await storeBatch(handle, blobs);
      blobs = [];
      length = 0;
      turnLength = 0;
    } else if (turnLength >= STORE_TURN_BYTES) {
      await nextTurn();
      turnLength = 0;
    }
  }
  if (blobs.length > 0) await storeBatch(handle, blobs);
}

/** One message where there is a backing store that takes it, else one for each blob. */
async function storeBatch(handle: Handle, blobs: readonly Uint8Array[]): Promise<void> {
  try {
    await handle.call("content.store-batch", encodeBlobs(blobs));
  } catch (error) {
    if (!isFluxError(error, "ENOSYS")) throw error;
    await Promise.all(blobs.map((blob) => handle.call("content.store", blob)));
  }
}

/**
 * Makes a checkpoint durable: blobs are stored already. Resolves with whether there is a store that keeps it; without
 * one, blobs stay in the content service's memory.
 */
export async function writeCheckpoint(
  handle: Handle,
  snapshot: LeaderSnapshot,
  held: string[],
  timestamp: number,
): Promise<boolean> {
  try {
    await handle.rpc("content.flush");
    await handle.rpc("content.checkpoint-put", { value: checkpointObject(snapshot, held, timestamp) });
    return true;
  } catch (error) {
    if (isFluxError(error, "ENOSYS")) return false;
    throw error;
  }
}
