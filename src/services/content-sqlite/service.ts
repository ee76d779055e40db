/**
 * The service `content-sqlite`: the backing store of the content service, in one SQLite file of the state directory (the
 * run directory where there is none). It serves `content-backing`.
 *
 * Stores of one turn are one transaction, and are answered when it is done. A full disk, or the configured size limit,
 * refuses stores with ENOSPC and leaves reads alone. The database works beside this process's loop.
 */
import { concatBytes, EMPTY_BYTES } from "../../base/bytes.ts";
import { FluxError, isFluxError } from "../../base/errors.ts";
import { isJsonObject, parseJson, stringifyJson, type JsonObject } from "../../base/json.ts";
import type { BlobDatabase, HashAlgorithm, KeepReason } from "../../base/ports.ts";
import { RunningSummary } from "../../base/running-summary.ts";
import { formatSize } from "../../formats/size.ts";
import { encodePayloads } from "../../sdk/blob-batch.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { ANY_USER, requireInteger, requireObject, type Answer } from "../../sdk/service.ts";
import { Trouble } from "../../sdk/trouble.ts";
import { LogLevel, type ModuleContext, type ModuleDefinition, type RunningModule } from "../../sdk/module.ts";
import { askForCheckpoint, storedCheckpoint } from "../blob-engine/checkpoint-request.ts";
import { digestOf } from "../blob-engine/references.ts";
import { parseSizeLimit } from "../blob-engine/settings.ts";
import { loadUnsaved } from "../blob-engine/unsaved.ts";
import {
  BACKING_SERVICE,
  DATABASE_NAME,
  LIMIT_PERIOD_MS,
  LIMIT_WARNING_FRACTION,
  parseOptions,
  type StoreOptions,
} from "./protocol.ts";

class SqliteService implements RunningModule {
  readonly #context: ModuleContext;
  readonly #options: StoreOptions;
  readonly #database: BlobDatabase;
  readonly #directory: string;
  readonly #digestLength: number;
  readonly #trouble: Trouble;
  readonly #refusal: Trouble;
  #isNearLimit = false;
  #loadTimes = new RunningSummary();
  #storeTimes = new RunningSummary();
  #pending: IncomingRequest[] = [];
  /** The database is made when it is first written to: instances that never do start sooner. */
  readonly #isLazy: boolean;
  #sizeLimitBytes: number | null;
  #limitCheckedMs = -Infinity;

