/**
 * Storing many blobs that nothing refers to until all are there: some at once, with no more in memory than needed, and
 * kept from being collected meanwhile.
 */
import type { Blobref } from "../../formats/blobref.ts";
import type { BlobStore } from "./blobs.ts";

/** Blobs under way are at most so much, in bytes; a longer one goes alone. */
const BYTES_IN_FLIGHT_MAX = 16 * 1024 * 1024;
/** Stored blobs that nothing refers to are kept for ten minutes: well before, they are asked for again. */
const KEEP_PERIOD_MS = 180_000;
const KEEP_BATCH = 10_000;

export class BlobSink {
  readonly #store: BlobStore;
  readonly #window: number;
  readonly #refs: Blobref[] = [];
  readonly #keeper: NodeJS.Timeout;
  #count = 0;
  #bytes = 0;
  #error: { readonly error: unknown } | null = null;
  #waiting: (() => void)[] = [];

  constructor(store: BlobStore, window: number) {
    this.#store = store;
    this.#window = window;
    this.#keeper = setInterval(() => void this.#keep(), KEEP_PERIOD_MS);
    this.#keeper.unref();
  }

  /** Stores a blob when there is room for it; `stored` gets its blobref later. Throws the first error of any blob. */
  async add(blob: Uint8Array, stored: (ref: Blobref) => void, failed: (error: unknown) => unknown): Promise<void> {
    await this.#until(() => this.#count < this.#window && this.#bytes + blob.byteLength <= BYTES_IN_FLIGHT_MAX);
    this.#count++;
    this.#bytes += blob.byteLength;
    this.#store
      .store(blob)
      .then(
        (ref) => {
          this.#refs.push(ref);
          stored(ref);
        },
        (error: unknown) => (this.#error ??= { error: failed(error) }),
      )
      .finally(() => {
        this.#count--;
        this.#bytes -= blob.byteLength;
        this.#wake();
      });
  }

  /** Resolves when all that was added is stored. Throws the first error. */
  async settle(): Promise<void> {
    await this.#until(() => this.#count === 0);
  }

  close(): void {
    clearInterval(this.#keeper);
  }

  /** Nothing under way is always room enough. */
  async #until(holds: () => boolean): Promise<void> {
    while (this.#error === null && this.#count > 0 && !holds())
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    if (this.#error !== null) throw this.#error.error;
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  async #keep(): Promise<void> {
    try {
      for (let start = 0; start < this.#refs.length; start += KEEP_BATCH)
        await this.#store.keep(this.#refs.slice(start, start + KEEP_BATCH));
    } catch (error) {
      this.#error ??= { error };
      this.#wake();
    }
  }
}
