/**
 * Checkpoints, as backing stores see them: one is asked for when a store wants to know what is still referred to, by
 * message only; what is kept of one is its text.
 */
import { errorText, FluxError, isFluxError } from "../../base/errors.ts";
import { parseJson, type JsonValue } from "../../base/json.ts";
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

/** A checkpoint that was stored as text at some place. Throws EIO where it cannot be read. */
export function storedCheckpoint(text: string, place: string): JsonValue {
  try {
    return parseJson(text);
  } catch (error) {
    throw new FluxError("EIO", `a checkpoint in ${place} is damaged: ${errorText(error)}`, { cause: error });
  }
}
