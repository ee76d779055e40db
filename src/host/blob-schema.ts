/**
 * What makes an SQLite database a blob file: its modes, its tables, and those of older versions brought up to date. And
 * what an error of SQLite is here.
 */
import { closeSync, openSync, readSync, statfsSync } from "node:fs";
import { dirname } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { errorText, FluxError, type ErrnoName } from "../base/errors.ts";

/** The write-ahead log is carried over into the database when it is this long, on small file systems sooner. */
const JOURNAL_BYTES_MIN: number = 1024 * 1024;
const JOURNAL_BYTES_MAX: number = 16 * 1024 * 1024;
/** It takes at most this part of the room that there is. */
const JOURNAL_ROOM_PART = 16;
/** A database without the means to shrink is rebuilt while so much of it is in use, with so many times that free on the disk. */
const REBUILD_BYTES_MAX: number = 128 * 1024 * 1024;
const REBUILD_ROOM_FACTOR = 2.5;
const SET_VACUUM_MODE = "PRAGMA auto_vacuum=INCREMENTAL";
/** SQLite's file header, and where in it stands the largest root page: 0 where there is no vacuum mode. */
const HEADER_BYTES = 100;
const LARGEST_ROOT_PAGE_OFFSET = 52;
const JOURNAL_MODES: readonly string[] = ["DELETE", "TRUNCATE", "PERSIST", "MEMORY", "WAL", "OFF"];
const SYNCHRONOUS_MODES: readonly string[] = ["EXTRA", "FULL", "NORMAL", "OFF"];

const SCHEMA = `
CREATE TABLE IF NOT EXISTS objects(hash BLOB PRIMARY KEY, size INT, object BLOB, epoch INT DEFAULT 0);
CREATE TABLE IF NOT EXISTS checkpt_v2(id INTEGER PRIMARY KEY AUTOINCREMENT, value TEXT);
`;
/** A database of before there were epochs. */
const ADD_EPOCH = "ALTER TABLE objects ADD COLUMN epoch INT DEFAULT 0";
/** What the tables must have for us to use them. */
const COLUMNS: Readonly<Record<string, readonly string[]>> = {
  objects: ["hash", "size", "object", "epoch"],
  checkpt_v2: ["id", "value"],
};
/** The table of checkpoints before there were several: one for each name, the one of the KVS under this one. */
const OLD_CHECKPOINTS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'checkpt'";
const TAKE_OLD_CHECKPOINT = `
INSERT INTO checkpt_v2(value) SELECT value FROM checkpt
WHERE key = 'kvs-primary' AND NOT EXISTS (SELECT 1 FROM checkpt_v2);
`;

/** Conditions on a row by its hash: a blob; in databases that flux-core wrote to, perhaps a text of the same bytes. */
export const BY_HASH = "hash = ?1";
export const BY_TEXT_OR_HASH = "hash IN (?1, CAST(?1 AS TEXT))";

/** Whether some hashes are texts: they come first in the index. */
export function hasTextHashes(connection: DatabaseSync): boolean {
  const first = connection.prepare("SELECT typeof(hash) AS type FROM objects ORDER BY hash LIMIT 1").get();
  return first?.["type"] === "text";
}

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

