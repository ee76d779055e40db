/**
 * Walking the tree of a version of the key-value store (RFC 11) through the content store, without the key-value store:
 * level by level, the names of a directory in order, with some requests under way ahead of the walk.
 *
 * A directory that cannot be had or read is told, and the walk goes on.
 */
import { utf8Decode } from "../../base/bytes.ts";
import { FluxError, isFluxError } from "../../base/errors.ts";
import { Fifo } from "../../base/fifo.ts";
import { handledLater } from "../../base/promises.ts";
import type { Blobref } from "../../formats/blobref.ts";
import {
  makeDirref,
  parseTreeobj,
  type Dirref,
  type DirEntries,
  type Treeobj,
  type Valref,
} from "../../formats/treeobj.ts";
import { compareNames } from "../../formats/wide-directory.ts";

/** Names from the root on; none for the root itself. */
export type TreePath = readonly string[];

/** What is wrong with a directory: it, or a part of it, is not there, it is no tree object, it is one of another kind. */
export type DirectoryFault = "missing" | "incomplete" | "malformed" | "no-directory";

export type TreeEvent<Fetched> =
  /** An entry of a directory, before all that is under it. */
  | { readonly kind: "entry"; readonly path: TreePath; readonly object: Treeobj }
  /** A value that is blobs, with what `fetchValue` made of it. */
  | { readonly kind: "value"; readonly path: TreePath; readonly object: Valref; readonly fetched: Fetched }
  | {
      readonly kind: "fault";
      readonly path: TreePath;
      readonly object: Dirref;
      readonly fault: DirectoryFault;
      readonly error: FluxError;
    };

export interface WalkOptions<Fetched> {
  /** Requests under way at once, at most. */
  readonly window: number;
  load(ref: Blobref): Promise<Uint8Array>;
  /** Is called ahead of the walk for each value that is blobs. An error ends the walk when it comes to the value. */
  fetchValue(object: Valref): Promise<Fetched>;
  /** Whether to go into a directory; default: into each. Is asked before its entry is told. */
  isWanted?(ref: Blobref): boolean;
}

/** What is wrong with a directory, in words; `missing` says it of one that is not there. */
export function faultText(fault: DirectoryFault, error: FluxError, missing: string): string {
  if (fault === "missing") return missing;
  if (fault === "incomplete") return `error retrieving dirref blobref: ${error.message}`;
  return fault === "malformed" ? "could not decode tree object" : "dirref references non-directory";
}

interface Pending<Fetched> {
  readonly path: TreePath;
  readonly object: Dirref | Valref;
  /** The bytes of a directory, or the values'. */
  directory: Promise<Uint8Array> | null;
  value: Promise<Fetched> | null;
}

/** Walks from a root on. */
export async function* walkTree<Fetched>(
  rootref: Blobref,
  options: WalkOptions<Fetched>,
): AsyncGenerator<TreeEvent<Fetched>> {
  const queue = new Fifo<Pending<Fetched>>();
  queue.push({ path: [], object: makeDirref(rootref), directory: null, value: null });
  for (let pending = queue.first; pending !== undefined; pending = queue.first) {
    for (const each of queue.leading(options.window)) begin(each, options);
    queue.shift();
    const { path, object, directory, value } = pending;
    if (object.type === "valref") yield { kind: "value", path, object, fetched: await value! };
    else yield* walkDirectory(path, object, directory!, queue, options);
  }
}

function begin<Fetched>(pending: Pending<Fetched>, { load, fetchValue }: WalkOptions<Fetched>): void {
  const { object } = pending;
  if (object.type === "dirref") pending.directory ??= handledLater(load(object.data[0]!));
  else pending.value ??= handledLater(fetchValue(object));
}

async function* walkDirectory<Fetched>(
  path: TreePath,
  object: Dirref,
  directory: Promise<Uint8Array>,
  queue: Fifo<Pending<Fetched>>,
  options: WalkOptions<Fetched>,
): AsyncGenerator<TreeEvent<Fetched>> {
  const read = await readDirectory(directory);
  if ("entries" in read) yield* walkEntries(path, read.entries, queue, options);
  else yield { kind: "fault", path, object, ...read };
}

function* walkEntries<Fetched>(
  path: TreePath,
  entries: DirEntries,
  queue: Fifo<Pending<Fetched>>,
  options: WalkOptions<Fetched>,
): Generator<TreeEvent<Fetched>> {
  for (const name of Object.keys(entries).sort(compareNames)) {
    const object = entries[name]!;
    const under = [...path, name];
    const isSkipped = object.type === "dirref" && options.isWanted?.(object.data[0]!) === false;
    yield { kind: "entry", path: under, object };
    if (object.type === "dir") yield* walkEntries(under, object.data, queue, options);
    else if ((object.type === "dirref" && !isSkipped) || object.type === "valref")
      queue.push({ path: under, object, directory: null, value: null });
  }
}

type Unreadable = { readonly fault: DirectoryFault; readonly error: FluxError };

async function readDirectory(directory: Promise<Uint8Array>): Promise<{ entries: DirEntries } | Unreadable> {
  let bytes: Uint8Array;
  try {
    bytes = await directory;
  } catch (error) {
    if (isFluxError(error, "ENOENT")) return { fault: "missing", error };
    if (isFluxError(error, "EIO")) return { fault: "incomplete", error };
    if (isFluxError(error, "EPROTO")) return { fault: "malformed", error };
    throw error;
  }
  try {
    const object = parseTreeobj(utf8Decode(bytes));
    if (object.type === "dir") return { entries: object.data };
    return { fault: "no-directory", error: new FluxError("ENOTDIR") };
  } catch (error) {
    if (isFluxError(error)) return { fault: "malformed", error };
    throw error;
  }
}
