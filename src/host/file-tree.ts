/** Trees of files on Node (`base/file-tree.ts`). Where the addon is, holes are found by the file system's own account. */
import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  symlinkSync,
  unlinkSync,
  writeSync,
  type Stats,
} from "node:fs";
import { FluxError } from "../base/errors.ts";
import type { FileRegion, FileStatus, FileTree, OpenFile } from "../base/file-tree.ts";
import { errnoOf } from "./errors.ts";
import { nativeAddon } from "./native.ts";

/** Where holes must be looked for, a stretch of zeros of this length and place is one. */
const BLOCK_BYTES = 4096;
const STAT_BLOCK_BYTES = 512;
const SCAN_BYTES: number = 256 * BLOCK_BYTES;

function attempt<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw new FluxError(errnoOf(error), undefined, { cause: error });
  }
}

function kindOf(stats: Stats): FileStatus["kind"] {
  if (stats.isFile()) return "file";
  if (stats.isDirectory()) return "directory";
  return stats.isSymbolicLink() ? "symlink" : "other";
}

class NodeFile implements OpenFile {
  readonly #descriptor: number;

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  read(offset: number, length: number): Uint8Array {
    const buffer = new Uint8Array(length);
    let filled = 0;
    while (filled < length) {
      const count = attempt(() => readSync(this.#descriptor, buffer, filled, length - filled, offset + filled));
      if (count === 0) break;
      filled += count;
    }
    return buffer.subarray(0, filled);
  }

  write(offset: number, data: Uint8Array): void {
    for (let written = 0; written < data.byteLength;)
      written += attempt(() => writeSync(this.#descriptor, data, written, data.byteLength - written, offset + written));
  }

  setLength(length: number): void {
    attempt(() => ftruncateSync(this.#descriptor, length));
  }

  *dataRegions(): Generator<FileRegion> {
    const stats = attempt(() => fstatSync(this.#descriptor));
    if (stats.size === 0) return;
    const addon = nativeAddon();
    if (stats.blocks * STAT_BLOCK_BYTES >= stats.size) yield [0, stats.size];
    else if (addon === null) yield* this.#nonZeroRegions(stats.size);
    else yield* this.#allocatedRegions(stats.size, addon.dataRegion);
  }

  *#allocatedRegions(
    size: number,
    dataRegion: (descriptor: number, offset: number) => [start: number, end: number] | null,
  ): Generator<FileRegion> {
    for (let offset = 0; offset < size;) {
      const region = dataRegion(this.#descriptor, offset);
      if (region === null) return;
      const [start, end] = region;
      yield [start, Math.min(end, size) - start];
      offset = end;
    }
  }

  /** Without the addon: what is zero, block by block, is taken for a hole. */
  *#nonZeroRegions(size: number): Generator<FileRegion> {
    let start = -1;
    for (let offset = 0; offset < size; offset += SCAN_BYTES) {
      const part = this.read(offset, Math.min(SCAN_BYTES, size - offset));
      for (let block = 0; block < part.byteLength; block += BLOCK_BYTES) {
        const isZero = part.subarray(block, block + BLOCK_BYTES).every((byte) => byte === 0);
        if (isZero && start >= 0) {
          yield [start, offset + block - start];
          start = -1;
        } else if (!isZero && start < 0) start = offset + block;
      }
    }
    if (start >= 0) yield [start, size - start];
  }

  close(): void {
    attempt(() => closeSync(this.#descriptor));
  }
}

export function nodeFileTree(): FileTree {
  return {
    status(path) {
      const stats = attempt(() => lstatSync(path, { throwIfNoEntry: false }));
      if (stats === undefined) return null;
      return {
        kind: kindOf(stats),
        mode: stats.mode,
        sizeBytes: stats.size,
        mtime: Math.floor(stats.mtimeMs / 1000),
        ctime: Math.floor(stats.ctimeMs / 1000),
      };
    },
    list: (path) => attempt(() => readdirSync(path)),
    readLink: (path) => attempt(() => readlinkSync(path)),
    open: (path) => new NodeFile(attempt(() => openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW))),
    create(path, permissions) {
      const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
      const descriptor = attempt(() => openSync(path, flags, permissions));
      attempt(() => fchmodSync(descriptor, permissions));
      return new NodeFile(descriptor);
    },
    makeLink: (target, path) => attempt(() => symlinkSync(target, path)),
    makeDirectory: (path) => attempt(() => void mkdirSync(path)),
    setPermissions: (path, permissions) => attempt(() => chmodSync(path, permissions)),
    removeFile: (path) => attempt(() => unlinkSync(path)),
  };
}
