/**
 * A blob file in memory, on simulated tables (`blob-tables.ts`). With `synchronous` FULL or EXTRA a transaction survives the
 * loss of power once it is done; otherwise what stores blobs does so when something later is made durable: a checkpoint
 * always is. A file takes as many bytes as its blobs and checkpoints; what is removed is gone at once.
 */
import { hexEncode } from "../base/bytes.ts";
import type { BlobFile, BlobFileSizes, BlobRow, Checkpoint, NewBlob } from "../services/blob-engine/blob-file.ts";
import type { BlobTables, StoredBlob, Transaction } from "./blob-tables.ts";

const OPEN_BRACE = 0x7b;

export interface BlobFileHooks {
  /** A transaction that adds so many bytes is about to happen. Throws where it cannot. */
  begin(bytes: number): void;
}

export class MemoryBlobFile implements BlobFile {
  readonly #tables: BlobTables;
  readonly #hooks: BlobFileHooks;
  readonly #isSynchronous: boolean;
  #lastRowid = 0;

  constructor(tables: BlobTables, hooks: BlobFileHooks, synchronous = "NORMAL") {
    this.#tables = tables;
    this.#hooks = hooks;
    this.#isSynchronous = ["FULL", "EXTRA"].includes(synchronous.toUpperCase());
    for (const { rowid } of tables.blobs.values()) this.#lastRowid = Math.max(this.#lastRowid, rowid);
  }

  #transact(transaction: Transaction, bytes: number, isDurable = this.#isSynchronous): void {
    this.#hooks.begin(bytes);
    this.#tables.apply(transaction);
    if (isDurable) this.#tables.sync();
  }

  #find(hash: Uint8Array): StoredBlob | undefined {
    return this.#tables.blobs.get(hexEncode(hash));
  }

  get lastRowid(): number {
    return this.#lastRowid;
  }

  load(hash: Uint8Array): Uint8Array | null {
    return this.#find(hash)?.data.slice() ?? null;
  }
  loadObject(hash: Uint8Array): Uint8Array | null {
    const blob = this.#find(hash);
    return blob?.data[0] === OPEN_BRACE ? blob.data : null;
  }
  has(hash: Uint8Array): boolean {
    return this.#find(hash) !== undefined;
  }

  store(blobs: readonly NewBlob[], epoch: number): boolean[] {
    const stored = new Map<string, StoredBlob>();
    let rowid = this.#lastRowid;
    let bytes = 0;
    const areNew = blobs.map(({ hash, data }) => {
      const key = hexEncode(hash);
      const old = this.#tables.blobs.get(key);
      if (old !== undefined) stored.set(key, { ...old, epoch: Math.max(old.epoch, epoch) });
      if (old !== undefined || stored.has(key)) return false;
      stored.set(key, { hash: hash.slice(), data: data.slice(), rowid: ++rowid, epoch });
      bytes += data.byteLength;
      return true;
    });
    this.#transact({ stored: [...stored.values()] }, bytes);
    this.#lastRowid = rowid;
    return areNew;
  }

  mark(hashes: readonly Uint8Array[], epoch: number, isSafe = false): number {
    const found = hashes.map((hash) => this.#find(hash)).filter((blob) => blob !== undefined);
    const stored = found.filter((blob) => blob.epoch < epoch).map((blob) => ({ ...blob, epoch }));
    if (stored.length > 0 || (isSafe && found.length > 0)) this.#transact({ stored }, 0, isSafe || this.#isSynchronous);
    return found.length;
  }

  rowsBelow(rowid: number, limit: number): BlobRow[] {
    const rows = [...this.#tables.blobs.values()].filter((blob) => blob.rowid < rowid);
    return rows.slice(-limit).toReversed().map(rowOf);
  }
  rowsBefore(epoch: number, after: number, through: number, limit: number): BlobRow[] {
    const rows = [...this.#tables.blobs.values()].filter(
      (blob) => blob.rowid > after && blob.rowid <= through && blob.epoch < epoch,
    );
    return rows.slice(0, limit).map(rowOf);
  }
  countBefore(epoch: number): number {
    return [...this.#tables.blobs.values()].filter((blob) => blob.epoch < epoch).length;
  }

  removeRows(rowids: readonly number[]): void {
    const numbers = new Set(rowids);
    const removed = [...this.#tables.blobs.values()].filter(({ rowid }) => numbers.has(rowid)).map(({ hash }) => hash);
    if (removed.length > 0) this.#transact({ removed }, 0);
  }

  checkpoints(): Checkpoint[] {
    return [...this.#tables.checkpoints];
  }
  putCheckpoint(text: string, keep: number): void {
    const id = (this.#tables.checkpoints[0]?.id ?? 0) + 1;
    this.#transact({ checkpoint: { id, text }, keep }, text.length, true);
  }
  keepCheckpoints(keep: number): void {
    this.#transact({ keep }, 0);
  }

  shrink(): boolean {
    return false;
  }
  settle(): void {
    // What is removed takes no room here.
  }
  sizes(): BlobFileSizes {
    return { objectCount: this.#tables.blobs.size, fileBytes: this.#tables.bytes, freeBytes: 0 };
  }
  close(): void {
    // Nothing is held open in memory.
  }
}

function rowOf({ rowid, hash, data }: StoredBlob): BlobRow {
  return { rowid, hash, size: data.byteLength, storedBytes: data.byteLength };
}
