/** What a leader does with the redo log that it finds at its start. */
import { MissingBlob } from "./blob-index.ts";
import type { BlobLoader } from "./blob-loader.ts";
import type { Leader } from "./core.ts";
import type { NumberedRecord } from "./redo-log.ts";

/** Applies the records of the log that the checkpoint does not contain, in order. */
export async function replay(leader: Leader, loader: BlobLoader, records: readonly NumberedRecord[]): Promise<void> {
  for (const record of records) {
    try {
      leader.replay(record);
    } catch (error) {
      if (!(error instanceof MissingBlob)) throw error;
      await loader.complete(() => leader.replay(record), error);
    }
  }
}
