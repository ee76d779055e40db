/**
 * Writing an archive to a file or to standard output. A file appears under its name when it is complete: a command that
 * fails leaves nothing, and no earlier archive is lost by it.
 */
import {
  closeSync,
  createWriteStream,
  fstatSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  type WriteStream,
} from "node:fs";
import type { Duplex } from "node:stream";
import { finished } from "node:stream/promises";
import { Errno, errnoSentence, errorText, FluxError, type ErrnoName } from "../../base/errors.ts";
import { compressorFor } from "./compression.ts";

/** What is written at once, at least, in bytes. */
const WRITE_BYTES = 256 * 1024;

export class ArchiveOutput {
  readonly #path: string;
  /** Where the bytes go until they are complete; null where they go to their place at once. */
  readonly #partialPath: string | null;
  readonly #file: WriteStream;
  readonly #entrance: Duplex | WriteStream;
  readonly #done: Promise<void>;
  #error: Error | null = null;
  #gathered: Uint8Array[] = [];
  #gatheredBytes = 0;

  private constructor(path: string, partialPath: string | null, descriptor: number, compressor: Duplex | null) {
    this.#path = path;
    this.#partialPath = partialPath;
    this.#file = createWriteStream("", { fd: descriptor });
    this.#entrance = compressor ?? this.#file;
    this.#done = finished(this.#file, { readable: false });
    this.#done.catch((error: Error) => this.#fail(error));
    if (compressor !== null) {
      compressor.on("error", (error) => this.#fail(error));
      compressor.pipe(this.#file);
    }
  }

  /** Opens a file, or standard output for "-". Throws with the path where that fails, EINVAL for an unknown format. */
  static open(path: string): ArchiveOutput {
    if (path === "-") return new ArchiveOutput(path, null, 1, null);
    const compressor = compressorFor(path);
    const isPlain = statSync(path, { throwIfNoEntry: false })?.isFile() ?? true;
    const partialPath = isPlain ? `${path}.partial-${process.pid}` : null;
    try {
      const descriptor = openSync(partialPath ?? path, "w", 0o666);
      if (!fstatSync(descriptor).isDirectory()) return new ArchiveOutput(path, partialPath, descriptor, compressor);
      closeSync(descriptor);
    } catch (error) {
      compressor?.destroy();
      throw new FluxError("EIO", `Failed to open '${path}': ${systemText(error)}`, { cause: error });
    }
    throw new FluxError("EISDIR", `Failed to open '${path}'`);
  }

  /** Resolves when more may be written. */
  async write(bytes: Uint8Array): Promise<void> {
    if (this.#error !== null) throw this.#error;
    this.#gathered.push(bytes);
    this.#gatheredBytes += bytes.byteLength;
    if (this.#gatheredBytes >= WRITE_BYTES) await this.#pass();
  }

  /** Writes what has gathered: members are short, writes are not. */
  async #pass(): Promise<void> {
    const bytes = this.#gathered.length === 1 ? this.#gathered[0]! : Buffer.concat(this.#gathered);
    this.#gathered = [];
    this.#gatheredBytes = 0;
    if (bytes.byteLength === 0 || this.#entrance.write(bytes)) return;
    await new Promise<void>((resolve) => {
      const go = (): void => {
        this.#entrance.off("drain", go);
        this.#entrance.off("close", go);
        resolve();
      };
      this.#entrance.on("drain", go);
      this.#entrance.on("close", go);
    });
    if (this.#error !== null) throw this.#error as Error;
  }

  /** Completes the archive. */
  async end(): Promise<void> {
    if (this.#error !== null) throw this.#error;
    await this.#pass();
    this.#entrance.end();
    await this.#done.catch((error: unknown) => {
      throw this.#error ?? error;
    });
    if (this.#partialPath !== null) renameSync(this.#partialPath, this.#path);
  }

  /** Gives the archive up: what was written is removed. */
  discard(): void {
    this.#error ??= new FluxError("ECANCELED");
    this.#entrance.destroy();
    this.#file.destroy();
    if (this.#partialPath !== null) rmSync(this.#partialPath, { force: true });
  }

  #fail(error: Error): void {
    if (this.#error !== null) return;
    this.#error =
      error instanceof FluxError ? error : new FluxError("EIO", `error writing '${this.#path}': ${systemText(error)}`);
    this.#entrance.destroy();
    this.#file.destroy();
  }
}

/** "No space left on device" of an error of the system. */
function systemText(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  return Object.hasOwn(Errno, code) ? errnoSentence(Errno[code as ErrnoName]) : errorText(error);
}
