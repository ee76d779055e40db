/**
 * Directories in the making, and how they become those (RFC 11) of the content store.
 *
 * Invariant: equal content makes an equal blobref, whatever the order in which it came.
 */
import { utf8Encode } from "../../base/bytes.ts";
import { stringifyJson } from "../../base/json.ts";
import type { Blobref } from "../../formats/blobref.ts";
import { makeDirref, type Treeobj } from "../../formats/treeobj.ts";
import { compareNames, directoryTextOf, quoteName } from "../../formats/wide-directory.ts";

export class Directory {
  /** What has been opened, or made, is a directory; all else is as it stands in the store. */
  readonly entries: Map<string, Directory | Treeobj>;

  constructor(entries: Iterable<readonly [string, Directory | Treeobj]> = []) {
    this.entries = new Map(entries);
  }
}

/** Stores a directory, those inside it first. Resolves with its blobref. */
export async function saveDirectory(
  directory: Directory,
  store: (text: Uint8Array) => Promise<Blobref>,
): Promise<Blobref> {
  const names = [...directory.entries.keys()].sort(compareNames);
  const members = await Promise.all(
    names.map(async (name) => {
      const entry = directory.entries.get(name)!;
      const object = entry instanceof Directory ? makeDirref(await saveDirectory(entry, store)) : entry;
      return `${quoteName(name)}:${objectText(object)}`;
    }),
  );
  return store(utf8Encode(directoryTextOf(members)));
}

/** A tree object as the text of a directory has it: members in order. */
function objectText({ data, type, ver }: Treeobj): string {
  return `{"data":${dataText(data)},"type":"${type}","ver":${ver}}`;
}

function dataText(data: Treeobj["data"]): string {
  if (typeof data === "string" || Array.isArray(data)) return stringifyJson(data);
  const members = Object.entries(data as Record<string, Treeobj | string>)
    .sort(([left], [right]) => compareNames(left, right))
    .map(([name, value]) => `${quoteName(name)}:${typeof value === "string" ? quoteName(value) : objectText(value)}`);
  return `{${members.join(",")}}`;
}
