/** A tree of keys in the making, from the entries of an archive. */
import { base64Encode } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";
import type { Blobref } from "../../formats/blobref.ts";
import type { Treeobj } from "../../formats/treeobj.ts";
import { INLINE_VALUE_LENGTH } from "../../sdk/kvs-protocol.ts";
import { Directory, saveDirectory } from "./directories.ts";

/** Whether a value of this length stands in its directory. */
export function isInline(byteLength: number): boolean {
  return Math.ceil(byteLength / 3) * 4 <= INLINE_VALUE_LENGTH;
}

export class TreeBuilder {
  readonly #root = new Directory();

  /** Puts an object under a key, in place of what was there. Throws ENOTDIR where a value stands above it. */
  put(names: readonly string[], object: Treeobj): void {
    let directory = this.#root;
    for (const name of names.slice(0, -1)) {
      const entry = directory.entries.get(name) ?? new Directory();
      if (!(entry instanceof Directory))
        throw new FluxError("ENOTDIR", `${name} in ${names.join("/")} is not a directory`);
      directory.entries.set(name, entry);
      directory = entry;
    }
    directory.entries.set(names.at(-1)!, object);
  }

  /** The object under a key, or null. */
  find(names: readonly string[]): Treeobj | null {
    let entry: Directory | Treeobj | undefined = this.#root;
    for (const name of names) entry = entry instanceof Directory ? entry.entries.get(name) : undefined;
    return entry === undefined || entry instanceof Directory ? null : entry;
  }

  /** Stores all directories, those inside others first. Resolves with the root's blobref. */
  save(store: (text: Uint8Array) => Promise<Blobref>): Promise<Blobref> {
    return saveDirectory(this.#root, store);
  }
}

/** The object of a short value. */
export function inlineValue(bytes: Uint8Array): Treeobj {
  return { ver: 1, type: "val", data: base64Encode(bytes) };
}
