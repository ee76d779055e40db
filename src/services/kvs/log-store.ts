/**
 * The redo log on the disk: `kvs.log`, and `kvs.log.old` while a checkpoint that contains it is being written.
 *
 * Invariants:
 * 1. What `append` took survives the death of the process, and once a later `sync` has resolved the loss of power.
 * 2. Every record since the last finished checkpoint is in one of the two files, the older ones in `kvs.log.old`.
 * 3. After `open` the files hold no record that the next one to be appended does not follow: where power loss took some
 *    from the middle, what comes after them is gone, too, or it would hide what is appended later.
 */
import { errorText } from "../../base/errors.ts";
import type { LogFile, Ports } from "../../base/ports.ts";
import { encodeRecords, readLog, type NumberedRecord } from "./redo-log.ts";

const LOG_MODE = 0o600;

export class LogStore {
  readonly #ports: Ports;
  readonly #path: string;
  readonly #oldPath: string;
  #file: LogFile;
  #hasOld: boolean;
  /** The file that was current before the last rotation, while what is in it may not survive power loss. */
  #unsynced: LogFile | null = null;
  #bytesSinceCheckpoint = 0;

  private constructor(ports: Ports, path: string, file: LogFile, hasOld: boolean) {
    this.#ports = ports;
    this.#path = path;
    this.#oldPath = `${path}.old`;
    this.#file = file;
    this.#hasOld = hasOld;
    this.#bytesSinceCheckpoint = file.length;
  }

  /**
   * Opens the log of a directory. Returns what it holds beyond a checkpoint, without gaps; what is damaged or does not
   * follow is cut off and told through `warn`. `savedNumber`: the last record in the checkpoint; null where somebody else
   * made that, so that nothing here follows it.
   */
  static open(
    ports: Ports,
    directory: string,
    savedNumber: number | null,
    warn: (text: string) => void,
  ): { log: LogStore; records: NumberedRecord[] } {
    const path = `${directory}/kvs.log`;
    const hasOld = ports.disk.info(`${path}.old`) !== null;
    const records: NumberedRecord[] = [];
    let number = savedNumber ?? 0;
    let isCut = savedNumber === null;
    for (const each of hasOld ? [`${path}.old`, path] : [path]) {
      if (ports.disk.info(each) === null) continue;
      const content = readRecords(ports, each, warn);
      const first = content[0];
      const last = content.at(-1);
      if (isCut || (first !== undefined && first.number > number + 1)) {
        if (first !== undefined)
          warn(
            `${each}: record ${first.number} does not follow ${savedNumber === null ? "this checkpoint" : number}; the file is dropped`,
          );
        isCut = true;
        cut(ports, each, 0);
      } else if (last !== undefined && last.number <= number && each === path) cut(ports, each, 0);
      for (const record of isCut ? [] : content) if (record.number > number) records.push(record);
      number = records.at(-1)?.number ?? number;
    }
    return { log: new LogStore(ports, path, ports.disk.openLog(path, { mode: LOG_MODE }), hasOld), records };
  }

  /** What the next checkpoint would save from being replayed, in bytes. */
  get bytesSinceCheckpoint(): number {
    return this.#bytesSinceCheckpoint;
  }

  /** Appends records in one write. Throws ENOSPC, EIO. */
  append(records: readonly NumberedRecord[]): void {
    const bytes = encodeRecords(this.#ports.codec, records);
    this.#file.append(bytes);
    this.#bytesSinceCheckpoint += bytes.byteLength;
  }

  /** Resolves when everything appended before the call survives the loss of power. Rejects with EIO. */
  async sync(): Promise<void> {
    const before = this.#unsynced;
    await Promise.all([before?.sync(), this.#file.sync()]);
    if (before !== null && before === this.#unsynced) this.#forgetUnsynced();
  }

  #forgetUnsynced(): void {
    this.#unsynced?.close();
    this.#unsynced = null;
  }

  /** A checkpoint begins: what comes from now on is not in it. */
  rotate(): void {
    this.#bytesSinceCheckpoint = 0;
    // After a checkpoint that failed, both files are needed until the next one has succeeded.
    if (this.#hasOld || this.#file.length === 0) return;
    this.#ports.disk.rename(this.#path, this.#oldPath);
    this.#hasOld = true;
    this.#unsynced = this.#file;
    this.#file = this.#ports.disk.openLog(this.#path, { mode: LOG_MODE });
  }

  /** The checkpoint is complete: what was logged before it began is not needed any more. */
  discardOld(): void {
    this.#forgetUnsynced();
    if (this.#hasOld) this.#ports.disk.remove(this.#oldPath);
    this.#hasOld = false;
  }

  /** Closes the log; with `remove`, its files go too. */
  close(remove: boolean, warn: (text: string) => void): void {
    this.#forgetUnsynced();
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

/** The whole records of a file; a damaged end is cut off. */
function readRecords(ports: Ports, path: string, warn: (text: string) => void): NumberedRecord[] {
  const { records, goodBytes, damage } = readLog(ports.codec, ports.disk.readFile(path));
  if (damage !== null) {
    warn(`${path}: ${damage} at byte ${goodBytes}; what follows is dropped`);
    cut(ports, path, goodBytes);
  }
  return records;
}

function cut(ports: Ports, path: string, length: number): void {
  const file = ports.disk.openLog(path, { mode: LOG_MODE });
  if (file.length > length) file.truncate(length);
  file.close();
}
