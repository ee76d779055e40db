/**
 * The content store as the commands about snapshots use it: blobs by blobref, through the caches of the brokers or past
 * them, and the checkpoints of the key-value store.
 */
import { EMPTY_BYTES } from "../../base/bytes.ts";
import { FluxError, isFluxError } from "../../base/errors.ts";
import type { JsonValue } from "../../base/json.ts";
import { blobrefDigest, blobrefFromDigest, type Blobref, type HashName } from "../../formats/blobref.ts";
import { checkCheckpoint, checkpointList, type Checkpoint } from "../../formats/checkpoint.ts";
import type { Handle } from "../../sdk/handle.ts";

const LEADER = { nodeid: 0 };

export class BlobStore {
  readonly handle: Handle;
  readonly #service: { readonly topic: string; readonly options: { readonly nodeid?: number } };

  /** `bypass`: ask the backing store on the leader, not the cache of this rank. */
  constructor(handle: Handle, bypass: boolean) {
    this.handle = handle;
    this.#service = bypass ? { topic: "content-backing", options: LEADER } : { topic: "content", options: {} };
  }

  /** Throws ENOENT where there is no such blob. */
  async load(ref: Blobref): Promise<Uint8Array> {
    const { topic, options } = this.#service;
    try {
      const answer = await this.handle.call(`${topic}.load`, blobrefDigest(ref), options);
      return answer?.bytes ?? EMPTY_BYTES;
    } catch (error) {
      if (topic === "content" || !isFluxError(error, "ENOENT")) throw error;
      return this.#loadVolatile(ref, error);
    }
  }

  /** What the key-value store has not put into the backing store yet, because its log has it. */
  async #loadVolatile(ref: Blobref, missing: FluxError): Promise<Uint8Array> {
    try {
      const answer = await this.handle.call("kvs.load-blob", blobrefDigest(ref), LEADER);
      return answer?.bytes ?? EMPTY_BYTES;
    } catch (error) {
      if (isFluxError(error, "ENOENT", "ENOSYS")) throw missing;
      throw error;
    }
  }

  /**
   * A blob as it is stored, where `load` makes one of several. Where the service knows no difference, as `load`. Throws
   * ENOENT.
   */
  async loadStored(ref: Blobref): Promise<Uint8Array> {
    try {
      const answer = await this.handle.call("content.load-stored", blobrefDigest(ref), LEADER);
      return answer?.bytes ?? EMPTY_BYTES;
    } catch (error) {
      if (isFluxError(error, "ENOSYS")) return this.load(ref);
      throw error;
    }
  }

  async store(blob: Uint8Array): Promise<Blobref> {
    const { topic, options } = this.#service;
    const answer = await this.handle.call(`${topic}.store`, blob, options);
    const digest = answer?.bytes ?? EMPTY_BYTES;
    const hash: HashName = digest.byteLength === 20 ? "sha1" : "sha256";
    return blobrefFromDigest(hash, digest);
  }

  /** Whether the backing store has a blob, or the key-value store in its log. */
  async isStored(ref: Blobref): Promise<boolean> {
    try {
      await this.handle.call("content-backing.validate", blobrefDigest(ref), LEADER);
      return true;
    } catch (error) {
      if (!isFluxError(error, "ENOENT")) throw error;
      return this.#loadVolatile(ref, error).then(
        () => true,
        (reason: unknown) => {
          if (isFluxError(reason, "ENOENT")) return false;
          throw reason;
        },
      );
    }
  }

  /** As they are kept, newest first. Throws ENOENT where there is none, ENOSYS without a backing store. */
  async checkpoints(): Promise<[JsonValue, ...JsonValue[]]> {
    const answer = await this.handle.rpc(`${this.#service.topic}.checkpoint-get`, {}, LEADER);
    return checkpointList(answer["value"]);
  }

  /** The newest one. Throws EINVAL and EPROTO, too, where it cannot be read. */
  async lastCheckpoint(): Promise<Checkpoint> {
    return checkCheckpoint((await this.checkpoints())[0]);
  }

  /**
   * Makes a root the one that the key-value store starts with. `continues`: it is a change of the last checkpoint: its
   * version goes on from there, and what the key-value store noted in it, as which of its log is in it, still holds.
   * Else versions begin anew. `timestamp`: seconds since the Unix epoch.
   */
  async putCheckpoint(rootref: Blobref, timestamp: number, options: { continues?: boolean } = {}): Promise<void> {
    const last = options.continues === true ? await this.lastCheckpoint() : null;
    const sequence = last === null ? 0 : (last.sequence ?? 0) + 1;
    const log = last?.["log"] === undefined ? {} : { log: last["log"] };
    const value = { version: 1, rootref, sequence, timestamp, ...log };
    await this.handle.rpc(`${this.#service.topic}.checkpoint-put`, { value }, LEADER);
  }

  /** Waits until all that was stored is in the backing store, where there is one. */
  async flush(): Promise<void> {
    try {
      await this.handle.rpc("content.flush", {}, LEADER);
    } catch (error) {
      if (!isFluxError(error, "ENOSYS")) throw error;
    }
  }

  /** Keeps blobs that nothing refers to yet from being collected for a while. Where nothing is collected, nothing happens. */
  async keep(refs: readonly Blobref[]): Promise<void> {
    const digests = refs.map(blobrefDigest);
    const bytes = new Uint8Array(digests.reduce((total, digest) => total + digest.byteLength, 0));
    let offset = 0;
    for (const digest of digests) {
      bytes.set(digest, offset);
      offset += digest.byteLength;
    }
    try {
      await this.handle.call("content.touch", bytes);
    } catch (error) {
      if (!isFluxError(error, "ENOSYS")) throw error;
    }
  }
}

/** Whether the key-value store runs on this rank: it would overwrite a checkpoint that others make. */
export async function isKvsLoaded(handle: Handle): Promise<boolean> {
  const { mods } = await handle.rpc<{ mods: { name: string }[] }>("module.list");
  return mods.some(({ name }) => name === "kvs");
}

/** A checkpoint's time as the commands show it: to the second, in UTC. */
export function timeText(timestamp: number | undefined): string {
  return new Date((timestamp ?? 0) * 1000).toISOString().slice(0, 19);
}
