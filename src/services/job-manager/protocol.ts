/**
 * The messages of the service `job-manager`: queries and control for people and tools, and the two protocols with the
 * scheduler (RFC 27) and the execution service (RFC 32).
 *
 * | topic                             | role  | request                                   | response                     |
 * |-----------------------------------|-------|-------------------------------------------|------------------------------|
 * | submit                            | owner | {jobs: [SubmittedJob]}                    | {errors: [[id, text]]}       |
 * | raise                             | user  | {id, type, severity, note?, wait_status?} | empty                        |
 * | raiseall                          | user  | {dry_run, userid, states, severity, type, note?} | {count, errors}       |
 * | kill, killall                     | user  | {id, signum}; {dry_run, userid, signum}   | empty; {count, errors}       |
 * | urgency                           | user  | {id, urgency}                             | {old_urgency}                |
 * | update                            | user  | {id, updates}                             | empty                        |
 * | memo                              | user  | {id, volatile?, memo}                     | empty                        |
 * | wait                              | owner | {id}                                      | {id, success, errstr}        |
 * | list, getattr, getinfo            | mixed | {max_entries}; {id, attrs}; none          | {jobs}; attributes; {max_jobid} |
 * | events-journal (-cancel)          | owner | {full?, allow?, deny?}                    | JournalEntry, streaming      |
 * | drain, idle                       | owner | none                                      | empty; {pending}             |
 * | queue-list, -status, -enable, -start | mixed | see `queue-methods.ts`                 |                              |
 * | alloc-query, stats-get, resource-status | user, any, owner | none                     | counts; {allocated: R}       |
 * | purge, purge-id                   | owner | {age_limit, num_limit, batch, force}; {id, force} | {count}              |
 * | jobtap, jobtap-query              | owner | {query_only}, {load, conf?}, {remove}; {name} | {plugins}; plugin data   |
 * | housekeeping-kill                 | owner | {signum, jobid?, ranks?}                  | empty                        |
 * | history.get                       | user  | {slice}                                   | {jobs: [id]}                 |
 * | post-event.post                   | owner | {id, name, context?}                      | empty                        |
 * | sched-hello, sched-ready          | owner | {partial-ok?}; {mode, limit?}             | jobs, streaming; {count}     |
 * | exec-hello                        | owner | {service}                                 | empty                        |
 *
 * Published: `job-exception {id, type, severity, wait_status?}`, `shell-ID.kill {signum}`, `job-purge-inactive {jobs}`.
 */
import { FluxError } from "../../base/errors.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { isJsonObject, type Integer, type JsonObject, type JsonValue } from "../../base/json.ts";
import { checkReadable } from "../../formats/jobspec-readable.ts";
import {
  anything,
  dictionary,
  flag,
  integer,
  jobId,
  list,
  optional,
  real,
  record,
  shape,
  text,
  type Reader,
  type Shape,
} from "../../sdk/schema.ts";
import type { SubmittedJob } from "../../sdk/job-protocol.ts";

/** The version of the eventlog format in submit events. */
export const EVENTLOG_VERSION = 1;

const jobspec: Reader<SubmittedJob["jobspec"]> = (value) => checkReadable(value ?? null);

/** Jobs that are stored already; the sender is the ingest service. */
export const submitRequest: Shape<{ jobs: SubmittedJob[] }> = shape({
  jobs: list(
    record<SubmittedJob>({ id: jobId, userid: integer, urgency: integer, flags: integer, t_submit: real, jobspec }),
  ),
});

/** In seconds. */
export const batchTimeoutRequest: Shape<{ timeout: number }> = shape({ timeout: real });

export const idRequest: Shape<{ id: Integer }> = shape({ id: jobId });

export const raiseRequest: Shape<{
  id: Integer;
  type: string;
  severity: number;
  note: string | null;
  wait_status: number | null;
}> = shape({ id: jobId, type: text, severity: integer, note: optional(text), wait_status: optional(integer) });

export const raiseAllRequest: Shape<{
  dry_run: boolean;
  userid: number;
  states: number;
  severity: number;
  type: string;
  note: string | null;
}> = shape({ dry_run: flag, userid: integer, states: integer, severity: integer, type: text, note: optional(text) });

export const killRequest: Shape<{ id: Integer; signum: number }> = shape({ id: jobId, signum: integer });

export const killAllRequest: Shape<{ dry_run: boolean; userid: number; signum: number }> = shape({
  dry_run: flag,
  userid: integer,
  signum: integer,
});

