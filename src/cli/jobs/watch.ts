/** Watching one of several jobs: its output to the terminal, its events where wanted, its exit code in the end. */
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
}

/** Shows the output of a job and waits for its end; resolves with its exit code. */
export async function watchJob(log: WatchLog, handle: Handle, id: Integer, style: WatchStyle): Promise<number> {
  const output = watchOutput(log, handle, id, style.label);
  const code = await watchEvents(log, handle, id, style.verbosity);
  await output;
  return code;
}

function watchEvents(log: WatchLog, handle: Handle, id: Integer, verbosity: number): Promise<number> {
  const outcome = new JobOutcome();
  const teller = new EventTeller(log, id, verbosity);
  return new Promise((resolve) => {
    watchEventlog(handle, id, "eventlog", {
      event: (event) => {
        outcome.apply(event);
        teller.tell(event);
      },
      end: (error) => {
        if (error !== null) log.err(`${jobIdText(id)}: ${error.message}\n`);
        resolve(error === null ? outcome.exitCode() : 1);
      },
    });
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

  constructor(log: WatchLog, id: Integer, verbosity: number) {
    this.#log = log;
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
    if (event.name === "finish") this.#log.err(`${head}complete: status=${String(event.context?.["status"])}\n`);
  }
}

export function exceptionText(event: { readonly context?: JsonObject | undefined }): string {
  const { type, severity, note } = event.context ?? {};
  return `job.exception: type=${String(type)} severity=${String(severity)} ${String(note ?? "")}`.trimEnd() + "\n";
}
