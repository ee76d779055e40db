/**
 * Reading jobs back from the KVS: at a restart, for the journal's backlog of inactive jobs, and where someone asks about
 * a job that is not in memory any more.
 */
import { FluxError, isFluxError } from "../../base/errors.ts";
import { isJsonObject, parseJson, type Integer, type JsonObject } from "../../base/json.ts";
import { orNull } from "../../base/promises.ts";
import { fluidKvsPath, tryParseFluid } from "../../formats/fluid.ts";
import type { Jobspec } from "../../formats/jobspec.ts";
import { updateJobspec } from "../../formats/jobspec-attributes.ts";
import type { Handle } from "../../sdk/handle.ts";
import { unwrapJobspec } from "../../sdk/job-envelope.ts";
import { environmentOf, withEnvironment, withoutEnvironment } from "../../sdk/job-environment.ts";
import { JobState, parseEventlog, STATES_RUNNING, type JobEvent, type JournalEntry } from "../../sdk/job-protocol.ts";
import { LookupFlag, PRIMARY_NAMESPACE, type TreeObject } from "../../sdk/kvs-protocol.ts";
import { lookupText } from "../../sdk/kvs-text.ts";
import { apply, replay } from "./fold.ts";
import { newJob, type Folded, type Job } from "./job.ts";
import { outcomeOf, type Outcome } from "./outcome.ts";
import { withExpiration } from "./resources.ts";

/** Jobs that are read at the same time. */
const READ_BATCH = 64;
/** The dotted hexadecimal form of an id has four groups: as many levels of directories under `job`. */
const DIRECTORY_LEVELS = 4;

/** The names in a KVS directory, sorted; none where it does not exist. */
export async function listDirectory(handle: Handle, key: string): Promise<string[]> {
  try {
    const request = { key, flags: LookupFlag.ReadDir, namespace: PRIMARY_NAMESPACE };
    const { val } = await handle.rpc<{ val: TreeObject }>("kvs.lookup", request);
    return val.type === "dir" ? Object.keys(val.data).sort() : [];
  } catch (error) {
    if (isFluxError(error, "ENOENT")) return [];
    throw error;
  }
}

/** The ids of all jobs in the KVS from one on, in the order of submission, in groups of those that share a directory. */
export async function* storedJobIds(handle: Handle, from: Integer = 0): AsyncGenerator<Integer[]> {
  yield* jobIdsBelow(handle, "job", fluidKvsPath(from).split(".").slice(1));
}

/** The same for what is below a directory. `first`: the names on the way to the first id; empty where all come after it. */
async function* jobIdsBelow(handle: Handle, key: string, first: readonly string[]): AsyncGenerator<Integer[]> {
  const [least = "", ...rest] = first;
  const names = (await listDirectory(handle, key)).filter((name) => name >= least);
  if (key.split(".").length < DIRECTORY_LEVELS) {
    for (const name of names) yield* jobIdsBelow(handle, `${key}.${name}`, name === least ? rest : []);
    return;
  }
  const ids = names.map((name) => jobIdOf(`${key}.${name}`));
  for (let at = 0; at < ids.length; at += READ_BATCH) yield ids.slice(at, at + READ_BATCH);
}

/** The id of the job whose directory this is. Throws EINVAL: what else is there would be lost sight of. */
function jobIdOf(key: string): Integer {
  const id = tryParseFluid(key);
  if (id === null) throw new FluxError("EINVAL", `could not decode ${key.slice("job.".length)} to job ID`);
  return id;
}

/** Whether there is anything of a job in the KVS. */
export async function isStored(handle: Handle, id: Integer): Promise<boolean> {
  return (await listDirectory(handle, fluidKvsPath(id))).length > 0;
}

/** A job's eventlog; null where there is no such job. */
async function readEventlog(handle: Handle, id: Integer): Promise<JobEvent[] | null> {
  const text = await orNull(lookupText(handle, `${fluidKvsPath(id)}.eventlog`), "ENOENT");
  return text === null ? null : parseEventlog(text);
}

