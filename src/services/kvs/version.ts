/**
 * A namespace at one version. Its tree is hashed when its reference is first asked for: most versions are superseded
 * before anybody asks.
 */
import type { BlobIndex } from "./blob-index.ts";
import type { Directory } from "./directory.ts";

export interface NamespaceRoot {
  readonly name: string;
  readonly owner: number;
  readonly flags: number;
  readonly rootref: string;
  readonly rootseq: number;
  /** Tells namespaces of the same name apart: the number of the log record that created this one. */
  readonly created: number;
}

export class Version implements NamespaceRoot {
  readonly name: string;
  readonly owner: number;
  readonly flags: number;
  readonly rootseq: number;
  readonly created: number;
  readonly #index: BlobIndex;
  #directory: Directory | null;
  #rootref = "";

  constructor(before: NamespaceRoot, rootseq: number, index: BlobIndex, directory: Directory) {
    this.name = before.name;
    this.owner = before.owner;
    this.flags = before.flags;
    this.created = before.created;
    this.rootseq = rootseq;
    this.#index = index;
    this.#directory = directory;
  }

  get rootref(): string {
    if (this.#directory !== null) this.#rootref = this.#index.freeze(this.#directory);
    this.#directory = null;
    return this.#rootref;
  }

  /** The root, or its reference where it has one. */
  get root(): Directory | string {
    return this.#directory ?? this.#rootref;
  }
}

/** Where a lookup or a draft begins. */
export function rootOf(root: NamespaceRoot): Directory | string {
  return root instanceof Version ? root.root : root.rootref;
}
