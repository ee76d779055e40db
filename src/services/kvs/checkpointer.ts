/**
 * Decides when a checkpoint is made, makes one at a time, and tells when commits must wait for it.
 *
 * A checkpoint that fails leaves everything as it was, and is tried again a little later; meanwhile commits go on until
 * what is unsaved takes too much memory.
 */
import { FluxError } from "../../base/errors.ts";
import type { TimerHandle } from "../../base/ports.ts";
import { Trouble } from "../../sdk/trouble.ts";
import type { ModuleContext } from "../../sdk/module.ts";
import type { BlobLoader } from "./blob-loader.ts";
import { storeBlobs, writeCheckpoint } from "./checkpoint.ts";
import type { Leader, LeaderSnapshot } from "./core.ts";
import type { HeldRoots } from "./held-roots.ts";
import type { LogStore } from "./log-store.ts";
import type { Node } from "./node-cache.ts";
import {
  CHECKPOINT_DIRTY_BYTES,
  CHECKPOINT_LOG_BYTES,
  CHECKPOINT_RETRY_MS,
  LONG_COMMIT_WAIT_MS,
  UNSAVED_BYTES_MAX,
} from "./protocol.ts";

export interface CheckpointerOptions {
  readonly context: ModuleContext;
  readonly leader: Leader;
  readonly loader: BlobLoader;
  readonly held: HeldRoots;
  readonly log: LogStore | null;
  /** The record that the last checkpoint in the store contains, and the roots that it says are held. */
  readonly saved: { readonly number: number; readonly held: readonly string[] };
  ended(): void;
}

/** What a checkpoint contains. */
interface Begun {
  readonly snapshot: LeaderSnapshot;
  readonly held: string[];
  readonly roots: string[];
}

export class Checkpointer {
  readonly #context: ModuleContext;
  readonly #trouble: Trouble;
  readonly #leader: Leader;
  readonly #loader: BlobLoader;
  readonly #held: HeldRoots;
  readonly #log: LogStore | null;
  /** Called after each checkpoint, also after one that failed. */
  readonly #ended: () => void;
  #running: Promise<boolean> | null = null;
  #timer: TimerHandle | null = null;
  /** Why the last one failed. */
  #failure: FluxError | null = null;
  #savedNumber: number;
  #savedHeld: readonly string[];
  #heldTimer: TimerHandle | null = null;
  #stopped = false;

  constructor(options: CheckpointerOptions) {
    const { context, leader, loader, held, log, saved, ended } = options;
    this.#context = context;
    this.#trouble = new Trouble(context.ports.clock, context.log);
    this.#leader = leader;
    this.#loader = loader;
    this.#held = held;
    this.#log = log;
    this.#savedNumber = saved.number;
    this.#savedHeld = saved.held;
    this.#ended = ended;
  }

  /** Whether something has happened that no checkpoint in the store contains, or the last one keeps what nobody holds. */
  get isUnsaved(): boolean {
    return this.#leader.number !== this.#savedNumber || this.#keepsTooMuch;
  }

  get #keepsTooMuch(): boolean {
    if (this.#savedHeld.length === 0) return false;
    const held = this.#held.refs(this.#context.ports.clock.monotonicMs());
    return this.#savedHeld.some((ref) => !held.has(ref));
  }

