/**
 * The service `content-files`: a backing store that keeps each blob in a file of its own, for stores that other tools read
 * or copy. It serves `content-backing` in the place of `content-sqlite` (attribute `content.backing-module`).
 *
 * A store is answered when the file is there, a checkpoint when it and all files before it survive the loss of power.
 * Nothing is ever removed.
 */
import { concatBytes, EMPTY_BYTES, hexEncode, utf8Decode, utf8Encode } from "../../base/bytes.ts";
import { FluxError, isFluxError } from "../../base/errors.ts";
import { parseJson, stringifyJson, type JsonObject } from "../../base/json.ts";
import type { HashAlgorithm } from "../../base/ports.ts";
import { isWideDirectory, joinPieces, parseWideDirectory } from "../../formats/wide-directory.ts";
import { decodeBlobs, splitDigests } from "../../sdk/blob-batch.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { ANY_USER, requireObject, type Answer } from "../../sdk/service.ts";
import { LogLevel, type ModuleContext, type ModuleDefinition, type RunningModule } from "../../sdk/module.ts";
import { CHECKPOINT_NAME, DIRECTORY_NAME, parseOptions, SYNC_WINDOW } from "./protocol.ts";

const BACKING_SERVICE = "content-backing";

class FilesService implements RunningModule {
  readonly #context: ModuleContext;
  readonly #directory: string;
  readonly #algorithm: HashAlgorithm;
  readonly #digestLength: number;
  /** Names of files that the loss of power may still take. */
  #unsynced = new Set<string>();
  #objectCount: number;

  constructor(context: ModuleContext) {
    const { disk, codec } = context.ports;
    const { truncate } = parseOptions(context.args);
    const place = context.attribute("statedir") ?? context.attribute("rundir");
    if (place === null) throw new FluxError("EINVAL", "neither statedir nor rundir is set");
    this.#context = context;
    this.#directory = `${place}/${DIRECTORY_NAME}`;
    this.#algorithm = (context.attribute("content.hash") ?? "sha1") as HashAlgorithm;
    this.#digestLength = codec.digest(this.#algorithm, EMPTY_BYTES).byteLength;
    if (truncate) disk.remove(this.#directory);
    disk.makeDirectory(this.#directory, { mode: 0o700, recursive: true });
    this.#objectCount = disk.list(this.#directory).filter((name) => name.startsWith(`${this.#algorithm}-`)).length;
  }

  async start(): Promise<void> {
    const { handle, name, log } = this.#context;
    log(LogLevel.debug, `${this.#directory} (${this.#objectCount} objects)`);
    this.#serve();
    await this.#context.addService(BACKING_SERVICE);
    await handle.rpc("content.register-backing", { name });
    this.#context.setAttribute("content.backing-module", name);
  }

  async stop(): Promise<void> {
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
      load: (request) => rawAnswer(this.#whole(this.#read(this.#digestOf(request)))),
      "load-stored": (request) => rawAnswer(this.#read(this.#digestOf(request))),
      validate: (request) => {
        if (!this.#has(this.#digestOf(request))) throw new FluxError("ENOENT");
        return null;
      },
      store: (request) => this.#write(request.bytes ?? EMPTY_BYTES),
      "store-batch": (request) => {
        for (const blob of decodeBlobs(request.bytes ?? EMPTY_BYTES)) this.#write(blob);
        return null;
      },
      touch: (request) => this.#missing(request),
      adopt: (request) => this.#missing(request),
      "checkpoint-get": () => this.#checkpointGet(),
      "checkpoint-put": (request) => this.#checkpointPut(request),
    });
    this.#context.server.add(this.#context.name, {
      "stats-get": { roles: ANY_USER, handler: (): JsonObject => ({ object_count: this.#objectCount }) },
    });
  }

  #digestOf(request: IncomingRequest): Uint8Array {
    if (request.bytes?.byteLength !== this.#digestLength) throw new FluxError("EPROTO", "incorrect hash size");
    return request.bytes;
  }

  #pathOf(digest: Uint8Array): string {
    return `${this.#directory}/${this.#algorithm}-${hexEncode(digest)}`;
  }

  #has(digest: Uint8Array): boolean {
    return this.#context.ports.disk.info(this.#pathOf(digest)) !== null;
  }

  #read(digest: Uint8Array): Uint8Array {
    return this.#context.ports.disk.readFile(this.#pathOf(digest));
  }

  #whole(blob: Uint8Array): Uint8Array {
    if (!isWideDirectory(blob)) return blob;
    const paths = parseWideDirectory(blob).pieces.map(({ ref }) => `${this.#directory}/${ref}`);
    return joinPieces(paths.map((path) => this.#context.ports.disk.readFile(path)));
  }

  #write(blob: Uint8Array): Uint8Array {
    const { codec, disk } = this.#context.ports;
    const digest = codec.digest(this.#algorithm, blob);
    if (this.#has(digest)) return digest;
    const path = this.#pathOf(digest);
    disk.writeFile(path, blob, { mode: 0o600 });
    this.#unsynced.add(path);
    this.#objectCount += 1;
    return digest;
  }

  #missing(request: IncomingRequest): Answer {
    const digests = splitDigests(request.bytes ?? EMPTY_BYTES, this.#digestLength);
    return rawAnswer(concatBytes(digests.filter((digest) => !this.#has(digest))));
  }

  #checkpointGet(): Answer {
    const text = utf8Decode(this.#context.ports.disk.readFile(`${this.#directory}/${CHECKPOINT_NAME}`));
    return { value: [parseJson(text)] };
  }

  async #checkpointPut(request: IncomingRequest): Promise<Answer> {
    const value = requireObject(request.json, "value");
    await this.#syncFiles();
    const bytes = utf8Encode(stringifyJson(value));
    this.#context.ports.disk.writeFile(`${this.#directory}/${CHECKPOINT_NAME}`, bytes, { mode: 0o600, sync: true });
    return null;
  }

  async #syncFiles(): Promise<void> {
    const paths = [...this.#unsynced];
    this.#unsynced = new Set();
    try {
      for (let start = 0; start < paths.length; start += SYNC_WINDOW)
        await Promise.all(paths.slice(start, start + SYNC_WINDOW).map((path) => this.#syncFile(path)));
    } catch (error) {
      for (const path of paths) this.#unsynced.add(path);
      throw error;
    }
  }

  async #syncFile(path: string): Promise<void> {
    const file = this.#context.ports.disk.openLog(path);
    try {
      await file.sync();
    } finally {
      file.close();
    }
  }
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
