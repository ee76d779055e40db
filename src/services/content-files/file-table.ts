/**
 * Blobs in files, a file each, as the engine sees them (`blob-engine/blob-file.ts`). Which there are is kept in memory;
 * they are counted at the start.
 *
 * What differs from a database: a store that fails halfway leaves whole blobs, to which nobody refers; and what survives
 * the loss of power is told by `takeUnsynced`, for somebody else to synchronise before a checkpoint is put.
 */
import { hexDecode, hexEncode, utf8Decode, utf8Encode } from "../../base/bytes.ts";
import { isFluxError } from "../../base/errors.ts";
import type { Disk, HashAlgorithm } from "../../base/ports.ts";
import type { BlobFile, BlobFileSizes, BlobRow, Checkpoint, NewBlob } from "../blob-engine/blob-file.ts";
import { CHECKPOINT_NAME } from "./protocol.ts";

const FILE_MODE = 0o600;
const OPEN_BRACE = 0x7b;

interface Row extends BlobRow {
  epoch: number;
}

export class FileTable implements BlobFile {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #algorithm: HashAlgorithm;
  readonly #byHash = new Map<string, Row>();
  /** By number; those that are removed leave it when the table settles. */
  #rows: Row[] = [];
  #lastRowid = 0;
  #bytes = 0;
  #checkpointId = 1;
  /** Blobs that the loss of power may take. */
  #unsynced = new Set<string>();

  constructor(disk: Disk, directory: string, algorithm: HashAlgorithm) {
    this.#disk = disk;
    this.#directory = directory;
    this.#algorithm = algorithm;
    for (const name of disk.list(directory)) {
      const hash = name.startsWith(`${algorithm}-`) ? hexDecode(name.slice(algorithm.length + 1)) : null;
      const info = hash === null ? null : disk.info(this.pathOf(hash));
      if (hash !== null && info !== null) this.#add(hash, info.sizeBytes, 0);
    }
  }

  pathOf(hash: Uint8Array): string {
    return `${this.#directory}/${this.#algorithm}-${hexEncode(hash)}`;
  }

  #add(hash: Uint8Array, size: number, epoch: number): void {
    const row: Row = { rowid: ++this.#lastRowid, hash: hash.slice(), size, storedBytes: size, epoch };
    this.#byHash.set(hexEncode(hash), row);
    this.#rows.push(row);
    this.#bytes += size;
  }

  #read(path: string): Uint8Array | null {
    try {
      return this.#disk.readFile(path);
    } catch (error) {
      if (isFluxError(error, "ENOENT")) return null;
      throw error;
    }
  }

  get lastRowid(): number {
    return this.#lastRowid;
  }

  load(hash: Uint8Array): Uint8Array | null {
    return this.#read(this.pathOf(hash));
  }
  loadObject(hash: Uint8Array): Uint8Array | null {
    const blob = this.load(hash);
    return blob?.[0] === OPEN_BRACE ? blob : null;
  }

  /** Somebody else may have put the file there. */
  has(hash: Uint8Array): boolean {
    if (this.#byHash.has(hexEncode(hash))) return true;
    const info = this.#disk.info(this.pathOf(hash));
    if (info !== null) this.#add(hash, info.sizeBytes, 0);
    return info !== null;
  }

  store(blobs: readonly NewBlob[], epoch: number): boolean[] {
    return blobs.map(({ hash, data }) => {
      const isNew = !this.has(hash);
      if (isNew) {
        this.#disk.writeFile(this.pathOf(hash), data, { mode: FILE_MODE });
        this.#add(hash, data.byteLength, epoch);
        this.#unsynced.add(hexEncode(hash));
      } else this.mark([hash], epoch);
      return isNew;
    });
  }

  mark(hashes: readonly Uint8Array[], epoch: number): number {
    let count = 0;
    for (const hash of hashes) {
      if (!this.has(hash)) continue;
      const row = this.#byHash.get(hexEncode(hash))!;
      row.epoch = Math.max(row.epoch, epoch);
      count += 1;
    }
    return count;
  }

  rowsBelow(rowid: number, limit: number): BlobRow[] {
    const rows: BlobRow[] = [];
    for (let index = this.#placeOf(rowid) - 1; index >= 0 && rows.length < limit; index--)
      if (this.#isThere(this.#rows[index]!)) rows.push(this.#rows[index]!);
    return rows;
  }

  rowsBefore(epoch: number, after: number, through: number, limit: number): BlobRow[] {
    const rows: BlobRow[] = [];
    for (let index = this.#placeOf(after + 1); index < this.#rows.length && rows.length < limit; index++) {
      const row = this.#rows[index]!;
      if (row.rowid > through) break;
      if (row.epoch < epoch && this.#isThere(row)) rows.push(row);
    }
    return rows;
  }

  countBefore(epoch: number): number {
    return [...this.#byHash.values()].filter((row) => row.epoch < epoch).length;
  }

  /** The place of the first row that has this number or a greater one. */
  #placeOf(rowid: number): number {
    let low = 0;
    let high = this.#rows.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#rows[middle]!.rowid < rowid) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #isThere(row: Row): boolean {
    return this.#byHash.get(hexEncode(row.hash)) === row;
  }

  removeRows(rowids: readonly number[]): void {
    for (const rowid of rowids) {
      const row = this.#rows[this.#placeOf(rowid)];
      if (row?.rowid !== rowid || !this.#isThere(row)) continue;
      this.#disk.remove(this.pathOf(row.hash));
      const key = hexEncode(row.hash);
      this.#byHash.delete(key);
      this.#unsynced.delete(key);
      this.#bytes -= row.size;
    }
  }

  checkpoints(): Checkpoint[] {
    const text = this.#read(`${this.#directory}/${CHECKPOINT_NAME}`);
    return text === null ? [] : [{ id: this.#checkpointId, text: utf8Decode(text) }];
  }

  /** There is one. What was stored before must have been synchronised. */
  putCheckpoint(text: string): void {
    const path = `${this.#directory}/${CHECKPOINT_NAME}`;
    this.#disk.writeFile(path, utf8Encode(text), { mode: FILE_MODE, sync: true });
    this.#checkpointId += 1;
  }
  keepCheckpoints(): void {
    // There are no older ones.
  }

  shrink(): boolean {
    return false;
  }
  settle(): void {
    if (this.#rows.length > this.#byHash.size) this.#rows = this.#rows.filter((row) => this.#isThere(row));
  }
  sizes(): BlobFileSizes {
    return { objectCount: this.#byHash.size, fileBytes: this.#bytes, freeBytes: 0 };
  }
  close(): void {
    // Nothing is open.
  }

  /** The blobs that the loss of power may take; they are asked for once, or given back. */
  takeUnsynced(): Uint8Array[] {
    const taken = [...this.#unsynced].map((key) => hexDecode(key)!);
    this.#unsynced = new Set();
    return taken;
  }
  giveBack(hashes: readonly Uint8Array[]): void {
    for (const hash of hashes) if (this.isKnown(hash)) this.#unsynced.add(hexEncode(hash));
  }
  /** Whether a blob is there and has not been removed. */
  isKnown(hash: Uint8Array): boolean {
    return this.#byHash.has(hexEncode(hash));
  }
}
