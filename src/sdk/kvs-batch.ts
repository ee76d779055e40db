/**
 * Gathers the KVS writes of many parties of one process into few commits: all writes of one turn, and those that may wait
 * for others to share a commit with.
 *
 * Invariants: commits are sent in order, and the KVS carries out the commits of one sender in that order, so appends to a
 * key keep their order; text appended to a key within a batch is one operation; a settled write is in the KVS; writes that
 * the KVS refuses for now, because its disk is full, are sent again, one commit at a time, until it has taken them. So is a
 * commit whose answer was lost with a link: by its number the KVS knows whether it has taken it, and what goes before it.
 */
import { type ErrnoName, FluxError, isFluxError } from "../base/errors.ts";
import type { Clock, TimerHandle } from "../base/ports.ts";
import { makeTextVal } from "../formats/treeobj.ts";
import type { Handle } from "./handle.ts";
import { OPERATION_APPEND, OPERATION_LAST, PRIMARY_NAMESPACE } from "./kvs-protocol.ts";

/** Characters of one commit; what is more goes with the next. */
const COMMIT_LENGTH_MAX = 1024 * 1024;
/**
 * Up to so many characters on their way, no later commit of another sender is carried out first. A commit that the KVS
 * takes for huge (256 KiB, as JSON) waits until the content store has its values, and commits of others pass it there.
 */
const ORDERED_LENGTH_MAX = 48 * 1024;
/** With so many commits sent and not answered, further writes gather, unless they are flushed. */
const COMMITS_IN_FLIGHT_MAX = 8;
/** What was refused is sent again after this time. */
const RETRY_DELAY_MS = 1000;
/** Refusals of a commit which may be taken later as it is: nothing happened, or (the last one) its answer was lost. */
const REFUSALS: readonly ErrnoName[] = ["ENOSPC", "EDQUOT", "EAGAIN", "ENOMEM", "EHOSTUNREACH"];

interface Waiter {
  /** It need not wait for room, where there is none: it is enough that the write is kept until there is some. */
  readonly isPatient: boolean;
  resolve(): void;
  reject(error: unknown): void;
}

interface Entry {
  append: boolean;
  /** Nothing more is going to be written. */
  isLast: boolean;
  chunks: string[];
  length: number;
  /** Monotonic milliseconds. */
  dueMs: number;
  waiters: Waiter[];
}

export interface KvsBatchOptions {
  readonly handle: Handle;
  readonly clock: Clock;
  /** Tells the KVS who sends a commit again, on a rank whose link to it may break: a name that nobody else has. */
  readonly sender?: string;
  /** Told of each commit that failed; its writes are lost. */
  failed(error: FluxError): void;
  /** Told when commits begin to be refused for now: they are sent again until they are taken. */
  delayed(error: FluxError): void;
}

/** The entries of a commit, by key. */
type Batch = Map<string, Entry>;

interface Commit {
  readonly number: number;
  readonly batch: Batch;
}

export class KvsBatch {
  readonly #options: KvsBatchOptions;
  readonly #pending: Batch = new Map();
  readonly #inFlight: Batch = new Map();
  /** What was refused waits for its time, … */
  #refused: Commit[] = [];
  /** … and then goes before all else, as it was, in the order in which it was sent first. */
  #again: Commit[] = [];
  /** Number of the last commit, and those of all whose end is not known, ascending. */
  #number = 0;
  readonly #unanswered = new Set<number>();
  /** The last commit was refused: one at a time is sent until one is taken. */
  #isDelayed = false;
  #commitCount = 0;
  #isScheduled = false;
  #timer: { readonly dueMs: number; readonly handle: TimerHandle } | null = null;
  #length = 0;

  constructor(options: KvsBatchOptions) {
    this.#options = options;
  }

  /** Characters that wait or are in flight. */
  get length(): number {
    return this.#length;
  }

  /** Whether what others commit later may be carried out before what is on its way: then only `settle` tells. */
  get canBePassed(): boolean {
    return this.#length > ORDERED_LENGTH_MAX;
  }

