/**
 * The service `kvs` (RFC 11, design "a redo log under a hash tree"): on rank 0 the leader, elsewhere a follower.
 *
 * Module arguments: `transaction-merge=0` gives every commit a version of its own (the default is 1).
 */
import { FluxError } from "../../base/errors.ts";
import type { HashAlgorithm } from "../../base/ports.ts";
import type { ModuleContext, ModuleDefinition, RunningModule } from "../../sdk/module.ts";
import { BlobIndex } from "./blob-index.ts";
import { BlobLoader } from "./blob-loader.ts";
import { FollowerService } from "./follower.ts";
import { LeaderService } from "./leader.ts";
import { CLEAN_BYTES_MAX, HISTORY_BYTES_MAX } from "./protocol.ts";

async function start(context: ModuleContext): Promise<RunningModule> {
  const mergesCommits = parseArguments(context.args);
  const algorithm = (context.attribute("content.hash") ?? "sha1") as HashAlgorithm;
  const isFollower = context.rank !== 0;
  const limits = { cleanBytes: CLEAN_BYTES_MAX, historyBytes: HISTORY_BYTES_MAX, isFollower };
  const index = new BlobIndex(context.ports.codec, algorithm, limits);
  const loader = new BlobLoader(context.handle, index);
  return isFollower
    ? FollowerService.start(context, index, loader)
    : LeaderService.start(context, index, loader, mergesCommits);
}

/** Whether commits may be merged. Throws EINVAL for an argument that is unknown. */
function parseArguments(args: readonly string[]): boolean {
  let mergesCommits = true;
  for (const argument of args) {
    if (!/^transaction-merge=[01]$/.test(argument))
      throw new FluxError("EINVAL", `unknown module argument '${argument}'`);
    mergesCommits = argument.endsWith("1");
  }
  return mergesCommits;
}

export const kvsModule: ModuleDefinition = { name: "kvs", start };