export const urgencyRequest: Shape<{ id: Integer; urgency: number }> = shape({ id: jobId, urgency: integer });

export const updateRequest: Shape<{ id: Integer; updates: JsonObject }> = shape({ id: jobId, updates: dictionary });

export const memoRequest: Shape<{ id: Integer; volatile: boolean | null; memo: JsonObject }> = shape({
  id: jobId,
  volatile: optional(flag),
  memo: dictionary,
});

export const postEventRequest: Shape<{ id: Integer; name: string; context: JsonObject | null }> = shape({
  id: jobId,
  name: text,
  context: optional(dictionary),
});

export const listRequest: Shape<{ max_entries: number }> = shape({ max_entries: integer });

export const getAttributesRequest: Shape<{ id: Integer; attrs: string[] }> = shape({ id: jobId, attrs: list(text) });

export const historyRequest: Shape<{ slice: string }> = shape({ slice: text });

export const jobtapRequest: Shape<{
  query_only: JsonValue | null;
  load: string | null;
  remove: string | null;
  conf: JsonObject | null;
}> = shape({
  query_only: optional(anything),
  load: optional(text),
  remove: optional(text),
  conf: optional(dictionary),
});

export const jobtapQueryRequest: Shape<{ name: string }> = shape({ name: text });

/** `known`: jobs of which the listener has heard that they ended, and when: with `full`, it is not told of these again. */
export const journalRequest: Shape<{
  full: boolean | null;
  allow: JsonObject | null;
  deny: JsonObject | null;
  known: KnownJobs | null;
}> = shape({
  full: optional(flag),
  allow: optional(eventNames("allow")),
  deny: optional(eventNames("deny")),
  known: optional(knownJobs),
});

/** Jobs that ended, and when, in seconds since the epoch. */
export interface KnownJobs {
  readonly ids: readonly Integer[];
  readonly times: readonly number[];
}

function knownJobs(value: JsonValue | undefined): KnownJobs {
  const { ids, times } = isJsonObject(value) ? value : {};
  if (!Array.isArray(ids) || !Array.isArray(times) || ids.length !== times.length)
    throw new FluxError("EPROTO", "job-manager.events known should be ids and as many times");
  return { ids: ids as Integer[], times: times as number[] };
}

function eventNames(key: string): Reader<JsonObject> {
  return (value) => {
    if (!isJsonObject(value)) throw new FluxError("EPROTO", `job-manager.events ${key} should be an object`);
    return value;
  };
}

export const queueStatusRequest: Shape<{ name: string | null }> = shape({ name: optional(text) });

export const queueEnableRequest: Shape<{
  enable: boolean;
  all: boolean;
  name: string | null;
  reason: string | null;
  nocheckpoint: boolean | null;
}> = shape({
  enable: flag,
  all: flag,
  name: optional(text),
  reason: optional(text),
  nocheckpoint: optional(flag),
});

export const queueStartRequest: Shape<{
  start: boolean;
  all: boolean;
  name: string | null;
  reason: string | null;
  nocheckpoint: boolean | null;
}> = shape({
  start: flag,
  all: flag,
  name: optional(text),
  reason: optional(text),
  nocheckpoint: optional(flag),
});

export const purgeRequest: Shape<{ age_limit: number; num_limit: number; batch: number; force: boolean }> = shape({
  age_limit: real,
  num_limit: integer,
  batch: integer,
  force: flag,
});

export const purgeIdRequest: Shape<{ id: Integer; force: boolean }> = shape({ id: jobId, force: flag });

/** Targets are ranks as an idset; all of them where none are named. */
export const killHousekeepingRequest: Shape<{ signum: number; jobid: Integer | null; ranks: string | null }> = shape({
  signum: integer,
  jobid: optional(jobId),
  ranks: optional(text),
});

const readyShape: Shape<{ mode: string; limit: number | null }> = shape({ mode: text, limit: optional(integer) });

/** How many jobs a scheduler wants to see at a time; Infinity for all. Throws EPROTO. */
export function schedulerReadyRequest(request: IncomingRequest): { mode: string; limit: number } {
  const { mode, limit } = readyShape(request);
  if (mode === "unlimited") return { mode, limit: Infinity };
  if (mode === "limited" && limit !== null && limit >= 1 && limit <= 0x7fffffff) return { mode, limit };
  throw new FluxError("EPROTO", "Protocol error: 'mode' is neither unlimited nor limited with a limit");
}

export const executionHelloRequest: Shape<{ service: string }> = shape({ service: text });
