/**
 * The disk port of one simulated process, on the storage of its machine (`storage.ts`): what it does to files, log files
 * and blob databases, and when that is durable. A dead process changes nothing any more.
 */
import { concatBytes, EMPTY_BYTES, hexEncode } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import type { BlobDatabase, BlobDatabaseEvents, BlobDatabaseOptions, Disk, FileInfo, LogFile } from "../base/ports.ts";
import { nodeCodec } from "../host/codec.ts";
import { RemoteBlobDatabase } from "../services/content-sqlite/remote.ts";
import { LocalCarrier } from "./blob-database.ts";
import { MemoryBlobFile } from "./blob-file.ts";
import type { Scope } from "./scope.ts";
import type { Inode, Storage } from "./storage.ts";

const SYNC_MAX_MS = 5;
/** A call of a blob database takes at most this long. */
const CALL_MAX_MS = 0.5;

export class SimulatedDisk implements Disk {
  readonly #storage: Storage;
  readonly #scope: Scope;

  constructor(storage: Storage, scope: Scope) {
    this.#storage = storage;
    this.#scope = scope;
  }

  readFile(path: string): Uint8Array {
    const file = this.#existing(path);
    if (file.kind === "directory") throw new FluxError("EISDIR", `${path}: is a directory`);
    return file.data.slice();
  }

  writeFile(path: string, data: Uint8Array, options: { mode?: number; sync?: boolean } = {}): void {
    if (!this.#scope.alive) return;
    this.#storage.claim(data.byteLength);
    this.#checkParent(path);
    this.#storage.begin({ kind: "write", path, data });
    const inode = this.#storage.addFile(path, data.slice(), options.mode ?? 0o600);
    if (options.sync !== true) return;
    inode.durable = inode.data;
    this.#storage.syncNames();
  }

  openLog(path: string, options: { mode?: number } = {}): LogFile {
    if (!this.#storage.files.has(path)) {
      this.#checkParent(path);
      this.#storage.begin({ kind: "create", path });
      this.#storage.addFile(path, EMPTY_BYTES, options.mode ?? 0o600);
    }
    return new SimulatedLog(this.#storage, this.#scope, path, this.#existing(path));
  }

  list(path: string): string[] {
    if (this.#existing(path).kind !== "directory") throw new FluxError("ENOTDIR", `${path}: not a directory`);
    const prefix = path === "/" ? "/" : `${path}/`;
    return [...this.#storage.files.keys()]
      .filter((each) => each !== path && each.startsWith(prefix) && !each.slice(prefix.length).includes("/"))
      .map((each) => each.slice(prefix.length))
      .toSorted();
  }

  info(path: string): FileInfo | null {
    const file = this.#storage.files.get(path);
    if (file === undefined) return null;
    const kind = file.kind === "directory" ? "directory" : "file";
    return { kind, sizeBytes: file.data.byteLength, mode: file.mode, mtime: file.mtime };
  }

  makeDirectory(path: string, options: { mode?: number; recursive?: boolean } = {}): void {
    if (this.#storage.files.has(path)) {
      if (options.recursive === true) return;
      throw new FluxError("EEXIST", `${path}: exists`);
    }
    const parent = parentOf(path);
    if (!this.#storage.files.has(parent)) {
      if (options.recursive !== true) throw new FluxError("ENOENT", `${parent}: no such directory`);
      this.makeDirectory(parent, options);
    }
    this.#storage.addDirectory(path, options.mode ?? 0o755);
  }

  makeTemporaryDirectory(prefix: string): string {
    const path = `${prefix}${hexEncode(this.#storage.dice.bytes(3))}`;
    this.#storage.addDirectory(path, 0o700);
    return path;
  }

  rename(from: string, to: string): void {
    if (!this.#scope.alive) return;
    this.#existing(from);
    this.#storage.begin({ kind: "rename", path: to });
    this.#storage.renameFile(from, to);
  }

  remove(path: string): void {
    if (!this.#scope.alive || !this.#storage.files.has(path)) return;
    this.#storage.begin({ kind: "remove", path });
    this.#storage.removeFile(path);
  }

  freeBytes(): number {
    return Math.max(0, this.#storage.capacityBytes - this.#storage.usedBytes());
  }

  isInMemory(): boolean {
    return false;
  }

  openBlobDatabase(path: string, options: BlobDatabaseOptions, events: BlobDatabaseEvents): BlobDatabase {
    const storage = this.#storage;
    let file = storage.files.get(path);
    if (file === undefined || options.truncate === true) {
      this.#checkParent(path);
      storage.begin({ kind: "create", path });
      file = storage.addDatabase(path);
    }
    const begin = (bytes: number): void => {
      storage.claim(bytes);
      storage.begin({ kind: "transaction", path });
    };
    const blobFile = new MemoryBlobFile(file.database!, { begin }, options.synchronous);
    const carrier = new LocalCarrier(blobFile, options, events, {
      codec: nodeCodec(),
      nowMs: () => storage.timeline.nowMs,
      after: (delayMs, callback, { background }) =>
        storage.timeline.after(delayMs, this.#scope.guard(callback), background),
      callMs: () => storage.dice.fraction() * CALL_MAX_MS,
    });
    return new RemoteBlobDatabase(carrier);
  }

  #existing(path: string): Inode {
    const file = this.#storage.files.get(path);
    if (file === undefined) throw new FluxError("ENOENT", `${path}: No such file or directory`);
    return file;
  }

  #checkParent(path: string): void {
    if (!this.#storage.files.has(parentOf(path))) throw new FluxError("ENOENT", `${path}: No such file or directory`);
  }
}

function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash <= 0 ? "/" : path.slice(0, slash);
}

class SimulatedLog implements LogFile {
  readonly #storage: Storage;
  readonly #scope: Scope;
  readonly #path: string;
  readonly #inode: Inode;
  /** The names of the directory have been synchronised since this file was opened. */
  #nameIsSafe = false;
  #syncsBegun = 0;
  /** The latest sync, by when it was begun, that is done. */
  #syncDone = 0;

  constructor(storage: Storage, scope: Scope, path: string, inode: Inode) {
    this.#storage = storage;
    this.#scope = scope;
    this.#path = path;
    this.#inode = inode;
  }

  get length(): number {
    return this.#inode.data.byteLength;
  }

  append(data: Uint8Array): void {
    if (!this.#scope.alive) return;
    this.#storage.claim(data.byteLength);
    this.#storage.begin({ kind: "append", path: this.#path, data });
    this.#inode.data = concatBytes([this.#inode.data, data]);
  }

  sync(): Promise<void> {
    const seen = this.#inode.data;
    const turn = ++this.#syncsBegun;
    const { timeline, dice } = this.#storage;
    return new Promise((resolve) => {
      timeline.after(
        dice.fraction() * SYNC_MAX_MS,
        this.#scope.guard(() => {
          this.#storage.begin({ kind: "sync", path: this.#path });
          // Syncs may end in another order than they were begun; what was cut off meanwhile does not come back.
          if (turn > this.#syncDone) this.#inode.durable = this.length < seen.byteLength ? this.#inode.data : seen;
          this.#syncDone = Math.max(this.#syncDone, turn);
          if (!this.#nameIsSafe) this.#storage.syncNames();
          this.#nameIsSafe = true;
          resolve();
        }),
      );
    });
  }

  truncate(length: number): void {
    if (!this.#scope.alive) return;
    this.#storage.begin({ kind: "truncate", path: this.#path });
    this.#inode.data = this.#inode.data.slice(0, length);
  }

  close(): void {
    // Nothing is held open in memory.
  }
}
