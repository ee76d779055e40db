/** Waiting for many submitted jobs: the events of all of them come by one stream, and output where it is wanted. */
import type { Integer } from "../../base/json.ts";
import type { Handle } from "../../sdk/handle.ts";
import type { ParsedOptions } from "../framework/command.ts";
import { jobIdText, watchEventlog } from "../jobs/client.ts";
import { JobFollowers } from "../jobs/followers.ts";
import { JobOutcome } from "../jobs/outcome.ts";
import { EventTeller, exceptionText, watchOutput } from "../jobs/watch.ts";
import type { BulkLog, BulkWaiter } from "./bulk.ts";

export interface WaiterOptions {
  /** 0: nothing of the jobs' progress; 1: their end; 2: every event. */
  readonly verbosity: number;
  /** The event to wait for. */
  readonly waitEvent: string;
  readonly watch: boolean;
  readonly label: boolean;
}

/** What `--wait`, `--wait-event`, `--watch` ask for; null where nothing is waited for. */
export function waiterOptions(options: ParsedOptions): WaiterOptions | null {
  const watch = options.has("watch");
  const waitEvent = options.text("wait-event") ?? (watch || options.has("wait") ? "clean" : null);
  if (waitEvent === null) return null;
  return { verbosity: options.count("verbose"), waitEvent, watch, label: options.has("label-io") };
}

export class JobWaiter implements BulkWaiter {
  readonly #handle: Handle;
  readonly #options: WaiterOptions;
  readonly #followers: JobFollowers;

  constructor(handle: Handle, options: WaiterOptions) {
    this.#handle = handle;
    this.#options = options;
    const names = ["exception", "finish", "start", options.waitEvent];
    this.#followers = new JobFollowers(handle, options.verbosity > 0 ? null : names);
  }

  async waitFor(id: Integer, log: BulkLog, started: () => void): Promise<number> {
    const { watch, label, waitEvent } = this.#options;
    const output = watch ? watchOutput(log, this.#handle, id, label) : null;
    const code = await (waitEvent.startsWith("exec.")
      ? this.#waitForExec(id, waitEvent.slice("exec.".length), log, started)
      : this.#waitForEvent(id, log, started));
    await output;
    return code;
  }

  close(): void {
    this.#followers.close();
  }

  #waitForEvent(id: Integer, log: BulkLog, started: () => void): Promise<number> {
    const { waitEvent, verbosity } = this.#options;
    const outcome = new JobOutcome();
    const teller = new EventTeller(log, id, verbosity);
    return new Promise((resolve) => {
      let done = false;
      const settle = (): void => {
        if (!done) resolve(outcome.exitCode());
        done = true;
      };
      this.#followers.follow(id, {
        event: (event) => {
          if (done) return;
          outcome.apply(event);
          teller.tell(event);
          if (event.name === "start") started();
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
  #waitForExec(id: Integer, name: string, log: BulkLog, started: () => void): Promise<number> {
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
      this.#followers.follow(id, {
        event: (event) => {
          outcome.apply(event);
          if (event.name === "start") started();
          if (event.name === "exception") log.err(exceptionText(event));
        },
        end: () => resolve(outcome.exitCode()),
      });
    });
  }
}