  /** Sets a key's value, in the place of what was to be set before. */
  put(key: string, text: string): void {
    const entry = this.#entry(key, false, 0);
    entry.append = false;
    this.#length += text.length - entry.length;
    entry.length = text.length;
    entry.chunks.splice(0, entry.chunks.length, text);
  }

  /** Appends text to a key's value; it may wait up to a delay for company. */
  append(key: string, text: string, delayMs = 0): void {
    const entry = this.#entry(key, true, delayMs);
    entry.chunks.push(text);
    entry.length += text.length;
    this.#length += text.length;
  }

  /** Lets what waits for a key go with the next commit. */
  hasten(key: string): void {
    const entry = this.#pending.get(key);
    if (entry !== undefined) entry.dueMs = 0;
  }

  /** The same, and nothing more is going to be written to the key. */
  end(key: string): void {
    const entry = this.#pending.get(key);
    if (entry === undefined) return;
    entry.dueMs = 0;
    entry.isLast = true;
  }

  /**
   * Takes back what was to be appended to a key, for somebody else to write. Null where nothing waits, where it is longer
   * than `lengthMax` characters, or where somebody waits for it to be settled.
   */
  take(key: string, lengthMax: number): string | null {
    const entry = this.#pending.get(key);
    if (entry === undefined || !isTakeable(entry, lengthMax)) return null;
    this.#pending.delete(key);
    this.#length -= entry.length;
    return entry.chunks.join("");
  }

  /** Whether something written to a key is on its way, or waits and cannot be taken back. */
  isUnderWay(key: string, lengthMax: number): boolean {
    const entry = this.#pending.get(key);
    return this.#inFlight.has(key) || (entry !== undefined && !isTakeable(entry, lengthMax));
  }

