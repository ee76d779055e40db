/**
 * The tables of a simulated blob database: blobs by hash and checkpoints, changed by transactions. A transaction happens
 * whole or not at all. Those that are not durable yet may be lost with the machine's power, the last ones first.
 */
import { hexEncode } from "../base/bytes.ts";
import type { Checkpoint } from "../services/blob-engine/blob-file.ts";

/** A row of the table of blobs. */
export interface StoredBlob {
  readonly hash: Uint8Array;
  readonly data: Uint8Array;
  readonly rowid: number;
  readonly epoch: number;
}

/** A change to the tables: all of it, or nothing. Nothing changes it later. */
export interface Transaction {
  /** New rows, numbered in their order, or rows that get another epoch. */
  readonly stored?: readonly StoredBlob[];
  readonly removed?: readonly Uint8Array[];
  /** A checkpoint to put first. */
  readonly checkpoint?: Checkpoint;
  /** How many checkpoints to keep then. */
  readonly keep?: number;
}

interface State {
  /** By hash in hex, in the order in which they were stored. */
  readonly blobs: ReadonlyMap<string, StoredBlob>;
  /** Newest first. */
  readonly checkpoints: readonly Checkpoint[];
  /** Names the transaction that led here. */
  readonly version: number;
}

interface NamedTransaction extends Transaction {
  readonly version: number;
}

export interface BlobTablesImage {
  readonly durable: State;
  readonly pending: readonly NamedTransaction[];
}

const EMPTY: State = { blobs: new Map(), checkpoints: [], version: 0 };

/** No two transactions of a process have the same name, in whichever world they happen. */
let versions = 0;

export class BlobTables {
  readonly blobs: Map<string, StoredBlob>;
  #checkpoints: readonly Checkpoint[];
  #durable: State;
  #pending: NamedTransaction[] = [];
  #version: number;
  #bytes = 0;

  constructor(image: BlobTablesImage = { durable: EMPTY, pending: [] }) {
    this.#durable = image.durable;
    this.blobs = new Map(image.durable.blobs);
    this.#checkpoints = image.durable.checkpoints;
    this.#version = image.durable.version;
    for (const blob of this.blobs.values()) this.#bytes += blob.data.byteLength;
    for (const transaction of image.pending) this.#apply(transaction);
  }

  /** Bytes of all blobs. */
  get bytes(): number {
    return this.#bytes;
  }
  get checkpoints(): readonly Checkpoint[] {
    return this.#checkpoints;
  }

  /** Does a transaction. */
  apply(transaction: Transaction): void {
    versions += 1;
    this.#apply({ ...transaction, version: versions });
  }

  #apply(transaction: NamedTransaction): void {
    const { stored = [], removed = [], checkpoint, keep } = transaction;
    for (const blob of stored) {
      const key = hexEncode(blob.hash);
      if (!this.blobs.has(key)) this.#bytes += blob.data.byteLength;
      this.blobs.set(key, blob);
    }
    for (const hash of removed) {
      const key = hexEncode(hash);
      this.#bytes -= this.blobs.get(key)?.data.byteLength ?? 0;
      this.blobs.delete(key);
    }
    if (checkpoint !== undefined) this.#checkpoints = [checkpoint, ...this.#checkpoints];
    if (keep !== undefined) this.#checkpoints = this.#checkpoints.slice(0, Math.max(1, keep));
    this.#version = transaction.version;
    this.#pending.push(transaction);
  }

  /** Every transaction until now survives the loss of power. */
  sync(): void {
    if (this.#pending.length === 0) return;
    this.#durable = { blobs: new Map(this.blobs), checkpoints: this.#checkpoints, version: this.#version };
    this.#pending = [];
  }

  /** The transaction that an image ends with. */
  static versionOf({ durable, pending }: BlobTablesImage): number {
    return pending.at(-1)?.version ?? durable.version;
  }

  image(): BlobTablesImage {
    return { durable: this.#durable, pending: [...this.#pending] };
  }

  /** An image after power loss, with so many of its transactions kept. */
  static settled(image: BlobTablesImage, kept: number): BlobTablesImage {
    if (kept === 0) return { durable: image.durable, pending: [] };
    const tables = new BlobTables({ durable: image.durable, pending: image.pending.slice(0, kept) });
    tables.sync();
    return tables.image();
  }
}
