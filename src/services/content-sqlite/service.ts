/**
 * The service `content-sqlite`: the backing store of the content service, in one SQLite file of the state directory (the
 * run directory where there is none). It serves `content-backing`.
 *
 * Stores of one turn are one transaction. A full disk refuses stores with ENOSPC and leaves reads alone.
 */
import { concatBytes, EMPTY_BYTES } from "../../base/bytes.ts";
import { FluxError, isFluxError } from "../../base/errors.ts";
import { parseJson, stringifyJson, type JsonObject } from "../../base/json.ts";
import type { BlobDatabase, BlobRecord, HashAlgorithm } from "../../base/ports.ts";
import { decodeBlobs, splitDigests } from "../../sdk/blob-batch.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { ANY_USER, requireObject, type Answer } from "../../sdk/service.ts";
import { LogLevel, type ModuleContext, type ModuleDefinition, type RunningModule } from "../../sdk/module.ts";
import { CallTimes } from "./core.ts";
import { BACKING_SERVICE, DATABASE_NAME, parseOptions, type StoreOptions } from "./protocol.ts";

interface PendingStore {
  readonly blobs: readonly BlobRecord[];
  readonly request: IncomingRequest;
  readonly answer: Uint8Array | null;
}

class SqliteService implements RunningModule {
  readonly #context: ModuleContext;
  readonly #options: StoreOptions;
  readonly #database: BlobDatabase;
  readonly #directory: string;
  readonly #algorithm: HashAlgorithm;
  readonly #digestLength: number;
  readonly #loadTimes = new CallTimes();
  readonly #storeTimes = new CallTimes();
  #pending: PendingStore[] = [];

  private constructor(context: ModuleContext) {
    this.#context = context;
    const { directory, isPersistent } = stateDirectory(context);
    this.#directory = directory;
    this.#options = parseOptions(context.args, context.config(), isPersistent);
    this.#algorithm = (context.attribute("content.hash") ?? "sha1") as HashAlgorithm;
    this.#digestLength = context.ports.codec.digest(this.#algorithm, EMPTY_BYTES).byteLength;
    this.#database = context.ports.disk.openBlobDatabase(`${directory}/${DATABASE_NAME}`, this.#options.database);
  }

  static async start(context: ModuleContext): Promise<SqliteService> {
    const service = new SqliteService(context);
    try {
      await service.#register();
    } catch (error) {
      service.#database.close();
      throw error;
    }
    return service;
  }

