/**
 * The tables of a content store on SQLite, as tools know them: `objects(hash, size, object, epoch)` and
 * `checkpt_v2(id, value)`.
 *
 * `size` is the length of the blob. `object` is the blob itself where its length equals `size`, else what `blob-packing.ts` makes of it.
 * Pages of removed blobs are given back a bounded number at a time (`shrink`). Calls block: this is for a thread that may.
 *
 * With journal_mode OFF the journal is in memory: what the disk has no room for must be undone.
 */
import { accessSync, closeSync, constants, fsyncSync, openSync, rmSync, statSync } from "node:fs";
import { dirname } from "node:path";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { FluxError, isFluxError } from "../base/errors.ts";
import type { BlobFile, BlobFileSizes, BlobRow, Checkpoint, NewBlob } from "../services/blob-engine/blob-file.ts";
import {
  BY_HASH,
  BY_TEXT_OR_HASH,
  databaseError,
  hasTextHashes,
  modesOf,
  prepareDatabase,
  rebuild,
  type Prepared,
  type BlobFileOptions,
} from "./blob-schema.ts";
import { packed, unpacked } from "./blob-packing.ts";
import { systemError } from "./errors.ts";

/** What flux-core has in the place of the size where a blob is not compressed. */
const PLAIN_SIZE = -1;
const OPEN_BRACE = 0x7b;
/** What a row takes besides its blob: number, hash, sizes, and the hash once more in the index; roughly. */
const ROW_OVERHEAD_BYTES = 64;
/** How long a call waits for another process that holds the database. */
const BUSY_TIMEOUT_MS = 1000;
const ROW_COLUMNS = "rowid, CAST(hash AS BLOB) AS hash, size, length(object) AS length";

/** `isFound`: the condition on a row by its hash (`?1`). */
function prepared(database: DatabaseSync, isFound: string) {
  const statement = (text: string): StatementSync => database.prepare(text);
  return {
    load: statement(`SELECT size, object FROM objects WHERE ${isFound}`),
    peek: statement(
      `SELECT size, length(object) AS length, substr(object, 1, 1) AS first FROM objects WHERE ${isFound}`,
    ),
    has: statement(`SELECT 1 FROM objects WHERE ${isFound}`),
    insert: statement("INSERT INTO objects(rowid, hash, size, object, epoch) VALUES (?, ?, ?, ?, ?)"),
    mark: statement(`UPDATE objects SET epoch = ?2 WHERE ${isFound} AND ifnull(epoch, 0) < ?2`),
    rewrite: statement(`UPDATE objects SET epoch = epoch WHERE ${isFound}`),
    lastRowid: statement("SELECT max(rowid) AS last FROM objects"),
    rowsBelow: statement(`SELECT ${ROW_COLUMNS} FROM objects WHERE rowid < ? ORDER BY rowid DESC LIMIT ?`),
    rowsBefore: statement(
      `SELECT ${ROW_COLUMNS} FROM objects WHERE rowid > ? AND rowid <= ? AND ifnull(epoch, 0) < ? ORDER BY rowid LIMIT ?`,
    ),
    countBefore: statement("SELECT count(*) AS count FROM objects WHERE ifnull(epoch, 0) < ?"),
    remove: statement("DELETE FROM objects WHERE rowid = ?"),
    count: statement("SELECT count(*) AS count FROM objects"),
    checkpoints: statement("SELECT id, value FROM checkpt_v2 ORDER BY id DESC"),
    putCheckpoint: statement("INSERT INTO checkpt_v2(value) VALUES (?)"),
    trimCheckpoints: statement(
      "DELETE FROM checkpt_v2 WHERE id NOT IN (SELECT id FROM checkpt_v2 ORDER BY id DESC LIMIT ?)",
    ),
    pageCount: statement("PRAGMA page_count"),
    freePages: statement("PRAGMA freelist_count"),
  };
}

class SqliteBlobFile implements BlobFile {
  readonly #path: string;
  readonly #database: DatabaseSync;
  readonly #statements: ReturnType<typeof prepared>;
  readonly #pageBytes: number;
  readonly #synchronous: string;
  #lastRowid: number;
  /** Counted when first asked for, kept up from then on. */
  #objectCount: number | null = null;

  /** Whether free pages can be given back. */
  #canShrink: boolean;

  constructor(path: string, database: DatabaseSync, { synchronous, canShrink }: Prepared) {
    this.#path = path;
    this.#database = database;
    this.#synchronous = synchronous;
    this.#canShrink = canShrink;
    this.#statements = prepared(database, hasTextHashes(database) ? BY_TEXT_OR_HASH : BY_HASH);
    this.#pageBytes = Number(database.prepare("PRAGMA page_size").get()?.["page_size"] ?? 0);
    this.#lastRowid = Number(this.#statements.lastRowid.get()?.["last"] ?? 0);
  }

