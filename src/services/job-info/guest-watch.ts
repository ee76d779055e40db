/**
 * Watching a log that shells write (`guest.output`, `guest.exec.eventlog` …): live through kvs-watch while the job is
 * active, and the rest from the KVS when it is inactive, so that nothing is missing whatever the order of messages.
 *
 * Invariant: no more of the log is in memory than the listener has not taken yet, and a little ahead.
 */
import { base64Decode } from "../../base/bytes.ts";
import { type FluxError, isFluxError } from "../../base/errors.ts";
import type { Payload } from "../../protocol/message.ts";
import type { Handle, OpenStream } from "../../sdk/handle.ts";
import { Kvs } from "../../sdk/kvs.ts";
import { LookupFlag, type TreeObject } from "../../sdk/kvs-protocol.ts";
import { LineSplitter } from "./core.ts";

export interface GuestWatchListener {
  /** Resolves when the line has been taken. */
  line(line: string): Promise<void>;
  /** What was there at first has been given. */
  sentinel(): void;
  /** Null after the end of the log. */
  end(error: FluxError | null): void;
}

export interface GuestWatchOptions {
  readonly handle: Handle;
  /** Absolute KVS key. */
  readonly key: string;
  /** Where it is watched, as long as the job is active: by its name in the namespace of the job's guest, or by `key`. */
  readonly live: { readonly namespace: string; readonly key: string };
  readonly waitCreate: boolean;
  /** Whether a line is the log's last. */
  isLast(line: string): boolean;
}

export class GuestWatch {
  readonly #options: GuestWatchOptions;
  readonly #listener: GuestWatchListener;
  readonly #decoder = new TextDecoder();
  readonly #splitter = new LineSplitter();
  /** How much of the log has come. */
  #bytes = 0;
  /** Resolves when what has come has been taken. */
  #taken: Promise<void> = Promise.resolve();
  #stream: OpenStream | null = null;
  #isJobOver = false;
  #isOver = false;
  #hasSentinel = false;

  constructor(options: GuestWatchOptions, listener: GuestWatchListener) {
    this.#options = options;
    this.#listener = listener;
  }

  /** Begins to watch. */
  open(): void {
    const { handle, live, waitCreate } = this.#options;
    const { Watch, WatchAppend, InitialSentinel, WaitCreate } = LookupFlag;
    const flags = Watch | WatchAppend | InitialSentinel | (waitCreate ? WaitCreate : 0);
    const listener = {
      item: (payload: Payload | null) => this.#item(payload),
      end: (error: FluxError | null) => this.#ended(error),
    };
    const request = { ...live, flags };
    this.#stream = handle.open("kvs-watch.lookup", request, listener, { cancelTopic: "kvs-watch.cancel" });
  }

  /** The job is inactive: what is in the KVS is all there will be. */
  jobEnded(): void {
    if (this.#isJobOver || this.#isOver) return;
    this.#isJobOver = true;
    if (this.#stream === null) void this.#readRest();
    else this.#stream.cancel();
  }

  /** The job is inactive, and never had shells: there is nothing to read. */
  neverBegan(): void {
    this.#finish(null);
  }

  /** Nobody listens any more. */
  cancel(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#stream?.cancel();
  }

  #item(payload: Payload | null): void | Promise<void> {
    if (this.#isOver) return;
    const val = payload?.value["val"] as TreeObject | undefined;
    if (val === undefined) return this.#sentinel();
    if (val.type !== "val") return;
    const bytes = base64Decode(val.data);
    if (bytes === null) return;
    this.#taken = this.#take(bytes);
    return this.#taken;
  }

  async #take(bytes: Uint8Array): Promise<void> {
    this.#bytes += bytes.byteLength;
    for (const line of this.#splitter.push(this.#decoder.decode(bytes, { stream: true }))) {
      if (this.#isOver) return;
      const taken = this.#listener.line(line);
      if (this.#options.isLast(line)) return this.#finish(null);
      await taken;
    }
  }

  #sentinel(): void {
    if (this.#hasSentinel) return;
    this.#hasSentinel = true;
    this.#listener.sentinel();
  }

  #ended(error: FluxError | null): void {
    this.#stream = null;
    if (this.#isOver) return;
    // Before its shells begin, and after their end, a job has no namespace for its guest: what there is, is with the job.
    if (this.#isJobOver || error?.is("ENOTSUP") === true) void this.#readRest();
    else this.#finish(error);
  }

  async #readRest(): Promise<void> {
    try {
      await this.#taken;
      let known = this.#bytes;
      for await (const bytes of new Kvs(this.#options.handle).getStream(this.#options.key)) {
        if (this.#isOver) return;
        await this.#take(bytes.subarray(known));
        known = Math.max(0, known - bytes.byteLength);
      }
      if (this.#isOver) return;
      this.#sentinel();
      this.#finish(null);
    } catch (error) {
      if (!isFluxError(error)) throw error;
      this.#finish(error);
    }
  }

  #finish(error: FluxError | null): void {
    if (this.#isOver) return;
    // The last line may come before the mark that everything old has been given.
    if (error === null) this.#sentinel();
    this.cancel();
    this.#listener.end(error);
  }
}
