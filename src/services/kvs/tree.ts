/**
 * Directories as text, whose hash is their name (RFC 11), and as the tree objects that requests and answers hold.
 *
 * Invariants:
 * 1. The text of a directory is compact JSON with names and members sorted, so equal content has an equal hash.
 * 2. In the text every subdirectory is a dirref, every value longer than INLINE_VALUE_LENGTH a valref, but for values that
 *    have ended: those up to INLINE_ENDED_LENGTH may stand in it, too.
 */
import { assert } from "../../base/assert.ts";
import { base64ByteLength, utf8Decode } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";
import { parseTreeobj } from "../../formats/treeobj.ts";
import {
  compareNames,
  directoryTextOf,
  isWideDirectory,
  parseWideDirectory,
  pieceText,
  quoteName,
  wideDirectoryText,
} from "../../formats/wide-directory.ts";
import { INLINE_VALUE_LENGTH, type TreeObject } from "../../sdk/kvs-protocol.ts";
import { RefList } from "./ref-list.ts";
import { Directory, RUN_MEMBERS, type Entry, type StoredEntry } from "./directory.ts";

/** The same where nothing more is going to be written: what a short job leaves behind is a few blobs instead of a dozen. */
export const INLINE_ENDED_LENGTH = 2048;

/** The text of a value with more references than this is not kept. */
const KEPT_TEXT_REFS = 64;

function objectText(entry: StoredEntry): string {
  switch (entry.kind) {
    case "val":
      return `{"data":"${entry.data}","type":"val","ver":1}`;
    case "valref":
      return `{"data":["${entry.refs.text}"],"type":"valref","ver":1}`;
    case "dirref":
      return `{"data":["${entry.ref}"],"type":"dirref","ver":1}`;
    case "symlink": {
      const namespace = entry.namespace === null ? "" : `"namespace":${quoteName(entry.namespace)},`;
      return `{"data":{${namespace}"target":${quoteName(entry.target)}},"type":"symlink","ver":1}`;
    }
  }
}

function memberText(name: string, entry: Entry): string {
  assert(entry.kind !== "draft", "a directory has a text only once its subdirectories have hashes");
  if (entry.text !== null) return entry.text;
  const text = `${quoteName(name)}:${objectText(entry)}`;
  if (isWorthKeeping(entry)) entry.text = text;
  return text;
}

/** The text of a long list, or value, is put together quickly; every version of it would be kept. */
function isWorthKeeping(entry: StoredEntry): boolean {
  if (entry.kind === "val") return entry.data.length <= INLINE_VALUE_LENGTH;
  return entry.kind !== "valref" || entry.refs.length <= KEPT_TEXT_REFS;
}

/** The text of a directory, as it is stored. Its subdirectories and pieces must have their hashes. */
export function directoryText(directory: Directory): string {
  const { names, pieces, runs, size } = directory;
  const count = pieces === null ? names.length : pieces.length;
  for (let start = 0, run = 0; start < count; start += RUN_MEMBERS, run++)
    runs[run] ??= runText(directory, start, Math.min(count, start + RUN_MEMBERS));
  return pieces === null ? directoryTextOf(runs as string[]) : wideDirectoryText(runs as string[], size);
}

/** The texts of some members, joined. */
function runText({ names, entries, pieces }: Directory, start: number, end: number): string {
  const texts: string[] = [];
  for (let index = start; index < end; index++) {
    const piece = pieces?.[index];
    if (piece === undefined) texts.push(memberText(names[index]!, entries[index]!));
    else {
      assert(!(piece instanceof Directory), "a directory has a text only once its pieces have hashes");
      texts.push((piece.text ??= pieceText(piece)));
    }
  }
  return texts.join(",");
}

/** An entry as a tree object. */
export function treeObjectOf(entry: StoredEntry): TreeObject {
  switch (entry.kind) {
    case "val":
      return { ver: 1, type: "val", data: entry.data };
    case "valref":
      return { ver: 1, type: "valref", data: entry.refs.toArray() };
    case "dirref":
      return { ver: 1, type: "dirref", data: [entry.ref] };
    case "symlink":
      return {
        ver: 1,
        type: "symlink",
        data:
          entry.namespace === null ? { target: entry.target } : { target: entry.target, namespace: entry.namespace },
      };
  }
}

