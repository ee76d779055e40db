/**
 * Submitting many jobs over one connection, and waiting for them: all requests leave without waiting for answers, and
 * the events of all jobs come by one stream.
 */
import { isFluxError } from "../../base/errors.ts";
import type { Integer } from "../../base/json.ts";
import type { Handle } from "../../sdk/handle.ts";
import type { CommandContext } from "../framework/command.ts";
import { jobIdText, submitJob, watchEventlog, type Submission } from "../jobs/client.ts";
import { JobFollowers } from "../jobs/followers.ts";
import { JobOutcome } from "../jobs/outcome.ts";
import { EventTeller, exceptionText, watchOutput, type WatchLog } from "../jobs/watch.ts";
import type { SubmissionProgress } from "../output/progress.ts";

/** Submissions without an answer yet, at most. */
const IN_FLIGHT_MAX = 4096;

export interface BulkOptions {
  readonly quiet: boolean;
  /** 0: nothing of the jobs' progress; 1: their end; 2: every event. */
  readonly verbosity: number;
  /** The event to wait for; null does not wait. */
  readonly waitEvent: string | null;
  readonly watch: boolean;
  readonly label: boolean;
  readonly progress: SubmissionProgress | null;
}

/** Where the messages about one job go. */
export type BulkLog = WatchLog;

export class BulkSubmitter {
  readonly #context: CommandContext;
  readonly #handle: Handle;
  readonly #options: BulkOptions;
  readonly #followers: JobFollowers | null;
  readonly #open = new Set<Promise<void>>();
  #inFlight = 0;
  #room: (() => void) | null = null;
  #exitCode = 0;

  constructor(context: CommandContext, handle: Handle, options: BulkOptions) {
    this.#context = context;
    this.#handle = handle;
    this.#options = options;
    const names = ["exception", "finish", "start", ...(options.waitEvent === null ? [] : [options.waitEvent])];
    this.#followers =
      options.waitEvent === null ? null : new JobFollowers(handle, options.verbosity > 0 ? null : names);
  }

  /** Submits a job. Null as long as not too many answers are outstanding; else what to wait for before the next. */
  submit(submission: Submission, log: BulkLog): Promise<void> | null {
    const job = this.#carry(submission, log).finally(() => this.#open.delete(job));
    this.#open.add(job);
    if (this.#inFlight < IN_FLIGHT_MAX) return null;
    return new Promise((resolve) => (this.#room = resolve));
  }

  /** Waits for what was submitted; resolves with the largest exit code. */
  async finish(): Promise<number> {
    while (this.#open.size > 0) await Promise.race([Promise.all(this.#open)]);
    this.#followers?.close();
    this.#options.progress?.finish();
    return this.#exitCode;
  }

  async #carry(submission: Submission, log: BulkLog): Promise<void> {
    const id = await this.#submitOne(submission, log);
    if (id === null) return;
    if (!this.#options.quiet) log.out(`${jobIdText(id)}\n`);
    if (this.#followers === null) {
      this.#options.progress?.done(0);
      return;
    }
    const output = this.#options.watch ? watchOutput(log, this.#handle, id, this.#options.label) : null;
    const code = await this.#waitFor(id, log);
    await output;
    this.#note(code);
    this.#options.progress?.done(code);
  }

  async #submitOne(submission: Submission, log: BulkLog): Promise<Integer | null> {
    this.#inFlight++;
    try {
      return await submitJob(this.#handle, submission, this.#context.host.uid);
    } catch (error) {
      if (!isFluxError(error)) throw error;
      log.err(`[Errno ${error.errnum}] ${error.message}\n`);
      this.#note(1);
      this.#options.progress?.done(1);
      return null;
    } finally {
      this.#inFlight--;
      this.#room?.();
      this.#room = null;
    }
  }

  #note(code: number): void {
    this.#exitCode = Math.max(this.#exitCode, code);
  }

  #waitFor(id: Integer, log: BulkLog): Promise<number> {
    const { waitEvent, verbosity } = this.#options;
    if (waitEvent?.startsWith("exec.") === true) return this.#waitForExec(id, waitEvent.slice("exec.".length), log);
    const outcome = new JobOutcome();
    const teller = new EventTeller(log, id, verbosity);
    return new Promise((resolve) => {
      let done = false;
      const settle = (): void => {
        if (!done) resolve(outcome.exitCode());
        done = true;
      };
      this.#followers!.follow(id, {
        event: (event) => {
          if (done) return;
          outcome.apply(event);
          teller.tell(event);
          if (event.name === waitEvent) settle();
        },
        end: (error) => {
          if (error !== null && !done) log.err(`${jobIdText(id)}: ${error.message}\n`);
          settle();
        },
      });
    });
  }

  /** Waits for an event of the execution's log, or for the job's end. */
  #waitForExec(id: Integer, name: string, log: BulkLog): Promise<number> {
    const outcome = new JobOutcome();
    return new Promise((resolve) => {
      const stream = watchEventlog(
        this.#handle,
        id,
        "guest.exec.eventlog",
        {
          event: (event) => {
            if (event.name !== name) return;
            stream.cancel();
            resolve(0);
          },
          end: () => undefined,
        },
        { waitcreate: true },
      );
      this.#followers!.follow(id, {
        event: (event) => {
          outcome.apply(event);
          if (event.name === "exception") log.err(exceptionText(event));
        },
        end: () => resolve(outcome.exitCode()),
      });
    });
  }
}
