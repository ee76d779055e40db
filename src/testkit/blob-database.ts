/**
 * The blob database of one simulated process. With `synchronous` FULL or EXTRA a transaction survives the loss of power
 * once it is done; otherwise what stores blobs does so when something later is made durable: a checkpoint always is.
 */
import { hexEncode } from "../base/bytes.ts";
import type { BlobDatabase, BlobDatabaseOptions, BlobRecord } from "../base/ports.ts";
import type { BlobTables, Transaction } from "./blob-tables.ts";
import type { Scope } from "./scope.ts";
import type { Storage } from "./storage.ts";

export class SimulatedBlobDatabase implements BlobDatabase {
  readonly #storage: Storage;
  readonly #scope: Scope;
  readonly #path: string;
  readonly #tables: BlobTables;
  readonly #isSynchronous: boolean;

  constructor(storage: Storage, scope: Scope, path: string, tables: BlobTables, options: BlobDatabaseOptions) {
    this.#storage = storage;
    this.#scope = scope;
    this.#path = path;
    this.#tables = tables;
    this.#isSynchronous = ["FULL", "EXTRA"].includes(options.synchronous?.toUpperCase() ?? "");
  }

  #transact(transaction: Transaction, isDurable = this.#isSynchronous): void {
    if (!this.#scope.alive) return;
    this.#storage.begin({ kind: "transaction", path: this.#path });
    this.#tables.apply(transaction);
    if (isDurable) this.#tables.sync();
  }

  load(hash: Uint8Array): Uint8Array | null {
    return this.#tables.blobs.get(hexEncode(hash))?.data ?? null;
  }
  has(hash: Uint8Array): boolean {
    return this.#tables.blobs.has(hexEncode(hash));
  }

  store(blobs: readonly BlobRecord[]): void {
    this.#storage.claim(blobs.reduce((total, blob) => total + blob.data.byteLength, 0));
    this.#transact({ stored: blobs.map(({ hash, data }) => ({ hash: hash.slice(), data: data.slice() })) });
  }
  remove(hashes: readonly Uint8Array[]): void {
    this.#transact({ removed: hashes.map((hash) => hash.slice()) });
  }
  forEachHash(callback: (hash: Uint8Array) => void): void {
    for (const { hash } of this.#tables.blobs.values()) callback(hash);
  }

  checkpoints(): string[] {
    return [...this.#tables.checkpoints];
  }
  putCheckpoint(text: string, keep: number): void {
    this.#storage.claim(text.length);
    this.#transact({ checkpoint: { text, keep } }, true);
  }

  shrink(): void {
    // A map takes no more than what it holds.
  }
  stats(): { objectCount: number; fileBytes: number; freeBytes: number } {
    return { objectCount: this.#tables.blobs.size, fileBytes: this.#tables.bytes, freeBytes: 0 };
  }
  close(): void {
    // Nothing is held open in memory.
  }
}
