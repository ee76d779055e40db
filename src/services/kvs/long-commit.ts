/**
 * A commit of very many operations, applied a slice in each turn of the loop: on a draft of its own, which nobody sees
 * before all of it is done and has its hashes. Meanwhile short commits that have nothing to do with it pass it, and happen
 * before it: each on the namespace as it is, and once more on the draft. Others wait behind it.
 *
 * Invariants:
 * 1. A commit that passed and what was done of the long one before may be exchanged: applied after all that passed, the long
 *    commit gives the same tree. So the log has it behind them. For that they write through no link, make no link, and
 *    write in other places, or give values to places to which the long one gave values of its own, whatever was there.
 * 2. No checkpoint begins meanwhile, which would not know what only the draft refers to.
 * 3. It happens whole or not at all. Of one sender, what waits is not passed by what came after it.
 */
import { type Operation, OPERATION_APPEND, OPERATION_PRUNE, splitKey } from "../../sdk/kvs-protocol.ts";
import type { BlobIndex } from "./blob-index.ts";
import type { Directory } from "./directory.ts";
import { isBehindLink } from "./lookup.ts";
import type { NewVersion, PendingCommit } from "./outcome.ts";
import { isEmptyDirectory, LONG_COMMIT_OPERATIONS, LONG_COMMIT_SLICE } from "./protocol.ts";
import type { KeyMerge } from "./ref-list.ts";
import { Draft, PRUNED_DEPTH_MIN } from "./transaction.ts";
import { rootOf, type NamespaceRoot } from "./version.ts";

export function isLong(operations: readonly Operation[]): boolean {
  return operations.length > LONG_COMMIT_OPERATIONS;
}

export class LongCommit {
  readonly commit: PendingCommit;
  readonly #index: BlobIndex;
  readonly #namespace: string;
  readonly #touched = new TouchedPlaces();
  readonly #place = { next: 0 };
  #draft: Draft;
  /** Commits that wait for its end, and who sent them. */
  readonly #behind: PendingCommit[] = [];
  readonly #senders = new Set<string>();
  /** What passed it while its draft was given its hashes: applied to the next one. */
  readonly #passed: NewVersion[] = [];
  #isEnding = false;
  /** Which blobs of values became one. */
  readonly merges: KeyMerge[] = [];
  #rest: Generator<void> | null = null;

  /** Throws MissingBlob where the root is not in memory. */
  constructor(index: BlobIndex, root: NamespaceRoot, commit: PendingCommit) {
    this.commit = commit;
    this.#index = index;
    this.#namespace = root.name;
    this.#draft = new Draft(index, rootOf(root), root.name);
  }