  async #register(): Promise<void> {
    const { handle, name, log } = this.#context;
    const { journalMode, synchronous } = this.#options.database;
    const { objectCount } = this.#database.stats();
    log(
      LogLevel.debug,
      `${this.#directory}/${DATABASE_NAME} (${objectCount} objects) journal_mode=${journalMode} synchronous=${synchronous}`,
    );
    this.#serve();
    await this.#context.addService(BACKING_SERVICE);
    await handle.rpc("content.register-backing", { name });
    this.#context.setAttribute("content.backing-module", name);
  }

  async stop(): Promise<void> {
    this.#storePending();
    try {
      await this.#context.handle.rpc("content.unregister-backing");
    } catch (error) {
      // The content service may have been unloaded before this one.
      if (!isFluxError(error)) throw error;
      this.#context.log(LogLevel.debug, `unregister: ${error.message}`);
    }
    this.#storePending();
    this.#database.close();
  }

  #serve(): void {
    this.#context.server.add(BACKING_SERVICE, {
      load: (request) => this.#load(request),
      store: (request) => this.#store(request),
      "store-batch": (request) => this.#storeBatch(request),
      validate: (request) => this.#validate(request),
      touch: (request) => this.#missing(request),
      adopt: (request) => this.#missing(request),
      "checkpoint-get": () => this.#checkpointGet(),
      "checkpoint-put": (request) => this.#checkpointPut(request),
    });
    this.#context.server.add(this.#context.name, {
      "stats-get": { roles: ANY_USER, handler: () => this.#statistics() },
      "stats-clear": () => null,
    });
  }

  #digestOf(request: IncomingRequest): Uint8Array {
    if (request.bytes?.byteLength !== this.#digestLength) throw new FluxError("EPROTO", "incorrect hash size");
    return request.bytes;
  }

  #load(request: IncomingRequest): Answer {
    const hash = this.#digestOf(request);
    const data = this.#timed(this.#loadTimes, 1, () => {
      for (const { blobs } of this.#pending) for (const blob of blobs) if (sameBytes(blob.hash, hash)) return blob.data;
      return this.#database.load(hash);
    });
    if (data === null) throw new FluxError("ENOENT");
    return data.byteLength === 0 ? null : data;
  }

  #store(request: IncomingRequest): Answer {
    const blob = this.#blobOf(request.bytes ?? EMPTY_BYTES);
    this.#storeSoon({ blobs: [blob], request, answer: blob.hash });
    return undefined;
  }

  #storeBatch(request: IncomingRequest): Answer {
    const blobs = decodeBlobs(request.bytes ?? EMPTY_BYTES).map((data) => this.#blobOf(data));
    this.#storeSoon({ blobs, request, answer: null });
    return undefined;
  }

  #blobOf(data: Uint8Array): BlobRecord {
    return { hash: this.#context.ports.codec.digest(this.#algorithm, data), data };
  }

  #storeSoon(store: PendingStore): void {
    this.#pending.push(store);
    if (this.#pending.length === 1) this.#context.ports.clock.defer(() => this.#storePending());
  }

  #storePending(): void {
    const stores = this.#pending;
    if (stores.length === 0) return;
    this.#pending = [];
    try {
      const blobs = stores.length === 1 ? stores[0]!.blobs : stores.flatMap((store) => store.blobs);
      this.#timed(this.#storeTimes, blobs.length, () => this.#database.store(blobs));
    } catch (error) {
      if (!(error instanceof FluxError)) return this.#context.fatal(error);
      for (const { request } of stores) request.respondError(error);
      return;
    }
    for (const { answer, request } of stores) request.respond(answer);
  }

  #validate(request: IncomingRequest): Answer {
    if (!this.#database.has(this.#digestOf(request))) throw new FluxError("ENOENT");
    return null;
  }

  /** Which of the digests are not here. */
  #missing(request: IncomingRequest): Answer {
    this.#storePending();
    const digests = splitDigests(request.bytes ?? EMPTY_BYTES, this.#digestLength);
    return concatBytes(digests.filter((digest) => !this.#database.has(digest)));
  }

  #checkpointGet(): Answer {
    const checkpoints = this.#database.checkpoints();
    if (checkpoints.length === 0) throw new FluxError("ENOENT");
    return { value: checkpoints.map((text) => parseJson(text)) };
  }

  #checkpointPut(request: IncomingRequest): Answer {
    const value = requireObject(request.json, "value");
    this.#storePending();
    this.#database.putCheckpoint(stringifyJson(value), this.#options.checkpointsKept);
    return null;
  }

  #timed<T>(times: CallTimes, calls: number, action: () => T): T {
    const { clock } = this.#context.ports;
    const startMs = clock.monotonicMs();
    const result = action();
    const elapsedMs = clock.monotonicMs() - startMs;
    for (let call = 0; call < calls; call++) times.add(elapsedMs / calls);
    return result;
  }

  #statistics(): JsonObject {
    const { objectCount, fileBytes } = this.#database.stats();
    const { journalMode, synchronous } = this.#options.database;
    return {
      object_count: objectCount,
      current_epoch: 1,
      dbfile_size: fileBytes,
      dbfile_free: this.#context.ports.disk.freeBytes(this.#directory),
      load_time: this.#loadTimes.toJson(),
      store_time: this.#storeTimes.toJson(),
      config: { journal_mode: journalMode, synchronous },
      checkpoints: this.#database.checkpoints().map((text, id) => ({ id: id + 1, value: parseJson(text) })),
    };
  }
}

/** Where the file is, and whether it outlives the instance. */
function stateDirectory(context: ModuleContext): { directory: string; isPersistent: boolean } {
  const statedir = context.attribute("statedir");
  if (statedir !== null) return { directory: statedir, isPersistent: context.attribute("statedir-cleanup") !== "1" };
  const rundir = context.attribute("rundir");
  if (rundir === null) throw new FluxError("EINVAL", "neither statedir nor rundir is set");
  return { directory: rundir, isPersistent: false };
}

function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  return left.byteLength === right.byteLength && left.every((byte, index) => byte === right[index]);
}

export const contentSqliteModule: ModuleDefinition = {
  name: "content-sqlite",
  start: (context) => SqliteService.start(context),
};