async function readObject(handle: Handle, id: Integer, name: string): Promise<JsonObject> {
  const key = `${fluidKvsPath(id)}.${name}`;
  const text = await lookupText(handle, key).catch((error: unknown) => {
    throw isFluxError(error) ? new FluxError(error.errnum, `lookup ${key}: ${error.message}`, { cause: error }) : error;
  });
  const value = parseJson(text);
  if (!isJsonObject(value)) throw new FluxError("EPROTO", `${key} is not an object`);
  return value;
}

/** How a job that is not in memory ended; null where it is not known, or did not end. */
export async function readOutcome(handle: Handle, id: Integer): Promise<Outcome | null> {
  const events = await readEventlog(handle, id);
  if (events === null) return null;
  const folded = replay(events);
  return folded.state === JobState.Inactive ? outcomeOf(folded) : null;
}

/** The jobspec and the resource set as they are now, updates applied. */
async function readCurrent(
  handle: Handle,
  id: Integer,
  folded: Folded,
): Promise<{ jobspec: Jobspec; R: JsonObject | null }> {
  const jobspec = (await readObject(handle, id, "jobspec")) as Jobspec;
  const stored = folded.hasResources || folded.waitStatus !== null ? await readObject(handle, id, "R") : null;
  const R = stored !== null && folded.expiration !== null ? withExpiration(stored, folded.expiration) : stored;
  return { jobspec: folded.updates === null ? jobspec : updateJobspec(jobspec, folded.updates as JsonObject), R };
}

/** A job as a restart finds it: an active one whole, of an inactive one what has to be known. */
export type StoredJob =
  | {
      readonly kind: "active";
      readonly job: Job;
      /** It ran, but that it got its resources is not in its log. */
      readonly lacksAlloc: boolean;
    }
  | { readonly kind: "inactive"; readonly id: Integer; readonly timestamp: number; readonly folded: Folded };

/** Reads a job back; whole where it `isResumed` and may start again. Throws FluxError where its record is damaged. */
export async function readJob(handle: Handle, id: Integer, isResumed: boolean): Promise<StoredJob> {
  const events = await readEventlog(handle, id);
  if (events === null) throw new FluxError("ENOENT", `lookup ${fluidKvsPath(id)}.eventlog: No such file or directory`);
  const first = events[0]?.name ?? "missing";
  if (first !== "submit") throw new FluxError("EINVAL", `first event is ${first} not submit`);
  const folded = replay(events);
  if (folded.state === JobState.Inactive) {
    if (!(await listDirectory(handle, fluidKvsPath(id))).includes("jobspec"))
      throw new FluxError("ENOENT", `lookup ${fluidKvsPath(id)}.jobspec: No such file or directory`);
    return { kind: "inactive", id, timestamp: events.at(-1)!.timestamp, folded };
  }
  // A job that was submitted just before a crash goes on; one that ran has lost the events since.
  if (folded.state === JobState.New && (await listDirectory(handle, `${fluidKvsPath(id)}.guest.exec`)).length > 0)
    throw new FluxError("EINVAL", "job state (NEW) is invalid after replay");
  const { jobspec, R } = await readCurrent(handle, id, folded);
  const job = newJob(id, await withStoredEnvironment(handle, id, folded, jobspec, isResumed));
  for (const event of events) apply(job, event);
  job.events.push(...events);
  job.sentCount = job.durableCount = events.length;
  job.R = R;
  const isPending = job.state === JobState.Sched;
  const runs = job.hasResources || isPending ? await executionEvents(handle, id) : [];
  job.reattach = job.hasResources && mayHaveShells(job, runs);
  const allocations = events.filter(({ name }) => name === "alloc").length;
  // A full disk may have refused the commit with the allocation and taken the one of the start, just before a crash.
  const lacksAlloc = isPending && runs.filter((name) => name === "starting").length > allocations;
  if (lacksAlloc) {
    job.R = await readObject(handle, id, "R");
    job.reattach = true;
  }
  return { kind: "active", job, lacksAlloc };
}

