/**
 * The port `BlobDatabase` for a database that is elsewhere: every method is a call that travels. What carries the calls
 * there and the answers back is given.
 */
import type {
  BlobCheckpoint,
  BlobDatabase,
  BlobDatabaseStats,
  EpochInfo,
  EpochSweep,
  KeepReason,
  SweepResult,
} from "../../base/ports.ts";
import type { BlobCall } from "../blob-engine/calls.ts";

export interface BlobCarrier {
  ready(): Promise<void>;
  /** Resolves with what the call returned, rejects with what it threw. Calls are done in their order. */
  call(call: BlobCall): Promise<unknown>;
  close(): Promise<void>;
}

export class RemoteBlobDatabase implements BlobDatabase {
  readonly #carrier: BlobCarrier;

  constructor(carrier: BlobCarrier) {
    this.#carrier = carrier;
  }

  #call<T>(...call: BlobCall): Promise<T> {
    return this.#carrier.call(call) as Promise<T>;
  }

  ready(): Promise<void> {
    return this.#carrier.ready();
  }
  load(digest: Uint8Array, isWhole: boolean): Promise<Uint8Array | null> {
    return this.#call("load", digest, isWhole);
  }
  has(digest: Uint8Array): Promise<boolean> {
    return this.#call("has", digest);
  }
  store(batch: Uint8Array, isLeased: boolean): Promise<Uint8Array> {
    return this.#call("store", batch, isLeased);
  }
  keep(digests: Uint8Array, reason: KeepReason): Promise<Uint8Array> {
    return this.#call("keep", digests, reason);
  }
  checkpoints(): Promise<BlobCheckpoint[]> {
    return this.#call("checkpoints");
  }
  putCheckpoint(text: string): Promise<void> {
    return this.#call("putCheckpoint", text);
  }
  epochInfo(countBefore: number | null): Promise<EpochInfo> {
    return this.#call("epochInfo", countBefore);
  }
  mark(epoch: number, digests: Uint8Array): Promise<number> {
    return this.#call("mark", epoch, digests);
  }
  sweep(which: EpochSweep): Promise<SweepResult> {
    return this.#call("sweep", which);
  }
  limit(sizeLimitBytes: number | null): Promise<void> {
    return this.#call("limit", sizeLimitBytes);
  }
  stats(): Promise<BlobDatabaseStats> {
    return this.#call("stats");
  }
  close(): Promise<void> {
    return this.#carrier.close();
  }
}
