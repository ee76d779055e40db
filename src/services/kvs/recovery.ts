/** What a leader does with the redo log that it finds at its start. */
import { MissingBlob } from "./blob-index.ts";
import type { BlobLoader } from "./blob-loader.ts";
import type { Leader } from "./core.ts";
import type { LogStore } from "./log-store.ts";
import type { NumberedRecord } from "./redo-log.ts";

/** Applies the records of the log that the checkpoint does not contain. */
export async function replay(
  leader: Leader,
  loader: BlobLoader,
  log: LogStore,
  records: readonly NumberedRecord[],
  warn: (text: string) => void,
): Promise<void> {
  const first = records[0];
  if (first !== undefined && first.number > leader.snapshot().number + 1) {
    warn(`the redo log begins after the checkpoint (record ${first.number}); it belongs to other data and is dropped`);
    return log.clear();
  }
  for (const record of records) {
    try {
      leader.replay(record);
    } catch (error) {
      if (!(error instanceof MissingBlob)) throw error;
      await loader.complete(() => leader.replay(record), error);
    }
  }
}
