/**
 * The leader's decisions: transactions applied in memory, a version per turn and namespace, what goes into the redo log.
 *
 * Invariants:
 * 1. Commits to a namespace happen in the order in which they came, but for those that pass a long one (`long-commit.ts`).
 *    A version holds one commit, or several of a turn.
 * 2. A commit's answer is released only after its record has been handed over for logging; when logging fails, the
 *    namespaces are as they were before the turn.
 * 3. Record numbers go up by one; replaying the records after a checkpoint's number gives the same trees and versions.
 *
 * It knows neither messages nor files nor time.
 */
import { assert } from "../../base/assert.ts";
import { FluxError } from "../../base/errors.ts";
import { CommitFlag, PRIMARY_NAMESPACE } from "../../sdk/kvs-protocol.ts";
import { MissingBlob, type BlobIndex } from "./blob-index.ts";
import { Directory } from "./directory.ts";
import { isLong, LongCommit } from "./long-commit.ts";
import { NamespaceDirectory } from "./namespace-directory.ts";
import type { ForeignBlobs, NewVersion, PendingCommit, Step, TurnOutcome } from "./outcome.ts";
import { keysOf, NOTHING_YET, recordOf } from "./outcome.ts";
import type { LogRecord, NumberedRecord } from "./redo-log.ts";
import { ADOPT_WINDOW, parseCommit, SNAPSHOT_SLICE, TOLD_KEYS_MAX } from "./protocol.ts";
import { Draft, referencesIn } from "./transaction.ts";
import { rootOf, Version, type NamespaceRoot } from "./version.ts";

interface Namespace {
  root: NamespaceRoot;
  /** The one under way; it is not in the queue. */
  long: LongCommit | null;
  readonly queue: PendingCommit[];
  /** What waits for blobs: the long commit, or the head of the queue. */
  blocked: "long" | "queue" | null;
  /** It waits for such that are to be merged; if they cannot be had, nothing is merged in this namespace. */
  awaitsMerge: boolean;
  canMerge: boolean;
}

/** What a checkpoint holds of the leader: enough to go on from there. */
export interface SavedState {
  readonly number: number;
  /** Somebody else made the checkpoint: no redo log follows it. */
  readonly isForeign: boolean;
  readonly primary: NamespaceRoot;
  /** The directory that holds the namespaces besides the primary one; null where there is none. */
  readonly directory: string | null;
  /** Roots that readers held when the checkpoint was made. */
  readonly held: readonly string[];
  /** When the checkpoint was made, in seconds since the epoch; null where it does not say. */
  readonly timestamp: number | null;
}

/** What a checkpoint that begins now contains. */
export interface LeaderSnapshot {
  readonly number: number;
  readonly primary: NamespaceRoot;
  readonly directory: string | null;
}

export class Leader {
  readonly index: BlobIndex;
  readonly #namespaces = new Map<string, Namespace>();
  /** Those with commits that may be applied. */
  readonly #due = new Set<Namespace>();
  /** Those with a long commit under way. */
  readonly #inCommit = new Set<Namespace>();
  readonly #directory: NamespaceDirectory;
  /** Whether commits of one turn may share a version. */
  mergesCommits = true;
  /** The blobref of the empty directory: where a new namespace begins. */
  readonly emptyRef: string;
  #number: number;

  constructor(index: BlobIndex, ownerUserid: number, from?: SavedState) {
    this.index = index;
    this.emptyRef = index.freeze(new Directory());
    this.#number = from?.number ?? 0;
    this.#directory = new NamespaceDirectory(from?.directory ?? null);
    const { emptyRef: rootref } = this;
    const empty = { name: PRIMARY_NAMESPACE, owner: ownerUserid, flags: 0, rootref, rootseq: 0, created: 0 };
    this.#insert(from?.primary ?? empty);
  }

  /** Makes sure that it is known whether there is a namespace. Throws MissingBlob: then try again; EIO. */
  read(name: string): void {
    this.#find(name);
  }