  get lastRowid(): number {
    return this.#lastRowid;
  }

  #attempt<T>(action: () => T): T {
    try {
      return action();
    } catch (error) {
      throw databaseError(this.#path, error);
    }
  }

  /** Runs an action as one transaction: all of it happens, or nothing. It may run twice. */
  #transaction<T>(action: () => T): T {
    try {
      return this.#tryTransaction(action);
    } catch (error) {
      if (!isFluxError(error, "ENOSPC")) throw error;
      // The write-ahead log may take the room that is missing.
      this.settle();
      return this.#tryTransaction(action);
    }
  }

  #tryTransaction<T>(action: () => T): T {
    return this.#attempt(() => {
      this.#database.exec("BEGIN IMMEDIATE");
      try {
        const result = action();
        this.#database.exec("COMMIT");
        return result;
      } catch (error) {
        // SQLite has already rolled back by itself after some errors, a full disk among them.
        if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
        throw error;
      }
    });
  }

  load(hash: Uint8Array): Uint8Array | null {
    const row = this.#attempt(() => this.#statements.load.get(hash));
    if (row === undefined) return null;
    const size = Number(row["size"]);
    const object = (row["object"] ?? new Uint8Array(0)) as Uint8Array;
    if (object.byteLength === size || size === PLAIN_SIZE) return object;
    try {
      return unpacked(object, size);
    } catch (error) {
      throw new FluxError("EIO", `database ${this.#path}: an object is damaged, or of another version`, {
        cause: error,
      });
    }
  }

  loadObject(hash: Uint8Array): Uint8Array | null {
    const row = this.#attempt(() => this.#statements.peek.get(hash));
    if (row === undefined) return null;
    const isPlain = row["length"] === row["size"] || row["size"] === PLAIN_SIZE;
    if (isPlain && (row["first"] as Uint8Array | null)?.[0] !== OPEN_BRACE) return null;
    return this.load(hash);
  }

  has(hash: Uint8Array): boolean {
    return this.#attempt(() => this.#statements.has.get(hash)) !== undefined;
  }

  store(blobs: readonly NewBlob[], epoch: number): boolean[] {
    const first = this.#lastRowid;
    try {
      const areNew = this.#transaction(() => {
        this.#lastRowid = first;
        return blobs.map((blob) => this.#storeOne(blob, epoch));
      });
      if (this.#objectCount !== null) this.#objectCount += this.#lastRowid - first;
      return areNew;
    } catch (error) {
      this.#lastRowid = first;
      throw error;
    }
  }

  #storeOne({ hash, data }: NewBlob, epoch: number): boolean {
    // Asking costs less than compressing what is there already.
    if (this.#statements.has.get(hash) !== undefined) {
      this.#statements.mark.run(hash, epoch);
      return false;
    }
    this.#lastRowid += 1;
    this.#statements.insert.run(this.#lastRowid, hash, data.byteLength, packed(data), epoch);
    return true;
  }

  mark(hashes: readonly Uint8Array[], epoch: number, isSafe = false): number {
    let count = 0;
    const markAll = (): void => {
      count = 0;
      for (const hash of hashes) {
        if (this.#statements.has.get(hash) === undefined) continue;
        // A transaction that changes nothing makes nothing safe that came before it.
        if (isSafe && count === 0) this.#statements.rewrite.run(hash);
        this.#statements.mark.run(hash, epoch);
        count += 1;
      }
    };
    if (!isSafe) this.#transaction(markAll);
    else
      this.#safeTransaction(() => {
        markAll();
        // Something must be written, or nothing is synchronised: blobs of this epoch are marked already.
        this.#database.exec("PRAGMA user_version=0");
      });
    return count;
  }

  rowsBelow(rowid: number, limit: number): BlobRow[] {
    return this.#attempt(() => this.#statements.rowsBelow.all(rowid, limit).map(rowOf));
  }
  rowsBefore(epoch: number, after: number, through: number, limit: number): BlobRow[] {
    return this.#attempt(() => this.#statements.rowsBefore.all(after, through, epoch, limit).map(rowOf));
  }
  countBefore(epoch: number): number {
    return this.#attempt(() => Number(this.#statements.countBefore.get(epoch)?.["count"] ?? 0));
  }

  removeRows(rowids: readonly number[]): void {
    let removed = 0;
    this.#transaction(() => {
      removed = 0;
      for (const rowid of rowids) removed += Number(this.#statements.remove.run(rowid).changes);
    });
    if (this.#objectCount !== null) this.#objectCount -= removed;
  }

  checkpoints(): Checkpoint[] {
    return this.#attempt(() =>
      this.#statements.checkpoints.all().map((row) => ({ id: Number(row["id"]), text: String(row["value"]) })),
    );
  }

  putCheckpoint(text: string, keep: number): void {
    this.#safeTransaction(() => {
      this.#statements.putCheckpoint.run(text);
      this.#statements.trimCheckpoints.run(Math.max(1, keep));
    });
  }

  /** A transaction that survives the loss of power once it is done, and with it all before it. */
  #safeTransaction(action: () => void): void {
    const isChanged = this.#synchronous === "NORMAL";
    if (isChanged) this.#attempt(() => this.#database.exec("PRAGMA synchronous=FULL"));
    try {
      this.#transaction(action);
    } finally {
      if (isChanged) this.#attempt(() => this.#database.exec("PRAGMA synchronous=NORMAL"));
    }
  }

  keepCheckpoints(count: number): void {
    this.#transaction(() => this.#statements.trimCheckpoints.run(Math.max(1, count)));
  }

  #freePages(): number {
    return Number(this.#statements.freePages.get()?.["freelist_count"] ?? 0);
  }

  shrink(maxBytes: number): boolean {
    return this.#attempt(() => {
      const before = this.#freePages();
      const pages = Math.min(Math.floor(maxBytes / this.#pageBytes), before);
      if (pages < 1) return false;
      if (!this.#canShrink) return this.#rebuild();
      this.#database.exec(`PRAGMA incremental_vacuum(${pages})`);
      return this.#freePages() < before;
    });
  }

  /** In a database that somebody else made: now that what is not needed is gone, it may be small enough. */
  #rebuild(): boolean {
    // Who reads it just now is not waited for.
    this.#database.exec("PRAGMA busy_timeout=0");
    this.#canShrink = rebuild(this.#path, this.#database);
    this.#database.exec(`PRAGMA busy_timeout=${BUSY_TIMEOUT_MS}`);
    return this.#canShrink;
  }

  settle(): void {
    // The file itself becomes shorter when the log is carried over into it. Present readers are not waited for.
    this.#attempt(() => {
      this.#database.exec("PRAGMA busy_timeout=0");
      this.#database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
      this.#database.exec(`PRAGMA busy_timeout=${BUSY_TIMEOUT_MS}`);
    });
  }

  sizes(): BlobFileSizes {
    return this.#attempt(() => {
      this.#objectCount ??= Number(this.#statements.count.get()?.["count"] ?? 0);
      const pages = Number(this.#statements.pageCount.get()?.["page_count"] ?? 0);
      return {
        objectCount: this.#objectCount,
        fileBytes: pages * this.#pageBytes,
        freeBytes: this.#freePages() * this.#pageBytes,
      };
    });
  }

  close(): void {
    this.#attempt(() => {
      if (this.#database.isOpen) this.#database.close();
    });
  }
}

