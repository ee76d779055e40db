/**
 * The messages of the execution service (RFC 32), answered to the job manager, and of the job shells.
 *
 * | topic                    | role  | request                              | response                              |
 * |--------------------------|-------|--------------------------------------|---------------------------------------|
 * | job-exec.start           | owner | {id, userid, jobspec, R, reattach, inHand?} | {id, type, data}, many; the last is a final release |
 * | job-exec.expiration      | owner | {id, expiration}                     | empty; ENOENT                         |
 * | job-exec.critical-ranks  | user  | {id, ranks}                          | empty; ENOENT, EPERM                  |
 * | job-exec.shell-barrier   | user  | {id}                                 | empty when all shells are there; ECANCELED |
 * | job-exec.override        | user  | {jobid, event, status?}              | empty; `Job not found`, `Permission denied` |
 *
 * Responses to `start` are matched by job id and carry errnum 0 whatever they say. A caller that uses a streaming request
 * with a matchtag gets ENODATA after the final release, so that it can retire the matchtag.
 */
import type { Integer, JsonObject } from "../../base/json.ts";

export type StartResponse = { readonly id: Integer } & (
  | { readonly type: "start" | "reattached"; readonly data: Record<string, never> }
  | { readonly type: "release"; readonly data: { readonly ranks: string; readonly final: boolean } }
  | { readonly type: "exception"; readonly data: ExceptionData }
  | { readonly type: "finish"; readonly data: { readonly status: number } }
);

export interface ExceptionData {
  readonly severity: number;
  readonly type: string;
  readonly note: string;
  /** The wait status that is to be the job's. */
  readonly wait_status?: number;
}

/** A `job-exception` event of the job manager. */
export interface JobExceptionEvent {
  readonly id: Integer;
  readonly type: string;
  readonly severity: number;
  readonly wait_status?: number;
}

/** What the service asks of the shells of one job. */
export interface ExecRequest {
  readonly id: Integer;
  readonly userid: number;
  /** With the environment: the stored jobspec goes without. */
  readonly jobspec: JsonObject;
  readonly R: JsonObject;
  readonly reattach: boolean;
  /** Somebody has changed the job's urgency, as who lets go of one that was held: its signed request is read again. */
  readonly wasInHand: boolean;
}
