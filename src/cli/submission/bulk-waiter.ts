/** Waiting for many submitted jobs: the events of all of them come by one stream, and output where it is wanted. */
import type { Integer } from "../../base/json.ts";
import type { Handle, OpenStream } from "../../sdk/handle.ts";
import type { JobEvent } from "../../sdk/job-protocol.ts";
import type { ParsedOptions } from "../framework/command.ts";
import { jobIdText, watchEventlog } from "../jobs/client.ts";
import { JobFollowers } from "../jobs/followers.ts";
import { JobOutcome } from "../jobs/outcome.ts";
import { EventTeller, watchOutput } from "../jobs/watch.ts";
import type { BulkLog, BulkWaiter, JobHandling } from "./bulk.ts";

/** With more than this, the events of the execution are told, too. */
const EVENTS_VERBOSITY = 2;

export interface WaiterOptions {
  /** 0: nothing of the jobs' progress; 1: their end; 2: every event. */
  readonly verbosity: number;
  /** The event to wait for where a job has none of its own. */
  readonly waitEvent: string;
  /** Jobs have events of their own: their names come with them. */
  readonly varies: boolean;
  readonly watch: boolean;
  readonly label: boolean;
}

/** What `--wait`, `--wait-event`, `--watch` ask for; null where nothing is waited for. */
export function waiterOptions(options: ParsedOptions): WaiterOptions | null {
  const watch = options.has("watch");
  const waitEvent = options.text("wait-event") ?? (watch || options.has("wait") ? "clean" : null);
  if (waitEvent === null) return null;
  const varies = /[{}]/.test(waitEvent);
  return { verbosity: options.count("verbose"), waitEvent, varies, watch, label: options.has("label-io") };
}

export class JobWaiter implements BulkWaiter {
  readonly #handle: Handle;
  readonly #options: WaiterOptions;
  readonly #followers: JobFollowers;

  constructor(handle: Handle, options: WaiterOptions) {
    this.#handle = handle;
    this.#options = options;
    const names = ["exception", "finish", "start", options.waitEvent];
    this.#followers = new JobFollowers(handle, options.verbosity > 0 || options.varies ? null : names);
  }

  async waitFor(id: Integer, handling: JobHandling, started: () => void): Promise<number> {
    const { watch, label } = this.#options;
    const { log } = handling;
    const waitEvent = handling.waitEvent ?? this.#options.waitEvent;
    const output = watch ? watchOutput(log, this.#handle, id, label) : null;
    if (waitEvent.startsWith("exec.")) {
      const code = await this.#waitForExec(id, waitEvent.slice("exec.".length), log, started);
      await output;
      return code;
    }
    const code = await this.#waitForEvent(id, waitEvent, log, started);
    await output;
    return code;
  }

  complete(): void {
    this.#followers.complete();
  }

  close(): void {
    this.#followers.close();
  }

  #waitForEvent(id: Integer, waitEvent: string, log: BulkLog, started: () => void): Promise<number> {
    const outcome = new JobOutcome();
    const events = this.#events(id, log);
    return new Promise((resolve) => {
      const settle = (): void => {
        events.close();
        resolve(outcome.exitCode());
      };
      this.#followers.follow(id, {
        event: (event) => {
          if (events.isClosed) return;
          outcome.apply(event);
          events.job(event);
          if (event.name === "start") started();
          if (event.name === waitEvent) settle();
        },
        end: (error) => {
          if (error !== null && !events.isClosed) log.err(`${jobIdText(id)}: ${error.message}\n`);
          settle();
        },
      });
    });
  }

  /** Waits for an event of the execution's log, or for the job's end. */
  #waitForExec(id: Integer, name: string, log: BulkLog, started: () => void): Promise<number> {
    const outcome = new JobOutcome();
    return new Promise((resolve) => {
      const settle = (code: number): void => {
        events.close();
        resolve(code);
      };
      const events = this.#events(id, log, (event) => {
        if (event.name === name) settle(0);
      });
      this.#followers.follow(id, {
        event: (event) => {
          outcome.apply(event);
          if (event.name === "start") started();
          events.job(event);
        },
        // What the execution's log has may still be on its way.
        end: () => void events.executionEnd.then(() => settle(outcome.exitCode())),
      });
    });
  }

  #events(id: Integer, log: BulkLog, heard?: (event: JobEvent) => void): JobEvents {
    const { verbosity } = this.#options;
    const events = new JobEvents(new EventTeller(log, id, verbosity));
    const tellsExecution = verbosity > EVENTS_VERBOSITY;
    if (tellsExecution || heard !== undefined) events.followExecution(this.#handle, id, tellsExecution, heard);
    return events;
  }
}

/**
 * The events of a job and of its execution, told in one order: they come by two streams. Those of the execution wait
 * until the job is known to have started, and none is told any more once the one that is waited for has come.
 */
class JobEvents {
  readonly #teller: EventTeller;
  #execution: OpenStream | null = null;
  #early: JobEvent[] | null = [];
  isClosed = false;
  readonly executionEnd: Promise<void>;
  readonly #executionEnds: () => void;

  constructor(teller: EventTeller) {
    this.#teller = teller;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.executionEnd = promise;
    this.#executionEnds = resolve;
  }

  followExecution(handle: Handle, id: Integer, tells: boolean, heard?: (event: JobEvent) => void): void {
    const event = (event: JobEvent): void => {
      if (this.isClosed) return;
      if (tells) this.#tellExecution(event, heard !== undefined);
      heard?.(event);
    };
    // A job that never ran has no such log.
    const listener = { event, end: this.#executionEnds };
    this.#execution = watchEventlog(handle, id, "guest.exec.eventlog", listener, { waitcreate: true });
    if (this.isClosed) this.#execution.cancel();
  }

  job(event: JobEvent): void {
    if (this.isClosed) return;
    const before = this.#early?.filter(({ timestamp }) => timestamp <= event.timestamp) ?? [];
    const after = this.#early?.filter(({ timestamp }) => timestamp > event.timestamp) ?? [];
    before.forEach((early) => this.#teller.tell({ ...early, name: `exec.${early.name}` }));
    this.#teller.tell(event);
    const hasStarted = event.name === "start" || event.name === "finish";
    if (this.#early !== null) this.#early = hasStarted ? null : after;
    // What came after the start is told unless that was all there is to wait for: see close().
    if (hasStarted && after.length > 0) queueMicrotask(() => after.forEach((late) => this.#tellExecution(late, false)));
  }

  close(): void {
    this.isClosed = true;
    this.#execution?.cancel();
  }

  #tellExecution(event: JobEvent, atOnce: boolean): void {
    if (this.isClosed) return;
    if (this.#early !== null && !atOnce) this.#early.push(event);
    else this.#teller.tell({ ...event, name: `exec.${event.name}` });
  }
}
