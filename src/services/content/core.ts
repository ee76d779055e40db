/**
 * The cache of the content service: blobs by digest, which of them are dirty (on rank 0: not in the backing store), and
 * the register of the backing service.
 *
 * Invariant: a dirty blob is never evicted. It knows neither messages nor time but what it is told.
 */
import { FluxError } from "../../base/errors.ts";

interface CachedBlob {
  readonly data: Uint8Array;
  isDirty: boolean;
  usedAtMs: number;
}

export class BlobCache {
  /** In the order of last use. */
  readonly #blobs = new Map<string, CachedBlob>();
  readonly #dirty = new Set<string>();
  #bytes = 0;
  #dirtyBytes = 0;

  get count(): number {
    return this.#blobs.size;
  }
  get dirtyCount(): number {
    return this.#dirty.size;
  }
  get bytes(): number {
    return this.#bytes;
  }
  get dirtyBytes(): number {
    return this.#dirtyBytes;
  }

  get(key: string, nowMs: number): Uint8Array | undefined {
    const blob = this.#blobs.get(key);
    if (blob === undefined) return undefined;
    blob.usedAtMs = nowMs;
    this.#blobs.delete(key);
    this.#blobs.set(key, blob);
    return blob.data;
  }

  /** Adds a blob; one that is there stays as it is. Returns whether it is new. */
  add(key: string, data: Uint8Array, isDirty: boolean, nowMs: number): boolean {
    if (this.#blobs.has(key)) return false;
    this.#blobs.set(key, { data, isDirty, usedAtMs: nowMs });
    this.#bytes += data.byteLength;
    if (isDirty) {
      this.#dirty.add(key);
      this.#dirtyBytes += data.byteLength;
    }
    return true;
  }

  /** Some dirty blobs, oldest first. */
  dirtyBlobs(limit: number, except: ReadonlySet<string>): [string, Uint8Array][] {
    const blobs: [string, Uint8Array][] = [];
    for (const key of this.#dirty) {
      if (blobs.length >= limit) break;
      if (!except.has(key)) blobs.push([key, this.#blobs.get(key)!.data]);
    }
    return blobs;
  }

  markClean(key: string): void {
    if (!this.#dirty.delete(key)) return;
    const blob = this.#blobs.get(key)!;
    blob.isDirty = false;
    this.#dirtyBytes -= blob.data.byteLength;
  }

  /** A dirty blob that could not be stored and must not be kept. */
  remove(key: string): void {
    const blob = this.#blobs.get(key);
    if (blob === undefined) return;
    this.markClean(key);
    this.#blobs.delete(key);
    this.#bytes -= blob.data.byteLength;
  }

  removeClean(key: string): void {
    if (this.#blobs.get(key)?.isDirty === false) this.remove(key);
  }

  /** Evicts clean blobs, the least recently used first, down to a size; those used since `keepFromMs` stay. */
  shrink(targetBytes: number, keepFromMs: number): void {
    for (const [key, blob] of this.#blobs) {
      if (this.#bytes <= targetBytes || blob.usedAtMs >= keepFromMs) break;
      if (!blob.isDirty) this.remove(key);
    }
  }

  /** Evicts every clean blob. */
  dropClean(): void {
    for (const [key, blob] of this.#blobs) if (!blob.isDirty) this.remove(key);
  }
}

/** Which service keeps blobs on the disk: one at a time, and always the same. */
export class BackingRegister {
  #name: string | null = null;
  #isActive = false;

  get name(): string | null {
    return this.#name;
  }
  get isActive(): boolean {
    return this.#isActive;
  }

  /** Throws EBUSY while one is active, EINVAL for another one than before. */
  register(name: string): void {
    if (this.#isActive) throw new FluxError("EBUSY", `content backing store ${this.#name} is already active`);
    if (this.#name !== null && this.#name !== name)
      throw new FluxError(
        "EINVAL",
        `content backing store cannot be changed on the fly, from ${this.#name} to ${name}`,
      );
    this.#name = name;
    this.#isActive = true;
  }

  /** Throws EINVAL where none is active. */
  unregister(): void {
    if (!this.#isActive) throw new FluxError("EINVAL", "content backing store is not active");
    this.#isActive = false;
  }
}
