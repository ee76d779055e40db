/**
 * What job-list remembers of a job, and how events and jobspec make it; how the attributes of RFC 43 are read from it.
 *
 * A record is kept for every job that was not purged, so it holds no more than what can be asked for, and strings that
 * many jobs have in common are shared.
 *
 * Invariant: a record is a fold over the journal's entries of its job.
 */
import { isJsonObject, type Integer, type JsonObject, type JsonValue } from "../../base/json.ts";
import { jobName, type Jobspec } from "../../formats/jobspec.ts";
import { jobspecCounts, taskCount } from "../../formats/jobspec-counts.ts";
import { updateJobspec } from "../../formats/jobspec-attributes.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import { FluxError } from "../../base/errors.ts";
import { mergeAnnotations } from "../../sdk/job-annotations.ts";
import { jobResult, JobResult, JobState, type JobEvent, type JournalEntry } from "../../sdk/job-protocol.ts";

export interface JobRecord {
  readonly id: Integer;
  userid: number;
  urgency: number;
  /** -1 before one is assigned. */
  priority: number;
  state: JobState;
  /** Mask of the states that the job has been in. */
  states: number;
  /** Seconds since the epoch; 0 where the job has not got there. */
  tSubmit: number;
  tDepend: number;
  tPriority: number;
  tSched: number;
  tRun: number;
  tCleanup: number;
  tInactive: number;
  /** Null where the jobspec cannot be read. */
  name: string | null;
  cwd: string | null;
  queue: string | null;
  project: string | null;
  bank: string | null;
  ntasks: number;
  /** Null where the jobspec does not say and nothing is allocated. */
  ncores: number | null;
  nnodes: number | null;
  /** Seconds; 0 for unlimited. */
  duration: number;
  ranks: string | null;
  nodelist: string | null;
  /** Seconds since the epoch; 0 for never; null before the allocation. */
  expiration: number | null;
  waitStatus: number | null;
  /** The exception that says how the job ended, or else the latest one. */
  exception: { readonly type: string; readonly severity: number; readonly note: string } | null;
  annotations: JsonObject | null;
  /** Open dependencies; null where the job never had one. */
  dependencies: readonly string[] | null;
  /** While the job is active: updates of the jobspec are applied to it. */
  jobspec: Jobspec | null;
  /** How it ended; 0 while it is active. */
  result: JobResult | 0;
  /** Of a job that was tried again: which attempt this is, of how many. Shown among the annotations, as `retry`. */
  attempt: { readonly attempt: number; readonly of: number; readonly reason: string } | null;
}

export function newRecord(id: Integer): JobRecord {
  return {
    id,
    userid: 0,
    urgency: 0,
    priority: -1,
    state: JobState.New,
    states: JobState.New,
    tSubmit: 0,
    tDepend: 0,
    tPriority: 0,
    tSched: 0,
    tRun: 0,
    tCleanup: 0,
    tInactive: 0,
    name: null,
    cwd: null,
    queue: null,
    project: null,
    bank: null,
    ntasks: 0,
    ncores: null,
    nnodes: null,
    duration: 0,
    ranks: null,
    nodelist: null,
    expiration: null,
    waitStatus: null,
    exception: null,
    annotations: null,
    dependencies: null,
    jobspec: null,
    result: 0,
    attempt: null,
  };
}

/** Strings that many jobs share are kept once. */
const shared = new Map<string, string>();
const SHARED_MAX = 4096;

function share<T extends string | null>(text: T): T {
  if (text === null) return text;
  const known = shared.get(text);
  if (known !== undefined) return known as T;
  if (shared.size >= SHARED_MAX) shared.clear();
  shared.set(text, text);
  return text;
}

/** Takes one message of the journal. */
export function applyEntry(record: JobRecord, entry: JournalEntry): void {
  if (entry.jobspec !== undefined) takeJobspec(record, entry.jobspec as Jobspec);
  for (const event of entry.events) {
    if (event.name === "alloc" && entry.R !== undefined) takeResources(record, entry.R);
    applyEvent(record, event);
  }
}

function text(value: JsonValue | undefined): string | null {
  return typeof value === "string" ? share(value) : null;
}

