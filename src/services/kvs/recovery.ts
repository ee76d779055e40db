/** What a leader does with the redo log that it finds at its start. */
import { FluxError } from "../../base/errors.ts";
import { MissingBlob } from "./blob-index.ts";
import type { BlobLoader } from "./blob-loader.ts";
import type { Leader } from "./core.ts";
import { ADOPT_WINDOW } from "./protocol.ts";
import type { NumberedRecord } from "./redo-log.ts";

/** Applies the records of the log that the checkpoint does not contain, in order. */
export async function replay(
  leader: Leader,
  loader: BlobLoader,
  records: readonly NumberedRecord[],
  warn: (text: string) => void,
): Promise<void> {
  let foreign = new Set<string>();
  for (const record of records) {
    const refs = tryReplay(leader, record);
    for (const ref of refs instanceof MissingBlob ? await loader.complete(() => leader.replay(record), refs) : refs)
      foreign.add(ref);
    if (foreign.size < ADOPT_WINDOW) continue;
    await adopt(loader, foreign, warn);
    foreign = new Set();
  }
  if (foreign.size > 0) await adopt(loader, foreign, warn);
}

/** What was acknowledged before stays so: a store that is full or failing must not hinder reading. */
async function adopt(loader: BlobLoader, refs: Set<string>, warn: (text: string) => void): Promise<void> {
  try {
    await loader.adopt(refs);
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
    warn(`the content store cannot keep what the redo log refers to: ${error.message}`);
  }
}

function tryReplay(leader: Leader, record: NumberedRecord): Set<string> | MissingBlob {
  try {
    return leader.replay(record);
  } catch (error) {
    if (error instanceof MissingBlob) return error;
    throw error;
  }
}
