/**
 * A commit of very many operations, applied a slice in each turn of the loop: on a draft of its own, which nobody sees
 * before all of it is done and has its hashes. Commits to the same namespace wait behind it, everything else goes on.
 *
 * Invariants: the root from which the draft was made does not change meanwhile; no checkpoint begins meanwhile, which would
 * not know what only the draft refers to. It happens whole or not at all.
 */
import type { Operation } from "../../sdk/kvs-protocol.ts";
import type { BlobIndex } from "./blob-index.ts";
import type { Directory } from "./directory.ts";
import { LONG_COMMIT_OPERATIONS, LONG_COMMIT_SLICE } from "./protocol.ts";
import type { KeyMerge } from "./ref-list.ts";
import { Draft } from "./transaction.ts";

export function isLong(operations: readonly Operation[]): boolean {
  return operations.length > LONG_COMMIT_OPERATIONS;
}

export class LongCommit {
  readonly #index: BlobIndex;
  readonly #draft: Draft;
  readonly #operations: readonly Operation[];
  readonly #place = { next: 0 };
  /** Which blobs of values became one. */
  readonly merges: KeyMerge[] = [];
  #rest: Generator<void> | null = null;

  /** Throws MissingBlob where the root is not in memory. */
  constructor(index: BlobIndex, root: Directory | string, namespace: string, operations: readonly Operation[]) {
    this.#index = index;
    this.#draft = new Draft(index, root, namespace);
    this.#operations = operations;
  }

  /**
   * Does a slice. Returns the new root once all is done, null before. Throws MissingBlob: then go on when it is there;
   * FluxError where an operation cannot be done: then nothing of it may be used.
   */
  advance(): Directory | null {
    this.#draft.applySome(this.#operations, this.#place, LONG_COMMIT_SLICE);
    if (this.#place.next < this.#operations.length) return null;
    this.#rest ??= this.#finish();
    return this.#rest.next().done === true ? this.#draft.root : null;
  }

  *#finish(): Generator<void> {
    yield* this.#draft.mergeInSlices(LONG_COMMIT_SLICE, this.merges);
    yield* this.#index.freezeInSlices(this.#draft.root, LONG_COMMIT_SLICE);
  }
}
