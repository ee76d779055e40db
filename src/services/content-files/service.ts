/**
 * The service `content-files`: a backing store that keeps each blob in a file of its own, for stores that other tools read
 * or copy. It serves `content-backing` in the place of `content-sqlite` (attribute `content.backing-module`).
 *
 * A store is answered when the file is there, a checkpoint when it and all files before it survive the loss of power.
 * What nothing refers to is removed by the same engine as in a database (`blob-engine/`), on the broker's loop, about a
 * millisecond at a time.
 */
import { EMPTY_BYTES } from "../../base/bytes.ts";
import { FluxError, isFluxError } from "../../base/errors.ts";
import { stringifyJson, type JsonObject } from "../../base/json.ts";
import type { HashAlgorithm, KeepReason, TimerHandle } from "../../base/ports.ts";
import { encodePayloads } from "../../sdk/blob-batch.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { ANY_USER, requireObject, type Answer } from "../../sdk/service.ts";
import { Trouble } from "../../sdk/trouble.ts";
import { LogLevel, type ModuleContext, type ModuleDefinition, type RunningModule } from "../../sdk/module.ts";
import { askForCheckpoint, storedCheckpoint } from "../blob-engine/checkpoint-request.ts";
import { BlobEngine } from "../blob-engine/engine.ts";
import { parseSizeLimit } from "../blob-engine/settings.ts";
import { loadUnsaved } from "../blob-engine/unsaved.ts";
import { FileTable } from "./file-table.ts";
import { DIRECTORY_NAME, parseOptions, SYNC_WINDOW } from "./protocol.ts";

const BACKING_SERVICE = "content-backing";

class FilesService implements RunningModule {
  readonly #context: ModuleContext;
  readonly #isRegistered: boolean;
  readonly #directory: string;
  readonly #digestLength: number;
  readonly #table: FileTable;
  readonly #engine: BlobEngine;
  readonly #trouble: Trouble;
  #timer: TimerHandle | null = null;
  #isStopped = false;

  constructor(context: ModuleContext) {
    const { disk, codec, clock } = context.ports;
    const { truncate, testing } = parseOptions(context.args);
    const place = context.attribute("statedir") ?? context.attribute("rundir");
    if (place === null) throw new FluxError("EINVAL", "neither statedir nor rundir is set");
    const algorithm = (context.attribute("content.hash") ?? "sha1") as HashAlgorithm;
    this.#context = context;
    this.#isRegistered = !testing;
    this.#trouble = new Trouble(clock, context.log);
    this.#directory = `${place}/${DIRECTORY_NAME}`;
    this.#digestLength = codec.digest(algorithm, EMPTY_BYTES).byteLength;
    if (truncate) disk.remove(this.#directory);
    disk.makeDirectory(this.#directory, { mode: 0o700, recursive: true });
    this.#table = new FileTable(disk, this.#directory, algorithm);
    this.#engine = new BlobEngine(
      this.#table,
      {
        digest: (data) => codec.digest(algorithm, data),
        digestLength: this.#digestLength,
        nowMs: () => clock.monotonicMs(),
        checkpointsKept: 1,
        sizeLimitBytes: parseSizeLimit(context.config()),
      },
      {
        forget: (digests) => void this.#forget(digests),
        checkpointWanted: () => void askForCheckpoint(this.#context),
        trouble: (error) => this.#trouble.met(`the content store cannot give space back: ${error.message}`),
      },
    );
  }

  configure(config: JsonObject): void {
    this.#engine.limit(parseSizeLimit(config));
  }

  async start(): Promise<void> {
    const { handle, name, log } = this.#context;
    log(LogLevel.debug, `${this.#directory} (${this.#table.sizes().objectCount} objects)`);
    this.#serve();
    await this.#context.addService(BACKING_SERVICE);
    if (!this.#isRegistered) return;
    await handle.rpc("content.register-backing", { name });
    this.#context.setAttribute("content.backing-module", name);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer?.cancel();
    if (!this.#isRegistered) return;
    try {
      await this.#context.handle.rpc("content.unregister-backing");
    } catch (error) {
      // The content service may have been unloaded before this one.
      if (!isFluxError(error)) throw error;
      this.#context.log(LogLevel.debug, `unregister: ${error.message}`);
    }
  }

  #serve(): void {
    this.#context.server.add(BACKING_SERVICE, {
      load: (request) => this.#load(request),
      "load-stored": (request) => found(this.#engine.load(this.#digestOf(request), false)),
      validate: (request) => {
        if (!this.#engine.has(this.#digestOf(request))) throw new FluxError("ENOENT");
        return null;
      },
      store: (request) => this.#store(encodePayloads([request.message.payload]), true),
      "store-batch": (request) => {
        this.#store((request.bytes ?? EMPTY_BYTES).slice(), false);
        return null;
      },
      touch: (request) => this.#keep(request, "lease"),
      adopt: (request) => this.#keep(request, "adopt"),
      "checkpoint-get": () => this.#checkpointGet(),
      "checkpoint-put": (request) => this.#checkpointPut(request),
    });
    this.#context.server.add(this.#context.name, {
      "stats-get": { roles: ANY_USER, handler: () => this.#statistics() },
    });
  }

  #digestOf(request: IncomingRequest): Uint8Array {
    if (request.bytes?.byteLength !== this.#digestLength) throw new FluxError("EPROTO", "incorrect hash size");
    return request.bytes;
  }

  #load(request: IncomingRequest): Answer | Promise<Answer> {
    const digest = this.#digestOf(request);
    const stored = this.#engine.load(digest, true);
    if (stored !== null) return rawAnswer(stored);
    const loadStored = async (piece: Uint8Array): Promise<Uint8Array | null> => this.#engine.load(piece, false);
    return loadUnsaved(this.#context.handle, digest, loadStored).then(found);
  }

  #store(batch: Uint8Array, isLeased: boolean): Uint8Array {
    const digests = this.#engine.store(batch, isLeased);
    this.#schedule();
    return digests;
  }

  /** What a commit refers to must be as safe as the commit. */
  async #keep(request: IncomingRequest, reason: KeepReason): Promise<Answer> {
    if (reason !== "lease") await this.#syncFiles();
    const missing = this.#engine.keep((request.bytes ?? EMPTY_BYTES).slice(), reason);
    this.#schedule();
    return rawAnswer(missing);
  }

