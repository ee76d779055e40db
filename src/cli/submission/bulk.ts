/**
 * Submitting many jobs over one connection, and waiting for them: all requests leave without waiting for answers, and
 * the events of all jobs come by one stream.
 */
import { isFluxError } from "../../base/errors.ts";
import { stringifyJson, type Integer, type JsonObject } from "../../base/json.ts";
import type { Handle } from "../../sdk/handle.ts";
import type { JobEvent } from "../../sdk/job-protocol.ts";
import type { CommandContext } from "../framework/command.ts";
import { jobIdText, submitJob, watchEventlog, type Submission } from "../jobs/client.ts";
import { JobFollowers } from "../jobs/followers.ts";
import { JobOutcome } from "../jobs/outcome.ts";
import { JobOutputFormatter } from "../output/job-stream.ts";
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
export interface BulkLog {
  out(text: string): void;
  err(text: string): void;
}

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
    const output = this.#options.watch ? this.#watchOutput(id, log) : null;
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
    let origin = 0;
    return new Promise((resolve) => {
      let done = false;
      const settle = (): void => {
        if (!done) resolve(outcome.exitCode());
        done = true;
      };
      this.#followers!.follow(id, {
        event: (event) => {
          if (done) return;
          origin ||= event.timestamp;
          outcome.apply(event);
          if (event.name === "exception") log.err(exceptionText(event));
          if (verbosity > 0) this.#tell(id, event, event.timestamp - origin, log);
          if (event.name === waitEvent) settle();
        },
        end: (error) => {
          if (error !== null && !done) log.err(`${jobIdText(id)}: ${error.message}\n`);
          settle();
        },
      });
    });
  }

  #tell(id: Integer, event: JobEvent, seconds: number, log: BulkLog): void {
    const head = `${jobIdText(id)}: ${seconds.toFixed(3)}s: `;
    if (this.#options.verbosity > 1)
      log.err(`${head}${event.name} ${event.context === undefined ? "" : stringifyJson(event.context)}\n`);
    if (event.name === "finish") log.err(`${head}complete: status=${String(event.context?.["status"])}\n`);
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

  #watchOutput(id: Integer, log: BulkLog): Promise<void> {
    const label = this.#options.label;
    const formatter = new JobOutputFormatter({ label, ...(label && { prefix: `${jobIdText(id)}: ` }) });
    return new Promise((resolve) => {
      watchEventlog(
        this.#handle,
        id,
        "guest.output",
        {
          event: (entry) => {
            for (const { stream, text } of formatter.format(entry))
              if (typeof text === "string") stream === "stdout" ? log.out(text) : log.err(text);
              else if (stream === "stdout") this.#context.out(text);
              else this.#context.err(text);
          },
          // A job that never ran has no output; what else went wrong shows in its eventlog.
          end: () => resolve(),
        },
        { waitcreate: true },
      );
    });
  }
}

function exceptionText(event: { readonly context?: JsonObject | undefined }): string {
  const { type, severity, note } = event.context ?? {};
  return `job.exception: type=${String(type)} severity=${String(severity)} ${String(note ?? "")}`.trimEnd() + "\n";
}
