/**
 * The blob database of a content store on SQLite, as tools know it: `objects(hash, size, object, epoch)` and
 * `checkpt_v2(id, value)`.
 *
 * `size` is the length of the blob. `object` is the blob itself where its length equals `size`, else its zstd frame.
 * Write-ahead logging; pages of removed blobs are given back a bounded number at a time (`shrink`). SQLite is loaded
 * when the first database is opened.
 */
import { rmSync, statSync } from "node:fs";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { FluxError, errorText, type ErrnoName } from "../base/errors.ts";
import type { BlobDatabase, BlobDatabaseOptions, BlobRecord } from "../base/ports.ts";
import { zstdCompress, zstdDecompress } from "./codec.ts";

/** Shorter blobs hardly shrink, and a call of the compressor costs more than their bytes. */
const MIN_COMPRESSED_BYTES = 512;
/** The write-ahead log is cut back to this length once its content is in the database. */
const JOURNAL_LIMIT_BYTES: number = 4 * 1024 * 1024;
/** How long a call waits for another process that holds the database. */
const BUSY_TIMEOUT_MS = 1000;
const JOURNAL_MODES: readonly string[] = ["DELETE", "TRUNCATE", "PERSIST", "MEMORY", "WAL", "OFF"];
const SYNCHRONOUS_MODES: readonly string[] = ["EXTRA", "FULL", "NORMAL", "OFF"];

const SCHEMA = `
CREATE TABLE IF NOT EXISTS objects(hash BLOB PRIMARY KEY, size INT, object BLOB, epoch INT);
CREATE TABLE IF NOT EXISTS checkpt_v2(id INTEGER PRIMARY KEY AUTOINCREMENT, value TEXT);
`;

/** The table of checkpoints before there were several: one for each name, the one of the KVS under this one. */
const OLD_CHECKPOINTS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'checkpt'";
const TAKE_OLD_CHECKPOINT = `
INSERT INTO checkpt_v2(value) SELECT value FROM checkpt
WHERE key = 'kvs-primary' AND NOT EXISTS (SELECT 1 FROM checkpt_v2);
`;

/** Primary result codes of SQLite that have an errno of their own. */
const ERRNO_OF_RESULT: Readonly<Record<number, ErrnoName>> = {
  3: "EPERM",
  5: "EBUSY",
  6: "EBUSY",
  7: "ENOMEM",
  8: "EROFS",
  10: "EIO",
  11: "EIO",
  13: "ENOSPC",
  14: "ENOENT",
  26: "EIO",
};

function databaseError(path: string, error: unknown): FluxError {
  if (error instanceof FluxError) return error;
  const result = (error as { errcode?: number }).errcode ?? 0;
  const errno = ERRNO_OF_RESULT[result & 0xff] ?? "EIO";
  return new FluxError(errno, `database ${path}: ${errorText(error)}`, { cause: error });
}

function chosenMode(name: string, value: string, allowed: readonly string[]): string {
  const mode = value.toUpperCase();
  if (allowed.includes(mode)) return mode;
  throw new FluxError("EINVAL", `${name} is one of ${allowed.join(", ")}, not '${value}'`);
}

interface Statements {
  readonly load: StatementSync;
  readonly has: StatementSync;
  readonly insert: StatementSync;
  readonly remove: StatementSync;
  readonly hashes: StatementSync;
  readonly count: StatementSync;
  readonly checkpoints: StatementSync;
  readonly putCheckpoint: StatementSync;
  readonly trimCheckpoints: StatementSync;
}

class SqliteBlobDatabase implements BlobDatabase {
  readonly #path: string;
  readonly #database: DatabaseSync;
  readonly #statements: Statements;
  readonly #pageBytes: number;
  /** Counted when first asked for, kept up from then on. */
  #objectCount: number | null = null;

