/**
 * The redo log on the disk: `kvs.log`, and `kvs.log.old` while a checkpoint that contains it is being written.
 *
 * Invariant: what `append` took survives the death of the process; every record since the last finished checkpoint is in
 * one of the two files, the older ones in `kvs.log.old`.
 */
import { concatBytes } from "../../base/bytes.ts";
import { errorText } from "../../base/errors.ts";
import type { LogFile, Ports } from "../../base/ports.ts";
import { encodeRecord, readLog, type NumberedRecord } from "./redo-log.ts";

const LOG_MODE = 0o600;

export class LogStore {
  readonly #ports: Ports;
  readonly #path: string;
  readonly #oldPath: string;
  #file: LogFile;
  #hasOld: boolean;
  #bytesSinceCheckpoint = 0;

  private constructor(ports: Ports, path: string, file: LogFile, hasOld: boolean) {
    this.#ports = ports;
    this.#path = path;
    this.#oldPath = `${path}.old`;
    this.#file = file;
    this.#hasOld = hasOld;
    this.#bytesSinceCheckpoint = file.length;
  }

  /** Opens the log of a directory. Returns what it holds; a damaged end is cut off and told through `warn`. */
  static open(
    ports: Ports,
    directory: string,
    warn: (text: string) => void,
  ): { log: LogStore; records: NumberedRecord[] } {
    const path = `${directory}/kvs.log`;
    const records: NumberedRecord[] = [];
    const hasOld = ports.disk.info(`${path}.old`) !== null;
    for (const each of hasOld ? [`${path}.old`, path] : [path]) {
      if (ports.disk.info(each) === null) continue;
      const content = readLog(ports.codec, ports.disk.readFile(each));
      if (content.damage !== null) {
        warn(`${each}: ${content.damage} at byte ${content.goodBytes}; what follows is dropped`);
        const damaged = ports.disk.openLog(each, { mode: LOG_MODE });
        damaged.truncate(content.goodBytes);
        damaged.close();
      }
      records.push(...content.records);
    }
    return { log: new LogStore(ports, path, ports.disk.openLog(path, { mode: LOG_MODE }), hasOld), records };
  }

  /** What the next checkpoint would save from being replayed, in bytes. */
  get bytesSinceCheckpoint(): number {
    return this.#bytesSinceCheckpoint;
  }

  /** Appends records in one write. Throws ENOSPC, EIO. */
  append(records: readonly NumberedRecord[]): void {
    const bytes = concatBytes(records.map(({ number, record }) => encodeRecord(this.#ports.codec, number, record)));
    this.#file.append(bytes);
    this.#bytesSinceCheckpoint += bytes.byteLength;
  }

  sync(): Promise<void> {
    return this.#file.sync();
  }

  /** A checkpoint begins: what comes from now on is not in it. */
  rotate(): void {
    this.#bytesSinceCheckpoint = 0;
    // After a checkpoint that failed, both files are needed until the next one has succeeded.
    if (this.#hasOld || this.#file.length === 0) return;
    this.#file.close();
    this.#ports.disk.rename(this.#path, this.#oldPath);
    this.#hasOld = true;
    this.#file = this.#ports.disk.openLog(this.#path, { mode: LOG_MODE });
  }

  /** The checkpoint is complete: what was logged before it began is not needed any more. */
  discardOld(): void {
    if (this.#hasOld) this.#ports.disk.remove(this.#oldPath);
    this.#hasOld = false;
  }

  /** Forgets everything: there is nothing it could be replayed on, or all of it is in a checkpoint. */
  clear(): void {
    this.discardOld();
    this.#file.truncate(0);
    this.#bytesSinceCheckpoint = 0;
  }

  /** Closes the log; with `remove`, its files go too. */
  close(remove: boolean, warn: (text: string) => void): void {
    this.#file.close();
    if (!remove) return;
    try {
      this.discardOld();
      this.#ports.disk.remove(this.#path);
    } catch (error) {
      warn(`cannot remove the redo log: ${errorText(error)}`);
    }
  }
}
