/**
 * What both sides of the key-value store agree on (RFC 11 and the messages of the services `kvs` and `kvs-watch`): flags,
 * the operations of a transaction, and how a key reads.
 *
 * Pure data: it knows neither how a tree is stored nor how a message travels.
 */
import type { JsonObject } from "../base/json.ts";
import { fluidKvsPath, parseFluid } from "../formats/fluid.ts";
import { makeDir, makeDirref, type Treeobj } from "../formats/treeobj.ts";

/** The namespace that always exists; only the instance owner may use it. */
export const PRIMARY_NAMESPACE = "primary";

/** Flags of a lookup. */
export const LookupFlag = {
  ReadDir: 1,
  ReadLink: 2,
  Watch: 4,
  WaitCreate: 8,
  TreeObject: 16,
  WatchFull: 64,
  WatchUniq: 128,
  WatchAppend: 256,
  Stream: 512,
  /** With WatchAppend: an answer without a value marks the end of what was there already. */
  InitialSentinel: 1024,
  /** Between services only: with TreeObject, a link at the end of the path is followed. */
  FollowLast: 65536,
} as const;

/** Flags of a whole commit. */
export const CommitFlag = {
  /** Not in one version with other commits. */
  NoMerge: 1,
  Compact: 2,
  /** Answer only once a checkpoint holds it. */
  Sync: 4,
} as const;

/** Flag of one operation: add to the value instead of replacing it. */
export const OPERATION_APPEND = 32;
/** Flag of one operation that removes a key: directories above it that are empty then go, too, but for the top one. Ours alone. */
export const OPERATION_PRUNE = 0x10000;

/**
 * Flag of one operation that sets a value or appends to it: nothing more is going to come. A short value then stays in its
 * directory, and what is in memory of a longer one becomes one blob. Ours alone, and a hint: the value is the same without it.
 */
export const OPERATION_LAST = 0x20000;

/** A value whose base64 text has more characters than this is a blob of its own. */
export const INLINE_VALUE_LENGTH = 72;

/** A tree object in its JSON form. */
export type TreeObject = Treeobj;

/** One operation of a transaction: `dirent` null removes the key. */
export interface Operation {
  readonly key: string;
  readonly flags: number;
  readonly dirent: TreeObject | null;
}

/**
 * Says of a commit, as `once`, which of its sender's it is: where its answer was lost it is sent again, and carried out once.
 * Ours alone.
 */
export interface Once {
  readonly sender: string;
  readonly number: number;
  /** All up to this number have been answered. */
  readonly answered: number;
}

export interface CommitAnswer {
  readonly rootref: string;
  readonly rootseq: number;
}

export interface RootAnswer {
  readonly owner: number;
  readonly rootseq: number;
  readonly rootref: string;
  readonly flags: number;
  readonly namespace: string;
  /** Tells namespaces of the same name apart. */
  readonly created?: number;
}

/** What `kvs.namespace-NS-setroot` announces. */
export interface SetrootEvent {
  readonly namespace: string;
  readonly rootref: string;
  readonly rootseq: number;
  readonly owner: number;
  /** Names of the transactions in this version. */
  readonly names: readonly string[];
  /** The keys that the transactions wrote, as members of an object; null where they are too many to be told. */
  readonly keys: Readonly<Record<string, null>> | null;
  /** Small blobs of some value were merged: it consists of others than before. Ours alone. */
  readonly merged?: boolean;
}

/** What `kvs.lookup-plus` answers: the version looked at, the value or errno 2, and whether a link was on the way. */
export interface LookupPlusAnswer {
  readonly rootseq: number;
  readonly rootref: string;
  readonly val?: TreeObject;
  readonly errno?: number;
  readonly followed?: boolean;
}

/** Events about namespace NS are `kvs.namespace-NS-` and one of setroot, created, removed, error. */
export const NAMESPACE_EVENT_PREFIX = "kvs.namespace-";

export function directoryReference(rootref: string): TreeObject {
  return makeDirref(rootref);
}

export const EMPTY_DIRECTORY: TreeObject = makeDir();

/** The components of a key. Dots at either end and doubled ones mean nothing; "." is the root: no component. */
export function splitKey(key: string): string[] {
  if (!key.startsWith(".") && !key.endsWith(".") && !key.includes("..")) return key === "" ? [] : key.split(".");
  return key.split(".").filter((name) => name !== "");
}

/** A key in its normal form: no dot too many, "." for the root. */
export function normalizeKey(key: string): string {
  if (key !== "" && !key.startsWith(".") && !key.endsWith(".") && !key.includes("..")) return key;
  const names = splitKey(key);
  return names.length === 0 ? "." : names.join(".");
}

/**
 * The namespace of a job's guest, `job-<decimal id>` (FLUX_KVS_NAMESPACE of its tasks), is the directory `guest` of the
 * job in the primary namespace. Returns where a key of such a namespace is; null for any other namespace.
 */
export function guestKey(namespace: string, key: string): string | null {
  const match = /^job-(\d{8,20})$/.exec(namespace);
  if (match === null) return null;
  const directory = `${fluidKvsPath(parseFluid(match[1]!))}.guest`;
  const names = splitKey(key);
  return names.length === 0 ? directory : `${directory}.${names.join(".")}`;
}

/** The payload of a lookup. */
export interface LookupRequest extends JsonObject {
  readonly key: string;
  readonly flags: number;
  readonly namespace?: string;
  readonly rootdir?: JsonObject;
  readonly rootseq?: number;
}
