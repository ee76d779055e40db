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
 * | jobtap, jobtap-query              | owner | {query_only}; {name}                      | {plugins}; plugin data       |
 * | housekeeping-kill                 | owner | {signum, jobid?, targets?}                | empty: no housekeeping runs  |
 * | history.get                       | user  | {slice}                                   | {jobs: [id]}                 |
 * | post-event.post                   | owner | {id, name, context?}                      | empty                        |
 * | sched-hello, sched-ready          | owner | {partial-ok?}; {mode, limit?}             | jobs, streaming; {count}     |
 * | exec-hello                        | owner | {service}                                 | empty                        |
 *
 * Published: `job-exception {id, type, severity, wait_status?}`, `shell-ID.kill {signum}`, `job-purge-inactive {jobs}`.
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../../base/json.ts";
import type { SubmittedJob } from "../../sdk/job-protocol.ts";
import type { IncomingRequest } from "../../sdk/request.ts";

/** The version of the eventlog format in submit events. */
export const EVENTLOG_VERSION = 1;

/** Reads an optional member. Throws EPROTO where it is there with another type. */
export function optional<T extends "string" | "number" | "boolean">(
  request: IncomingRequest,
  key: string,
  type: T,
): (T extends "string" ? string : T extends "number" ? number : boolean) | null {
  const value: JsonValue | undefined = request.json[key];
  if (value === undefined || value === null) return null;
  if (typeof value !== type) throw new FluxError("EPROTO", `invalid '${key}'`);
  return value as never;
}

/** Reads a flag, which some clients write as 0 or 1. Throws EPROTO. */
export function requireFlag(object: JsonObject, key: string): boolean {
  const value = object[key];
  if (typeof value === "boolean") return value;
  if (value === 0 || value === 1) return value === 1;
  throw new FluxError("EPROTO", `missing or invalid '${key}'`);
}

/** Reads the jobs of a `submit` request; the sender is the ingest service. Throws EPROTO. */
export function parseSubmittedJobs(request: IncomingRequest): SubmittedJob[] {
  const { jobs } = request.json;
  if (!Array.isArray(jobs)) throw new FluxError("EPROTO", "missing or invalid 'jobs'");
  return (jobs as JsonValue[]).map((job) => {
    if (!isJsonObject(job) || !isJsonObject(job["jobspec"])) throw new FluxError("EPROTO", "malformed job");
    const { id, userid, urgency, flags, t_submit } = job as Record<string, JsonValue | undefined>;
    const numbers = [userid, urgency, flags, t_submit].every((value) => typeof value === "number");
    if (!numbers || (typeof id !== "number" && typeof id !== "bigint")) throw new FluxError("EPROTO", "malformed job");
    return job as unknown as SubmittedJob;
  });
}