/** Gives a directory its hash. Its subdirectories have theirs. */
type Freeze = (directory: Directory) => string;

/** A directory as a tree object, as a lookup with the flag `readdir` answers, of its parts in order. */
export function directoryObject(parts: readonly Directory[], freeze: Freeze): TreeObject {
  const data: Record<string, TreeObject> = {};
  for (const { names, entries } of parts)
    for (let index = 0; index < names.length; index++) {
      const name = names[index]!;
      const value = treeObjectOf(storedEntry(entries[index]!, freeze));
      // A plain assignment would lose a key named __proto__.
      if (name !== "__proto__") data[name] = value;
      else Object.defineProperty(data, name, { value, enumerable: true, configurable: true, writable: true });
    }
  return { ver: 1, type: "dir", data };
}

/** An entry with a blobref where it is a subdirectory without one. */
export function storedEntry(entry: Entry, freeze: Freeze): StoredEntry {
  return entry.kind === "draft" ? { kind: "dirref", ref: freeze(entry.directory), text: null } : entry;
}

/** The entry for a tree object. A `val` that is long becomes a blob, which `addValue` keeps; without it, it stays as it is. */
export function entryOf(object: TreeObject, addValue: ((base64: string) => string) | null): Entry {
  switch (object.type) {
    case "val":
      return addValue !== null && object.data.length > INLINE_VALUE_LENGTH
        ? { kind: "valref", refs: RefList.of([addValue(object.data)], [base64ByteLength(object.data)]), text: null }
        : { kind: "val", data: object.data, text: null };
    case "valref":
      return { kind: "valref", refs: RefList.of(object.data), text: null };
    case "dirref":
      return { kind: "dirref", ref: object.data[0]!, text: null };
    case "symlink":
      return { kind: "symlink", target: object.data.target, namespace: object.data.namespace ?? null, text: null };
    case "dir":
      return { kind: "draft", directory: directoryOf(object.data, addValue) };
  }
}

function directoryOf(
  data: { readonly [name: string]: TreeObject },
  addValue: ((base64: string) => string) | null,
): Directory {
  const names = Object.keys(data).sort(compareNames);
  return new Directory(
    names,
    names.map((name) => entryOf(data[name]!, addValue)),
  );
}

/** Reads the blob of a stored directory. Throws EIO where it is not one. */
export function parseDirectory(blob: Uint8Array, ref: string): Directory {
  const directory = isWideDirectory(blob) ? parsePieces(blob, ref) : parsePlain(blob, ref);
  directory.ref = ref;
  directory.textLength = blob.byteLength;
  return directory;
}

function parsePlain(blob: Uint8Array, ref: string): Directory {
  const object = orNotADirectory(ref, () => parseTreeobj(utf8Decode(blob)));
  if (object.type !== "dir") throw notADirectory(ref);
  return directoryOf(object.data, null);
}

function parsePieces(blob: Uint8Array, ref: string): Directory {
  const { pieces, size } = orNotADirectory(ref, () => parseWideDirectory(blob));
  return Directory.ofPieces(
    pieces.map((piece) => ({ first: piece.first, ref: piece.ref, text: null })),
    size,
  );
}

function orNotADirectory<T>(ref: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof FluxError) throw notADirectory(ref);
    throw error;
  }
}

function notADirectory(ref: string): FluxError {
  return new FluxError("EIO", `blob ${ref} is not a directory`);
}

/** The blobs that a directory's text refers to. */
export function* referencesOf(directory: Directory): Generator<string> {
  for (const piece of directory.pieces ?? []) if (piece.ref !== null) yield piece.ref;
  for (const entry of directory.entries)
    if (entry.kind === "dirref") yield entry.ref;
    else if (entry.kind === "valref") yield* entry.refs;
}
