/**
 * Changing a tree that is in the content store: directories are read when they are needed, and only those on the way to a
 * change are written again.
 */
import { utf8Decode } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";
import type { Blobref } from "../../formats/blobref.ts";
import { makeDirref, parseTreeobj, type Treeobj } from "../../formats/treeobj.ts";
import type { BlobStore } from "./blobs.ts";
import { Directory, saveDirectory } from "./directories.ts";

export class TreeEditor {
  readonly #store: BlobStore;
  readonly #root: Directory;

  private constructor(store: BlobStore, root: Directory) {
    this.#store = store;
    this.#root = root;
  }

  /** Throws where the root cannot be read. */
  static async open(store: BlobStore, rootref: Blobref): Promise<TreeEditor> {
    return new TreeEditor(store, await readDirectory(store, makeDirref(rootref)));
  }

  /** What is under a key; a directory is opened. Null where there is nothing. */
  async find(names: readonly string[]): Promise<Directory | Treeobj | null> {
    const parent = await this.#directory(names.slice(0, -1));
    return parent === null ? null : this.#child(parent, names.at(-1)!);
  }

  async remove(names: readonly string[]): Promise<void> {
    (await this.#directory(names.slice(0, -1)))?.entries.delete(names.at(-1)!);
  }

  /**
   * Puts something under a key where nothing may be lost by it: names that are taken, also by values above it, get a
   * number.
   */
  async putAside(names: readonly string[], entry: Directory | Treeobj): Promise<void> {
    let directory = this.#root;
    for (const name of names.slice(0, -1)) directory = await this.#subdirectory(directory, name);
    const last = names.at(-1)!;
    const existing = await this.#child(directory, last);
    // A directory may come in parts: what is not there yet is added.
    if (existing instanceof Directory && entry instanceof Directory)
      for (const [name, each] of entry.entries) await this.putAside([...names, name], each);
    else directory.entries.set(freeName(directory, last), entry);
  }

  /** Stores what has changed. Resolves with the new root's blobref. */
  save(): Promise<Blobref> {
    return saveDirectory(this.#root, (text) => this.#store.store(text));
  }

  async #directory(names: readonly string[]): Promise<Directory | null> {
    let directory = this.#root;
    for (const name of names) {
      const child = await this.#child(directory, name);
      if (!(child instanceof Directory)) return null;
      directory = child;
    }
    return directory;
  }

  async #child(directory: Directory, name: string): Promise<Directory | Treeobj | null> {
    const entry = directory.entries.get(name) ?? null;
    if (entry === null || entry instanceof Directory) return entry;
    if (entry.type === "dir") return replace(directory, name, new Directory(Object.entries(entry.data)));
    if (entry.type !== "dirref") return entry;
    return replace(directory, name, await readDirectory(this.#store, entry));
  }

  /** The directory of a name, made where there is none; where a value has the name, one beside it. */
  async #subdirectory(directory: Directory, name: string): Promise<Directory> {
    const child = await this.#child(directory, name);
    if (child instanceof Directory) return child;
    return replace(directory, freeName(directory, name), new Directory());
  }
}

function replace(directory: Directory, name: string, child: Directory): Directory {
  directory.entries.set(name, child);
  return child;
}

function freeName(directory: Directory, name: string): string {
  let free = name;
  for (let number = 1; directory.entries.has(free); number++) free = `${name}~${number}`;
  return free;
}

async function readDirectory(store: BlobStore, object: Treeobj & { readonly type: "dirref" }): Promise<Directory> {
  const read = parseTreeobj(utf8Decode(await store.load(object.data[0]!)));
  if (read.type !== "dir") throw new FluxError("ENOTDIR");
  return new Directory(Object.entries(read.data));
}