  /** It, and what waits behind it, in the order in which they came. */
  get all(): PendingCommit[] {
    return [this.commit, ...this.#behind];
  }

  /** Commits that passed are being repeated on the draft: what they need is in memory, or the long commit begins anew. */
  get isEnding(): boolean {
    return this.#isEnding;
  }

  /** Takes out of a queue what must wait for its end. */
  holdBack(queue: PendingCommit[], root: NamespaceRoot): void {
    for (let next = 0; next < queue.length;) {
      const commit = queue[next]!;
      if (this.#isPassedBy(commit, root)) {
        next += 1;
        continue;
      }
      queue.splice(next, 1);
      this.#behind.push(commit);
      this.#senders.add(commit.sender);
    }
  }

  #isPassedBy({ sender, request: { operations } }: PendingCommit, root: NamespaceRoot): boolean {
    if (this.#isEnding || this.#draft.hasFollowedLinks || isLong(operations) || this.#senders.has(sender)) return false;
    return operations.every(
      (operation) =>
        isPlain(operation) &&
        !this.#touched.meets(operation, sender !== this.commit.sender) &&
        !isBehindLink(this.#index, rootOf(root), splitKey(operation.key)),
    );
  }

  /** A version was made of commits that passed. Throws MissingBlob, FluxError: then it must begin anew. */
  passedBy(version: NewVersion): void {
    if (this.#rest !== null) this.#passed.push(version);
    else this.#repeat(version);
  }

  /** Does again on the draft what made a version, but for what the long commit has done over. */
  #repeat({ commits, merges }: NewVersion): void {
    const matters = ({ key }: { readonly key: string }): boolean => !this.#touched.isReplaced(key);
    for (const { request } of commits) this.#draft.apply(request.operations.filter(matters), false);
    for (const merge of merges.filter(matters)) this.#draft.merge(merge);
  }

  /**
   * Does a slice. Returns the new root once all is done, null before. Throws MissingBlob: then go on when it is there;
   * FluxError where an operation cannot be done: then nothing of it may be used.
   */
  advance(): Directory | null {
    const { operations } = this.commit.request;
    const begin = this.#place.next;
    if (begin < operations.length) {
      try {
        this.#draft.applySome(operations, this.#place, LONG_COMMIT_SLICE);
      } finally {
        // What it missed something for, it may have begun.
        for (let next = begin; next <= this.#place.next; next++) this.#touched.add(operations[next]);
      }
      return null;
    }
    this.#rest ??= this.#finish();
    return this.#rest.next().done === true ? this.#draft.root : null;
  }

  *#finish(): Generator<void> {
    yield* this.#draft.mergeInSlices(LONG_COMMIT_SLICE, this.merges);
    yield* this.#index.freezeInSlices(this.#draft.root, LONG_COMMIT_SLICE);
    if (this.#passed.length === 0) return;
    // If more could pass it now, this might never end.
    this.#isEnding = true;
    this.#draft = new Draft(this.#index, this.#draft.root, this.#namespace);
    for (const version of this.#passed) {
      this.#repeat(version);
      yield;
    }
  }
}

function isPlain({ dirent }: Operation): boolean {
  return dirent === null || dirent.type === "val" || dirent.type === "valref" || isEmptyDirectory(dirent);
}

function givesValue({ dirent, flags }: Operation): boolean {
  return (dirent?.type === "val" || dirent?.type === "valref") && (flags & OPERATION_PRUNE) === 0;
}

/** Where some operations write: at a place, and with it in the directories above it, and in all that is below it. */
class TouchedPlaces {
  readonly #places = new Set<string>();
  readonly #above = new Set<string>();
  /** Places that were given a value before anything else happened there. */
  readonly #replaced = new Set<string>();

  add(operation: Operation | undefined): void {
    if (operation === undefined) return;
    const path = placeOf(operation);
    const isReplaced = givesValue(operation) && (operation.flags & OPERATION_APPEND) === 0;
    if (isReplaced && !this.#places.has(path)) this.#replaced.add(path);
    this.#places.add(path);
    for (let end = path.lastIndexOf("."); end > 0; end = path.lastIndexOf(".", end - 1)) {
      const above = path.slice(0, end);
      if (this.#above.has(above)) return;
      this.#above.add(above);
    }
  }

  /** Whether a place got a value for which it does not matter what was there. */
  isReplaced(key: string): boolean {
    return this.#replaced.has(splitKey(key).join("."));
  }

  /** Whether an operation must wait. `mayPrecede`: it may count as done before these, where it does not matter then. */
  meets(operation: Operation, mayPrecede: boolean): boolean {
    const path = placeOf(operation);
    if (path === "" || this.#above.has(path)) return true;
    if (this.#places.has(path) && !(mayPrecede && givesValue(operation) && this.#replaced.has(path))) return true;
    for (let end = path.lastIndexOf("."); end > 0; end = path.lastIndexOf(".", end - 1))
      if (this.#places.has(path.slice(0, end))) return true;
    return false;
  }
}

/** The highest place that an operation may change. */
function placeOf({ key, flags }: Operation): string {
  const names = splitKey(key);
  return ((flags & OPERATION_PRUNE) === 0 ? names : names.slice(0, PRUNED_DEPTH_MIN)).join(".");
}
