/**
 * Jobs for programs: submit, list, watch, wait, and change them. Every function takes a Handle and speaks to the job
 * services by message; errors are FluxError with the service's sentence.
 */
import { FluxError } from "../base/errors.ts";
import { stringifyJson, type Integer, type JsonObject, type JsonValue } from "../base/json.ts";
import type { Jobspec } from "../formats/jobspec.ts";
import type { Handle } from "./handle.ts";
import { wrapJobspec } from "./job-envelope.ts";
import {
  JobResult,
  jobErrorText,
  jobResult,
  parseEvent,
  URGENCY_DEFAULT,
  type JobEvent,
  type JobException,
} from "./job-protocol.ts";

/** Flags of `job-info.lookup`. */
export const InfoFlag = { JsonDecode: 1, Current: 2 } as const;
/** Flags of `job-info.eventlog-watch`. */
export const WatchFlag = { WaitCreate: 1, InitialSentinel: 2 } as const;

export interface SubmitOptions {
  /** Who submits: the user id of this process. */
  readonly userid: number;
  /** 0 (hold) to 31 (expedite); default 16. */
  readonly urgency?: number;
  /** JobFlag bits. */
  readonly flags?: number;
}

/** Submits a jobspec (an object, or JSON text as it is); resolves with the job's id once it is safely stored. */
export async function submitJob(handle: Handle, jobspec: Jobspec | string, options: SubmitOptions): Promise<Integer> {
  const text = typeof jobspec === "string" ? jobspec : stringifyJson(jobspec);
  return submitEnvelope(handle, wrapJobspec(text, options.userid), options);
}

/** Submits an envelope J that was made elsewhere. */
export async function submitEnvelope(
  handle: Handle,
  envelope: string,
  options: { urgency?: number; flags?: number } = {},
): Promise<Integer> {
  const { urgency = URGENCY_DEFAULT, flags = 0 } = options;
  const { id } = await handle.rpc<{ id: Integer }>("job-ingest.submit", { J: envelope, urgency, flags });
  return id;
}

/** A job as `job-list` describes it: `id`, and the attributes that were asked for and are set. */
export interface JobInfo extends JsonObject {
  readonly id: Integer;
}

export interface ListOptions {
  /** Attribute names; default all. */
  readonly attrs?: readonly string[];
  /** RFC 43 constraint. */
  readonly constraint?: JsonObject;
  /** 0 = no limit. */
  readonly maxEntries?: number;
  /** Seconds since the epoch: only jobs that were active since then. */
  readonly since?: number;
}

/** Lists jobs: pending, then running, then inactive ones. */
export async function* listJobs(handle: Handle, options: ListOptions = {}): AsyncGenerator<JobInfo> {
  const { attrs = ["all"], constraint, maxEntries = 0, since } = options;
  const request = {
    max_entries: maxEntries,
    attrs,
    ...(constraint === undefined ? {} : { constraint }),
    ...(since === undefined ? {} : { since }),
  };
  for await (const { jobs } of handle.stream<{ jobs: JobInfo[] }>("job-list.list", request)) yield* jobs;
}

/** One job; `state` (a JobState) waits until it has been in that state. */
export async function jobInfo(
  handle: Handle,
  id: Integer,
  options: { attrs?: readonly string[]; state?: number } = {},
): Promise<JobInfo> {
  const { attrs = ["all"], state } = options;
  const request = { id, attrs, ...(state === undefined ? {} : { state }) };
  return (await handle.rpc<{ job: JobInfo }>("job-list.list-id", request)).job;
}

/** What is stored with a job: `jobspec`, `R`, `J`, `eventlog`, `guest.…`, each as text. */
export async function lookupJob(
  handle: Handle,
  id: Integer,
  keys: readonly string[],
  options: { current?: boolean } = {},
): Promise<Record<string, string>> {
  const flags = options.current === true ? InfoFlag.Current : 0;
  const answer = await handle.rpc<JsonObject>("job-info.lookup", { id, keys, flags });
  return Object.fromEntries(keys.map((key) => [key, answer[key] as string]));
}

export interface WatchOptions {
  /** The eventlog's key within the job; default `eventlog`. */
  readonly path?: string;
  /** Wait for an eventlog that does not exist yet. */
  readonly waitCreate?: boolean;
  readonly signal?: AbortSignal;
}

/** The events of an eventlog, past and to come; ends when the job is inactive or the log is complete. */
export async function* watchEventlog(
  handle: Handle,
  id: Integer,
  options: WatchOptions = {},
): AsyncGenerator<JobEvent> {
  const { path = "eventlog", waitCreate = false, signal } = options;
  const request = { id, path, flags: waitCreate ? WatchFlag.WaitCreate : 0 };
  const stream = handle.stream<{ event: string }>("job-info.eventlog-watch", request, {
    cancelTopic: "job-info.eventlog-watch-cancel",
    ...(signal === undefined ? {} : { signal }),
  });
  for await (const { event } of stream) yield parseEvent(event);
}

