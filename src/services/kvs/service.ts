/**
 * The service `kvs` (RFC 11, design "a redo log under a hash tree"): on rank 0 the leader, elsewhere a follower.
 *
 * Module arguments: `transaction-merge=1` (the default; 0 is taken and has no effect on results, since every commit
 * succeeds or fails alone).
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
  checkArguments(context.args);
  const algorithm = (context.attribute("content.hash") ?? "sha1") as HashAlgorithm;
  const limits = { cleanBytes: CLEAN_BYTES_MAX, historyBytes: HISTORY_BYTES_MAX };
  const index = new BlobIndex(context.ports.codec, algorithm, limits);
  const loader = new BlobLoader(context.handle, index);
  return context.rank === 0
    ? LeaderService.start(context, index, loader)
    : FollowerService.start(context, index, loader);
}

function checkArguments(args: readonly string[]): void {
  for (const argument of args)
    if (!/^transaction-merge=[01]$/.test(argument))
      throw new FluxError("EINVAL", `unknown module argument '${argument}'`);
}

export const kvsModule: ModuleDefinition = { name: "kvs", start };