function takeJobspec(record: JobRecord, jobspec: Jobspec): void {
  const system = jobspec.attributes.system ?? {};
  // What a jobspec without a program asks for is of no interest to anybody.
  const isLegal = (jobspec.tasks[0]?.command.length ?? 0) > 0;
  record.jobspec = isLegal ? jobspec : null;
  record.name = isLegal ? share(jobName(jobspec)) : null;
  record.cwd = isLegal ? text(system.cwd) : null;
  record.queue = text(system.queue);
  record.project = text(system["project"]);
  record.bank = text(system.bank);
  record.duration = typeof system.duration === "number" ? system.duration : 0;
  if (!isLegal) return;
  try {
    const counts = jobspecCounts(jobspec);
    record.ntasks = counts.ntasks;
    record.nnodes = counts.nnodes > 0 ? counts.nnodes : null;
    record.ncores = counts.exclusive ? null : counts.nslots * counts.coresPerSlot;
  } catch (error) {
    // A jobspec beyond version 1: its sizes are known once resources are allocated.
    if (!(error instanceof FluxError)) throw error;
  }
}

function takeResources(record: JobRecord, R: JsonObject): void {
  const resources = ResourceSet.parse(R);
  record.nnodes = resources.nnodes;
  record.ncores = resources.ncores;
  record.ranks = share(resources.ranks.format({ brackets: true }));
  record.nodelist = share(resources.nodelist.toString());
  record.expiration = resources.expiration;
  if (record.jobspec === null) return;
  try {
    record.ntasks = taskCount(record.jobspec, resources);
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
  }
}

function enter(record: JobRecord, state: JobState): void {
  record.state = state;
  record.states |= state;
}

function applyEvent(record: JobRecord, event: JobEvent): void {
  const { timestamp } = event;
  const context: JsonObject = event.context ?? {};
  switch (event.name) {
    case "submit":
      record.tSubmit = timestamp;
      record.userid = context["userid"] as number;
      record.urgency = context["urgency"] as number;
      return;
    case "validate":
      record.tDepend = timestamp;
      return enter(record, JobState.Depend);
    case "depend":
      record.tPriority = timestamp;
      return enter(record, JobState.Priority);
    case "priority":
      record.priority = context["priority"] as number;
      if (record.tSched === 0) record.tSched = timestamp;
      return enter(record, JobState.Sched);
    case "flux-restart":
      if (record.state === JobState.Sched) enter(record, JobState.Priority);
      return;
    case "requeue":
      record.tRun = 0;
      return enter(record, JobState.Priority);
    case "urgency":
      record.urgency = context["urgency"] as number;
      return;
    case "alloc":
      if (isJsonObject(context["annotations"])) record.annotations = context["annotations"];
      record.tRun = timestamp;
      return enter(record, JobState.Run);
    case "finish":
      record.waitStatus = context["status"] as number;
      return enterCleanup(record, timestamp);
    case "clean":
      return applyClean(record, timestamp);
    default:
      return applyOther(record, event.name, timestamp, context);
  }
}

function applyOther(record: JobRecord, name: string, timestamp: number, context: JsonObject): void {
  switch (name) {
    case "exception":
      return applyException(record, timestamp, context);
    case "annotations":
      record.annotations = isJsonObject(context["annotations"]) ? context["annotations"] : null;
      return;
    case "memo":
      record.annotations = mergeAnnotations(record.annotations, { user: context });
      return;
    case "dependency-add":
      record.dependencies = [...(record.dependencies ?? []), context["description"] as string];
      return;
    case "dependency-remove":
      record.dependencies = (record.dependencies ?? []).filter((each) => each !== context["description"]);
      return;
    case "jobspec-update":
      if (record.jobspec !== null) takeUpdates(record, updateJobspec(record.jobspec, context));
      return;
    case "resource-update":
      record.expiration = context["expiration"] as number;
      return;
    case "retry":
      return applyRetry(record, timestamp, context);
    default:
  }
}

/** What was allocated is not undone by an update. */
function takeUpdates(record: JobRecord, jobspec: Jobspec): void {
  const { ntasks, ncores, nnodes } = record;
  takeJobspec(record, jobspec);
  if (record.ranks !== null) Object.assign(record, { ntasks, ncores, nnodes });
}

