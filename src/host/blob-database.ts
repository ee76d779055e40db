/**
 * The port `BlobDatabase` on Node: the database lives in a thread of its own (`blob-worker.ts`), which is started when it is
 * first needed. Calls of one turn travel together.
 *
 * Invariant: calls are done in their order, each is answered once; a thread that dies fails those that are open.
 */
import { existsSync, rmSync } from "node:fs";
import type { Worker } from "node:worker_threads";
import { errorText, FluxError } from "../base/errors.ts";
import type { BlobDatabase, BlobDatabaseEvents, BlobDatabaseOptions } from "../base/ports.ts";
import type { BlobCall } from "../services/blob-engine/calls.ts";
import { RemoteBlobDatabase, type BlobCarrier } from "../services/content-sqlite/remote.ts";
import type { BlobWorkerData, NumberedCall, WorkerAnswer } from "./blob-worker.ts";

/** The thread's code lies beside this file, compiled or not. */
const WORKER_URL: URL = new URL(`./blob-worker.${import.meta.url.endsWith(".ts") ? "ts" : "js"}`, import.meta.url);

interface Waiting {
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

class ThreadCarrier implements BlobCarrier {
  readonly #data: BlobWorkerData;
  readonly #events: BlobDatabaseEvents;
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | null = null;
  #opened: PromiseWithResolvers<void> | null = null;
  #outbox: NumberedCall[] = [];
  #lastNumber = 0;
  /** Why it is of no use any more. */
  #failure: FluxError | null = null;
  /** There is no file yet: until something is stored, it is known to be empty. */
  readonly #isNew: boolean;

  constructor(data: BlobWorkerData, events: BlobDatabaseEvents) {
    this.#data = data;
    this.#events = events;
    this.#isNew = data.options.truncate === true || !existsSync(data.path);
  }

  ready(): Promise<void> {
    this.#start();
    return this.#opened!.promise;
  }

  call(call: BlobCall): Promise<unknown> {
    if (this.#worker === null && this.#isNew && this.#failure === null) {
      const known = answerOfNothing(call, this.#data.options);
      if (known !== undefined) return Promise.resolve(known);
    }
    this.#start();
    return this.#send(call);
  }

  async close(): Promise<void> {
    const worker = this.#worker;
    if (worker !== null && this.#failure === null) await this.#send(["close"]);
    this.#worker = null;
    this.#end(new FluxError("EBADF", `${this.#data.path} is closed`));
    await worker?.terminate();
  }

  #start(): void {
    if (this.#worker !== null || this.#failure !== null) return;
    this.#opened = Promise.withResolvers();
    // Who did not ask whether it is ready hears of it from the calls.
    this.#opened.promise.catch(() => {});
    const threads = process.getBuiltinModule("node:worker_threads");
    const worker = new threads.Worker(WORKER_URL, { workerData: this.#data, name: "content-sqlite" });
    this.#worker = worker;
    worker.on("message", (answers: readonly WorkerAnswer[]) => {
      for (const answer of answers) this.#receive(answer);
      if (this.#waiting.size === 0) worker.unref();
    });
    worker.on("error", (error) => {
      this.#end(new FluxError("EIO", `${this.#data.path}: ${errorText(error)}`));
      this.#events.fatal(error);
    });
    worker.on("exit", () => {
      if (this.#worker === worker) this.#end(new FluxError("EBADF", `${this.#data.path} is closed`));
    });
  }

  #send(call: BlobCall | readonly ["close"]): Promise<unknown> {
    if (this.#failure !== null) return Promise.reject(this.#failure);
    const number = ++this.#lastNumber;
    if (this.#outbox.length === 0) queueMicrotask(() => this.#flush());
    this.#outbox.push([number, compact(call)]);
    return new Promise((resolve, reject) => this.#waiting.set(number, { resolve, reject }));
  }

  #flush(): void {
    const calls = this.#outbox;
    this.#outbox = [];
    if (this.#worker === null || calls.length === 0) return;
    this.#worker.ref();
    this.#worker.postMessage(calls, buffersOf(calls));
  }

  #receive(answer: WorkerAnswer): void {
    switch (answer[1]) {
      case "opened":
        return this.#opened!.resolve();
      case "checkpoint-wanted":
        return this.#events.checkpointWanted();
      case "refused":
        return this.#refused(new FluxError(answer[2], answer[3]));
      case "trouble":
        return this.#events.trouble(new FluxError(answer[2], answer[3]));
      case "forget":
        return void this.#forget(answer[2]);
      case "value":
        return this.#settle(answer[0])?.resolve(answer[2]);
      case "error":
        return this.#settle(answer[0])?.reject(new FluxError(answer[2], answer[3]));
    }
  }

  #settle(number: number): Waiting | undefined {
    const waiting = this.#waiting.get(number);
    this.#waiting.delete(number);
    return waiting;
  }

  async #forget(digests: Uint8Array): Promise<void> {
    await this.#events.forget(digests);
    if (this.#failure === null) await this.#send(["forgotten"]);
  }

  /** It could not be opened: the next call tries again, the reason may have passed. */
  #refused(error: FluxError): void {
    this.#worker = null;
    this.#rejectAll(error);
  }

  #end(failure: FluxError): void {
    this.#failure ??= failure;
    this.#rejectAll(this.#failure);
  }

  #rejectAll(error: FluxError): void {
    this.#opened?.reject(error);
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    this.#outbox = [];
    for (const { reject } of waiting) reject(error);
  }
}

/** What an empty database would answer; undefined: it has to be made for that. */
function answerOfNothing(call: BlobCall, { sizeLimitBytes }: BlobDatabaseOptions): unknown {
  switch (call[0]) {
    case "load":
      return null;
    case "has":
      return false;
    case "checkpoints":
      return [];
    case "keep":
      return call[1];
    case "stats":
      return {
        objectCount: 0,
        fileBytes: 0,
        freeBytes: 0,
        liveBytes: 0,
        sizeLimitBytes,
        epoch: 0,
        leaseCount: 0,
        collector: { isRunning: false, cycleCount: 0, removedCount: 0, removedBytes: 0, lastCycleMs: 0 },
      };
    default:
      return undefined;
  }
}

/** A call without the rest of larger arrays that its own are parts of: all of an array's memory would travel. */
function compact(call: BlobCall | readonly ["close"]): BlobCall | readonly ["close"] {
  return call.map((value: unknown) =>
    value instanceof Uint8Array && (call[0] !== "store" || value.buffer.byteLength !== value.byteLength)
      ? value.slice()
      : value,
  ) as unknown as BlobCall;
}

/** The memory of large arrays is handed over, not copied. */
function buffersOf(calls: readonly NumberedCall[]): ArrayBuffer[] {
  const buffers: ArrayBuffer[] = [];
  for (const [, call] of calls)
    if (call[0] === "store" && call[1].buffer instanceof ArrayBuffer) buffers.push(call[1].buffer);
  return buffers;
}

export function openBlobDatabase(path: string, options: BlobDatabaseOptions, events: BlobDatabaseEvents): BlobDatabase {
  // What is known to be empty is emptied now: it may not be opened for long.
  if (options.truncate === true)
    for (const suffix of ["", "-wal", "-shm", "-journal"]) rmSync(path + suffix, { force: true });
  return new RemoteBlobDatabase(new ThreadCarrier({ path, options: { ...options, truncate: false } }, events));
}
