/**
 * The journal of job events (`job-manager.events-journal`): every listener gets, job by job, what happened so far, then
 * an empty entry with id -1, then what happens. A listener that says which ended jobs it knows is told of the others only; the
 * empty entry names those that it should not know (any more): `gone`.
 *
 * Invariants: a listener gets each event of a job once, in order, between its backlog and its end; events are shown only
 * once they are in the KVS, so that a listener that looks there finds them.
 */
import { FluxError } from "../../base/errors.ts";
import type { Integer, JsonObject } from "../../base/json.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { RequestSet } from "../../sdk/request-set.ts";
import { withoutEnvironment } from "../../sdk/job-environment.ts";
import { compareIds, JobState, type JobEvent, type JournalEntry } from "../../sdk/job-protocol.ts";
import type { Job } from "./job.ts";
import type { InactiveJobs } from "./inactive.ts";
import { journalRequest, type KnownJobs } from "./protocol.ts";
import type { JobEntry } from "./store.ts";

interface Listener {
  readonly allow: ReadonlySet<string> | null;
  readonly deny: ReadonlySet<string> | null;
  /** What happened while the backlog is still being read; null once it has been sent. */
  held: JournalEntry[] | null;
}

export class Journal {
  readonly #listeners = new RequestSet<Listener>();
  #eventCount = 0;

  get listenerCount(): number {
    return this.#listeners.size;
  }
  get eventCount(): number {
    return this.#eventCount;
  }

  /**
   * Adds a listener. With `full`, `older` yields the entries of jobs that are inactive already; it runs after this call
   * has noted what is active now. Throws EPROTO.
   */
  add(
    request: IncomingRequest,
    active: Iterable<Job>,
    inactive: Pick<InactiveJobs, "endTimes">,
    older: (ids: readonly Integer[]) => AsyncIterable<JournalEntry>,
  ): void {
    const { full, allow, deny, known } = journalRequest(request);
    const listener: Listener = { allow: namesOf(allow), deny: namesOf(deny), held: [] };
    // A job of which nothing was shown yet will be shown from its first event on.
    const backlog = [...active].filter(({ durableCount }) => durableCount > 0).map(entryOfJob);
    this.#listeners.add(request, listener);
    const { untold, gone } = full === true ? compare(known, inactive.endTimes()) : { untold: [], gone: [] };
    const finish = (): void => {
      for (const entry of backlog) send(request, listener, entry);
      if (!request.isFinished) request.respond({ id: -1, events: [], ...(known === null ? {} : { gone }) });
      const held = listener.held ?? [];
      listener.held = null;
      for (const entry of held) send(request, listener, entry);
    };
    if (untold.length > 0) void this.#readOlder(request, listener, older(untold), finish);
    else finish();
  }

  /** Shows what a batch brought. */
  show(entries: readonly JobEntry[]): void {
    for (const { job, shown } of entries) {
      this.#eventCount += shown.length;
      if (this.#listeners.size === 0) continue;
      const entry = entryOf(job, shown);
      for (const [request, listener] of this.#listeners)
        if (listener.held === null) send(request, listener, entry);
        else listener.held.push(entry);
    }
  }

  /** Ends the stream of a listener that has heard enough. */
  cancel(cancel: IncomingRequest): void {
    this.#listeners.takeCanceled(cancel)?.[0].end();
  }

  disconnect(disconnect: IncomingRequest): void {
    this.#listeners.takeDisconnected(disconnect);
  }

  stop(): void {
    this.#listeners.failAll(new FluxError("ENODATA"));
  }

  async #readOlder(
    request: IncomingRequest,
    listener: Listener,
    older: AsyncIterable<JournalEntry>,
    finish: () => void,
  ): Promise<void> {
    try {
      for await (const entry of older) {
        if (!this.#listeners.has(request)) return;
        send(request, listener, entry);
      }
      if (this.#listeners.has(request)) finish();
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      if (this.#listeners.delete(request)) request.respondError(error);
    }
  }
}

/** Ended jobs that a listener does not know, in the order of submission, and what it knows of that is not so. */
function compare(known: KnownJobs | null, ended: Map<Integer, number>): { untold: Integer[]; gone: Integer[] } {
  const gone: Integer[] = [];
  for (const [index, id] of (known?.ids ?? []).entries())
    if (ended.get(id) === known!.times[index]) ended.delete(id);
    else gone.push(id);
  return { untold: [...ended.keys()].sort(compareIds), gone };
}

function namesOf(names: JsonObject | null): ReadonlySet<string> | null {
  return names === null ? null : new Set(Object.keys(names));
}

function send(request: IncomingRequest, { allow, deny }: Listener, entry: JournalEntry): void {
  if (request.isFinished) return;
  if (allow === null && deny === null) return request.respond(entry);
  const wanted = ({ name }: JobEvent): boolean => (allow === null || allow.has(name)) && deny?.has(name) !== true;
  const events = entry.events.filter(wanted);
  if (events.length > 0) request.respond({ ...entry, events });
}

/** A job as it is in the KVS now: events that are not there yet will be shown when they are. */
function entryOfJob(job: Job): JournalEntry {
  const entry = entryOf(job, job.events.slice(0, job.durableCount));
  return job.annotations === null || entry.events.some(({ name }) => name === "alloc")
    ? entry
    : withAnnotations(entry, job);
}

/** Annotations of a job without an allocation are in no event that is kept. */
function withAnnotations(entry: JournalEntry, job: Job): JournalEntry {
  if (job.state !== JobState.Sched) return entry;
  const timestamp = job.events.at(-1)!.timestamp;
  return { ...entry, events: [...entry.events, annotationsEvent(timestamp, job)] };
}

/** The event that shows a job's annotations to watchers; it is in no eventlog. */
export function annotationsEvent(timestamp: number, job: Job): JobEvent {
  return { timestamp, name: "annotations", context: { annotations: job.annotations } };
}

function entryOf(job: Job, events: readonly JobEvent[]): JournalEntry {
  const isNew = events.some(({ name }) => name === "submit");
  const hasR = job.R !== null && events.some(({ name }) => name === "alloc");
  return {
    id: job.id,
    events,
    ...(isNew && job.jobspec !== null ? { jobspec: withoutEnvironment(job.jobspec) } : {}),
    ...(hasR ? { R: job.R! } : {}),
  };
}