/** The job begins again: how the attempt before went is no concern of this one. */
function applyRetry(record: JobRecord, timestamp: number, { attempt, of, reason }: JsonObject): void {
  if (typeof attempt === "number" && typeof of === "number")
    record.attempt = { attempt, of, reason: typeof reason === "string" ? share(reason) : "" };
  Object.assign(record, { tRun: 0, tCleanup: 0, ranks: null, nodelist: null, expiration: null });
  Object.assign(record, { waitStatus: null, exception: null, annotations: userAnnotations(record.annotations) });
  if (record.jobspec !== null) takeJobspec(record, record.jobspec);
  record.tDepend = timestamp;
  record.states = JobState.New;
  enter(record, JobState.Depend);
}

/** What the scheduler said of a job is over with its resources. */
function userAnnotations(annotations: JsonObject | null): JsonObject | null {
  return annotations?.["user"] === undefined ? null : { user: annotations["user"] };
}

function enterCleanup(record: JobRecord, timestamp: number): void {
  if (record.tCleanup === 0) record.tCleanup = timestamp;
  enter(record, JobState.Cleanup);
}

function applyException(record: JobRecord, timestamp: number, context: JsonObject): void {
  const { type, severity, note } = context;
  if (typeof type !== "string" || typeof severity !== "number") return;
  // The first fatal one tells why the job ended; until there is one, the most severe is shown.
  if (record.exception === null || severity < record.exception.severity)
    record.exception = { type: share(type), severity, note: typeof note === "string" ? share(note) : "" };
  if (severity === 0) enterCleanup(record, timestamp);
}

function applyClean(record: JobRecord, timestamp: number): void {
  record.tInactive = timestamp;
  record.result = jobResult(record.waitStatus, record.exception?.severity === 0 ? { ...record.exception } : null);
  record.jobspec = null;
  enter(record, JobState.Inactive);
}

type Reader = (record: JobRecord) => JsonValue | undefined;

function time(key: "tDepend" | "tPriority" | "tSched" | "tRun" | "tCleanup" | "tInactive"): Reader {
  return (record) => (record[key] === 0 ? undefined : record[key]);
}

function whenInactive(read: Reader): Reader {
  return (record) => (record.state === JobState.Inactive ? read(record) : undefined);
}

/** The attributes in the order in which they are listed. */
const READERS: Readonly<Record<string, Reader>> = {
  userid: (record) => record.userid,
  urgency: (record) => record.urgency,
  priority: (record) => (record.priority < 0 ? undefined : record.priority),
  t_submit: (record) => record.tSubmit,
  t_depend: time("tDepend"),
  t_priority: time("tPriority"),
  t_sched: time("tSched"),
  t_run: time("tRun"),
  t_cleanup: time("tCleanup"),
  t_inactive: time("tInactive"),
  state: (record) => record.state,
  name: (record) => record.name ?? undefined,
  cwd: (record) => record.cwd ?? undefined,
  queue: (record) => record.queue ?? undefined,
  project: (record) => record.project ?? undefined,
  bank: (record) => record.bank ?? undefined,
  ntasks: (record) => (record.ntasks === 0 ? undefined : record.ntasks),
  ncores: (record) => record.ncores ?? undefined,
  duration: (record) => record.duration,
  nnodes: (record) => record.nnodes ?? undefined,
  ranks: (record) => record.ranks ?? undefined,
  nodelist: (record) => record.nodelist ?? undefined,
  success: whenInactive((record) => record.result === JobResult.Completed),
  exception_occurred: whenInactive((record) => record.exception !== null),
  exception_type: whenInactive((record) => record.exception?.type),
  exception_severity: whenInactive((record) => record.exception?.severity),
  exception_note: whenInactive((record) => record.exception?.note),
  result: whenInactive((record) => record.result),
  expiration: (record) => record.expiration ?? undefined,
  annotations: (record) =>
    record.attempt === null
      ? (record.annotations ?? undefined)
      : { ...record.annotations, retry: { ...record.attempt } },
  waitstatus: (record) => record.waitStatus ?? undefined,
  dependencies: (record) => record.dependencies ?? undefined,
};

/** A name that `isAttribute` accepts. */
export type AttributeName = string;

export const ALL_ATTRIBUTES: readonly AttributeName[] = Object.keys(READERS);

export function isAttribute(name: string): boolean {
  return Object.hasOwn(READERS, name);
}

/** A job as it is answered: its id, and those of the attributes that are set. */
export function describe(record: JobRecord, attributes: readonly AttributeName[]): JsonObject {
  const answer: Record<string, JsonValue> = { id: record.id };
  for (const name of attributes) {
    const value = READERS[name]!(record);
    if (value !== undefined) answer[name] = value;
  }
  return answer;
}
