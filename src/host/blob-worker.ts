/**
 * The thread in which a blob database lives: it opens the file, does the calls that come in their order, and lets the
 * collector work between them.
 *
 * Messages to it are lists of calls, each with a number; messages from it are lists of answers. Its own end is a call, too.
 */
import { parentPort, workerData, type MessagePort, type Transferable } from "node:worker_threads";
import { EMPTY_BYTES } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import type { BlobDatabaseOptions } from "../base/ports.ts";
import { perform, type BlobCall } from "../services/blob-engine/calls.ts";
import { BlobEngine } from "../services/blob-engine/engine.ts";
import { openBlobFile } from "./blob-file.ts";
import { nodeClock } from "./clock.ts";
import { nodeCodec } from "./codec.ts";
import { lockDirectoryOf } from "./directory-lock.ts";

export interface BlobWorkerData {
  readonly path: string;
  readonly options: BlobDatabaseOptions;
}

export type NumberedCall = readonly [number: number, call: BlobCall | readonly ["close"]];

/** What comes back: an answer to a call, or what happened by itself (number 0). */
export type WorkerAnswer =
  | readonly [number: number, what: "value", value: unknown]
  | readonly [number: number, what: "error", errnum: number, text: string]
  | readonly [number: 0, what: "opened" | "checkpoint-wanted"]
  | readonly [number: 0, what: "refused" | "trouble", errnum: number, text: string]
  | readonly [number: 0, what: "forget", digests: Uint8Array];

class BlobThread {
  readonly #port: MessagePort;
  readonly #engine: BlobEngine;
  readonly #close: () => void;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;
  #answers: WorkerAnswer[] = [];

  constructor(port: MessagePort, { path, options }: BlobWorkerData) {
    this.#port = port;
    const codec = nodeCodec();
    const clock = nodeClock();
    const lock = options.isExclusive ? lockDirectoryOf(path) : null;
    try {
      const file = openBlobFile(path, options);
      this.#close = (): void => {
        file.close();
        lock?.release();
      };
      this.#engine = new BlobEngine(
        file,
        {
          digest: (data) => codec.digest(options.hash, data),
          digestLength: codec.digest(options.hash, EMPTY_BYTES).byteLength,
          nowMs: () => clock.monotonicMs(),
          checkpointsKept: options.checkpointsKept,
          sizeLimitBytes: options.sizeLimitBytes,
        },
        {
          forget: (digests) => this.#say([0, "forget", digests]),
          checkpointWanted: () => this.#say([0, "checkpoint-wanted"]),
          trouble: (error) => this.#say([0, "trouble", error.errnum, error.message]),
        },
      );
    } catch (error) {
      lock?.release();
      throw error;
    }
  }

  /** From now on calls are taken. */
  start(): void {
    this.#port.on("message", (calls: readonly NumberedCall[]) => this.#receive(calls));
    this.#say([0, "opened"]);
    this.#flush();
  }

  #receive(calls: readonly NumberedCall[]): void {
    for (const [number, call] of calls) this.#answer(number, call);
    this.#flush();
    this.#schedule();
  }

  #answer(number: number, call: BlobCall | readonly ["close"]): void {
    try {
      const value = call[0] === "close" ? this.#end() : perform(this.#engine, call);
      this.#say([number, "value", value]);
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      this.#say([number, "error", error.errnum, error.message]);
    }
  }

  #end(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#close();
    // Nothing holds the thread any more: it ends when what it said has gone.
    this.#port.unref();
  }

  #say(answer: WorkerAnswer): void {
    this.#answers.push(answer);
  }

  #flush(): void {
    const answers = this.#answers;
    if (answers.length === 0) return;
    this.#answers = [];
    this.#port.postMessage(answers, buffersOf(answers));
  }

  /** Has the collector called when it is due. */
  #schedule(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const delayMs = this.#closed ? null : this.#engine.delayMs();
    if (delayMs === null) return;
    this.#timer = setTimeout(() => this.#step(), delayMs);
  }

  #step(): void {
    this.#engine.step();
    this.#flush();
    this.#schedule();
  }
}

/** The memory of large answers is handed over, not copied. */
function buffersOf(answers: readonly WorkerAnswer[]): Transferable[] {
  const buffers = new Set<ArrayBuffer>();
  for (const [, what, value] of answers) {
    if (what !== "value" || !(value instanceof Uint8Array)) continue;
    const { buffer } = value;
    if (buffer instanceof ArrayBuffer && buffer.byteLength === value.byteLength && buffer.byteLength > 0)
      buffers.add(buffer);
  }
  return [...buffers];
}

const port = parentPort;
if (port !== null) {
  try {
    new BlobThread(port, workerData as BlobWorkerData).start();
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
    port.postMessage([[0, "refused", error.errnum, error.message]] satisfies WorkerAnswer[]);
  }
}