  /** Throws ENOTSUP where there is no such namespace, MissingBlob where it has not been read. */
  root(name: string): NamespaceRoot {
    return this.#namespace(name).root;
  }
  /** Those that have been read. */
  get roots(): NamespaceRoot[] {
    return Array.from(this.#namespaces.values(), (namespace) => namespace.root);
  }
  /** All there are. Throws MissingBlob: then try again; EIO. */
  allRoots(): NamespaceRoot[] {
    return [...this.roots, ...this.#directory.all(this.index).filter(({ name }) => !this.#namespaces.has(name))];
  }
  queueLengthOf(name: string): number {
    const { long, queue } = this.#namespace(name);
    return (long?.all.length ?? 0) + queue.length;
  }
  /** Whether a namespace waits for blobs. */
  isBlocked(name: string): boolean {
    return (this.#namespaces.get(name)?.blocked ?? null) !== null;
  }
  /** The number of the last record. */
  get number(): number {
    return this.#number;
  }

  /** Does a part of what a snapshot takes. Returns whether there is so much more that it should be done in parts. Throws MissingBlob: then try again. */
  prepareSnapshot(): boolean {
    if (this.#directory.changeCount <= SNAPSHOT_SLICE) return false;
    this.#directory.advance(this.index, (name) => this.#namespaces.get(name)?.root, SNAPSHOT_SLICE);
    return true;
  }

  /** Throws MissingBlob: then try again. */
  snapshot(): LeaderSnapshot {
    const directory = this.#directory.write(this.index, (name) => this.#namespaces.get(name)?.root);
    return { number: this.#number, primary: this.root(PRIMARY_NAMESPACE), directory };
  }

  /** Queues a commit for the end of the turn. Throws ENOTSUP. */
  submit(commit: PendingCommit): void {
    const namespace = this.#namespace(commit.request.namespace);
    namespace.queue.push(commit);
    if (namespace.blocked === null) this.#due.add(namespace);
  }

  /** Whether a commit is being applied in slices: no checkpoint can begin, which would not know its blobs. */
  get isInCommit(): boolean {
    return this.#inCommit.size > 0;
  }

  /** Forgets how far long commits are: what is not done now is never done, or from its beginning. */
  abandon(): void {
    for (const namespace of this.#inCommit) this.#endLong(namespace);
  }

  /** Takes out what could be applied; nothing of it happened. */
  takeQueued(): PendingCommit[] {
    const taken = Array.from(this.#due, (namespace) => {
      this.#endLong(namespace);
      return namespace.queue.splice(0);
    }).flat();
    this.#due.clear();
    return taken;
  }

  /** Creates a namespace. Throws EEXIST. Returns the record to log; `undoLast` takes it back. */
  createNamespace(name: string, owner: number, flags: number, rootref: string): NumberedRecord {
    if (this.#find(name) !== undefined) throw new FluxError("EEXIST");
    this.index.revive([rootref]);
    this.#create(name, owner, flags, rootref, this.#number + 1);
    return this.#numbered({ kind: "create", namespace: name, owner, flags, rootref });
  }

  /** Removes a namespace: what is queued for it fails with ENOTSUP. Returns null where there is none. Throws ENOTSUP for the primary one. */
  removeNamespace(
    name: string,
  ): { record: NumberedRecord; commits: readonly PendingCommit[]; root: NamespaceRoot } | null {
    if (name === PRIMARY_NAMESPACE) throw new FluxError("ENOTSUP");
    const namespace = this.#find(name);
    if (namespace === undefined) return null;
    this.#remove(name);
    return {
      record: this.#numbered({ kind: "remove", namespace: name }),
      commits: namespace.queue,
      root: namespace.root,
    };
  }

  /** Takes back the last change to the set of namespaces, whose record could not be logged. */
  undoChange(change: NumberedRecord, removed?: { root: NamespaceRoot; commits: readonly PendingCommit[] }): void {
    assert(change.number === this.#number, "only the last change can be taken back");
    this.#number -= 1;
    if (change.record.kind === "create") this.#remove(change.record.namespace);
    else if (removed !== undefined) this.#insert(removed.root, removed.commits);
  }

  /** Applies what is queued: at most one version for each namespace, and one more per commit that is not to be merged. */
  turn(): TurnOutcome {
    const versions: NewVersion[] = [];
    const records: NumberedRecord[] = [];
    const failed: { commit: PendingCommit; error: FluxError }[] = [];
    const missing: { namespace: string; blobs: MissingBlob }[] = [];
    const foreign: ForeignBlobs[] = [];
    const unfinished: Namespace[] = [];
    for (const namespace of this.#due) {
      while ((namespace.queue.length > 0 || namespace.long !== null) && namespace.blocked === null) {
        const step = this.#step(namespace);
        for (const failure of step.failed) failed.push(failure);
        if (step.version !== null) {
          versions.push(step.version);
          records.push(this.#numbered(recordOf(step.version)));
        }
        namespace.awaitsMerge = step.awaitsMerge === true;
        if (step.missing !== null || step.foreign !== null) namespace.blocked = step.isLong === true ? "long" : "queue";
        if (step.missing !== null) missing.push({ namespace: namespace.root.name, blobs: step.missing });
        if (step.foreign !== null) foreign.push(step.foreign);
        if (step.goesOn !== true) continue;
        unfinished.push(namespace);
        break;
      }
    }
    this.#due.clear();
    for (const namespace of unfinished) this.#due.add(namespace);
    return { versions, records, failed, missing, foreign, goesOn: unfinished.length > 0 };
  }

  /** The blobs that a namespace waited for are there (or cannot be had: then the head of its queue fails). */
  unblock(name: string, error: FluxError | null): PendingCommit | null {
    const namespace = this.#namespaces.get(name);
    const blocked = namespace?.blocked ?? null;
    if (namespace === undefined || blocked === null) return null;
    namespace.blocked = null;
    this.#due.add(namespace);
    if (namespace.awaitsMerge) {
      namespace.canMerge = error === null;
      return null;
    }
    if (error === null) return null;
    if (blocked === "long") this.#endLong(namespace);
    return namespace.queue.shift() ?? null;
  }

  /** The records of a turn could not be logged: the namespaces go back, the numbers are free again. */
  rollBack(outcome: TurnOutcome): void {
    for (const { before } of outcome.versions.toReversed()) {
      const namespace = this.#namespace(before.name);
      // What is under way began with a version that is taken back.
      this.#endLong(namespace);
      this.#setRoot(namespace, before);
    }
    this.#number -= outcome.records.length;
  }

  /** Does again what a record says. Returns the blobs it refers to that only the store may have. Throws MissingBlob; FluxError where it does not fit. */
  replay({ number, record }: NumberedRecord): Set<string> {
    let foreign = new Set<string>();
    if (number <= this.#number) return foreign;
    if (number !== this.#number + 1)
      throw new FluxError("EIO", `record ${number} of the redo log does not follow ${this.#number}`);
    if (record.kind === "commits") foreign = this.#replayCommits(record);
    else if (record.kind === "create") {
      const { namespace: name, owner, flags, rootref } = record;
      this.#create(name, owner, flags, rootref, number);
      foreign = this.index.revive([rootref]);
    } else this.#remove(record.namespace);
    this.#number = number;
    return foreign;
  }

  #replayCommits(record: Extract<LogRecord, { kind: "commits" }>): Set<string> {
    const namespace = this.#namespace(record.namespace);
    const draft = new Draft(this.index, rootOf(namespace.root), record.namespace);
    const requests = record.commits.map((payload) => parseCommit(payload.value));
    const foreign = this.index.revive(requests.flatMap(({ operations }) => referencesIn(operations)));
    for (const { operations } of requests) draft.apply(operations);
    for (const merge of record.merges) draft.merge(merge);
    this.#setRoot(namespace, new Version(namespace.root, record.rootseq, this.index, draft.root));
    return foreign;
  }

  /** Begins a long commit, the head of a queue. Null where it could. */
  #beginLong(namespace: Namespace, commit: PendingCommit): Step | null {
    const foreign = this.#foreignOf(namespace, commit, 0);
    if (foreign !== null) return { ...NOTHING_YET, foreign };
    try {
      namespace.long = new LongCommit(this.index, namespace.root, commit);
    } catch (error) {
      if (error instanceof MissingBlob) return { ...NOTHING_YET, missing: error };
      throw error;
    }
    namespace.queue.shift();
    this.#inCommit.add(namespace);
    return null;
  }

  /** Does a part of a long commit; the last part makes its version. */
  #stepLong(namespace: Namespace, long: LongCommit): Step {
    const { commit, merges } = long;
    const before = namespace.root;
    try {
      const root = long.advance();
      if (root === null) return { ...NOTHING_YET, goesOn: true };
      this.#setRoot(namespace, new Version(before, before.rootseq + 1, this.index, root));
    } catch (error) {
      if (error instanceof MissingBlob) {
        if (!long.isEnding) return { ...NOTHING_YET, missing: error, isLong: true };
        this.#endLong(namespace);
        return NOTHING_YET;
      }
      if (!(error instanceof FluxError)) throw error;
      this.#endLong(namespace);
      namespace.queue.shift();
      return { ...NOTHING_YET, failed: [{ commit, error }] };
    }
    this.#endLong(namespace);
    namespace.queue.shift();
    const keys = commit.request.operations.length <= TOLD_KEYS_MAX ? keysOf([commit]) : null;
    return { ...NOTHING_YET, version: { root: namespace.root, before, commits: [commit], merges, keys } };
  }

  /** The long commit is no more under way: it is done, or begins anew, at the head of the queue. */
  #endLong(namespace: Namespace): void {
    if (namespace.long !== null) namespace.queue.unshift(...namespace.long.all);
    namespace.long = null;
    this.#inCommit.delete(namespace);
  }

  /** A version was made beside the long commit. */
  #notePassed(namespace: Namespace, version: NewVersion): void {
    try {
      namespace.long?.passedBy(version);
    } catch (error) {
      if (!(error instanceof MissingBlob || error instanceof FluxError)) throw error;
      this.#endLong(namespace);
    }
  }

  /** Makes one version from the head of a queue, or does a part of one. */
  #step(namespace: Namespace): Step {
    const { queue } = namespace;
    if (namespace.long === null && isLong(queue[0]!.request.operations)) {
      const step = this.#beginLong(namespace, queue[0]!);
      if (step !== null) return step;
    }
    namespace.long?.holdBack(queue, namespace.root);
    if (namespace.long !== null && queue.length === 0) return this.#stepLong(namespace, namespace.long);
    const step = this.#stepShort(namespace);
    if (step.version !== null) this.#notePassed(namespace, step.version);
    return step;
  }

  #stepShort(namespace: Namespace): Step {
    const before = namespace.root;
    const commits: PendingCommit[] = [];
    const failed: { commit: PendingCommit; error: FluxError }[] = [];
    let missing: MissingBlob | null = null;
    let foreign: ForeignBlobs | null = null;
    let draft: Draft | null = null;
    for (;;) {
      const commit = namespace.queue[commits.length + failed.length];
      if (commit === undefined) break;
      const isAlone = !this.mergesCommits || (commit.request.flags & CommitFlag.NoMerge) !== 0;
      if ((isAlone && commits.length > 0) || isLong(commit.request.operations)) break;
      try {
        foreign = this.#foreignOf(namespace, commit, commits.length + failed.length);
        if (foreign !== null) break;
        draft ??= new Draft(this.index, rootOf(before), before.name);
        draft.apply(commit.request.operations);
        commits.push(commit);
        if (isAlone) break;
      } catch (error) {
        if (error instanceof FluxError) failed.push({ commit, error });
        else if (error instanceof MissingBlob) {
          missing = error;
          break;
        } else throw error;
      }
    }
    const merges = draft === null || commits.length === 0 || !namespace.canMerge ? [] : draft.mergeLoose();
    if (merges instanceof MissingBlob)
      return { version: null, failed: [], missing: merges, foreign: null, awaitsMerge: true };
    namespace.queue.splice(0, commits.length + failed.length);
    if (draft === null || commits.length === 0) return { version: null, failed, missing, foreign };
    this.#setRoot(namespace, new Version(before, before.rootseq + 1, this.index, draft.root));
    for (const { request } of commits) this.index.noteUnhashed(request.operations.length);
    const version = { root: namespace.root, before, commits, merges, keys: keysOf(commits) };
    return { version, failed, missing, foreign };
  }

  /** What a commit refers to that was not made here; with it, what those refer to that wait behind it. */
  #foreignOf(namespace: Namespace, commit: PendingCommit, position: number): ForeignBlobs | null {
    const references = referencesIn(commit.request.operations);
    if (references.length === 0) return null;
    const refs = this.#unadopted(commit, references);
    if (refs.size === 0) return null;
    const commits = [commit];
    for (let next = position + 1; next < namespace.queue.length && refs.size < ADOPT_WINDOW; next++) {
      const waiting = namespace.queue[next]!;
      for (const ref of this.#unadopted(waiting, referencesIn(waiting.request.operations))) refs.add(ref);
      commits.push(waiting);
    }
    return { namespace: namespace.root.name, refs, commits };
  }

  #unadopted({ adopted }: PendingCommit, references: readonly string[]): Set<string> {
    const refs = this.index.revive(references);
    for (const ref of adopted) refs.delete(ref);
    return refs;
  }

  #namespace(name: string): Namespace {
    const namespace = this.#find(name);
    if (namespace === undefined) throw new FluxError("ENOTSUP");
    return namespace;
  }

  #find(name: string): Namespace | undefined {
    const known = this.#namespaces.get(name);
    if (known !== undefined) return known;
    const root = this.#directory.find(this.index, name);
    return root === null ? undefined : this.#insert(root);
  }

  #create(name: string, owner: number, flags: number, rootref: string, created: number): void {
    // The empty directory may have been forgotten meanwhile: nothing needed it.
    if (rootref === this.emptyRef) this.index.freeze(new Directory());
    this.#directory.note(name);
    this.#insert({ name, owner, flags, rootref, rootseq: 0, created });
  }

  #insert(root: NamespaceRoot, queue: readonly PendingCommit[] = []): Namespace {
    const namespace = { root, long: null, queue: [...queue], blocked: null, awaitsMerge: false, canMerge: true };
    this.#namespaces.set(root.name, namespace);
    if (queue.length > 0) this.#due.add(namespace);
    return namespace;
  }

  #remove(name: string): void {
    const namespace = this.#namespaces.get(name);
    if (namespace !== undefined) {
      this.#due.delete(namespace);
      this.#endLong(namespace);
    }
    this.#namespaces.delete(name);
    this.#directory.note(name);
  }

  #setRoot(namespace: Namespace, root: NamespaceRoot): void {
    namespace.root = root;
    if (root.name !== PRIMARY_NAMESPACE) this.#directory.note(root.name);
  }

  #numbered(record: LogRecord): NumberedRecord {
    this.#number += 1;
    return { number: this.#number, record };
  }
}
