/**
 * Messages of the service `kvs` (RFC 11; roles by RFC 12): what requests must look like, and who may do what.
 *
 * | topic                     | role  | request                               | response                            |
 * |---------------------------|-------|---------------------------------------|-------------------------------------|
 * | lookup, lookup-plus       | user  | LookupRequest                         | {val}; LookupPlusAnswer; ENOENT     |
 * | commit                    | user  | {namespace, flags, ops, once?}        | {rootref, rootseq}                  |
 * | getroot                   | user  | {namespace, hold?}                    | {owner, rootseq, rootref, flags}    |
 * | wait-version              | user  | {namespace, rootseq}                  | {rootref, rootseq}, once it is there |
 * | namespace-create, -remove | owner | {namespace, owner, flags}; {namespace}| empty; EEXIST, ENOTSUP              |
 * | namespace-list            | owner |                                       | {namespaces: [{namespace, owner, flags}]} |
 * | setroot-pause, -unpause   | owner | {namespace}                           | empty: for tests, holds a follower back |
 * | dropcache, stats-get      | owner, user |                                 | empty; sizes and counts             |
 * | commit-cut                | owner | {namespace, flags, ops, caller, adopted} | as commit: from a follower that cut huge values, or told the content store of references |
 * | load-blob                 | owner | raw digest                            | blob; on rank 0, for `content`      |
 * | forget                    | owner | raw digests                           | empty; likewise: the store drops them |
 * | hold                      | owner | {purpose, rootref or null}            | empty; on rank 0, for followers     |
 *
 * A client that asks `getroot` holds that version: it stays readable by its reference until the client asks again or is gone.
 * Services ask with `hold` false, which holds nothing, and are told `created`, too. Followers pass holds up.
 *
 * Followers publish nothing: rank 0 announces each version as `kvs.namespace-NS-setroot` (SetrootEvent).
 *
 * The instance owner may do everything. A guest may use the namespaces that it owns; its commits may set values and make
 * empty directories, and may not store references, through which it could read what is not its own.
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../../base/json.ts";
import { checkTreeobj, isTreeobj, TREEOBJ_MEMBERS, type Val } from "../../formats/treeobj.ts";
import { Role } from "../../protocol/message.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { requireInteger, requireString } from "../../sdk/service.ts";
import {
  guestKey,
  INLINE_VALUE_LENGTH,
  type LookupRequest,
  type Once,
  type Operation,
  OPERATION_APPEND,
  PRIMARY_NAMESPACE,
  type TreeObject,
} from "../../sdk/kvs-protocol.ts";

/** Memory for blobs that the content store can give again, in bytes. */
export const CLEAN_BYTES_MAX: number = 32 * 1024 * 1024;
/** Memory for superseded versions that never reached the disk, in bytes. */
export const HISTORY_BYTES_MAX: number = 16 * 1024 * 1024;
/** A checkpoint is made when this much has been logged since the last one … */
export const CHECKPOINT_LOG_BYTES: number = 4 * 1024 * 1024;
/** … or what was made since takes this much memory … */
export const CHECKPOINT_DIRTY_BYTES: number = 32 * 1024 * 1024;
/** … or the first change since is this old. */
export const CHECKPOINT_PERIOD_MS = 5000;
/** Commits wait for a checkpoint while what was made since it began takes more memory than this, in bytes. */
export const UNSAVED_BYTES_MAX: number = 128 * 1024 * 1024;
/** A checkpoint that failed is tried again after this time. */
export const CHECKPOINT_RETRY_MS = 1000;
/** The log is synchronised to the disk at most this often. */
export const LOG_SYNC_PERIOD_MS = 1000;
/** Blobs of a checkpoint that go to the content store in one message: so many, or so many bytes and one blob more. */
export const STORE_BATCH_COUNT = 256;
export const STORE_BATCH_BYTES: number = 1024 * 1024;
/** Text of directories that is made in one turn for it, in bytes. */
export const STORE_TURN_BYTES: number = 128 * 1024;
/** Blobs that are asked for at once. */
export const LOAD_WINDOW = 256;
/** Pieces of a value that are asked for at once, and the length up to which they are kept in memory, in bytes. */
export const VALUE_LOAD_WINDOW = 16;
export const KEPT_VALUE_BYTES: number = 128 * 1024;

/** Links that one key may go through. */
export const SYMLINK_DEPTH_MAX = 10;
/** Parts of a key, those included to which links lead. */
export const KEY_PARTS_MAX = 1024;
/** Versions that are kept for those who asked for them; beyond, the one held for longest is let go. */
export const HELD_ROOTS_MAX = 1024;
/** A root is held so long after its holder is gone, in milliseconds. */
export const HELD_GRACE_MS = 60_000;
/** References of waiting commits about which the content store is asked at once. */
export const ADOPT_WINDOW = 4096;

/** A commit with more operations is applied in slices. */
export const LONG_COMMIT_OPERATIONS = 2048;
/** A version in which more keys were written is announced without them: who watches some looks at them all. */
export const TOLD_KEYS_MAX: number = 16 * 1024;
/** Operations of a slice, or entries of the directories that are hashed in one. */
export const LONG_COMMIT_SLICE = 512;
/** How often a checkpoint looks whether a long commit is done, in milliseconds. */
export const LONG_COMMIT_WAIT_MS = 5;

