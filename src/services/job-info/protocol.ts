/**
 * The messages of the service `job-info` (RFC 41). The owner of a job and the owner of the instance may ask.
 *
 * | topic                 | request            | response                                                     |
 * |-----------------------|--------------------|--------------------------------------------------------------|
 * | lookup                | {id, keys, flags}  | {id, KEY: text or object …}                                  |
 * | eventlog-watch        | {id, path, flags}  | {event: line} each, streaming; empty = sentinel; ENODATA      |
 * | eventlog-watch-cancel | {matchtag}         | none; the stream ends with ENODATA                           |
 * | update-watch (-cancel)| {id, key, flags}   | {KEY: object}, streaming, at first and after each update     |
 * | update-lookup         | {id, key, flags}   | {id, KEY: object}                                            |
 * | stats-get             |                    | {lookups, watchers, guest_watchers, update_lookups, …}       |
 */
import { FluxError } from "../../base/errors.ts";
import type { Integer, JsonValue } from "../../base/json.ts";
import type { IncomingRequest } from "../../sdk/request.ts";

export const LookupFlag = { JsonDecode: 1, Current: 2 } as const;
export const WatchFlag = { WaitCreate: 1, InitialSentinel: 2 } as const;

export interface LookupRequest {
  readonly id: Integer;
  readonly keys: readonly string[];
  readonly flags: number;
}
export interface WatchRequest {
  readonly id: Integer;
  readonly path: string;
  readonly flags: number;
}
/** What changes by events after it was stored. */
export type UpdatedKey = "R" | "jobspec";
export interface UpdateRequest {
  readonly id: Integer;
  readonly key: UpdatedKey;
}

function idOf(value: JsonValue | undefined): Integer {
  if (typeof value === "bigint" || (typeof value === "number" && Number.isInteger(value))) return value;
  throw new FluxError("EPROTO");
}

function flagsOf(value: JsonValue | undefined, allowed: number, text: string): number {
  if (typeof value !== "number" || !Number.isInteger(value)) throw new FluxError("EPROTO");
  if ((value & ~allowed) !== 0) throw new FluxError("EPROTO", text);
  return value;
}

/** Reads a lookup. Throws EPROTO. */
export function parseLookup(request: IncomingRequest): LookupRequest {
  const { id, keys, flags } = request.json;
  if (!Array.isArray(keys) || keys.some((key) => typeof key !== "string")) throw new FluxError("EPROTO");
  const allowed = LookupFlag.JsonDecode | LookupFlag.Current;
  return {
    id: idOf(id),
    keys: keys as string[],
    flags: flagsOf(flags, allowed, "lookup request rejected with invalid flag"),
  };
}

/** Reads a watch of an eventlog. Throws EPROTO. */
export function parseWatch(request: IncomingRequest): WatchRequest {
  const { id, path, flags } = request.json;
  if (typeof path !== "string") throw new FluxError("EPROTO");
  if (!request.isStreaming) throw new FluxError("EPROTO", "eventlog-watch request rejected without streaming RPC flag");
  const allowed = WatchFlag.WaitCreate | WatchFlag.InitialSentinel;
  return { id: idOf(id), path, flags: flagsOf(flags, allowed, "eventlog-watch request rejected with invalid flag") };
}

/** Reads a request about a key that events change. Throws EPROTO, EINVAL. */
export function parseUpdate(request: IncomingRequest, method: "update-watch" | "update-lookup"): UpdateRequest {
  const { id, key, flags } = request.json;
  if (typeof key !== "string") throw new FluxError("EPROTO");
  if (method === "update-watch" && !request.isStreaming)
    throw new FluxError("EPROTO", "update-watch request rejected without streaming RPC flag");
  flagsOf(flags, 0, `${method} request rejected with invalid flag`);
  // update-lookup is older than updates of the jobspec.
  if (key !== "R" && (key !== "jobspec" || method === "update-lookup"))
    throw new FluxError("EINVAL", `${method} unsupported key specified`);
  return { id: idOf(id), key };
}
