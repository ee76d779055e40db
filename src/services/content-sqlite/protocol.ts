/**
 * Messages of the service `content-backing` as `content-sqlite` serves it (RFC 10): raw blobs by digest, checkpoints as
 * JSON objects, newest first. Only the instance owner may call.
 */
import { FluxError } from "../../base/errors.ts";
import type { BlobDatabaseOptions } from "../../base/ports.ts";

/** The name under which the content service finds its backing store. */
export const BACKING_SERVICE = "content-backing";
/** The file in the state directory. */
export const DATABASE_NAME = "content.sqlite";
/** Checkpoints that are kept. */
export const CHECKPOINTS_KEPT = 5;

export interface StoreOptions {
  readonly database: Required<BlobDatabaseOptions>;
  readonly checkpointsKept: number;
}

/**
 * Reads module arguments. A store that outlives the instance is written with care by default; one that is removed with
 * it need not survive power loss. Throws EINVAL.
 */
export function parseOptions(args: readonly string[], isPersistent: boolean): StoreOptions {
  let truncate = false;
  let journalMode = isPersistent ? "WAL" : "OFF";
  let synchronous = isPersistent ? "NORMAL" : "OFF";
  let checkpointsKept = CHECKPOINTS_KEPT;
  for (const argument of args) {
    const [name, value] = argument.split("=", 2) as [string, string | undefined];
    if (name === "truncate" && value === undefined) truncate = true;
    else if (name === "journal_mode" && value !== undefined) journalMode = value;
    else if (name === "synchronous" && value !== undefined) synchronous = value;
    else if (name === "max_checkpoints" && /^[1-9]\d*$/.test(value ?? "")) checkpointsKept = Number(value);
    else throw new FluxError("EINVAL", `unknown module argument '${argument}'`);
  }
  return { database: { truncate, journalMode, synchronous }, checkpointsKept };
}
