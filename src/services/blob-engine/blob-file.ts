/**
 * The tables of a blob database as the engine sees them: blobs by hash, each in a numbered row, and checkpoints. Calls
 * are synchronous, and each that changes something is one transaction: all of it happens, or nothing.
 *
 * Invariants: row numbers only grow while a file is open, also when rows are removed; a blob is in one row. `epoch` is that
 * of the newest checkpoint when the blob was last stored or marked.
 *
 * Errors are FluxError: ENOSPC where the disk is full, EIO where the file is damaged.
 */

export interface BlobRow {
  readonly rowid: number;
  readonly hash: Uint8Array;
  /** Bytes of the blob. */
  readonly size: number;
  /** Bytes that it takes in the file, roughly. */
  readonly storedBytes: number;
}

/** A blob to store. */
export interface NewBlob {
  readonly hash: Uint8Array;
  readonly data: Uint8Array;
}

export interface BlobFileSizes {
  readonly objectCount: number;
  /** Length of the file when it is at rest. */
  readonly fileBytes: number;
  /** What could be given back to the file system. */
  readonly freeBytes: number;
}

export interface Checkpoint {
  readonly id: number;
  /** A JSON object. */
  readonly text: string;
}

export interface BlobFile {
  load(hash: Uint8Array): Uint8Array | null;
  /** The same, but null also for what cannot be a JSON object by its first byte, where that is cheap to tell. */
  loadObject(hash: Uint8Array): Uint8Array | null;
  has(hash: Uint8Array): boolean;
  /** Adds those that are not there, sets the epoch of the others. Returns for each whether it is new. */
  store(blobs: readonly NewBlob[], epoch: number): boolean[];
  /**
   * Raises the epoch of blobs. Returns how many there are. With `isSafe` they survive the loss of power when it returns,
   * and all that was stored before.
   */
  mark(hashes: readonly Uint8Array[], epoch: number, isSafe?: boolean): number;
  /** The number of the newest row, at least: no row that is added later has this one or a smaller one. */
  readonly lastRowid: number;
  /** Rows before one, the last of them first. */
  rowsBelow(rowid: number, limit: number): BlobRow[];
  /** Rows after one and up to another whose epoch is smaller, by number. */
  rowsBefore(epoch: number, after: number, through: number, limit: number): BlobRow[];
  /** How many blobs have a smaller epoch. Looks at all of them. */
  countBefore(epoch: number): number;
  removeRows(rowids: readonly number[]): void;
  /** Newest first. */
  checkpoints(): Checkpoint[];
  /** Adds a checkpoint, and keeps this many. When it returns, all that was done before survives the loss of power. */
  putCheckpoint(text: string, keep: number): void;
  /** Removes all checkpoints but the newest ones. */
  keepCheckpoints(count: number): void;
  /** Gives free space back to the file system, at most this many bytes. False when there is nothing to give back. */
  shrink(maxBytes: number): boolean;
  /** Brings the file to rest: it is as short as it can be, nothing is kept beside it. */
  settle(): void;
  sizes(): BlobFileSizes;
  close(): void;
}
