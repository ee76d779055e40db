/**
 * The disk port in memory. Every file has what the page cache holds and what is durable; the death of a process loses
 * neither, a crash of the machine loses a part of what was not synced, chosen by the dice.
 *
 * Faults that a scenario switches on: no space left, a limit in bytes.
 */
import { concatBytes, EMPTY_BYTES, hexEncode } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import type { BlobDatabase, BlobDatabaseOptions, BlobRecord, Disk, FileInfo, LogFile } from "../base/ports.ts";
import type { Scope } from "./scope.ts";
import type { Seeded } from "./seeded.ts";
import type { Timeline } from "./timeline.ts";

const SYNC_MAX_MS = 5;

interface StoredFile {
  kind: "file" | "directory" | "database";
  data: Uint8Array;
  durableLength: number;
  mode: number;
  mtime: number;
  database: Tables | null;
}

/** A committed state and the one that survives power loss. */
interface Tables {
  blobs: Map<string, BlobRecord>;
  checkpoints: string[];
}

/** The disk of one machine. */
export class Storage {
  readonly files: Map<string, StoredFile> = new Map();
  readonly timeline: Timeline;
  readonly dice: Seeded;
  /** Stores are refused with ENOSPC beyond this many bytes. */
  capacityBytes: number = Number.MAX_SAFE_INTEGER;

  constructor(timeline: Timeline, dice: Seeded) {
    this.timeline = timeline;
    this.dice = dice;
    for (const path of ["/", "/tmp"]) this.addDirectory(path, 0o755);
  }

  addDirectory(path: string, mode: number): void {
    this.files.set(path, {
      kind: "directory",
      data: EMPTY_BYTES,
      durableLength: 0,
      mode,
      mtime: this.timeline.wallclock,
      database: null,
    });
  }

  usedBytes(): number {
    let total = 0;
    for (const file of this.files.values()) {
      total += file.data.byteLength;
      if (file.database !== null) for (const blob of file.database.blobs.values()) total += blob.data.byteLength;
    }
    return total;
  }

  claim(bytes: number): void {
    if (this.capacityBytes === Number.MAX_SAFE_INTEGER) return;
    if (this.usedBytes() + bytes > this.capacityBytes) throw new FluxError("ENOSPC");
  }

