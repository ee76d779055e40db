/**
 * The service `content` (RFC 10): a cache on every rank, which goes to its parent in the tree for what it lacks; on
 * rank 0 in front of the backing service `content-backing`, if there is one, else all the memory there is.
 *
 * A store is answered once the backing store has the blob, on whichever rank it was asked for; without a backing store,
 * once it is in the memory of rank 0. While the backing store is full, stores are refused with ENOSPC and loads go on. What
 * had been stored before there was a backing store is handed over to it, again and again while it refuses.
 */
import { concatBytes, EMPTY_BYTES, hexDecode, hexEncode } from "../../base/bytes.ts";
import { errorText, FluxError, isFluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import type { HashAlgorithm, TimerHandle } from "../../base/ports.ts";
import { isWideDirectory, joinPieces, parseWideDirectory } from "../../formats/wide-directory.ts";
import { splitDigests } from "../../sdk/blob-batch.ts";
import { Payload } from "../../protocol/message.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { withSecondTry } from "../../sdk/second-try.ts";
import { requireInteger, requireObject, requireString, type Answer } from "../../sdk/service.ts";
import { LogLevel, type ModuleContext, type ModuleDefinition, type RunningModule } from "../../sdk/module.ts";
import { BackingRegister, BlobCache } from "./core.ts";
import { MappedFiles } from "./mapped-files.ts";
import { PassedBlobs } from "./passed-blobs.ts";
import {
  FLUSH_RETRY_MS,
  CACHED_BLOB_BYTES_MAX,
  parseOptions,
  PIECE_WINDOW,
  PRESSURE_BYTES_MIN,
  TOUCHED_BYTES_MIN,
  type ContentOptions,
} from "./protocol.ts";

const BACKING = "content-backing";
const EMPTY_PAYLOAD: Payload = Payload.raw(EMPTY_BYTES);

class ContentService implements RunningModule {
  readonly #context: ModuleContext;
  readonly #options: ContentOptions;
  readonly #algorithm: HashAlgorithm;
  readonly #digestLength: number;
  readonly #cache = new BlobCache();
  readonly #passed: PassedBlobs;
  readonly #backing = new BackingRegister();
  readonly #mapped: MappedFiles;
  readonly #loading = new Map<string, Promise<Uint8Array>>();
  readonly #storing = new Set<string>();
  #flushWaiters: { resolve(): void; reject(error: FluxError): void }[] = [];
  #volatile: { name: string; sender: string } | null = null;
  /** Why the backing store takes nothing at the moment. */
  #flushError: FluxError | null = null;
  #retryTimer: TimerHandle | null = null;
  #purgeTimer: TimerHandle | null = null;

  constructor(context: ModuleContext) {
    this.#context = context;
    this.#options = parseOptions(context.args);
    this.#algorithm = hashOf(context.attribute("content.hash") ?? "sha1");
    this.#digestLength = context.ports.codec.digest(this.#algorithm, EMPTY_BYTES).byteLength;
    this.#mapped = new MappedFiles(context.ports, this.#algorithm);
    this.#passed = new PassedBlobs(context.ports.clock, context.attribute("tbon.descendants") === "0");
    this.#serve();
  }

  get #isLeader(): boolean {
    return this.#context.rank === 0;
  }
  get #nowMs(): number {
    return this.#context.ports.clock.monotonicMs();
  }

  stop(): void {
    this.#passed.clear();
    this.#retryTimer?.cancel();
    this.#purgeTimer?.cancel();
    this.#endFlushes(new FluxError("ENOSYS", "the content service was unloaded"));
  }

  #serve(): void {
    this.#context.server.add(this.#context.name, {
      store: (request) => this.#store(request),
      "store-batch": (request) => this.#storeBatch(request),
      load: (request) => this.#loadWhole(request),
      "load-stored": (request) => this.#load(request),
      touch: (request) => this.#ask(request, "touch"),
      adopt: (request) => this.#ask(request, "adopt"),
      forget: (request) => this.#forget(request),
      flush: () => this.#flush(),
      dropcache: () => this.#dropCache(),
      "checkpoint-get": (request) => this.#checkpoint(request, "checkpoint-get"),
      "checkpoint-put": (request) => {
        requireObject(request.json, "value");
        return this.#checkpoint(request, "checkpoint-put");
      },
      "register-backing": (request) => this.#registerBacking(request),
      "unregister-backing": () => this.#unregisterBacking(),
      "register-volatile": (request) => {
        this.#volatile = { name: requireString(request.json, "name"), sender: request.sender };
        return null;
      },
      "mmap-add": (request) => this.#map(request),
      "mmap-remove": (request) => {
        this.#mapped.remove(requireString(request.json, "tag"));
        return null;
      },
      "stats-get": () => this.#statistics(),
      disconnect: (request) => {
        if (this.#volatile?.sender === request.sender) this.#volatile = null;
        return undefined;
      },
    });
  }

  async #store(request: IncomingRequest): Promise<Answer> {
    const payload = request.message.payload ?? EMPTY_PAYLOAD;
    if (payload.byteLength > this.#options.blobBytesMax) throw new FluxError("EFBIG");
    if (!this.#isLeader) return this.#storeUpstream(payload);
    if (this.#backing.isActive) {
      try {
        return await this.#storeBehind(payload);
      } catch (error) {
        // It was unloaded meanwhile.
        if (!isFluxError(error, "ENOSYS") || this.#backing.isActive) throw error;
      }
    }
    const data = payload.bytes;
    const digest = this.#context.ports.codec.digest(this.#algorithm, data);
    this.#cache.add(hexEncode(digest), data, true, this.#nowMs);
    return digest;
  }

  /** Who hears the digest can rely on the backing store to have the blob. */
  async #storeBehind(payload: Payload): Promise<Uint8Array> {
    const answer = await this.#context.handle.call(`${BACKING}.store`, payload);
    const key = hexEncode(answer!.bytes);
    this.#cache.markClean(key);
    if (isCacheable(payload)) this.#keep(key, payload.bytes);
    return answer!.bytes;
  }

  /** Blobs that their owner keeps until they are in the backing store: they need no place in the cache. */
  async #storeBatch(request: IncomingRequest): Promise<Answer> {
    if (!this.#isLeader || !this.#backing.isActive) throw new FluxError("ENOSYS");
    await this.#context.handle.call(`${BACKING}.store-batch`, request.message.payload);
    return null;
  }

  async #storeUpstream(payload: Payload): Promise<Answer> {
    const { handle, name, rank, ports } = this.#context;
    const upstream = { upstream: true, nodeid: rank };
    if (payload.byteLength >= TOUCHED_BYTES_MIN && payload.byteLength <= CACHED_BLOB_BYTES_MAX) {
      const digest = ports.codec.digest(this.#algorithm, payload.bytes);
      // What was there once may have been removed since.
      if (this.#cache.get(hexEncode(digest), this.#nowMs) !== undefined) {
        const missing = await withSecondTry(() => handle.call(`${name}.touch`, digest, upstream));
        if (missing === null || missing.bytes.byteLength === 0) return digest;
      }
    }
    const answer = await withSecondTry(() => handle.call(`${name}.store`, payload, upstream));
    if (isCacheable(payload)) this.#keep(hexEncode(answer!.bytes), payload.bytes);
    return answer!.bytes;
  }

  #load(request: IncomingRequest): Answer | Promise<Answer> {
    const found = this.#blob(request.bytes, request.sender);
    return found instanceof Promise ? found.then(rawAnswer) : rawAnswer(found);
  }

  /** A directory that is stored in pieces is given as RFC 11 has it. */
  #loadWhole(request: IncomingRequest): Answer | Promise<Answer> {
    const found = this.#blob(request.bytes, request.sender);
    if (!(found instanceof Promise) && !isWideDirectory(found)) return rawAnswer(found);
    const whole = async (blob: Uint8Array): Promise<Uint8Array> =>
      isWideDirectory(blob) ? this.#joined(blob, request.sender) : blob;
    return Promise.resolve(found).then(whole).then(rawAnswer);
  }

  async #joined(root: Uint8Array, sender: string): Promise<Uint8Array> {
    const digests = parseWideDirectory(root).pieces.map(({ ref }) => hexDecode(ref.slice(ref.indexOf("-") + 1)));
    const pieces: Uint8Array[] = [];
    for (let start = 0; start < digests.length; start += PIECE_WINDOW) {
      const some = digests.slice(start, start + PIECE_WINDOW);
      pieces.push(...(await Promise.all(some.map((digest) => this.#blob(digest, sender)))));
    }
    return joinPieces(pieces);
  }

  /** A blob as it is stored: from memory, or on its way. */
  #blob(digest: Uint8Array | null, sender: string): Uint8Array | Promise<Uint8Array> {
    if (digest === null || digest.byteLength !== this.#digestLength) throw new FluxError("EPROTO");
    const key = hexEncode(digest);
    const cached = this.#cache.get(key, this.#nowMs) ?? this.#passed.get(key);
    if (cached !== undefined) return cached;
    let loading = this.#loading.get(key);
    // The holder of the volatile blobs is not asked for what it asks for itself.
    const askVolatile = this.#volatile !== null && this.#volatile.sender !== sender;
    if (loading === undefined) {
      loading = this.#fetch(key, digest, askVolatile).finally(() => this.#loading.delete(key));
      this.#loading.set(key, loading);
    }
    return loading;
  }

  /** Which of some digests the store lacks; it keeps the others for a while (touch), or for the key-value store (adopt). */
  async #ask(request: IncomingRequest, method: "touch" | "adopt"): Promise<Answer> {
    const { handle, name, rank } = this.#context;
    const digests = splitDigests(request.bytes ?? EMPTY_BYTES, this.#digestLength);
    if (!this.#isLeader) {
      const answer = await withSecondTry(() =>
        handle.call(`${name}.${method}`, request.bytes, { upstream: true, nodeid: rank }),
      );
      return answer?.bytes ?? null;
    }
    if (this.#backing.isActive) {
      const answer = await handle.call(`${BACKING}.${method}`, request.bytes);
      return rawAnswer(answer?.bytes ?? EMPTY_BYTES);
    }
    return rawAnswer(
      concatBytes(digests.filter((each) => this.#cache.get(hexEncode(each), this.#nowMs) === undefined)),
    );
  }

  /** The store is about to drop some blobs: nobody may rely on having stored them. */
  async #forget(request: IncomingRequest): Promise<Answer> {
    for (const digest of splitDigests(request.bytes ?? EMPTY_BYTES, this.#digestLength))
      this.#cache.removeClean(hexEncode(digest));
    if (this.#volatile === null) return null;
    try {
      await this.#context.handle.call(`${this.#volatile.name}.forget`, request.bytes);
    } catch (error) {
      if (!isFluxError(error, "ENOSYS")) throw error;
    }
    return null;
  }

  async #map({ json }: IncomingRequest): Promise<Answer> {
    if (!this.#isLeader) throw new FluxError("EINVAL", "files are mapped on rank 0 only");
    await this.#mapped.add(requireString(json, "path"), requireInteger(json, "chunksize"), requireString(json, "tag"));
    return null;
  }

  /** A file that gives no blob any more does not matter where the blob is stored besides. */
  async #fetch(key: string, digest: Uint8Array, askVolatile: boolean): Promise<Uint8Array> {
    const mapped = this.#mapped.load(digest);
    if (mapped === null) return this.#fetchStored(key, digest, askVolatile);
    if (mapped instanceof Uint8Array) return mapped;
    try {
      return await this.#fetchStored(key, digest, askVolatile);
    } catch (error) {
      if (isFluxError(error, "ENOENT")) throw mapped;
      throw error;
    }
  }

  async #fetchStored(key: string, digest: Uint8Array, askVolatile: boolean): Promise<Uint8Array> {
    const { handle, name, rank } = this.#context;
    if (this.#isLeader) {
      const unsaved = askVolatile ? await this.#fetchVolatile(digest) : null;
      if (unsaved !== null) return unsaved;
      if (!this.#backing.isActive) throw new FluxError("ENOENT");
    }
    const payload = this.#isLeader
      ? await handle.call(`${BACKING}.load-stored`, digest)
      : await withSecondTry(() => handle.call(`${name}.load-stored`, digest, { upstream: true, nodeid: rank }));
    const data = payload?.bytes ?? EMPTY_BYTES;
    if (isCacheable(data)) this.#keep(key, data);
    else if (!this.#isLeader) this.#passed.add(key, data);
    return data;
  }

  /** What only the key-value store has stays there: it decides when it is written, or forgotten. */
  async #fetchVolatile(digest: Uint8Array): Promise<Uint8Array | null> {
    try {
      const payload = await this.#context.handle.call(`${this.#volatile!.name}.load-blob`, digest);
      return payload?.bytes ?? EMPTY_BYTES;
    } catch (error) {
      if (isFluxError(error, "ENOENT", "ENOSYS")) return null;
      throw error;
    }
  }

  #keep(key: string, data: Uint8Array): void {
    this.#cache.add(key, data, false, this.#nowMs);
    this.#purge();
  }

  #purge(): void {
    if (this.#cache.bytes <= this.#options.cacheBytesMax) return;
    this.#cache.shrink(this.#options.cacheBytesMax, this.#nowMs - this.#options.cacheAgeMinMs);
    // Under pressure age does not protect: the cache is a bounded memory.
    this.#cache.shrink(Math.max(4 * this.#options.cacheBytesMax, PRESSURE_BYTES_MIN), Infinity);
    const hasClean = this.#cache.count > this.#cache.dirtyCount;
    if (this.#cache.bytes <= this.#options.cacheBytesMax || !hasClean) return;
    this.#purgeTimer ??= this.#context.ports.clock.after(
      this.#options.cacheAgeMinMs,
      () => {
        this.#purgeTimer = null;
        this.#purge();
      },
      { background: true },
    );
  }

  /** Sends dirty blobs to the backing service, a window at a time. */
  #flushSome(): void {
    if (!this.#isLeader || !this.#backing.isActive || this.#retryTimer !== null) return;
    const room = this.#options.flushWindow - this.#storing.size;
    for (const [key, data] of this.#cache.dirtyBlobs(room, this.#storing)) void this.#storeBacking(key, data);
    if (this.#cache.dirtyCount === 0) this.#endFlushes(null);
  }

  async #storeBacking(key: string, data: Uint8Array): Promise<void> {
    this.#storing.add(key);
    try {
      await this.#context.handle.call(`${BACKING}.store`, data);
      this.#storing.delete(key);
      this.#cache.markClean(key);
      this.#storeSucceeded();
    } catch (error) {
      this.#storing.delete(key);
      if (error instanceof FluxError) this.#storeFailed(error);
      else this.#context.fatal(error);
    }
  }

  #storeSucceeded(): void {
    if (this.#flushError !== null) this.#context.log(LogLevel.notice, "the backing store takes blobs again");
    this.#flushError = null;
    this.#purge();
    this.#flushSome();
  }

  #storeFailed(error: FluxError): void {
    if (this.#flushError === null)
      this.#context.log(LogLevel.err, `the backing store refuses blobs: ${errorText(error)}`);
    this.#flushError = error;
    this.#endFlushes(error);
    this.#retryTimer ??= this.#context.ports.clock.after(
      FLUSH_RETRY_MS,
      () => {
        this.#retryTimer = null;
        this.#flushSome();
      },
      { background: true },
    );
  }

  #flush(): Answer | Promise<Answer> {
    if (!this.#isLeader) return null;
    if (!this.#backing.isActive) throw new FluxError("ENOSYS");
    if (this.#cache.dirtyCount === 0) return null;
    this.#retryTimer?.cancel();
    this.#retryTimer = null;
    return new Promise((resolve, reject) => {
      this.#flushWaiters.push({ resolve: () => resolve(null), reject });
      this.#flushSome();
    });
  }

  #endFlushes(error: FluxError | null): void {
    const waiters = this.#flushWaiters;
    this.#flushWaiters = [];
    for (const waiter of waiters)
      if (error === null) waiter.resolve();
      else waiter.reject(error);
  }

  #dropCache(): Answer {
    this.#cache.dropClean();
    this.#passed.clear();
    return null;
  }

  async #checkpoint(request: IncomingRequest, method: string): Promise<Answer> {
    const { handle, name } = this.#context;
    const { payload } = request.message;
    if (!this.#isLeader) return handle.call(`${name}.${method}`, payload, { nodeid: 0 });
    if (!this.#backing.isActive)
      throw new FluxError("ENOSYS", `${method.replace("-", " ")} unavailable, no backing store`);
    return handle.call(`${BACKING}.${method}`, payload);
  }

  #registerBacking(request: IncomingRequest): Answer {
    if (!this.#isLeader) throw new FluxError("EINVAL", "content backing store can only be registered on rank 0");
    this.#backing.register(requireString(request.json, "name"));
    // What was clean was in another store, or in this one before it was emptied.
    this.#cache.dropClean();
    this.#flushSome();
    return null;
  }

  #unregisterBacking(): Answer {
    this.#backing.unregister();
    this.#flushError = null;
    this.#endFlushes(new FluxError("ENOSYS"));
    return null;
  }

  async #statistics(): Promise<JsonObject> {
    return {
      count: this.#cache.count,
      valid: this.#cache.count,
      dirty: this.#cache.dirtyCount,
      size: this.#cache.bytes,
      "flush-batch-count": this.#storing.size,
      mmap: this.#mapped.statistics,
      ...(await this.#storeSizes()),
    };
  }

  /** How much the backing store holds, where there is one that tells. */
  async #storeSizes(): Promise<JsonObject> {
    const { name } = this.#backing;
    if (!this.#isLeader || name === null || !this.#backing.isActive) return {};
    try {
      const stats = await this.#context.handle.rpc(`${name}.stats-get`);
      const { dbfile_size: size, live_size: live, dbfile_free: free, size_limit: limit } = stats;
      return { store: { size: size ?? null, live: live ?? null, free: free ?? null, limit: limit ?? null } };
    } catch (error) {
      if (!isFluxError(error)) throw error;
      return {};
    }
  }
}

function isCacheable({ byteLength }: { readonly byteLength: number }): boolean {
  return byteLength <= CACHED_BLOB_BYTES_MAX;
}

/** The empty blob travels as no payload. */
function rawAnswer(data: Uint8Array): Answer {
  return data.byteLength === 0 ? null : data;
}

/** Throws EINVAL for what does not name blobs. */
function hashOf(name: string): HashAlgorithm {
  if (name !== "sha1" && name !== "sha256")
    throw new FluxError("EINVAL", `content.hash=${name}: unknown hash type (sha1, sha256)`);
  return name;
}

export const contentModule: ModuleDefinition = {
  name: "content",
  start: (context) => new ContentService(context),
};
