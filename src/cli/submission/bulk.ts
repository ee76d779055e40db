/**
 * Submitting many jobs over one connection: all requests leave without waiting for answers. Waiting for the jobs is
 * loaded with `bulk-waiter.ts`, where it is wanted.
 */
import { isFluxError } from "../../base/errors.ts";
import type { Integer } from "../../base/json.ts";
import type { Handle } from "../../sdk/handle.ts";
import type { CommandContext } from "../framework/command.ts";
import { jobIdText, submitJob, type Submission } from "../jobs/client.ts";
import type { WatchLog } from "../jobs/watch.ts";
import type { JobProgress } from "../output/progress.ts";

/** Submissions without an answer yet, at most. */
const IN_FLIGHT_MAX = 1024;

export interface BulkOptions {
  readonly quiet: boolean;
  /** Null does not wait. It must be made before the first job is submitted. */
  readonly waiter: BulkWaiter | null;
  readonly progress: JobProgress | null;
}

/** Where the messages about one job go. */
export type BulkLog = WatchLog;

/** What is done about one job besides submitting it. */
export interface JobHandling {
  readonly log: BulkLog;
  /** Stands before what goes wrong. */
  readonly label: string;
  /** The event to wait for, where the job has one of its own. */
  readonly waitEvent: string | null;
}

/** Waits for a job that was submitted; resolves with its exit code. `started` is told once it runs. */
export interface BulkWaiter {
  waitFor(id: Integer, job: JobHandling, started: () => void): Promise<number>;
  /** No more jobs will come to be waited for. */
  complete(): void;
  close(): void;
}

export class BulkSubmitter {
  readonly #context: CommandContext;
  readonly #handle: Handle;
  readonly #options: BulkOptions;
  readonly #open = new Set<Promise<void>>();
  /** Jobs whose ids are not known yet. */
  #unknown = 0;
  #isFinishing = false;
  #inFlight = 0;
  #room: (() => void) | null = null;
  #exitCode = 0;
  /** What should never happen, kept until somebody waits for the jobs. */
  readonly #failures: unknown[] = [];

  constructor(context: CommandContext, handle: Handle, options: BulkOptions) {
    this.#context = context;
    this.#handle = handle;
    this.#options = options;
  }

  /**
   * Submits a job. Null as long as not too many answers are outstanding; else what
   * to wait for before the next.
   */
  submit(submission: Submission, handling: JobHandling): Promise<void> | null {
    // What waits for the job must not hold the jobspec: there may be very many of them.
    this.#unknown++;
    const job = this.#carry(this.#submitOne(submission, handling), handling)
      .catch((error: unknown) => (this.#failures.push(error), undefined))
      .finally(() => this.#open.delete(job));
    this.#open.add(job);
    if (this.#inFlight < IN_FLIGHT_MAX) return null;
    return new Promise((resolve) => (this.#room = resolve));
  }

  /** Waits for what was submitted; resolves with the largest exit code. */
  async finish(): Promise<number> {
    this.#isFinishing = true;
    this.#completeIfKnown();
    await Promise.all(this.#open);
    if (this.#failures.length > 0) throw this.#failures[0];
    this.#options.waiter?.close();
    this.#options.progress?.finish();
    return this.#exitCode;
  }

  async #carry(submitted: Promise<Integer | null>, handling: JobHandling): Promise<void> {
    const { log } = handling;
    const id = await submitted;
    if (id === null) {
      this.#unknown--;
      return this.#completeIfKnown();
    }
    const { waiter, progress } = this.#options;
    if (!this.#options.quiet) log.out(`${jobIdText(id)}\n`);
    progress?.pending();
    let ran = false;
    const started = (): void => {
      if (ran) return;
      ran = true;
      progress?.started();
    };
    if (waiter === null) return;
    const waiting = waiter.waitFor(id, handling, started);
    this.#unknown--;
    this.#completeIfKnown();
    const code = await waiting;
    this.#note(code);
    progress?.done(code, ran ? "running" : "pending");
  }

  async #submitOne(submission: Submission, { log, label }: JobHandling): Promise<Integer | null> {
    this.#inFlight++;
    try {
      return await submitJob(this.#handle, submission, this.#context.host.uid);
    } catch (error) {
      if (!isFluxError(error)) throw error;
      log.err(`${label}[Errno ${error.errnum}] ${error.message}\n`);
      this.#note(1);
      this.#options.progress?.done(1, "none");
      return null;
    } finally {
      this.#inFlight--;
      this.#room?.();
      this.#room = null;
    }
  }

  #completeIfKnown(): void {
    if (this.#isFinishing && this.#unknown === 0) this.#options.waiter?.complete();
  }

  #note(code: number): void {
    this.#exitCode = Math.max(this.#exitCode, code);
  }
}