  private constructor(context: ModuleContext) {
    const { ports } = context;
    this.#context = context;
    const { directory, isPersistent } = stateDirectory(context);
    const path = `${directory}/${DATABASE_NAME}`;
    const hash = (context.attribute("content.hash") ?? "sha1") as HashAlgorithm;
    this.#directory = directory;
    this.#options = parseOptions(context.args, context.config(), isPersistent);
    this.#sizeLimitBytes = parseSizeLimit(context.config());
    this.#digestLength = ports.codec.digest(hash, EMPTY_BYTES).byteLength;
    this.#trouble = new Trouble(ports.clock, context.log);
    this.#refusal = new Trouble(ports.clock, context.log);
    this.#isLazy = !isPersistent && (this.#options.truncate || ports.disk.info(path) === null);
    this.#database = ports.disk.openBlobDatabase(
      path,
      { ...this.#options, hash, isExclusive: isPersistent, sizeLimitBytes: this.#sizeLimitBytes },
      {
        forget: (digests) => this.#forget(digests),
        checkpointWanted: () => void askForCheckpoint(this.#context),
        trouble: (error) => this.#trouble.met(`the content store cannot give space back: ${error.message}`),
        fatal: (error) => context.fatal(error),
      },
    );
  }

  static async start(context: ModuleContext): Promise<SqliteService> {
    const service = new SqliteService(context);
    try {
      await service.#register();
    } catch (error) {
      await service.#database.close();
      throw error;
    }
    return service;
  }

  async #register(): Promise<void> {
    const { handle, name, log } = this.#context;
    const { journalMode, synchronous } = this.#options;
    if (!this.#isLazy) await this.#database.ready();
    const { objectCount } = await this.#database.stats();
    log(
      LogLevel.debug,
      `${this.#directory}/${DATABASE_NAME} (${objectCount} objects) journal_mode=${journalMode} synchronous=${synchronous}`,
    );
    this.#serve();
    await this.#context.addService(BACKING_SERVICE);
    await handle.rpc("content.register-backing", { name });
    this.#context.setAttribute("content.backing-module", name);
  }

  async configure(config: JsonObject): Promise<void> {
    const limit = parseSizeLimit(config);
    if (limit === this.#sizeLimitBytes) return;
    this.#sizeLimitBytes = limit;
    await this.#database.limit(limit);
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
    await this.#database.close();
  }

  #serve(): void {
    this.#context.server.add(BACKING_SERVICE, {
      load: (request) => this.#load(request, true),
      "load-stored": (request) => this.#load(request, false),
      store: (request) => this.#store(request),
      "store-batch": (request) => this.#storeBatch(request),
      validate: (request) => this.#validate(request),
      touch: (request) => this.#keep(request, "lease"),
      adopt: (request) => this.#keep(request, "adopt"),
      "checkpoint-get": () => this.#checkpointGet(),
      "checkpoint-put": (request) => this.#checkpointPut(request),
      "gc-info": (request) => this.#epochInfo(request),
      mark: (request) => this.#mark(request),
      sweep: (request) => this.#sweep(request),
    });
    this.#context.server.add(this.#context.name, {
      "stats-get": { roles: ANY_USER, handler: () => this.#statistics() },
      "stats-clear": () => {
        this.#loadTimes = new RunningSummary();
        this.#storeTimes = new RunningSummary();
        return null;
      },
    });
  }

  #digestOf(request: IncomingRequest): Uint8Array {
    if (request.bytes?.byteLength !== this.#digestLength) throw new FluxError("EPROTO", "incorrect hash size");
    return request.bytes;
  }

  /** The database, with what came before this call already on its way to it. */
  get #current(): BlobDatabase {
    this.#storePending();
    return this.#database;
  }

  async #load(request: IncomingRequest, isWhole: boolean): Promise<Answer> {
    const digest = this.#digestOf(request);
    const stored = await this.#timed(this.#loadTimes, 1, this.#current.load(digest, isWhole));
    const loadStored = (piece: Uint8Array): Promise<Uint8Array | null> => this.#current.load(piece, false);
    const data = stored ?? (isWhole ? await loadUnsaved(this.#context.handle, digest, loadStored) : null);
    if (data === null) throw new FluxError("ENOENT");
    return data.byteLength === 0 ? null : data;
  }

  #store(request: IncomingRequest): Answer {
    this.#pending.push(request);
    if (this.#pending.length === 1) this.#context.ports.clock.defer(() => this.#storePending());
    return undefined;
  }

  #storePending(): void {
    const stores = this.#pending;
    if (stores.length === 0) return;
    this.#pending = [];
    const batch = encodePayloads(stores.map(({ message }) => message.payload));
    this.#timed(this.#storeTimes, stores.length, this.#database.store(batch, true)).then(
      (digests) => {
        this.#refusal.over();
        for (const [index, request] of stores.entries())
          request.respond(digests.slice(index * this.#digestLength, (index + 1) * this.#digestLength));
        this.#checkLimit();
      },
      (error) => {
        if (!(error instanceof FluxError)) return this.#context.fatal(error);
        if (error.is("ENOSPC")) this.#refusal.met(`blobs are refused: ${error.message}`);
        for (const request of stores) request.respondError(error);
      },
    );
  }

  async #storeBatch(request: IncomingRequest): Promise<Answer> {
    const batch = (request.bytes ?? EMPTY_BYTES).slice();
    await this.#timed(this.#storeTimes, 1, this.#current.store(batch, false));
    return null;
  }

  async #validate(request: IncomingRequest): Promise<Answer> {
    if (!(await this.#current.has(this.#digestOf(request)))) throw new FluxError("ENOENT");
    return null;
  }

  async #keep(request: IncomingRequest, reason: KeepReason): Promise<Answer> {
    const missing = await this.#current.keep(request.bytes ?? EMPTY_BYTES, reason);
    return missing.byteLength === 0 ? null : missing;
  }

  async #checkpointGet(): Promise<Answer> {
    const checkpoints = await this.#current.checkpoints();
    if (checkpoints.length === 0) throw new FluxError("ENOENT");
    const place = `${this.#directory}/${DATABASE_NAME}`;
    return { value: checkpoints.map(({ text }) => storedCheckpoint(text, place)) };
  }

  async #checkpointPut(request: IncomingRequest): Promise<Answer> {
    const value = requireObject(request.json, "value");
    await this.#current.putCheckpoint(stringifyJson(value));
    this.#checkLimit();
    return null;
  }

  async #epochInfo({ json }: IncomingRequest): Promise<Answer> {
    const epoch = requireInteger(json, "epoch");
    const info = await this.#current.epochInfo(json["get_count"] === true ? epoch : null);
    return {
      current_epoch: info.epoch,
      high_water: info.lastRowid,
      ...(info.candidates === null ? {} : { candidates: info.candidates }),
    };
  }

  async #mark({ json }: IncomingRequest): Promise<Answer> {
    const { hashes } = json;
    if (!Array.isArray(hashes)) throw new FluxError("EPROTO", "missing or invalid 'hashes'");
    const digests = hashes.map((blobref) => digestOf(blobref, this.#digestLength));
    if (digests.includes(null)) throw new FluxError("EPROTO", "invalid blobref");
    const marked = await this.#current.mark(requireInteger(json, "epoch"), concatBytes(digests as Uint8Array[]));
    return { marked };
  }

  async #sweep({ json }: IncomingRequest): Promise<Answer> {
    const { digests, cursor } = await this.#current.sweep({
      epoch: requireInteger(json, "epoch"),
      after: requireAtLeast(json, "cursor", 0),
      through: requireInteger(json, "high_water"),
      deleteMax: requireAtLeast(json, "delete_cap", 1),
      window: requireAtLeast(json, "window", 1),
      spareLeased: json["spare_leased"] === true,
    });
    if (digests.byteLength > 0) await this.#forget(digests);
    return { deleted: digests.byteLength / this.#digestLength, cursor };
  }

  /** Those who cache blobs must not rely on these. */
  async #forget(digests: Uint8Array): Promise<void> {
    try {
      await this.#context.handle.call("content.forget", digests);
    } catch (error) {
      // Without a content service nothing is cached.
      if (!isFluxError(error)) this.#context.fatal(error);
    }
  }

  /** Warns when the limit is near. */
  #checkLimit(): void {
    const nowMs = this.#context.ports.clock.monotonicMs();
    if (this.#sizeLimitBytes === null || nowMs < this.#limitCheckedMs + LIMIT_PERIOD_MS) return;
    this.#limitCheckedMs = nowMs;
    this.#database.stats().then(
      ({ fileBytes, freeBytes, sizeLimitBytes }) => {
        if (sizeLimitBytes === null) return;
        const used = fileBytes - freeBytes;
        const isNear = used >= LIMIT_WARNING_FRACTION * sizeLimitBytes;
        if (isNear && !this.#isNearLimit)
          this.#context.log(
            LogLevel.warning,
            `the content store holds ${formatSize(used)}, near its size limit of ${formatSize(sizeLimitBytes)}`,
          );
        this.#isNearLimit = isNear;
      },
      (error) => {
        if (!isFluxError(error)) this.#context.fatal(error);
      },
    );
  }

  async #timed<T>(times: RunningSummary, calls: number, result: Promise<T>): Promise<T> {
    const { clock } = this.#context.ports;
    const startMs = clock.monotonicMs();
    const value = await result;
    const elapsedMs = clock.monotonicMs() - startMs;
    for (let call = 0; call < calls; call++) times.add(elapsedMs / calls);
    return value;
  }

  async #statistics(): Promise<JsonObject> {
    const stats = await this.#current.stats();
    const checkpoints = await this.#database.checkpoints();
    const { isRunning, cycleCount, removedCount, removedBytes, lastCycleMs } = stats.collector;
    return {
      object_count: stats.objectCount,
      current_epoch: stats.epoch,
      dbfile_size: stats.fileBytes,
      dbfile_free: this.#context.ports.disk.freeBytes(this.#directory),
      reusable_size: stats.freeBytes,
      live_size: stats.liveBytes,
      size_limit: stats.sizeLimitBytes,
      leases: stats.leaseCount,
      collector: {
        running: isRunning,
        cycles: cycleCount,
        removed_count: removedCount,
        removed_size: removedBytes,
        last_cycle_time: lastCycleMs,
      },
      load_time: this.#loadTimes.toJson(),
      store_time: this.#storeTimes.toJson(),
      config: { journal_mode: this.#options.journalMode, synchronous: this.#options.synchronous },
      checkpoints: checkpoints.map(({ id, text }) => ({ id, value: checkpointValue(text) })),
    };
  }
}

