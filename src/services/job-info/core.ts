/**
 * What the job-info service knows of active jobs, from the job manager's journal; and how stored values and events make
 * the current ones. Pure.
 *
 * Invariants: a job's events here are a prefix of its eventlog, and no shorter than what the journal has shown; a job
 * leaves with its `clean` event.
 */
import type { Integer, JsonObject } from "../../base/json.ts";
import { updateJobspec } from "../../formats/jobspec-attributes.ts";
import type { Jobspec } from "../../formats/jobspec.ts";
import { encodeEvent, type JobEvent } from "../../sdk/job-protocol.ts";
import type { UpdatedKey } from "./protocol.ts";

/** Who follows a job. */
export interface Follower {
  /** More events of the eventlog. */
  events(events: readonly JobEvent[]): void;
  /** The job is inactive; its record in the KVS is complete. */
  ended(): void;
}

/** An active job. */
export interface ActiveJob {
  readonly userid: number;
  readonly events: JobEvent[];
  readonly followers: Set<Follower>;
  /** Whether it is inactive by now. */
  isOver: boolean;
}

/** One message of `job-manager.events-journal`. */
export interface JournalEntry {
  readonly id: Integer;
  readonly events: readonly JobEvent[];
}

/** An event of the journal that is in no eventlog. */
const VOLATILE = "annotations";

export class ActiveJobs {
  readonly #jobs = new Map<Integer, ActiveJob>();

  get(id: Integer): ActiveJob | null {
    return this.#jobs.get(id) ?? null;
  }

  /** A job that is stored, and that the journal has not shown yet. */
  expect(id: Integer, userid: number): ActiveJob {
    const job: ActiveJob = { userid, events: [], followers: new Set(), isOver: false };
    this.#jobs.set(id, job);
    return job;
  }

  /** Takes a message of the journal. */
  take(entry: JournalEntry): void {
    const events = entry.events.filter(({ name }) => name !== VOLATILE);
    if (events.length === 0) return;
    let job = this.#jobs.get(entry.id);
    if (job === undefined) {
      const userid = events[0]!.context?.["userid"];
      // Without a submit event the job is one that left already.
      if (events[0]!.name !== "submit" || typeof userid !== "number") return;
      job = this.expect(entry.id, userid);
    }
    job.events.push(...events);
    for (const follower of job.followers) follower.events(events);
    if (events.at(-1)!.name !== "clean") return;
    this.#jobs.delete(entry.id);
    job.isOver = true;
    for (const follower of job.followers) follower.ended();
  }

  /** Ends everything: the journal is lost. */
  clear(): void {
    const jobs = [...this.#jobs.values()];
    this.#jobs.clear();
    for (const job of jobs) {
      job.isOver = true;
      for (const follower of job.followers) follower.ended();
    }
  }
}

/** Whether an eventlog says that its job is inactive. */
export function isComplete(events: readonly JobEvent[]): boolean {
  return events.at(-1)?.name === "clean";
}

/** R or jobspec after one event. */
export function applyUpdate(key: UpdatedKey, value: JsonObject, event: JobEvent): JsonObject {
  if (event.context === undefined) return value;
  if (key === "jobspec" && event.name === "jobspec-update") return updateJobspec(value as Jobspec, event.context);
  if (key === "R" && event.name === "resource-update") {
    const { expiration } = event.context;
    return { ...value, execution: { ...(value["execution"] as JsonObject), expiration } };
  }
  return value;
}

/** R or jobspec after all events. */
export function applyUpdates(key: UpdatedKey, value: JsonObject, events: readonly JobEvent[]): JsonObject {
  return events.reduce((current, event) => applyUpdate(key, current, event), value);
}

/** The lines of a log that arrives in pieces, each with its newline. */
export class LineSplitter {
  #rest = "";
  /** Characters taken so far. */
  length = 0;

  push(text: string): string[] {
    this.length += text.length;
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop()!;
    return lines.map((line) => `${line}\n`);
  }
}

/** Eventlog entries as the lines that watchers get. */
export function linesOf(events: readonly JobEvent[]): string[] {
  return events.map(encodeEvent);
}
