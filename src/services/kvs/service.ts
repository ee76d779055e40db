/**
 * The service `kvs` (RFC 11, design "a redo log under a hash tree"): on rank 0 the leader, elsewhere a follower.
 *
 * Module arguments: `transaction-merge=0` gives every commit a version of its own (the default is 1);
 * `initial-rootref=BLOBREF` begins with that root instead of with the last checkpoint and the redo log after it.
 */
import { FluxError, isFluxError } from "../../base/errors.ts";
import type { HashAlgorithm } from "../../base/ports.ts";
import type { ModuleContext, ModuleDefinition, RunningModule } from "../../sdk/module.ts";
import { BlobIndex } from "./blob-index.ts";
import { BlobLoader } from "./blob-loader.ts";
import { FollowerService } from "./follower.ts";
import { LeaderService } from "./leader.ts";
import { CLEAN_BYTES_MAX, HISTORY_BYTES_MAX } from "./protocol.ts";
import { parseArguments } from "./settings.ts";

/** Without a content service nothing could be kept. Rejects with ENOENT. */
async function requireContent({ handle }: ModuleContext): Promise<void> {
  try {
    await handle.rpc("content.ping", {});
  } catch (error) {
    if (!isFluxError(error, "ENOSYS")) throw error;
    throw new FluxError("ENOENT", "No such file or directory: the content service is not loaded", { cause: error });
  }
}

async function start(context: ModuleContext): Promise<RunningModule> {
  const options = parseArguments(context.args);
  await requireContent(context);
  const algorithm = (context.attribute("content.hash") ?? "sha1") as HashAlgorithm;
  const isFollower = context.rank !== 0;
  const limits = { cleanBytes: CLEAN_BYTES_MAX, historyBytes: HISTORY_BYTES_MAX, isFollower };
  const index = new BlobIndex(context.ports.codec, algorithm, limits);
  const loader = new BlobLoader(context.handle, index);
  return isFollower
    ? FollowerService.start(context, index, loader)
    : LeaderService.start(context, index, loader, options);
}

export const kvsModule: ModuleDefinition = { name: "kvs", start };
