/**
 * The disk port on Node: files and directories by synchronous calls, an append-only log, the blob database.
 *
 * Errors name the path. A file that is replaced is never seen half written; a log's failed append leaves no torn tail.
 */
import * as fs from "node:fs";
import { dirname } from "node:path";
import { FluxError } from "../base/errors.ts";
import type { BlobDatabase, BlobDatabaseEvents, BlobDatabaseOptions, Disk, FileInfo, LogFile } from "../base/ports.ts";
import { openBlobDatabase } from "./blob-database.ts";
import { hasCode, systemError } from "./errors.ts";

/** Runs a call on a path; what it throws becomes a FluxError that says "cannot DO PATH: REASON". */
function attempt<T>(doing: string, path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw systemError(`cannot ${doing} ${path}`, error);
  }
}

/** Writes everything to a file of our own. */
function writeAll(fd: number, data: Uint8Array): void {
  let offset = 0;
  while (offset < data.byteLength) offset += fs.writeSync(fd, data, offset);
}

function syncDirectory(path: string): void {
  const fd = fs.openSync(path, "r");
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

class NodeLogFile implements LogFile {
  readonly #path: string;
  readonly #fd: number;
  #length: number;
  /** The file's name may not be on the disk yet, whoever made it: the first sync sees to it. */
  #nameIsSafe = false;
  #syncsUnderWay = 0;
  #closed = false;

  constructor(path: string, fd: number, length: number) {
    this.#path = path;
    this.#fd = fd;
    this.#length = length;
  }

  get length(): number {
    return this.#length;
  }

  #checkOpen(): void {
    if (this.#closed) throw new FluxError("EBADF", `${this.#path} is closed`);
  }

  append(data: Uint8Array): void {
    this.#checkOpen();
    let written = 0;
    try {
      while (written < data.byteLength) written += fs.writeSync(this.#fd, data, written);
    } catch (error) {
      if (written > 0) this.#takeBack(written);
      throw systemError(`cannot append to ${this.#path}`, error);
    }
    this.#length += data.byteLength;
  }

  /** What was written in part must not be taken for a record by who reads the log later. What others wrote stays. */
  #takeBack(written: number): void {
    attempt("truncate", this.#path, () => {
      if (fs.fstatSync(this.#fd).size === this.#length + written) fs.ftruncateSync(this.#fd, this.#length);
    });
  }

  sync(): Promise<void> {
    this.#checkOpen();
    return new Promise((resolve, reject) => {
      this.#syncsUnderWay += 1;
      fs.fdatasync(this.#fd, (error) => {
        this.#syncsUnderWay -= 1;
        this.#closeWhenIdle();
        if (error !== null) {
          reject(systemError(`cannot sync ${this.#path}`, error));
          return;
        }
        try {
          if (!this.#nameIsSafe) attempt("sync the directory of", this.#path, () => syncDirectory(dirname(this.#path)));
          this.#nameIsSafe = true;
          resolve();
        } catch (failure) {
          reject(failure);
        }
      });
    });
  }

  truncate(length: number): void {
    this.#checkOpen();
    attempt("truncate", this.#path, () => fs.ftruncateSync(this.#fd, length));
    this.#length = length;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#closeWhenIdle();
  }

  /** A descriptor in use by a sync must not be closed: its number could be another file's by then. */
  #closeWhenIdle(): void {
    if (this.#closed && this.#syncsUnderWay === 0) attempt("close", this.#path, () => fs.closeSync(this.#fd));
  }
}

/** tmpfs and ramfs, by the numbers that statfs(2) tells. */
const MEMORY_FILE_SYSTEMS: ReadonlySet<number> = new Set([0x01021994, 0x858458f6]);

class NodeDisk implements Disk {
  #temporaryCount = 0;

  readFile(path: string): Uint8Array {
    return attempt("read", path, () => fs.readFileSync(path));
  }

  writeFile(path: string, data: Uint8Array, options: { mode?: number; sync?: boolean } = {}): void {
    this.#temporaryCount += 1;
    const temporary = `${path}.${process.pid}-${this.#temporaryCount}.new`;
    attempt("write", path, () => {
      const fd = fs.openSync(temporary, "wx", options.mode ?? 0o666);
      try {
        try {
          if (options.mode !== undefined) fs.fchmodSync(fd, options.mode);
          writeAll(fd, data);
          if (options.sync === true) fs.fsyncSync(fd);
        } finally {
          fs.closeSync(fd);
        }
        fs.renameSync(temporary, path);
      } catch (error) {
        fs.rmSync(temporary, { force: true });
        throw error;
      }
      if (options.sync === true) syncDirectory(dirname(path));
    });
  }

  openLog(path: string, options: { mode?: number } = {}): LogFile {
    return attempt("open", path, () => {
      const fd = fs.openSync(path, "a+", options.mode ?? 0o666);
      return new NodeLogFile(path, fd, fs.fstatSync(fd).size);
    });
  }

  list(path: string): string[] {
    return attempt("list", path, () => fs.readdirSync(path).sort());
  }

  info(path: string): FileInfo | null {
    try {
      const found = fs.statSync(path, { throwIfNoEntry: false });
      if (found === undefined) return null;
      const kind = found.isFile() ? "file" : found.isDirectory() ? "directory" : "other";
      return { kind, sizeBytes: found.size, mode: found.mode & 0o7777, mtime: found.mtimeMs / 1000 };
    } catch (error) {
      if (hasCode(error, "ENOENT", "ENOTDIR")) return null;
      throw systemError(`cannot look at ${path}`, error);
    }
  }

  makeDirectory(path: string, options: { mode?: number; recursive?: boolean } = {}): void {
    attempt("create directory", path, () => {
      const mode = options.mode ?? 0o777;
      const made = options.recursive === true ? makeWithParents(path, mode) : fs.mkdirSync(path, { mode });
      // The umask may have taken bits away that the caller asked for. `made` is undefined for one that was there.
      if (options.mode !== undefined && (made !== undefined || options.recursive !== true)) {
        fs.chmodSync(path, options.mode);
      }
    });
  }

  makeTemporaryDirectory(prefix: string): string {
    return attempt("create a directory at", prefix, () => fs.mkdtempSync(prefix));
  }

  rename(from: string, to: string): void {
    attempt(`rename ${from} to`, to, () => fs.renameSync(from, to));
  }

  remove(path: string): void {
    attempt("remove", path, () => {
      if (!removeEmptyDirectory(path) && !removeFile(path)) fs.rmSync(path, { recursive: true, force: true });
    });
  }

  freeBytes(path: string): number {
    return attempt("look at the file system of", path, () => {
      const { bavail, bsize } = fs.statfsSync(path);
      return bavail * bsize;
    });
  }

  isInMemory(path: string): boolean {
    return attempt("look at the file system of", path, () => MEMORY_FILE_SYSTEMS.has(fs.statfsSync(path).type >>> 0));
  }

  openBlobDatabase(path: string, options: BlobDatabaseOptions, events: BlobDatabaseEvents): BlobDatabase {
    return openBlobDatabase(path, options, events);
  }
}

export function nodeDisk(): Disk {
  return new NodeDisk();
}

/**
 * Removes a file at once; the file system takes its blocks back beside the event loop, when the last descriptor is closed:
 * for some megabytes that takes milliseconds. Returns false where this way does not lead to it, for whatever reason.
 */
function removeFile(path: string): boolean {
  let fd: number | null = null;
  try {
    fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK);
    if (!fs.fstatSync(fd).isFile()) return false;
    fs.unlinkSync(path);
    return true;
  } catch {
    // What stands in the way, if anything, the general removal tells.
    return false;
  } finally {
    // A descriptor that nothing was written through has nothing to lose when it is closed.
    if (fd !== null) fs.close(fd, () => {});
  }
}

/** The common case, ten times as fast as a recursive removal. Returns false for anything but an empty directory. */
function removeEmptyDirectory(path: string): boolean {
  try {
    fs.rmdirSync(path);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT";
  }
}

/**
 * Makes a directory and those above it; undefined where it was there. Not by Node's own means, which try for ever where the
 * directory above is there and takes none (`/proc`).
 */
function makeWithParents(path: string, mode: number): string | undefined {
  try {
    fs.mkdirSync(path, { mode });
    return path;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST" && fs.statSync(path).isDirectory()) return undefined;
    const parent = dirname(path);
    if (code !== "ENOENT" || parent === path || fs.existsSync(parent)) throw error;
    makeWithParents(parent, mode);
    fs.mkdirSync(path, { mode });
    return path;
  }
}