  /** Roots may have been let go: if the last checkpoint keeps one that nobody holds, another is due, though nothing else changes. */
  noteHeld(): void {
    this.#heldTimer?.cancel();
    this.#heldTimer = null;
    if (this.#stopped || this.#savedHeld.length === 0) return;
    if (this.#keepsTooMuch) return this.arm(0);
    const endMs = this.#held.nextEndMs;
    if (endMs === null) return;
    const { clock } = this.#context.ports;
    const delayMs = Math.max(0, endMs - clock.monotonicMs());
    this.#heldTimer = clock.after(delayMs, () => this.noteHeld(), { background: true });
  }

  /** Something has been logged: a checkpoint is due after a period, or now where much has gathered. */
  noteChange(periodMs: number): void {
    const { index } = this.#leader;
    const isFull =
      (this.#log?.bytesSinceCheckpoint ?? 0) > CHECKPOINT_LOG_BYTES || index.dirtyBytes > CHECKPOINT_DIRTY_BYTES;
    if (isFull && this.#running === null && this.#failure === null) this.arm(0);
    else if (this.#timer === null) this.arm(periodMs);
  }

  arm(delayMs: number): void {
    if (this.#stopped) return;
    this.#timer?.cancel();
    this.#timer = this.#context.ports.clock.after(delayMs, () => void this.#onTimer(), { background: true });
  }

  /** Whether commits may go on: null, or "wait" for the end of a checkpoint, or why none can be made. */
  get obstacle(): "wait" | FluxError | null {
    if (this.#leader.index.dirtyBytes <= UNSAVED_BYTES_MAX) return null;
    if (this.#failure !== null) return this.#failure;
    return this.#running === null ? null : "wait";
  }

  /** Makes a checkpoint of all that has happened until now. Resolves with whether there is a store that keeps it. */
  async saveAll(): Promise<boolean> {
    if (this.#running !== null) await this.#running;
    return this.#save();
  }

  /** No checkpoint is made any more but by `saveAll`. */
  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#heldTimer?.cancel();
  }

  async #onTimer(): Promise<void> {
    this.#timer = null;
    // Somebody has asked for one meanwhile.
    if (!this.isUnsaved) return;
    try {
      await this.#save();
      this.#trouble.over();
    } catch (error) {
      if (!(error instanceof FluxError)) return this.#context.fatal(error);
      // It ends with its broker: `saveAll` tells, or nobody needs it any more.
      if (this.#stopped) return;
      this.#trouble.met(`checkpoint: ${error.message}`);
      this.arm(CHECKPOINT_RETRY_MS);
    }
  }

  /** Makes a checkpoint, or waits for the one that is being made. */
  #save(): Promise<boolean> {
    this.#running ??= this.#write().finally(() => {
      this.#running = null;
      this.#ended();
    });
    return this.#running;
  }

  async #write(): Promise<boolean> {
    const { handle, ports } = this.#context;
    const { index } = this.#leader;
    try {
      while (await this.#loader.complete(() => this.#leader.prepareSnapshot())) await this.#nextTurn();
      const { snapshot, held, roots } = await this.#begun();
      const nodes = new Map<string, Node>();
      await this.#inTurns(index.reach(roots, nodes));
      await storeBlobs(handle, nodes, () => this.#nextTurn());
      const isKept = await writeCheckpoint(handle, snapshot, held, ports.clock.now());
      await this.#inTurns(index.endFlush(nodes));
      // Without a store nothing could be restored, with or without a log.
      this.#log?.discardOld();
      if (isKept) {
        this.#savedNumber = snapshot.number;
        this.#savedHeld = held;
        this.noteHeld();
      }
      this.#failure = null;
      return isKept;
    } catch (error) {
      index.cancelFlush();
      if (error instanceof FluxError) this.#failure = error;
      throw error;
    }
  }

  /** Begins when no long commit is under way: nothing but its draft refers to its blobs. */
  async #begun(): Promise<Begun> {
    for (;;) {
      const begun = await this.#loader.complete(() => (this.#leader.isInCommit ? null : this.#begin()));
      if (begun !== null) return begun;
      await new Promise<void>((resolve) => this.#context.ports.clock.after(LONG_COMMIT_WAIT_MS, resolve));
    }
  }

  /** Fixes what the checkpoint contains; what comes from now on is not in it. Throws MissingBlob; then nothing has begun. */
  #begin(): Begun {
    const snapshot = this.#leader.snapshot();
    const held = [...this.#held.refs(this.#context.ports.clock.monotonicMs())].filter(
      (ref) => ref !== snapshot.primary.rootref,
    );
    const roots = [snapshot.primary.rootref, ...(snapshot.directory === null ? [] : [snapshot.directory]), ...held];
    this.#log?.rotate();
    this.#leader.index.beginFlush();
    return { snapshot, held, roots };
  }

  #nextTurn(): Promise<void> {
    return new Promise((resolve) => this.#context.ports.clock.defer(resolve));
  }

  /** Lets others go on between the slices of some work. */
  async #inTurns(slices: Generator<void>): Promise<void> {
    while (slices.next().done !== true) await this.#nextTurn();
  }
}
