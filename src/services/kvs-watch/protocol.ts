/**
 * Messages of the service `kvs-watch`, for lookups that go on: `lookup` (the request of `kvs.lookup`, answered {val} again and
 * again) and `cancel` ({matchtag}), after which the stream ends with ENODATA. A client asks it instead of `kvs` when it wants
 * every change (WATCH), the creation of a key (WAITCREATE) or a long value in pieces (STREAM). Any user may ask; `kvs` decides
 * who may read what.
 */
import { FluxError } from "../../base/errors.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { requireInteger, requireString } from "../../sdk/service.ts";
import { guestKey, LookupFlag, normalizeKey, PRIMARY_NAMESPACE } from "../../sdk/kvs-protocol.ts";

/** Versions that wait to be looked at for one watcher; when there are more, the oldest are skipped. */
export const VERSIONS_QUEUED_MAX = 4096;
/** Blobs of one value under way at once. */
export const BLOB_WINDOW = 8;

/** Flags that only mean something together with WATCH. */
const WATCH_KINDS: number = LookupFlag.WatchFull | LookupFlag.WatchUniq | LookupFlag.WatchAppend;

export interface WatchRequest {
  /** Where the key is. */
  readonly namespace: string;
  /** The namespace that was asked for: that of a job's guest is a directory of the primary one. */
  readonly asked: string;
  /** In normal form, or empty: that is never there. */
  readonly key: string;
  readonly flags: number;
}

/** Reads and checks a request. Throws EPROTO. */
export function parseWatch(request: IncomingRequest): WatchRequest {
  const { json } = request;
  const namespace = requireString(json, "namespace");
  const key = requireString(json, "key");
  const flags = requireInteger(json, "flags");
  const has = (flag: number): boolean => (flags & flag) !== 0;
  if (has(LookupFlag.Watch | LookupFlag.Stream) && !request.isStreaming)
    throw new FluxError("EPROTO", "a watch needs a streaming request");
  if (has(LookupFlag.Watch) && has(LookupFlag.Stream)) throw new FluxError("EPROTO", "a stream cannot be watched");
  if (has(WATCH_KINDS) && !has(LookupFlag.Watch)) throw new FluxError("EPROTO", "a kind of watch without a watch");
  if (has(LookupFlag.InitialSentinel) && !has(LookupFlag.WatchAppend))
    throw new FluxError("EPROTO", "an initial sentinel without a watch for appends");
  const moved = guestKey(namespace, key);
  if (moved !== null) return { namespace: PRIMARY_NAMESPACE, asked: namespace, key: moved, flags };
  return { namespace, asked: namespace, key: key === "" ? key : normalizeKey(key), flags };
}
