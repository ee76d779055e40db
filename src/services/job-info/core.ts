/**
 * What the job-info service knows of active jobs, from the job manager's journal; and how stored values and events make
 * the current ones. Pure.
 *
 * Invariants: a job's events here are a prefix of its eventlog, and no shorter than what the journal has shown; a job
 * leaves with its `clean` event, or, where a new journal does not know it, with what is stored of it.
 */
import { memberAt, type Integer, type JsonObject } from "../../base/json.ts";
import { updateJobspec } from "../../formats/jobspec-attributes.ts";
import type { Jobspec } from "../../formats/jobspec.ts";
import { encodeEvent, type JobEvent, type JournalEntry } from "../../sdk/job-protocol.ts";
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
  /** Whether an attempt that ends may be followed by another one. */
  mayRetry: boolean;
}

/** Whether a job came to its end while somebody looked at what is stored of it. */
export interface EndNotice {
  readonly id: Integer;
  isOver: boolean;
}

/** An event of the journal that is in no eventlog. */
const VOLATILE = "annotations";
/** The event that ends a job. */
const LAST = "clean";

export class ActiveJobs {
  readonly #jobs = new Map<Integer, ActiveJob>();
  /** While the journal tells what happened so far: the known jobs it has not spoken of yet. Null after that. */
  #unseen: Set<Integer> | null = new Set();
  readonly #notices = new Set<EndNotice>();

  get(id: Integer): ActiveJob | null {
    return this.#jobs.get(id) ?? null;
  }

  /**
   * A job that is stored, and that the journal has not shown yet: it will from the first event on. Where there is no
   * journal for now, what is stored is what is known.
   */
  expect(id: Integer, userid: number, stored: readonly JobEvent[]): ActiveJob {
    const events = this.#unseen === null ? [] : [...stored];
    const job: ActiveJob = { userid, events, followers: new Set(), isOver: false, mayRetry: false };
    this.#jobs.set(id, job);
    this.#unseen?.add(id);
    return job;
  }

  /** The journal has been lost: a new one will tell of every active job from its first event on. */
  lose(): void {
    this.#unseen = new Set(this.#jobs.keys());
  }

  /**
   * The journal has told what happened so far. Returns the jobs that it did not speak of: they came to their end unseen,
   * and are here until `finish` tells the rest of their events.
   */
  complete(): readonly Integer[] {
    const gone = this.#unseen;
    this.#unseen = null;
    return [...(gone ?? [])];
  }

  /** A job is over, with these events in its record. */
  finish(id: Integer, stored: readonly JobEvent[]): void {
    const job = this.#jobs.get(id);
    if (job === undefined) return;
    const events = stored.slice(job.events.length);
    if (events.length > 0) this.#add(id, events);
    this.#end(id);
  }

  /** Notices whether the journal shows the end of a job until `close`. */
  notice(id: Integer): EndNotice & { close(): void } {
    const notice = { id, isOver: false, close: () => void this.#notices.delete(notice) };
    this.#notices.add(notice);
    return notice;
  }

  /** Takes a message of the journal. */
  take(entry: JournalEntry): void {
    let events = entry.events.filter(({ name }) => name !== VOLATILE);
    if (this.#unseen !== null) events = events.slice(this.#jobs.get(entry.id)?.events.length ?? 0);
    if (events.length > 0) this.#add(entry.id, events);
    const job = this.#jobs.get(entry.id);
    if (job !== undefined) job.mayRetry ||= memberAt(entry.jobspec, ["attributes", "system", "retry"]) !== undefined;
    this.#unseen?.delete(entry.id);
  }

  #add(id: Integer, events: readonly JobEvent[]): void {
    let job = this.#jobs.get(id);
    if (job === undefined) {
      const userid = events[0]!.context?.["userid"];
      // Without a submit event the job is one that left already.
      if (events[0]!.name !== "submit" || typeof userid !== "number") return;
      job = this.expect(id, userid, []);
    }
    job.events.push(...events);
    for (const follower of job.followers) follower.events(events);
    if (isComplete(events)) this.#end(id);
  }

  #end(id: Integer): void {
    const job = this.#jobs.get(id);
    if (job === undefined) return;
    this.#jobs.delete(id);
    job.isOver = true;
    for (const notice of this.#notices) if (notice.id === id) notice.isOver = true;
    for (const follower of job.followers) follower.ended();
  }
}

/** Whether an eventlog says that its job is inactive. */
export function isComplete(events: readonly JobEvent[]): boolean {
  return events.at(-1)?.name === LAST;
}

/** An eventlog up to the event that ends a job: what somebody wrote after it is no part of the job. */
export function lifeOf(events: readonly JobEvent[]): readonly JobEvent[] {
  const end = events.findIndex(({ name }) => name === LAST);
  return end < 0 ? events : events.slice(0, end + 1);
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