/** Namespaces that a checkpoint looks at in one turn. */
export const SNAPSHOT_SLICE = 256;

export interface CommitRequest {
  readonly namespace: string;
  readonly flags: number;
  readonly operations: readonly Operation[];
  readonly once: Once | null;
}

/** Whom a request speaks for. */
export interface Caller {
  readonly userid: number;
  readonly rolemask: number;
}

export function isOwner(caller: Caller): boolean {
  return (caller.rolemask & Role.Owner) !== 0;
}

/** Whether a caller may use a namespace. Throws EPERM. */
export function checkAccess(caller: Caller, namespaceOwner: number): void {
  if (isOwner(caller)) return;
  if ((caller.rolemask & Role.User) === 0 || caller.userid !== namespaceOwner) throw new FluxError("EPERM");
}

/** Reads the payload of a commit, of which the operations may have been read already. Throws EPROTO, EINVAL. */
export function parseCommit(json: JsonObject, known?: readonly Operation[]): CommitRequest {
  const namespace = requireString(json, "namespace");
  const flags = requireInteger(json, "flags");
  const operations = known ?? parseOperations(json["ops"]);
  const once = parseOnce(json["once"]);
  if (guestKey(namespace, ".") === null) return { namespace, flags, operations, once };
  const moved = operations.map((operation) => ({ ...operation, key: guestKey(namespace, operation.key)! }));
  return { namespace: PRIMARY_NAMESPACE, flags, operations: moved, once };
}

function parseOnce(value: JsonValue | undefined): Once | null {
  if (!isJsonObject(value)) return null;
  const [number, answered] = [requireInteger(value, "number"), requireInteger(value, "answered")];
  return { sender: requireString(value, "sender"), number, answered };
}

/** The name of the namespace that holds what a request's namespace names. */
export function requireNamespace(json: JsonObject): string {
  const namespace = requireString(json, "namespace");
  return guestKey(namespace, ".") === null ? namespace : PRIMARY_NAMESPACE;
}

export function parseOperations(ops: JsonValue | undefined): Operation[] {
  if (!Array.isArray(ops)) throw new FluxError("EPROTO", "missing or invalid 'ops'");
  return ops.map(parseOperation);
}

export function parseOperation(value: JsonValue): Operation {
  if (!isJsonObject(value)) throw new FluxError("EPROTO", "an operation is not an object");
  const key = requireString(value, "key");
  const flags = requireInteger(value, "flags");
  const { dirent } = value;
  if (dirent === undefined) throw new FluxError("EPROTO", "an operation has no 'dirent'");
  if (dirent === null) return { key, flags, dirent };
  return { key, flags, dirent: isLongValue(dirent) ? dirent : checkTreeobj(dirent, "EINVAL") };
}

/** A value that becomes a blob is decoded when it is applied; then it is seen whether it is base64. */
function isLongValue(value: JsonValue): value is Val {
  return (
    isJsonObject(value) &&
    value["ver"] === 1 &&
    value["type"] === "val" &&
    typeof value["data"] === "string" &&
    value["data"].length > INLINE_VALUE_LENGTH &&
    Object.keys(value).length === TREEOBJ_MEMBERS
  );
}

/**
 * Refuses what a caller must not store: guests no references, nobody one to be appended. The operations at the places in
 * `cut` were plain values. Throws EPERM, EPROTO.
 */
export function checkOperations(caller: Caller, operations: readonly Operation[], cut: ReadonlySet<number>): void {
  for (const [place, { dirent, flags }] of operations.entries()) {
    if (dirent === null || dirent.type === "val" || cut.has(place)) continue;
    if ((flags & OPERATION_APPEND) !== 0) throw new FluxError("EPROTO", "only a value can be appended");
    if (!isOwner(caller) && !isEmptyDirectory(dirent))
      throw new FluxError("EPERM", `guests may not store a tree object of type ${dirent.type}`);
  }
}

export function isEmptyDirectory(object: TreeObject): boolean {
  return object.type === "dir" && Object.keys(object.data).length === 0;
}

/** Reads the payload of a lookup. Throws EPROTO, EINVAL for a bad `rootdir`. */
export function parseLookup(json: JsonObject): LookupRequest & { readonly rootref: string | null } {
  const key = requireString(json, "key");
  const flags = requireInteger(json, "flags");
  const namespace = json["namespace"] === undefined ? undefined : requireString(json, "namespace");
  if (json["rootdir"] === undefined) {
    if (namespace === undefined) throw new FluxError("EPROTO", "missing 'namespace'");
    const moved = guestKey(namespace, key);
    if (moved !== null) return { key: moved, flags, namespace: PRIMARY_NAMESPACE, rootref: null };
    return { key, flags, namespace, rootref: null };
  }
  const root = json["rootdir"];
  if (!isTreeobj(root) || root.type !== "dirref") throw new FluxError("EINVAL");
  return { key, flags, ...(namespace === undefined ? {} : { namespace }), rootref: root.data[0]! };
}

/** Whether a request comes from the instance owner or a guest: what all methods need. */
export function callerOf(request: IncomingRequest): Caller {
  return { userid: request.userid, rolemask: request.rolemask };
}