  #checkpointGet(): Answer {
    const [checkpoint] = this.#engine.checkpoints();
    if (checkpoint === undefined) throw new FluxError("ENOENT");
    return { value: [storedCheckpoint(checkpoint.text, this.#directory)] };
  }

  async #checkpointPut(request: IncomingRequest): Promise<Answer> {
    const value = requireObject(request.json, "value");
    await this.#syncFiles();
    this.#engine.putCheckpoint(stringifyJson(value));
    this.#schedule();
    return null;
  }

  #statistics(): JsonObject {
    const { objectCount, fileBytes, liveBytes, sizeLimitBytes, leaseCount, collector } = this.#engine.stats();
    return {
      object_count: objectCount,
      size: fileBytes,
      live_size: liveBytes,
      size_limit: sizeLimitBytes,
      leases: leaseCount,
      collector: {
        running: collector.isRunning,
        cycles: collector.cycleCount,
        removed_count: collector.removedCount,
        removed_size: collector.removedBytes,
        last_cycle_time: collector.lastCycleMs,
      },
    };
  }

  /** Lets the engine work when it wants to. */
  #schedule(): void {
    this.#timer?.cancel();
    this.#timer = null;
    const delayMs = this.#isStopped ? null : this.#engine.delayMs();
    if (delayMs === null) return;
    this.#timer = this.#context.ports.clock.after(delayMs, () => this.#step(), { background: true });
  }

  #step(): void {
    try {
      this.#engine.step();
    } catch (error) {
      return this.#context.fatal(error);
    }
    this.#schedule();
  }

  /** Those who cache blobs must not rely on these. */
  async #forget(digests: Uint8Array): Promise<void> {
    try {
      await this.#context.handle.call("content.forget", digests);
    } catch (error) {
      // Without a content service nothing is cached.
      if (!isFluxError(error)) return this.#context.fatal(error);
    }
    this.#engine.forgotten();
    this.#schedule();
  }

  async #syncFiles(): Promise<void> {
    const hashes = this.#table.takeUnsynced();
    try {
      for (let start = 0; start < hashes.length; start += SYNC_WINDOW)
        await Promise.all(hashes.slice(start, start + SYNC_WINDOW).map((hash) => this.#syncFile(hash)));
    } catch (error) {
      this.#table.giveBack(hashes);
      throw error;
    }
  }

  async #syncFile(hash: Uint8Array): Promise<void> {
    // The collector may have removed it meanwhile.
    if (!this.#table.isKnown(hash)) return;
    const file = this.#context.ports.disk.openLog(this.#table.pathOf(hash));
    try {
      await file.sync();
    } finally {
      file.close();
    }
  }
}

function found(data: Uint8Array | null): Answer {
  if (data === null) throw new FluxError("ENOENT");
  return rawAnswer(data);
}

/** The empty blob travels as no payload. */
function rawAnswer(data: Uint8Array): Answer {
  return data.byteLength === 0 ? null : data;
}

export const contentFilesModule: ModuleDefinition = {
  name: "content-files",
  async start(context) {
    const service = new FilesService(context);
    await service.start();
    return service;
  },
};
