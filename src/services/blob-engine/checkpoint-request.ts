/**
 * A backing store asks for a checkpoint when it wants to know what is still referred to. It reaches the key-value store by
 * message only.
 */
import { isFluxError } from "../../base/errors.ts";
import { CommitFlag, PRIMARY_NAMESPACE } from "../../sdk/kvs-protocol.ts";
import { LogLevel, type ModuleContext } from "../../sdk/module.ts";

/** The key-value store puts a checkpoint, changed or not, for a commit of nothing that is to be synchronised. */
export async function askForCheckpoint(context: ModuleContext): Promise<void> {
  try {
    const commit = { namespace: PRIMARY_NAMESPACE, flags: CommitFlag.Sync, ops: [] };
    await context.handle.rpc("kvs.commit", commit);
  } catch (error) {
    if (!isFluxError(error)) return context.fatal(error);
    context.log(LogLevel.debug, `no checkpoint: ${error.message}`);
  }
}
