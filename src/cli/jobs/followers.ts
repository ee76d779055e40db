/**
 * Following the events of many jobs at once. For the instance owner one stream carries the events of all jobs
 * (`job-manager.events-journal`); everyone else opens the eventlog of each of their jobs.
 */
import type { FluxError } from "../../base/errors.ts";
import type { Integer } from "../../base/json.ts";
import type { Handle, OpenStream } from "../../sdk/handle.ts";
import type { JobEvent } from "../../sdk/job-protocol.ts";
import { watchEventlog } from "./client.ts";

export interface JobListener {
  event(event: JobEvent): void;
  /** Nothing more will come of this job. */
  end(error: FluxError | null): void;
}

interface Followed {
  readonly id: Integer;
  listener: JobListener | null;
  /** What came before the job's id was known here. */
  readonly early: JobEvent[];
}

export class JobFollowers {
  readonly #handle: Handle;
  readonly #jobs = new Map<string, Followed>();
  #journal: OpenStream | null = null;
  #perJob = false;
  /** Jobs that are not followed by now will never be: their events are dropped. */
  #isComplete = false;

  /** `names` are the events of interest; null is all. Must be made before the first job is submitted. */
  constructor(handle: Handle, names: readonly string[] | null) {
    this.#handle = handle;
    const allow = names === null ? {} : { allow: Object.fromEntries([...names, "clean"].map((name) => [name, 1])) };
    this.#journal = handle.open(
      "job-manager.events-journal",
      allow,
      {
        item: (payload) => {
          const { id, events } = (payload?.value ?? {}) as { id?: Integer; events?: JobEvent[] };
          if (id !== undefined && events !== undefined && id !== -1) this.#receive(id, events);
        },
        end: () => this.#journalEnd(),
      },
      { cancelTopic: "job-manager.events-journal-cancel" },
    );
  }

  /** Calls back for the events of a job, those of the past first. */
  follow(id: Integer, listener: JobListener): void {
    const known = this.#jobs.get(String(id));
    if (this.#perJob) return this.#open({ id, listener, early: [] });
    if (known === undefined) {
      this.#jobs.set(String(id), { id, listener, early: [] });
      return;
    }
    known.listener = listener;
    for (const event of known.early.splice(0)) this.#deliver(known, event);
  }

  /** All jobs are followed that will be: what came of others, and will come, is not kept any more. */
  complete(): void {
    this.#isComplete = true;
    for (const [key, { listener }] of this.#jobs) if (listener === null) this.#jobs.delete(key);
  }

  close(): void {
    this.#journal?.cancel();
    this.#journal = null;
  }

  #receive(id: Integer, events: readonly JobEvent[]): void {
    let job = this.#jobs.get(String(id));
    if (job === undefined && this.#isComplete) return;
    if (job === undefined) this.#jobs.set(String(id), (job = { id, listener: null, early: [] }));
    for (const event of events)
      if (job.listener === null) job.early.push(event);
      else this.#deliver(job, event);
  }

  #deliver(job: Followed, event: JobEvent): void {
    job.listener?.event(event);
    if (event.name !== "clean") return;
    this.#jobs.delete(String(job.id));
    job.listener?.end(null);
  }

  /** The journal is not for us, or is gone: each job by itself from here on. */
  #journalEnd(): void {
    this.#journal = null;
    this.#perJob = true;
    const open = [...this.#jobs.values()].filter(({ listener }) => listener !== null);
    this.#jobs.clear();
    for (const job of open) this.#open(job);
  }

  #open(job: Followed): void {
    watchEventlog(this.#handle, job.id, "eventlog", {
      event: (event) => job.listener?.event(event),
      end: (error) => job.listener?.end(error),
    });
  }
}