  /**
   * Resolves when what was written to the key is committed; it goes with the next commit. With `orDelayed` also when the
   * store has no room for it: then it is committed some day. Rejects where that failed.
   */
  settle(key: string, { orDelayed = false }: { orDelayed?: boolean } = {}): Promise<void> {
    if (orDelayed && this.#isDelayed) return Promise.resolve();
    const pending = this.#pending.get(key);
    const entry = pending ?? this.#inFlight.get(key);
    if (entry === undefined) return Promise.resolve();
    if (pending !== undefined) {
      pending.dueMs = 0;
      this.#schedule();
    }
    return new Promise((resolve, reject) => entry.waiters.push({ resolve, reject, isPatient: !orDelayed }));
  }

  /** Sends what is due now, instead of at the end of the turn: what is sent afterwards comes after it. */
  flush(): void {
    this.#send(Infinity);
  }

  #send(inFlightMax: number): void {
    if (this.#refused.length > 0) return;
    while (this.#commitCount < (this.#isDelayed ? 1 : inFlightMax) && this.#commit()) {
      // One commit holds a limited length; the next holds the rest.
    }
  }

  #entry(key: string, append: boolean, delayMs: number): Entry {
    const dueMs = delayMs === 0 ? 0 : this.#options.clock.monotonicMs() + delayMs;
    let entry = this.#pending.get(key);
    if (entry === undefined) {
      entry = { append, isLast: false, chunks: [], length: 0, dueMs, waiters: [] };
      this.#pending.set(key, entry);
    } else entry.dueMs = Math.min(entry.dueMs, dueMs);
    if (delayMs === 0) this.#schedule();
    else this.#wakeAt(dueMs);
    return entry;
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#options.clock.defer(() => {
      this.#isScheduled = false;
      this.#send(COMMITS_IN_FLIGHT_MAX);
    });
  }

  #wakeAt(dueMs: number): void {
    if (this.#timer !== null && this.#timer.dueMs <= dueMs) return;
    this.#timer?.handle.cancel();
    const delayMs = Math.max(0, dueMs - this.#options.clock.monotonicMs());
    const handle = this.#options.clock.after(delayMs, () => {
      this.#timer = null;
      this.#send(COMMITS_IN_FLIGHT_MAX);
    });
    this.#timer = { dueMs, handle };
  }

  /** Returns whether there was something to commit. */
  #commit(): boolean {
    const commit = this.#again.shift() ?? this.#takeDue();
    if (commit === null) return false;
    const { number, batch } = commit;
    this.#commitCount++;
    const [oldest = number] = this.#unanswered;
    const ops = [...batch].map(([key, entry]) => ({
      key,
      flags: (entry.append ? OPERATION_APPEND : 0) | (entry.isLast ? OPERATION_LAST : 0),
      dirent: makeTextVal(entry.chunks.join("")),
    }));
    const { handle, sender } = this.#options;
    const once = sender === undefined ? {} : { once: { sender, number, answered: oldest - 1 } };
    handle.rpc("kvs.commit", { namespace: PRIMARY_NAMESPACE, flags: 0, ops, ...once }).then(
      () => this.#finish(commit, null),
      (error: unknown) => this.#finish(commit, error),
    );
    return true;
  }

  /** Null where nothing is due. */
  #takeDue(): Commit | null {
    const nowMs = this.#options.clock.monotonicMs();
    const batch: Batch = new Map();
    let length = 0;
    let nextMs = Infinity;
    for (const [key, entry] of this.#pending) {
      if (entry.dueMs > nowMs) nextMs = Math.min(nextMs, entry.dueMs);
      else if (batch.size === 0 || length + entry.length <= COMMIT_LENGTH_MAX) {
        batch.set(key, entry);
        length += entry.length;
      }
    }
    for (const [key, entry] of batch) {
      this.#pending.delete(key);
      this.#inFlight.set(key, entry);
    }
    if (nextMs < Infinity) this.#wakeAt(nextMs);
    if (batch.size === 0) return null;
    this.#unanswered.add(++this.#number);
    return { number: this.#number, batch };
  }

  #finish(commit: Commit, error: unknown): void {
    const { number, batch } = commit;
    this.#commitCount--;
    if (isFluxError(error, ...REFUSALS)) return this.#refuse(commit, error);
    this.#unanswered.delete(number);
    if (error === null) this.#isDelayed = false;
    for (const [key, entry] of batch) {
      if (this.#inFlight.get(key) === entry) this.#inFlight.delete(key);
      this.#length -= entry.length;
      // Waiting for the last write to a key includes those before it.
      const waiting = [...this.#refused, ...this.#again];
      const earlier = waiting.findLast((refused) => refused.batch.has(key))?.batch.get(key);
      if (earlier !== undefined && error === null) earlier.waiters.push(...entry.waiters);
      else for (const waiter of entry.waiters) settle(waiter, error);
    }
    if (error !== null) this.#options.failed(error instanceof FluxError ? error : new FluxError("EIO", String(error)));
    if (this.#refused.length > 0) this.#retryOnceAnswered();
    else if (this.#again.length + this.#pending.size > 0) this.#schedule();
  }

  #refuse(commit: Commit, error: FluxError): void {
    this.#refused.push(commit);
    if (!this.#isDelayed) this.#options.delayed(error);
    this.#isDelayed = true;
    for (const entry of [...commit.batch.values(), ...this.#pending.values()]) {
      for (const waiter of entry.waiters) if (!waiter.isPatient) settle(waiter, null);
      entry.waiters = entry.waiters.filter(({ isPatient }) => isPatient);
    }
    this.#retryOnceAnswered();
  }

  /** What was sent behind a commit that was refused may be refused, too: only then is it known what to send again. */
  #retryOnceAnswered(): void {
    if (this.#commitCount > 0) return;
    this.#options.clock.after(RETRY_DELAY_MS, () => this.#retry(), { background: true });
  }

  #retry(): void {
    this.#again = [...this.#refused, ...this.#again].toSorted((a, b) => a.number - b.number);
    this.#refused = [];
    this.#send(1);
  }
}

function settle(waiter: Waiter, error: unknown): void {
  if (error === null) waiter.resolve();
  else waiter.reject(error);
}

function isTakeable(entry: Entry, lengthMax: number): boolean {
  return entry.append && entry.length <= lengthMax && entry.waiters.length === 0;
}