function checkpointValue(text: string): JsonObject | string {
  const value = parseJson(text);
  return isJsonObject(value) ? value : text;
}

function requireAtLeast(object: JsonObject, key: string, least: number): number {
  const value = requireInteger(object, key);
  if (value < least) throw new FluxError("EINVAL", `'${key}' must be at least ${least}`);
  return value;
}

/** The name of a directory that the broker made up because none was wanted: nobody else knows of it. */
const MADE_UP_NAME = /\/flux-[A-Za-z0-9]{6}$/;

/**
 * Where the file is, and whether it may outlive the broker: a directory that somebody named does so where the broker is
 * killed, also if it would remove it at its end.
 */
function stateDirectory(context: ModuleContext): { directory: string; isPersistent: boolean } {
  const statedir = context.attribute("statedir");
  if (statedir !== null) {
    const isRemoved = context.attribute("statedir-cleanup") === "1";
    return { directory: statedir, isPersistent: !isRemoved || !MADE_UP_NAME.test(statedir) };
  }
  const rundir = context.attribute("rundir");
  if (rundir === null) throw new FluxError("EINVAL", "neither statedir nor rundir is set");
  return { directory: rundir, isPersistent: false };
}

export const contentSqliteModule: ModuleDefinition = {
  name: "content-sqlite",
  start: (context) => SqliteService.start(context),
};
