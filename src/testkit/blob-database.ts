/**
 * The blob database of one simulated process: the engine of production on a file in memory. A call takes a little virtual
 * time; so does each step of the collector. What a dead process asked for and was not begun does not happen.
 */
import { EMPTY_BYTES } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import type { BlobDatabaseEvents, BlobDatabaseOptions, Codec, TimerHandle } from "../base/ports.ts";
import { perform, type BlobCall } from "../services/blob-engine/calls.ts";
import { BlobEngine } from "../services/blob-engine/engine.ts";
import type { BlobFile } from "../services/blob-engine/blob-file.ts";
import type { BlobCarrier } from "../services/content-sqlite/remote.ts";

/** What the carrier needs of its surroundings. */
export interface CarrierSurroundings {
  readonly codec: Pick<Codec, "digest">;
  nowMs(): number;
  /** Calls back once after a delay, while the process lives. */
  after(delayMs: number, callback: () => void, options: { background: boolean }): TimerHandle;
  /** How long the next call takes. */
  callMs(): number;
}

/** Whenever the engine looks at the clock during a step it finds that so much time has passed. */
const LOOK_MS = 0.2;

export class LocalCarrier implements BlobCarrier {
  readonly #surroundings: CarrierSurroundings;
  readonly #events: BlobDatabaseEvents;
  readonly #engine: BlobEngine;
  readonly #queue: (() => void)[] = [];
  #isBusy = false;
  #isClosed = false;
  #looks = 0;
  #timer: TimerHandle | null = null;

  constructor(file: BlobFile, options: BlobDatabaseOptions, events: BlobDatabaseEvents, around: CarrierSurroundings) {
    this.#surroundings = around;
    this.#events = events;
    this.#engine = new BlobEngine(
      file,
      {
        digest: (data) => around.codec.digest(options.hash, data),
        digestLength: around.codec.digest(options.hash, EMPTY_BYTES).byteLength,
        nowMs: () => around.nowMs() + LOOK_MS * this.#looks++,
        checkpointsKept: options.checkpointsKept,
        sizeLimitBytes: options.sizeLimitBytes,
      },
      {
        forget: (digests) => void this.#forget(digests),
        checkpointWanted: () => events.checkpointWanted(),
        trouble: (error) => events.trouble(error),
      },
    );
  }

  async ready(): Promise<void> {
    // It is open from the beginning.
  }

  call(call: BlobCall): Promise<unknown> {
    if (this.#isClosed) return Promise.reject(new FluxError("EBADF", "the database is closed"));
    return new Promise((resolve, reject) => {
      this.#queue.push(() => {
        try {
          resolve(perform(this.#engine, call));
        } catch (error) {
          reject(error);
        }
      });
      this.#next();
    });
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#queue.push(() => {
        this.#isClosed = true;
        this.#timer?.cancel();
        resolve();
      });
      this.#next();
    });
  }

  /** Calls are done one after the other. */
  #next(): void {
    if (this.#isBusy || this.#queue.length === 0) return;
    this.#isBusy = true;
    this.#surroundings.after(
      this.#surroundings.callMs(),
      () => {
        this.#isBusy = false;
        this.#looks = 0;
        this.#queue.shift()!();
        this.#next();
        this.#schedule();
      },
      { background: false },
    );
  }

  async #forget(digests: Uint8Array): Promise<void> {
    await this.#events.forget(digests);
    if (!this.#isClosed) await this.call(["forgotten"]);
  }

  #schedule(): void {
    this.#timer?.cancel();
    this.#timer = null;
    // What the step before took is over.
    this.#looks = 0;
    const delayMs = this.#isClosed ? null : this.#engine.delayMs();
    if (delayMs === null) return;
    this.#timer = this.#surroundings.after(delayMs, () => this.#step(), { background: true });
  }

  #step(): void {
    this.#looks = 0;
    try {
      this.#engine.step();
    } catch (error) {
      this.#events.fatal(error);
    }
    this.#schedule();
  }
}
