/**
 * The messages of the service `sched` (RFC 27), answered to the job manager, and of `feasibility`.
 *
 * `sched.alloc` and `sched.free` are matched by job id; the responses carry errnum 0 whatever they say. A caller that
 * uses a streaming request with a matchtag gets ENODATA after the final response, so that it can retire the matchtag.
 *
 * | topic                 | role  | request                                       | response                              |
 * |-----------------------|-------|-----------------------------------------------|---------------------------------------|
 * | sched.alloc           | owner | {id, priority, userid, t_submit, jobspec}     | AllocResponse, one or more            |
 * | sched.free            | owner | {id, R, final?}                               | none                                  |
 * | sched.cancel          | owner | {id}                                          | none; the alloc request is answered   |
 * | sched.prioritize      | owner | {jobs: [[id, priority]]}                      | none                                  |
 * | sched.expiration      | owner | {id, expiration}                              | empty; ENOENT                         |
 * | sched.resource-status | user  |                                               | {all, down, allocated}                |
 * | feasibility.check     | user  | {jobspec}                                     | empty; EOVERFLOW `unsatisfiable request` |
 */
import type { Integer, JsonObject } from "../../base/json.ts";
import { MATCHTAG_NONE } from "../../protocol/message.ts";
import type { AllocResponseType } from "../../sdk/job-protocol.ts";
import type { IncomingRequest } from "../../sdk/request.ts";

export interface AllocResponse {
  readonly id: Integer;
  readonly type: (typeof AllocResponseType)[keyof typeof AllocResponseType];
  readonly R?: JsonObject;
  readonly annotations?: JsonObject;
  readonly note?: string;
}

/** How many alloc requests the job manager may have open. */
export type AllocMode = { readonly mode: "unlimited" } | { readonly mode: "limited"; readonly limit: number };

/** What the resource service streams (RFC 28). */
export interface AcquireResponse {
  readonly resources?: JsonObject;
  readonly up?: string;
  readonly down?: string;
  readonly shrink?: string;
  readonly expiration?: number;
}

/** A job that holds resources already (`job-manager.sched-hello`). */
export interface HelloResponse {
  readonly id: Integer;
  readonly priority: number;
  readonly userid: number;
  readonly t_submit: number;
  readonly free?: string;
}

/** Whether a value is `[id, priority]`, as `sched.prioritize` has them. */
export function isPriority(value: unknown): value is readonly [Integer, number] {
  if (!Array.isArray(value)) return false;
  const [id, priority] = value as unknown[];
  return (typeof id === "number" || typeof id === "bigint") && typeof priority === "number";
}

/** What ends an alloc request; a caller that made a stream of it is told so. */
export function isStream(request: IncomingRequest): boolean {
  return request.isStreaming && request.matchtag !== MATCHTAG_NONE;
}
