/** Watches one of several jobs: shows its output, and its events where wanted; gives its exit code in the end. */
import { stringifyJson, type Integer, type JsonObject } from "../../base/json.ts";
import type { Handle } from "../../sdk/handle.ts";
import type { JobEvent } from "../../sdk/job-protocol.ts";
import { JobOutputFormatter, type OutputPiece } from "../output/job-stream.ts";
import { jobIdText, watchEventlog } from "./client.ts";
import { JobOutcome } from "./outcome.ts";

/** Where the texts about a job go. */
export interface WatchLog {
  out(text: string | Uint8Array): void;
  err(text: string | Uint8Array): void;
}

export interface WatchStyle {
  /** Put the job's id and the task's rank before each line. */
  readonly label: boolean;
  /** 0: output only; 1: the end of jobs too; 2: every event. */
  readonly verbosity: number;
  /** The time from which events are told, in seconds since the epoch; that of the job's first event by default. */
  readonly origin?: number;
  /** Called when the job begins to run. */
  readonly started?: () => void;
}

/** Shows the output of a job and waits for its end; resolves with its exit code. */
export async function watchJob(log: WatchLog, handle: Handle, id: Integer, style: WatchStyle): Promise<number> {
  const output = watchOutput(log, handle, id, style.label);
  const execution = style.verbosity > 1 ? watchExecution(log, handle, id, style) : null;
  const code = await watchEvents(log, handle, id, style);
  await output;
  await execution;
  return code;
}

function watchEvents(log: WatchLog, handle: Handle, id: Integer, style: WatchStyle): Promise<number> {
  const outcome = new JobOutcome();
  const teller = new EventTeller(log, id, style.verbosity, style.origin);
  return new Promise((resolve) => {
    watchEventlog(handle, id, "eventlog", {
      event: (event) => {
        outcome.apply(event);
        teller.tell(event);
        if (event.name === "start") style.started?.();
      },
      end: (error) => {
        if (error !== null) log.err(`${jobIdText(id)}: ${error.message}\n`);
        resolve(error === null ? outcome.exitCode() : 1);
      },
    });
  });
}

/** Tells what the job shell says of its own events. */
function watchExecution(log: WatchLog, handle: Handle, id: Integer, style: WatchStyle): Promise<void> {
  const teller = new EventTeller(log, id, style.verbosity, style.origin);
  const event = (entry: JobEvent): void => teller.tell({ ...entry, name: `exec.${entry.name}` });
  return new Promise((resolve) => {
    // A job that never ran has no such log.
    watchEventlog(handle, id, "guest.exec.eventlog", { event, end: () => resolve() }, { waitcreate: true });
  });
}

/** Shows the output of a job until there is no more. */
export function watchOutput(log: WatchLog, handle: Handle, id: Integer, label: boolean): Promise<void> {
  const formatter = new JobOutputFormatter({ label, relative: false, ...(label && { prefix: `${jobIdText(id)}: ` }) });
  const write = ({ stream, text }: OutputPiece): void => (stream === "stdout" ? log.out(text) : log.err(text));
  return new Promise((resolve) => {
    watchEventlog(
      handle,
      id,
      "guest.output",
      {
        event: (entry) => formatter.format(entry).forEach(write),
        // A job that never ran has no output; what else went wrong shows in its eventlog.
        end: () => resolve(),
      },
      { waitcreate: true },
    );
  });
}

/** Says what happens to one of several jobs. */
export class EventTeller {
  readonly #log: WatchLog;
  readonly #id: Integer;
  readonly #verbosity: number;
  #origin: number | null = null;

  constructor(log: WatchLog, id: Integer, verbosity: number, origin: number | null = null) {
    this.#log = log;
    this.#origin = origin;
    this.#id = id;
    this.#verbosity = verbosity;
  }

  tell(event: JobEvent): void {
    const seconds = event.timestamp - (this.#origin ??= event.timestamp);
    if (event.name === "exception" && event.context?.["severity"] === 0) this.#log.err(exceptionText(event));
    if (this.#verbosity === 0) return;
    const head = `${jobIdText(this.#id)}: ${seconds.toFixed(3)}s: `;
    const context = event.context === undefined ? "" : stringifyJson(event.context);
    if (this.#verbosity > 1) this.#log.err(`${head}${event.name} ${context}\n`);
    const status = event.context?.["status"];
    if (event.name === "finish")
      this.#log.err(`${head}${status === 0 ? "complete" : "failed"}: status=${String(status)}\n`);
  }
}

function exceptionText(event: { readonly context?: JsonObject | undefined }): string {
  const { type, severity, note } = event.context ?? {};
  return `job.exception: type=${String(type)} severity=${String(severity)} ${String(note ?? "")}`.trimEnd() + "\n";
}
