/**
 * Messages of the service `content-backing` as `content-files` serves it (RFC 10): raw blobs by digest, one checkpoint. Only
 * the instance owner may call. It collects by itself: there is no `gc-info`, `mark` or `sweep`.
 *
 * | topic                | request                  | response                                    |
 * |----------------------|--------------------------|---------------------------------------------|
 * | load                 | digest                   | blob, a directory in pieces as one; ENOENT  |
 * | load-stored          | digest                   | blob as it is stored; ENOENT                |
 * | validate             | digest                   | empty where it is there; ENOENT             |
 * | store                | blob                     | digest; ENOSPC                              |
 * | store-batch          | blobs (`sdk/blob-batch`) | empty; ENOSPC                               |
 * | touch, adopt         | digests                  | digests of those that are missing           |
 * | checkpoint-get, -put | none; {value}            | {value}: a list with one; empty             |
 *
 * Under its own name it answers `stats-get`: {object_count, size, live_size, size_limit, leases, collector}.
 */
import { FluxError } from "../../base/errors.ts";

/** The directory in the state directory: a file for each blob, named by its blobref, and the checkpoint. */
export const DIRECTORY_NAME = "content.files";
export const CHECKPOINT_NAME = "kvs-primary";
/** Files that are made safe at once before a checkpoint. */
export const SYNC_WINDOW = 16;

export interface FilesOptions {
  /** To start with nothing. */
  readonly truncate: boolean;
  /** To serve `content-backing` only: the content service does not hear of it. For tests of a backing store alone. */
  readonly testing: boolean;
}

/** Reads the module arguments. Throws EINVAL. */
export function parseOptions(args: readonly string[]): FilesOptions {
  const unknown = args.find((argument) => argument !== "truncate" && argument !== "testing");
  if (unknown !== undefined) throw new FluxError("EINVAL", `Invalid argument: unknown option '${unknown}'`);
  return { truncate: args.includes("truncate"), testing: args.includes("testing") };
}
