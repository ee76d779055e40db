/**
 * Finding a key in a tree (RFC 11): through directories, and through symbolic links, which may lead to other namespaces.
 *
 * Pure: what is not in memory is told by MissingBlob; the caller loads it and asks again.
 */
import { FluxError } from "../../base/errors.ts";
import { valOfPieces } from "../../sdk/huge-value.ts";
import { LookupFlag, splitKey, type TreeObject } from "../../sdk/kvs-protocol.ts";
import { MissingBlob, type BlobIndex } from "./blob-index.ts";
import type { Directory, Entry, StoredEntry } from "./directory.ts";
import { SYMLINK_DEPTH_MAX } from "./protocol.ts";
import { directoryObject, storedEntry, treeObjectOf } from "./tree.ts";

/** Thrown where a link leads to a namespace whose root is not known here. */
export class MissingNamespace extends Error {
  readonly namespace: string;

  constructor(namespace: string) {
    super(`the root of namespace ${namespace} is not known`);
    this.namespace = namespace;
  }
}

export interface LookupContext {
  readonly index: BlobIndex;
  /** Blobs that were loaded for this very lookup: a long value may be more than the cache holds. */
  readonly held: ReadonlyMap<string, Uint8Array>;
  /** Told of each link that was followed. */
  onLink?: () => void;
  /** The root of a namespace that a link leads to. Throws EPERM, ENOTSUP or MissingNamespace. */
  rootOf(namespace: string): Directory | string;
}

/**
 * Looks a key up from a root, which may have no hash yet. Returns null where there is none; an empty key names nothing.
 * Throws ENOTDIR, EISDIR, EINVAL, ELOOP by what the flags ask for, ENOTSUP and EPERM for namespaces.
 */
export function lookupKey(
  context: LookupContext,
  root: Directory | string,
  key: string,
  flags: number,
): TreeObject | null {
  const asItIs = (flags & (LookupFlag.ReadLink | LookupFlag.TreeObject)) !== 0 && (flags & LookupFlag.FollowLast) === 0;
  if ((flags & LookupFlag.ReadDir) !== 0 && (flags & LookupFlag.ReadLink) !== 0) throw new FluxError("EINVAL");
  const entry = key === "" ? null : findEntry(context, root, splitKey(key), !asItIs);
  if (entry === null) return null;
  const { index } = context;
  if ((flags & LookupFlag.TreeObject) !== 0) return treeObjectOf(storedEntry(entry, (each) => index.freeze(each)));
  if ((flags & LookupFlag.ReadLink) !== 0) {
    if (entry.kind !== "symlink") throw new FluxError(splitKey(key).length === 0 ? "EISDIR" : "EINVAL");
    return treeObjectOf(entry);
  }
  const isDirectory = entry.kind === "dirref" || entry.kind === "draft";
  if ((flags & LookupFlag.ReadDir) !== 0) {
    if (!isDirectory) throw new FluxError("ENOTDIR");
    return directoryObject(directoryOf(context, entry).parts(index), (each) => index.freeze(each));
  }
  if (isDirectory) throw new FluxError("EISDIR");
  return valueOf(context, entry as StoredEntry);
}

function rootEntry(root: Directory | string): Entry {
  return typeof root === "string" ? { kind: "dirref", ref: root, text: null } : { kind: "draft", directory: root };
}

function directoryOf(
  { index }: Pick<LookupContext, "index">,
  entry: Extract<Entry, { kind: "draft" | "dirref" }>,
): Directory {
  return entry.kind === "draft" ? entry.directory : index.directory(entry.ref);
}

function findEntry(
  context: LookupContext,
  from: Directory | string,
  path: readonly string[],
  followLast: boolean,
): Entry | null {
  let names = path;
  let root = from;
  let entry = rootEntry(root);
  for (let position = 0, links = 0; position < names.length; position++) {
    if (entry.kind !== "dirref" && entry.kind !== "draft") return null;
    const found: Entry | undefined = directoryOf(context, entry).get(names[position]!, context.index);
    if (found === undefined) return null;
    entry = found;
    if (entry.kind !== "symlink" || (position === names.length - 1 && !followLast)) continue;
    if (++links > SYMLINK_DEPTH_MAX) throw new FluxError("ELOOP");
    context.onLink?.();
    if (entry.target === "") return null;
    if (entry.namespace !== null) root = context.rootOf(entry.namespace);
    names = [...splitKey(entry.target), ...names.slice(position + 1)];
    entry = rootEntry(root);
    position = -1;
  }
  return entry;
}

/** Whether there is a link on the way to a place, as far as the way is in memory: what is not will be asked for by who goes it. */
export function isBehindLink(index: BlobIndex, root: Directory | string, path: readonly string[]): boolean {
  let entry = rootEntry(root);
  try {
    for (const name of path.slice(0, -1)) {
      if (entry.kind !== "dirref" && entry.kind !== "draft") break;
      const found: Entry | undefined = directoryOf({ index }, entry).get(name, index);
      if (found === undefined) return false;
      entry = found;
    }
  } catch (error) {
    if (error instanceof MissingBlob || error instanceof FluxError) return false;
    throw error;
  }
  return entry.kind === "symlink";
}

function valueOf(context: LookupContext, entry: StoredEntry): TreeObject {
  if (entry.kind !== "valref") return treeObjectOf(entry);
  return valOfPieces(context.index.values(entry.refs.toArray(), context.held));
}
