/**
 * A lock on a state directory, for as long as a broker uses it: it ends with the process, however that ends, and holds over
 * network file systems and containers. SQLite's own file locks serve for it, on an empty file that stays there.
 */
import { accessSync, constants } from "node:fs";
import { dirname } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { errorText, FluxError } from "../base/errors.ts";
import { systemError } from "./errors.ts";

export interface DirectoryLock {
  release(): void;
}

const BUSY = 5;

/** Locks the directory of a database. Throws EBUSY where another broker has it, EACCES or EROFS where it cannot be written to. */
export function lockDirectoryOf(path: string): DirectoryLock {
  try {
    accessSync(dirname(path), constants.W_OK | constants.X_OK);
  } catch (error) {
    throw systemError(`cannot write to state directory ${dirname(path)}`, error);
  }
  const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
  let database: DatabaseSync | null = null;
  try {
    database = new DatabaseSync(`${path}-lock`, { timeout: 0 });
    database.exec("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=MEMORY; BEGIN EXCLUSIVE");
  } catch (error) {
    database?.close();
    const result = ((error as { errcode?: number }).errcode ?? 0) & 0xff;
    if (result === BUSY) throw new FluxError("EBUSY", `state directory ${dirname(path)} is in use by another broker`);
    throw new FluxError("EACCES", `cannot use state directory ${dirname(path)}: ${errorText(error)}`);
  }
  const connection = database;
  return { release: () => connection.close() };
}