/** Waits for an event of a job's eventlog. Throws ENODATA where the log ends without it. */
export async function waitForEvent(
  handle: Handle,
  id: Integer,
  name: string,
  options: WatchOptions = {},
): Promise<JobEvent> {
  for await (const event of watchEventlog(handle, id, { waitCreate: true, ...options }))
    if (event.name === name) return event;
  throw new FluxError("ENODATA", `event '${name}' never received`);
}

/** How a job ended. */
export interface JobOutcome {
  readonly id: Integer;
  readonly result: JobResult;
  readonly success: boolean;
  /** wait(2) status; null where the job never ran. */
  readonly waitStatus: number | null;
  /** The first exception of severity 0. */
  readonly exception: JobException | null;
  /** What went wrong, in words; empty for success. */
  readonly errorText: string;
}

/** Waits for the end of a job, by its eventlog: any number may wait for the same job. */
export async function waitForJob(handle: Handle, id: Integer, signal?: AbortSignal): Promise<JobOutcome> {
  let waitStatus: number | null = null;
  let exception: JobException | null = null;
  const options = signal === undefined ? {} : { signal };
  for await (const event of watchEventlog(handle, id, options)) {
    if (event.name === "finish") waitStatus = event.context?.["status"] as number;
    else if (event.name === "exception" && event.context?.["severity"] === 0)
      exception ??= event.context as unknown as JobException;
  }
  const result = jobResult(waitStatus, exception);
  const errorText = jobErrorText(waitStatus, exception);
  return { id, result, success: result === JobResult.Completed, waitStatus, exception, errorText };
}

/** Waits for a waitable job (null: any), which is then forgotten. */
export function waitForWaitable(
  handle: Handle,
  id: Integer | null,
): Promise<{ id: Integer; success: boolean; errstr: string }> {
  return handle.rpc("job-manager.wait", { id: id ?? -1 });
}

export async function raiseException(
  handle: Handle,
  id: Integer,
  exception: { type: string; severity?: number; note?: string },
): Promise<void> {
  const { type, severity = 0, note } = exception;
  await handle.rpc("job-manager.raise", { id, type, severity, ...(note === undefined ? {} : { note }) });
}

export function cancelJob(handle: Handle, id: Integer, note?: string): Promise<void> {
  return raiseException(handle, id, { type: "cancel", ...(note === undefined ? {} : { note }) });
}

export interface RaiseAllOptions {
  /** -1 for everyone. */
  readonly userid: number;
  /** Mask of JobState bits. */
  readonly states: number;
  readonly type?: string;
  readonly severity?: number;
  readonly note?: string;
  readonly dryRun?: boolean;
}

/** Raises an exception (default: cancel) on many jobs; resolves with how many they are, and how many failed. */
export function raiseAll(handle: Handle, options: RaiseAllOptions): Promise<{ count: number; errors: number }> {
  const { userid, states, type = "cancel", severity = 0, note, dryRun = false } = options;
  const request = { dry_run: dryRun, userid, states, type, severity };
  return handle.rpc("job-manager.raiseall", note === undefined ? request : { ...request, note });
}

/** Sends a signal to the tasks of a running job. */
export async function killJob(handle: Handle, id: Integer, signum: number): Promise<void> {
  await handle.rpc("job-manager.kill", { id, signum });
}

export function killAll(
  handle: Handle,
  options: { userid: number; signum: number; dryRun?: boolean },
): Promise<{ count: number; errors: number }> {
  const { userid, signum, dryRun = false } = options;
  return handle.rpc("job-manager.killall", { dry_run: dryRun, userid, signum });
}

/** Changes a pending job's urgency; resolves with the one before. */
export async function setUrgency(handle: Handle, id: Integer, urgency: number): Promise<number> {
  return (await handle.rpc<{ old_urgency: number }>("job-manager.urgency", { id, urgency })).old_urgency;
}

/** Changes a job's jobspec: full dotted keys and their values. */
export async function updateJob(
  handle: Handle,
  id: Integer,
  updates: Readonly<Record<string, JsonValue>>,
): Promise<void> {
  await handle.rpc("job-manager.update", { id, updates });
}

/** Notes something beside a job; a volatile memo is forgotten when the job ends. */
export async function addMemo(handle: Handle, id: Integer, memo: JsonObject, isVolatile = false): Promise<void> {
  await handle.rpc("job-manager.memo", { id, memo, ...(isVolatile ? { volatile: true } : {}) });
}