/** An error of a call on the database at a path, as FluxError. */
export function databaseError(path: string, error: unknown): FluxError {
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

export interface BlobFileOptions {
  /** Start with an empty database. */
  readonly truncate?: boolean | undefined;
  readonly journalMode?: string | undefined;
  readonly synchronous?: string | undefined;
}

/** Checks the modes. Throws EINVAL for one that is unknown. */
export function modesOf({ journalMode = "WAL", synchronous = "NORMAL" }: BlobFileOptions): [string, string] {
  return [
    chosenMode("journal_mode", journalMode, JOURNAL_MODES),
    chosenMode("synchronous", synchronous, SYNCHRONOUS_MODES),
  ];
}

export interface Prepared {
  /** How careful it is. */
  readonly synchronous: string;
  /** Whether it can give back pages that are free. */
  readonly canShrink: boolean;
}

/** Sets the modes of a connection and makes the tables. */
export function prepareDatabase(path: string, connection: DatabaseSync, options: BlobFileOptions): Prepared {
  const [journalMode, synchronous] = modesOf(options);
  const canShrink = makeShrinkable(path, connection);
  connection.exec(`PRAGMA journal_mode=${journalMode === "OFF" ? "MEMORY" : journalMode}`);
  connection.exec(`PRAGMA synchronous=${synchronous}`);
  limitJournal(path, connection);
  connection.exec(SCHEMA);
  checkTables(path, connection);
  if (connection.prepare(OLD_CHECKPOINTS).get() !== undefined) connection.exec(TAKE_OLD_CHECKPOINT);
  return { synchronous, canShrink };
}

/** Gives a new database the means to shrink, and one that was made without where that can be done. Returns whether it has them. */
function makeShrinkable(path: string, connection: DatabaseSync): boolean {
  // It takes effect in a database that is empty, or rebuilt; in another it would write, and there may be no room.
  if (pragma(connection, "page_count") === 0) connection.exec(SET_VACUUM_MODE);
  else if (storedVacuumMode(path) === 0) return rebuild(path, connection);
  return true;
}

/**
 * A database that flux-core made reuses its free pages and never gives any back. It is rebuilt, with the means to do so,
 * where what is in use of it is little enough for that to be quickly done, and there is room for it twice. Rows keep their
 * numbers. Returns whether it was done.
 */
export function rebuild(path: string, connection: DatabaseSync): boolean {
  const pages = pragma(connection, "page_count") - pragma(connection, "freelist_count");
  const usedBytes = pages * pragma(connection, "page_size");
  const { bavail, bsize } = statfsSync(dirname(path));
  if (usedBytes > REBUILD_BYTES_MAX || bavail * bsize < REBUILD_ROOM_FACTOR * usedBytes) return false;
  try {
    connection.exec(SET_VACUUM_MODE);
    connection.exec("VACUUM");
    return true;
  } catch {
    // Nothing has changed. Where the file is damaged, who reads the damaged part is told.
    return false;
  }
}

function pragma(connection: DatabaseSync, name: string): number {
  return Number(connection.prepare(`PRAGMA ${name}`).get()?.[name]);
}

/** The mode in the file's header: the connection tells the one that it would give a new file. */
function storedVacuumMode(path: string): number {
  const header = Buffer.alloc(HEADER_BYTES);
  const file = openSync(path, "r");
  try {
    readSync(file, header, 0, HEADER_BYTES, 0);
  } finally {
    closeSync(file);
  }
  return header.readUInt32BE(LARGEST_ROOT_PAGE_OFFSET);
}

function limitJournal(path: string, connection: DatabaseSync): void {
  const { bavail, bsize } = statfsSync(dirname(path));
  const room = Math.floor((bavail * bsize) / JOURNAL_ROOM_PART);
  const bytes = Math.max(JOURNAL_BYTES_MIN, Math.min(room, JOURNAL_BYTES_MAX));
  const pageBytes = Number(connection.prepare("PRAGMA page_size").get()?.["page_size"]);
  connection.exec(`PRAGMA journal_size_limit=${bytes}`);
  connection.exec(`PRAGMA wal_autocheckpoint=${Math.floor(bytes / pageBytes)}`);
}

/** Whether the tables are ours; brings those of older versions up to date. Throws EINVAL. */
function checkTables(path: string, connection: DatabaseSync): void {
  for (const [table, columns] of Object.entries(COLUMNS)) {
    const rows = connection.prepare(`PRAGMA table_info(${table})`).all();
    const names = new Set(rows.map((row) => row["name"]));
    if (table === "objects" && !names.has("epoch")) {
      connection.exec(ADD_EPOCH);
      names.add("epoch");
    }
    const missing = columns.find((column) => !names.has(column));
    if (missing !== undefined)
      throw new FluxError(
        "EINVAL",
        `database ${path} is of another version: its table ${table} has no column ${missing}`,
      );
  }
}
