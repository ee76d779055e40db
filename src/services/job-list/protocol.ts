/**
 * The messages of the service `job-list` (RFC 43). Any user may ask.
 *
 * | topic                       | request                                     | response                                   |
 * |-----------------------------|---------------------------------------------|--------------------------------------------|
 * | list                        | {max_entries, attrs, since?, constraint?}   | streaming: {jobs, version: 1}, {jobs: [one]} each, ENODATA; else one {jobs} |
 * | list-id                     | {id, attrs, state?}                         | {job}, once the job has reached the state  |
 * | list-attrs                  |                                             | {attrs}                                    |
 * | job-stats (-cancel)         | streaming or not                            | counts, again after changes if streaming   |
 * | stats-get                   |                                             | {jobs, idsync, stats_watchers}             |
 * | job-state-pause, -unpause   |                                             | empty: for tests, holds back job events    |
 */
import { FluxError } from "../../base/errors.ts";
import type { Integer, JsonObject, JsonValue } from "../../base/json.ts";
import { JobState, STATES_ALL } from "../../sdk/job-protocol.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { compileConstraint, ComparisonBudget, type JobMatcher } from "./constraint.ts";
import { ALL_ATTRIBUTES, isAttribute, type AttributeName } from "./record.ts";

export interface ListRequest {
  /** Infinity for no limit. */
  readonly maxEntries: number;
  readonly attributes: readonly AttributeName[];
  /** Seconds since the epoch; 0 for ever. */
  readonly since: number;
  readonly matches: JobMatcher;
}

export interface ListIdRequest {
  readonly id: Integer;
  readonly attributes: readonly AttributeName[];
  /** A JobState to wait for; 0 for none. */
  readonly state: number;
}

function invalid(text: string): FluxError {
  return new FluxError("EPROTO", `invalid payload: ${text}`);
}

function attributesOf(value: JsonValue | undefined): AttributeName[] {
  if (value === undefined) throw invalid("Object item not found: attrs");
  if (!Array.isArray(value)) throw invalid("attrs must be an array");
  const names = value as JsonValue[];
  if (names.includes("all")) return [...ALL_ATTRIBUTES];
  return names.map((name) => {
    if (typeof name !== "string") throw new FluxError("EINVAL", "attr has no string value");
    if (!isAttribute(name)) throw new FluxError("EINVAL", `${name} is not a valid attribute`);
    return name;
  });
}

/** Reads a list request. Throws EPROTO, EINVAL. */
export function parseList(request: IncomingRequest, comparisonsMax: number): ListRequest {
  const { max_entries, attrs, since, constraint } = request.json;
  if (max_entries === undefined) throw invalid("Object item not found: max_entries");
  if (typeof max_entries !== "number" || !Number.isInteger(max_entries))
    throw invalid("max_entries must be an integer");
  if (max_entries < 0) throw invalid("max_entries < 0 not allowed");
  if (since !== undefined && typeof since !== "number") throw invalid("since must be a number");
  if (since !== undefined && since < 0) throw invalid("since < 0.0 not allowed");
  return {
    maxEntries: max_entries === 0 ? Infinity : max_entries,
    attributes: attributesOf(attrs),
    since: since ?? 0,
    matches: compileConstraint(constraint ?? constraintOfMembers(request.json), new ComparisonBudget(comparisonsMax)),
  };
}

/** Requests of before there were constraints select by members of their own: `userid`, `states`, `results`, `name`, `queue`. */
function constraintOfMembers({ userid, states, results, name, queue }: JsonObject): JsonObject {
  const conditions: JsonObject[] = [];
  if (typeof userid === "number" && userid >= 0) conditions.push({ userid: [userid] });
  const either: JsonObject[] = [];
  const hasResults = typeof results === "number" && results !== 0;
  if (hasResults) either.push({ results: [results] });
  // Of inactive jobs, those with one of the results.
  const mask = typeof states === "number" ? states & (hasResults ? ~JobState.Inactive : -1) : 0;
  if (mask !== 0) either.push({ states: [mask] });
  if (either.length > 0) conditions.push({ or: either });
  if (typeof name === "string") conditions.push({ name: [name] });
  if (typeof queue === "string") conditions.push({ queue: [queue] });
  return { and: conditions };
}

/** Reads a request for one job. Throws EPROTO, EINVAL. */
export function parseListId(request: IncomingRequest): ListIdRequest {
  const { id, attrs, state } = request.json;
  if (typeof id !== "number" && typeof id !== "bigint") throw invalid("Object item not found: id");
  if (state !== undefined && !isSingleState(state)) throw invalid("invalid state specified");
  return { id, attributes: attributesOf(attrs), state: (state as number | undefined) ?? 0 };
}

function isSingleState(state: JsonValue): boolean {
  if (typeof state !== "number" || !Number.isInteger(state)) return false;
  return state === 0 || ((state & STATES_ALL) === state && (state & (state - 1)) === 0);
}