/** The blob of so many bytes that was compressed by us, or by flux-core. */
function rowOf(row: Record<string, unknown>): BlobRow {
  const hash = row["hash"] as Uint8Array;
  return {
    rowid: Number(row["rowid"]),
    hash,
    size: Number(row["size"] === PLAIN_SIZE ? row["length"] : row["size"]),
    storedBytes: Number(row["length"] ?? 0) + hash.byteLength + ROW_OVERHEAD_BYTES,
  };
}

function lengthOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/**
 * Opens or creates the database at a path. Throws EINVAL for an unknown mode or a database of another version, EIO for a
 * file that is no database, EACCES or EROFS for one that cannot be written to.
 */
export function openBlobFile(path: string, options: BlobFileOptions = {}): BlobFile {
  modesOf(options);
  if (options.truncate === true) {
    for (const suffix of ["", "-wal", "-shm", "-journal"]) rmSync(path + suffix, { force: true });
  }
  const length = lengthOf(path);
  if (length > 0) checkWritable(path);
  const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
  let connection: DatabaseSync;
  try {
    connection = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
  } catch (error) {
    throw databaseError(path, error);
  }
  const file = blobFileOn(path, connection, options);
  if (length === 0 && options.synchronous !== "OFF") syncDirectory(dirname(path));
  return file;
}

/** SQLite itself would open it for reading, and refuse the first store only. */
function checkWritable(path: string): void {
  try {
    accessSync(path, constants.W_OK);
  } catch (error) {
    throw systemError(`cannot write to database ${path}`, error);
  }
}

/** Makes a connection's database a blob file. The connection belongs to the result, and is closed on failure. */
export function blobFileOn(path: string, connection: DatabaseSync, options: BlobFileOptions = {}): BlobFile {
  try {
    return new SqliteBlobFile(path, connection, prepareDatabase(path, connection, options));
  } catch (error) {
    connection.close();
    throw databaseError(path, error);
  }
}

function syncDirectory(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