/**
 * Whether shells of a job were ever started. The start event comes a moment after them, and a crash may come between: the
 * execution service notes `starting` before, so that nothing runs twice.
 */
function mayHaveShells({ started, state }: Job, runs: readonly string[]): boolean {
  // Each attempt of a job begins with `init`.
  return started || state === JobState.Cleanup || runs.includes("starting", Math.max(0, runs.lastIndexOf("init")));
}

/** The names of what the execution service has noted of a job. */
async function executionEvents(handle: Handle, id: Integer): Promise<string[]> {
  try {
    const text = await lookupText(handle, `${fluidKvsPath(id)}.guest.exec.eventlog`);
    return parseEventlog(text).map(({ name }) => name);
  } catch (error) {
    if (isFluxError(error, "ENOENT")) return [];
    throw error;
  }
}

/** A job that is still to be started needs its environment, which is in the signed request only. */
async function withStoredEnvironment(
  handle: Handle,
  id: Integer,
  folded: Folded,
  jobspec: Jobspec,
  isResumed: boolean,
): Promise<Jobspec> {
  const isOver = (folded.started && !isResumed) || folded.state === JobState.Cleanup;
  if (isOver && (folded.state & STATES_RUNNING) !== 0) return jobspec;
  const { jobspec: text } = unwrapJobspec(await lookupText(handle, `${fluidKvsPath(id)}.J`));
  const signed = parseJson(text);
  const environment = isJsonObject(signed) ? environmentOf(signed as Jobspec) : null;
  return environment === null ? jobspec : withEnvironment(jobspec, environment);
}

/** The journal entries of jobs that are inactive. */
export async function* inactiveEntries(handle: Handle, ids: readonly Integer[]): AsyncGenerator<JournalEntry> {
  for (let at = 0; at < ids.length; at += READ_BATCH) {
    const entries = await Promise.all(ids.slice(at, at + READ_BATCH).map((id) => readEntry(handle, id)));
    for (const entry of entries) if (entry !== null) yield entry;
  }
}

async function readEntry(handle: Handle, id: Integer): Promise<JournalEntry | null> {
  const events = await readEventlog(handle, id);
  // A job that was submitted after the listener came is shown by its events.
  if (events === null || events.at(-1)?.name !== "clean") return null;
  try {
    const jobspec = withoutEnvironment((await readObject(handle, id, "jobspec")) as Jobspec);
    const hasR = events.some(({ name }) => name === "alloc");
    return { id, events, jobspec, ...(hasR ? { R: await readObject(handle, id, "R") } : {}) };
  } catch (error) {
    // A purge may have come between.
    if (isFluxError(error, "ENOENT")) return null;
    throw error;
  }
}

/** The last job with a name that is over, as the job list knows it; null where there is none. */
export async function findNamed(handle: Handle, userid: number, name: string): Promise<Integer | null> {
  const constraint = { and: [{ userid: [userid] }, { name: [name] }, { states: ["inactive"] }] };
  const request = { max_entries: 1, attrs: ["t_inactive"], constraint };
  // Without the list, jobs that are over are known by their ids only.
  const list = await orNull(handle.rpc<{ jobs: { id: Integer }[] }>("job-list.list", request), "ENOSYS");
  return list?.jobs[0]?.id ?? null;
}

/** What the log says of a restart. `last` is the greatest id, as people are shown it. */
export function restartReport(
  manager: { readonly jobs: ReadonlyMap<Integer, Job>; readonly inactive: { readonly count: number } },
  last: string,
): string[] {
  const running = [...manager.jobs.values()].filter(({ state }) => state === JobState.Run).length;
  const total = manager.jobs.size + manager.inactive.count;
  return [`${total} jobs`, `${running} running jobs`, `max_jobid=${last}`];
}
