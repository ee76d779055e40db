/**
 * Fetches blobs from the content service into the index: each once at a time, however many wait for it, a bounded number
 * under way.
 */
import { concatBytes, EMPTY_BYTES, hexDecode } from "../../base/bytes.ts";
import { assert } from "../../base/assert.ts";
import { FluxError, isFluxError } from "../../base/errors.ts";
import type { Handle } from "../../sdk/handle.ts";
import { MissingBlob, type BlobIndex } from "./blob-index.ts";
import { KEPT_VALUE_BYTES, LOAD_WINDOW, VALUE_LOAD_WINDOW } from "./protocol.ts";

export class BlobLoader {
  readonly #handle: Handle;
  readonly #index: BlobIndex;
  readonly #loading = new Map<string, Promise<Uint8Array>>();
  #faults = 0;

  constructor(handle: Handle, index: BlobIndex) {
    this.#handle = handle;
    this.#index = index;
  }

  /** Blobs that were fetched since the start. */
  get faults(): number {
    return this.#faults;
  }
  /** Blobs under way. */
  get incomplete(): number {
    return this.#loading.size;
  }

  /**
   * Fetches blobs; resolves with their bytes. What the index retains of them goes to `retained`, to be released by the
   * caller. Rejects with LostBlob where one does not exist, EIO where one is no directory.
   */
  async load(missing: MissingBlob, retained: string[]): Promise<Map<string, Uint8Array>> {
    const loaded = new Map<string, Uint8Array>();
    const window = missing.isDirectory ? LOAD_WINDOW : VALUE_LOAD_WINDOW;
    for (let start = 0; start < missing.refs.length; start += window) {
      const refs = missing.refs.slice(start, start + window);
      const blobs = await Promise.all(refs.map((ref) => this.#fetch(ref)));
      for (const [position, ref] of refs.entries()) {
        // Long values are read once: they would drive out what is needed again.
        if (missing.isDirectory || blobs[position]!.byteLength <= KEPT_VALUE_BYTES) {
          this.#index.addLoaded(ref, blobs[position]!, missing.isDirectory);
          retained.push(ref);
        }
        loaded.set(ref, blobs[position]!);
      }
    }
    return loaded;
  }

  /**
   * Does something that needs blobs, as often as it misses some. `missing` are those it is known to miss. Rejects with what
   * it throws.
   */
  async complete<T>(action: (held: Map<string, Uint8Array>) => T, missing: MissingBlob | null = null): Promise<T> {
    const held = new Map<string, Uint8Array>();
    const retained: string[] = [];
    let blobs = missing;
    try {
      for (;;) {
        if (blobs !== null)
          for (const [ref, bytes] of await this.load(blobs, retained)) if (!blobs.isDirectory) held.set(ref, bytes);
        try {
          return action(held);
        } catch (error) {
          if (!(error instanceof MissingBlob)) throw error;
          blobs = error;
        }
      }
    } finally {
      this.#index.release(retained);
    }
  }

  /**
   * Tells the content store that blobs are referred to from now on: it keeps those that it has. Those that it lacks stay
   * missing, and who reads them is told; returns whether it has all. Rejects where it cannot promise that (EIO, ENOSPC).
   */
  async adopt(refs: Iterable<string>): Promise<boolean> {
    try {
      const missing = await this.#handle.call("content.adopt", concatBytes(Array.from(refs, digestOf)));
      return missing === null || missing.byteLength === 0;
    } catch (error) {
      // A store that does not collect keeps everything.
      if (!isFluxError(error, "ENOSYS")) throw error;
      return true;
    }
  }

  #fetch(ref: string): Promise<Uint8Array> {
    const underWay = this.#loading.get(ref);
    if (underWay !== undefined) return underWay;
    this.#faults += 1;
    const fetched = this.#call(ref).finally(() => this.#loading.delete(ref));
    this.#loading.set(ref, fetched);
    return fetched;
  }

  async #call(ref: string): Promise<Uint8Array> {
    try {
      const payload = await this.#handle.call("content.load-stored", digestOf(ref));
      return payload === null ? EMPTY_BYTES : payload.bytes;
    } catch (error) {
      // What is missing is a blob, not the key that somebody looks for.
      if (isFluxError(error, "ENOENT")) throw new LostBlob(ref);
      throw error;
    }
  }
}

/** Thrown where a blob is nowhere: it was collected, or it never was. */
export class LostBlob extends FluxError {
  readonly ref: string;

  constructor(ref: string) {
    super("EIO", `blob ${ref} is missing`);
    this.ref = ref;
  }
}

/** The digest that a blobref names. */
function digestOf(ref: string): Uint8Array {
  const digest = hexDecode(ref.slice(ref.indexOf("-") + 1));
  assert(digest !== null, `${ref} is a blobref`);
  return digest;
}
