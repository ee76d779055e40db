/**
 * Large blobs that passed a broker on their way down, kept as long as others below are likely to ask for the same: so a file
 * that all ranks extract from an archive moves once over each edge of the tree. In the cache, pieces of long values that are
 * read once would drive out what is needed again; so they have a place of their own, bounded in size and time.
 */
import type { Clock, TimerHandle } from "../../base/ports.ts";
import { BlobCache } from "./core.ts";

/** How far the ranks below may be apart in what they read, in bytes: they do not begin at the same moment. */
const BYTES_MAX: number = 512 * 1024 * 1024;
/** The same for programs on a broker that has none below it. */
const LEAF_BYTES_MAX: number = 64 * 1024 * 1024;
/** Nobody asked for one in this time: they are all forgotten. */
const STAY_MS = 10_000;

export class PassedBlobs {
  readonly #clock: Clock;
  readonly #bytesMax: number;
  readonly #cache = new BlobCache();
  #timer: TimerHandle | null = null;

  constructor(clock: Clock, isLeaf: boolean) {
    this.#clock = clock;
    this.#bytesMax = isLeaf ? LEAF_BYTES_MAX : BYTES_MAX;
  }

  get(key: string): Uint8Array | undefined {
    return this.#cache.count === 0 ? undefined : this.#cache.get(key, this.#clock.monotonicMs());
  }

  add(key: string, data: Uint8Array): void {
    const nowMs = this.#clock.monotonicMs();
    this.#cache.add(key, data, false, nowMs);
    this.#cache.shrink(this.#bytesMax, Infinity);
    this.#forgetLater();
  }

  #forgetLater(): void {
    this.#timer ??= this.#clock.after(
      STAY_MS,
      () => {
        this.#timer = null;
        this.#cache.shrink(0, this.#clock.monotonicMs() - STAY_MS);
        if (this.#cache.count > 0) this.#forgetLater();
      },
      { background: true },
    );
  }

  clear(): void {
    this.#timer?.cancel();
    this.#timer = null;
    this.#cache.dropClean();
  }
}