  constructor(path: string, database: DatabaseSync) {
    this.#path = path;
    this.#database = database;
    this.#pageBytes = this.#pragma("page_size");
    this.#statements = {
      load: database.prepare("SELECT size, object FROM objects WHERE hash = ?"),
      has: database.prepare("SELECT 1 FROM objects WHERE hash = ?"),
      insert: database.prepare("INSERT OR IGNORE INTO objects(hash, size, object, epoch) VALUES (?, ?, ?, 0)"),
      remove: database.prepare("DELETE FROM objects WHERE hash = ?"),
      hashes: database.prepare("SELECT hash FROM objects"),
      count: database.prepare("SELECT count(*) AS count FROM objects"),
      checkpoints: database.prepare("SELECT value FROM checkpt_v2 ORDER BY id DESC"),
      putCheckpoint: database.prepare("INSERT INTO checkpt_v2(value) VALUES (?)"),
      trimCheckpoints: database.prepare(
        "DELETE FROM checkpt_v2 WHERE id NOT IN (SELECT id FROM checkpt_v2 ORDER BY id DESC LIMIT ?)",
      ),
    };
  }

  #attempt<T>(action: () => T): T {
    try {
      return action();
    } catch (error) {
      throw databaseError(this.#path, error);
    }
  }

  /** Runs an action as one transaction: all of it happens, or nothing. */
  #transaction(action: () => void): void {
    this.#attempt(() => {
      this.#database.exec("BEGIN IMMEDIATE");
      try {
        action();
        this.#database.exec("COMMIT");
      } catch (error) {
        // SQLite has already rolled back by itself after some errors, a full disk among them.
        if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
        throw error;
      }
    });
  }

  #pragma(name: string): number {
    const row = this.#database.prepare(`PRAGMA ${name}`).get();
    return Number(row?.[name] ?? 0);
  }

  load(hash: Uint8Array): Uint8Array | null {
    const row = this.#attempt(() => this.#statements.load.get(hash));
    if (row === undefined) return null;
    const size = Number(row["size"]);
    const object = (row["object"] ?? new Uint8Array(0)) as Uint8Array;
    if (object.byteLength === size) return object;
    const data = zstdDecompress(object, size);
    if (data.byteLength === size) return data;
    throw new FluxError("EIO", `database ${this.#path}: an object has ${data.byteLength} bytes instead of ${size}`);
  }

  has(hash: Uint8Array): boolean {
    return this.#attempt(() => this.#statements.has.get(hash)) !== undefined;
  }

  store(blobs: readonly BlobRecord[]): void {
    let added = 0;
    this.#transaction(() => {
      for (const { hash, data } of blobs) {
        // Asking costs less than compressing what is there already.
        if (data.byteLength >= MIN_COMPRESSED_BYTES && this.#statements.has.get(hash) !== undefined) continue;
        added += Number(this.#statements.insert.run(hash, data.byteLength, packed(data)).changes);
      }
    });
    if (this.#objectCount !== null) this.#objectCount += added;
  }

  remove(hashes: readonly Uint8Array[]): void {
    let removed = 0;
    this.#transaction(() => {
      for (const hash of hashes) removed += Number(this.#statements.remove.run(hash).changes);
    });
    if (this.#objectCount !== null) this.#objectCount -= removed;
  }

  forEachHash(callback: (hash: Uint8Array) => void): void {
    this.#attempt(() => {
      for (const row of this.#statements.hashes.iterate()) callback(row["hash"] as Uint8Array);
    });
  }

  checkpoints(): string[] {
    return this.#attempt(() => this.#statements.checkpoints.all().map((row) => String(row["value"])));
  }

  putCheckpoint(text: string, keep: number): void {
    this.#transaction(() => {
      this.#statements.putCheckpoint.run(text);
      this.#statements.trimCheckpoints.run(Math.max(1, keep));
    });
  }

  shrink(maxBytes: number): void {
    const pages = Math.min(Math.floor(maxBytes / this.#pageBytes), this.#pragma("freelist_count"));
    if (pages < 1) return;
    this.#attempt(() => {
      this.#database.exec(`PRAGMA incremental_vacuum(${pages})`);
      // The file itself becomes shorter when the log is carried over into it.
      this.#database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    });
  }

  stats(): { objectCount: number; fileBytes: number; freeBytes: number } {
    return this.#attempt(() => {
      this.#objectCount ??= Number(this.#statements.count.get()?.["count"] ?? 0);
      const fileBytes = lengthOf(this.#path) + lengthOf(`${this.#path}-wal`);
      return {
        objectCount: this.#objectCount,
        fileBytes,
        freeBytes: this.#pragma("freelist_count") * this.#pageBytes,
      };
    });
  }

  close(): void {
    this.#attempt(() => {
      if (this.#database.isOpen) this.#database.close();
    });
  }
}

/** A blob as it is stored: compressed where that makes it shorter. */
function packed(data: Uint8Array): Uint8Array {
  if (data.byteLength < MIN_COMPRESSED_BYTES) return data;
  const compressed = zstdCompress(data);
  return compressed.byteLength < data.byteLength ? compressed : data;
}

function lengthOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** Opens or creates the database at a path. Throws EINVAL for an unknown mode, EIO for a file that is no database. */
export function openBlobDatabase(path: string, options: BlobDatabaseOptions = {}): BlobDatabase {
  const journalMode = chosenMode("journal_mode", options.journalMode ?? "WAL", JOURNAL_MODES);
  const synchronous = chosenMode("synchronous", options.synchronous ?? "NORMAL", SYNCHRONOUS_MODES);
  if (options.truncate === true) {
    for (const suffix of ["", "-wal", "-shm", "-journal"]) rmSync(path + suffix, { force: true });
  }
  const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
  let connection: DatabaseSync;
  try {
    connection = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
  } catch (error) {
    throw databaseError(path, error);
  }
  return blobDatabaseOn(path, connection, journalMode, synchronous);
}

/** Makes a connection's database a blob database. The connection belongs to the result, and is closed on failure. */
export function blobDatabaseOn(
  path: string,
  connection: DatabaseSync,
  journalMode = "WAL",
  synchronous = "NORMAL",
): BlobDatabase {
  try {
    // The vacuum mode takes effect in an empty database only, and must come first.
    connection.exec("PRAGMA auto_vacuum=INCREMENTAL");
    connection.exec(`PRAGMA journal_mode=${journalMode}`);
    connection.exec(`PRAGMA synchronous=${synchronous}`);
    connection.exec(`PRAGMA journal_size_limit=${JOURNAL_LIMIT_BYTES}`);
    connection.exec(SCHEMA);
    if (connection.prepare(OLD_CHECKPOINTS).get() !== undefined) connection.exec(TAKE_OLD_CHECKPOINT);
    return new SqliteBlobDatabase(path, connection);
  } catch (error) {
    connection.close();
    throw databaseError(path, error);
  }
}