  /** Power loss: of what was not synced, every file keeps a random prefix. */
  crash(): void {
    for (const file of this.files.values()) {
      if (file.kind !== "file" || file.durableLength >= file.data.byteLength) continue;
      const kept = this.dice.between(file.durableLength, file.data.byteLength);
      file.data = file.data.slice(0, kept);
    }
  }
}

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

  writeFile(path: string, data: Uint8Array, options: { mode?: number } = {}): void {
    if (!this.#scope.alive) return;
    this.#storage.claim(data.byteLength);
    this.#put(path, data.slice(), options.mode ?? 0o600);
  }

  openLog(path: string, options: { mode?: number } = {}): LogFile {
    if (!this.#storage.files.has(path)) this.#put(path, EMPTY_BYTES, options.mode ?? 0o600);
    return new SimulatedLog(this.#storage, this.#scope, this.#existing(path));
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
    const file = this.#existing(from);
    this.#storage.files.delete(from);
    this.#storage.files.set(to, file);
  }

  remove(path: string): void {
    if (!this.#scope.alive) return;
    this.#storage.files.delete(path);
    for (const each of this.#storage.files.keys()) if (each.startsWith(`${path}/`)) this.#storage.files.delete(each);
  }

  freeBytes(): number {
    return Math.max(0, this.#storage.capacityBytes - this.#storage.usedBytes());
  }

  openBlobDatabase(path: string, options: BlobDatabaseOptions = {}): BlobDatabase {
    let file = this.#storage.files.get(path);
    if (file === undefined || options.truncate === true) {
      this.#put(path, EMPTY_BYTES, 0o600);
      file = this.#existing(path);
      file.kind = "database";
      file.database = { blobs: new Map(), checkpoints: [] };
    }
    return new SimulatedBlobDatabase(this.#storage, this.#scope, file.database!);
  }

  #existing(path: string): StoredFile {
    const file = this.#storage.files.get(path);
    if (file === undefined) throw new FluxError("ENOENT", `${path}: No such file or directory`);
    return file;
  }

  #put(path: string, data: Uint8Array, mode: number): void {
    if (!this.#storage.files.has(parentOf(path))) throw new FluxError("ENOENT", `${path}: No such file or directory`);
    this.#storage.files.set(path, {
      kind: "file",
      data,
      durableLength: data.byteLength,
      mode,
      mtime: this.#storage.timeline.wallclock,
      database: null,
    });
  }
}

function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash <= 0 ? "/" : path.slice(0, slash);
}

class SimulatedLog implements LogFile {
  readonly #storage: Storage;
  readonly #scope: Scope;
  readonly #file: StoredFile;

  constructor(storage: Storage, scope: Scope, file: StoredFile) {
    this.#storage = storage;
    this.#scope = scope;
    this.#file = file;
  }

  get length(): number {
    return this.#file.data.byteLength;
  }

  append(data: Uint8Array): void {
    if (!this.#scope.alive) return;
    this.#storage.claim(data.byteLength);
    this.#file.data = concatBytes([this.#file.data, data.slice()]);
  }

  sync(): Promise<void> {
    const { length } = this;
    const { timeline, dice } = this.#storage;
    return new Promise((resolve) => {
      timeline.after(
        dice.fraction() * SYNC_MAX_MS,
        this.#scope.guard(() => {
          this.#file.durableLength = Math.max(this.#file.durableLength, Math.min(length, this.length));
          resolve();
        }),
      );
    });
  }

  truncate(length: number): void {
    if (!this.#scope.alive) return;
    this.#file.data = this.#file.data.slice(0, length);
    this.#file.durableLength = Math.min(this.#file.durableLength, length);
  }

  close(): void {
    // Nothing is held open in memory.
  }
}

class SimulatedBlobDatabase implements BlobDatabase {
  readonly #storage: Storage;
  readonly #scope: Scope;
  readonly #tables: Tables;

  constructor(storage: Storage, scope: Scope, tables: Tables) {
    this.#storage = storage;
    this.#scope = scope;
    this.#tables = tables;
  }

  load(hash: Uint8Array): Uint8Array | null {
    return this.#tables.blobs.get(hexEncode(hash))?.data ?? null;
  }
  has(hash: Uint8Array): boolean {
    return this.#tables.blobs.has(hexEncode(hash));
  }
  store(blobs: readonly BlobRecord[]): void {
    if (!this.#scope.alive) return;
    this.#storage.claim(blobs.reduce((total, blob) => total + blob.data.byteLength, 0));
    for (const { hash, data } of blobs)
      this.#tables.blobs.set(hexEncode(hash), { hash: hash.slice(), data: data.slice() });
  }
  remove(hashes: readonly Uint8Array[]): void {
    if (!this.#scope.alive) return;
    for (const hash of hashes) this.#tables.blobs.delete(hexEncode(hash));
  }
  forEachHash(callback: (hash: Uint8Array) => void): void {
    for (const { hash } of this.#tables.blobs.values()) callback(hash);
  }
  checkpoints(): string[] {
    return [...this.#tables.checkpoints];
  }
  putCheckpoint(text: string, keep: number): void {
    if (!this.#scope.alive) return;
    this.#tables.checkpoints = [text, ...this.#tables.checkpoints].slice(0, keep);
  }
  shrink(): void {
    // A map takes no more than what it holds.
  }
  stats(): { objectCount: number; fileBytes: number; freeBytes: number } {
    let fileBytes = 0;
    for (const blob of this.#tables.blobs.values()) fileBytes += blob.data.byteLength;
    return { objectCount: this.#tables.blobs.size, fileBytes, freeBytes: 0 };
  }
  close(): void {
    // Nothing is held open in memory.
  }
}
