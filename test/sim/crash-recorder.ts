/** Takes an image of a disk before every operation on it: the points at which a crash may strike. */
import type { Operation, Storage, StorageImage } from "../../src/testkit/storage.ts";
import type { Moment } from "./crash-model.ts";

export interface CrashPoint {
  readonly moment: Moment;
  /** The disk before the operation. */
  readonly image: StorageImage;
  /** What was about to happen. */
  readonly operation: Operation;
}

export class Recorder {
  readonly points: CrashPoint[] = [];
  readonly #storage: Storage;
  #order = 0;

  constructor(storage: Storage) {
    this.#storage = storage;
    storage.observer = (operation) => this.points.push({ moment: this.moment(), image: storage.image(), operation });
  }

  /** Now, after everything that happened before. */
  moment(): Moment {
    return { order: this.#order++, ms: this.#storage.timeline.nowMs };
  }

  /** The disk takes only so many bytes more; null: as many as come. */
  limit(bytes: number | null): void {
    const storage = this.#storage;
    storage.capacityBytes = bytes === null ? Number.MAX_SAFE_INTEGER : storage.usedBytes() + bytes;
  }

  stop(): void {
    this.#storage.observer = null;
  }
}
