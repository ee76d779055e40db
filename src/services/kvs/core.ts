/**
 * The leader's decisions: transactions applied in memory, a version per turn and namespace, what goes into the redo log.
 *
 * Invariants:
 * 1. Commits to a namespace happen in the order in which they came. A version holds one commit, or several of a turn.
 * 2. A commit's answer is released only after its record has been handed over for logging; when logging fails, the
 *    namespaces are as they were before the turn.
 * 3. Record numbers go up by one; replaying the records after a checkpoint's number gives the same trees and versions.
 *
 * It knows neither messages nor files nor time.
 */
import { assert } from "../../base/assert.ts";
import { FluxError } from "../../base/errors.ts";
import type { Payload } from "../../protocol/message.ts";
import { CommitFlag, normalizeKey, PRIMARY_NAMESPACE, type CommitAnswer } from "../../sdk/kvs-protocol.ts";
import { MissingBlob, type BlobIndex } from "./blob-index.ts";
import type { LogRecord, NumberedRecord } from "./redo-log.ts";
import { parseCommit, type CommitRequest } from "./protocol.ts";
import { Draft } from "./transaction.ts";
import { Directory } from "./tree.ts";

export interface NamespaceRoot {
  readonly name: string;
  readonly owner: number;
  readonly flags: number;
  readonly rootref: string;
  readonly rootseq: number;
}

/** A commit that waits for its turn. */
export interface PendingCommit {
  readonly request: CommitRequest;
  readonly payload: Payload;
  settle(outcome: CommitAnswer | FluxError): void;
}

/** A version that a turn made. */
export interface NewVersion {
  readonly root: NamespaceRoot;
  readonly before: NamespaceRoot;
  readonly commits: readonly PendingCommit[];
  /** The keys written, in normal form, as members of an object. */
  readonly keys: Record<string, null>;
}

export interface TurnOutcome {
  readonly versions: readonly NewVersion[];
  readonly records: readonly NumberedRecord[];
  /** Commits that failed; nothing of them happened. */
  readonly failed: readonly { readonly commit: PendingCommit; readonly error: FluxError }[];
  /** Blobs that the head of a queue waits for. */
  readonly missing: readonly { readonly namespace: string; readonly blobs: MissingBlob }[];
}

/**
 * A version whose tree is hashed when its reference is first asked for: most versions are superseded before anybody
 * asks.
 */
class Version implements NamespaceRoot {
  readonly name: string;
  readonly owner: number;
  readonly flags: number;
  readonly rootseq: number;
  readonly #index: BlobIndex;
  #directory: Directory | null;
  #rootref = "";

  constructor(before: NamespaceRoot, rootseq: number, index: BlobIndex, directory: Directory) {
    this.name = before.name;
    this.owner = before.owner;
    this.flags = before.flags;
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

function rootOf(root: NamespaceRoot): Directory | string {
  return root instanceof Version ? root.root : root.rootref;
}

interface Namespace {
  root: NamespaceRoot;
  readonly queue: PendingCommit[];
  /** The head of the queue waits for blobs. */
  isBlocked: boolean;
}

/** What a checkpoint holds of the leader: enough to go on from there. */
export interface LeaderSnapshot {
  readonly number: number;
  readonly namespaces: readonly NamespaceRoot[];
}

export class Leader {
  readonly index: BlobIndex;
  readonly #namespaces = new Map<string, Namespace>();
  /** Whether commits of one turn may share a version. */
  mergesCommits = true;
  /** The blobref of the empty directory: where a new namespace begins. */
  readonly emptyRef: string;
  #number: number;

  constructor(index: BlobIndex, ownerUserid: number, from?: LeaderSnapshot) {
    this.index = index;
    this.emptyRef = index.freeze(new Directory());
    this.#number = from?.number ?? 0;
    for (const root of from?.namespaces ?? []) this.#insert(root);
    if (!this.#namespaces.has(PRIMARY_NAMESPACE))
      this.#insert({ name: PRIMARY_NAMESPACE, owner: ownerUserid, flags: 0, rootref: this.emptyRef, rootseq: 0 });
  }

  /** Throws ENOTSUP where there is no such namespace. */
  root(name: string): NamespaceRoot {
    return this.#namespace(name).root;
  }
  get roots(): NamespaceRoot[] {
    return Array.from(this.#namespaces.values(), (namespace) => namespace.root);
  }
  queueLengthOf(name: string): number {
    return this.#namespace(name).queue.length;
  }

  /** What a checkpoint that begins now contains. */
  snapshot(): LeaderSnapshot {
    return { number: this.#number, namespaces: this.roots };
  }

  /** Queues a commit for the end of the turn. Throws ENOTSUP. */
  submit(commit: PendingCommit): void {
    this.#namespace(commit.request.namespace).queue.push(commit);
  }

  /** Takes out what is queued; nothing of it happened. */
  takeQueued(): PendingCommit[] {
    return Array.from(this.#namespaces.values(), ({ queue }) => queue.splice(0)).flat();
  }

  /** Creates a namespace. Throws EEXIST. Returns the record to log; `undoLast` takes it back. */
  createNamespace(name: string, owner: number, flags: number, rootref: string): NumberedRecord {
    if (this.#namespaces.has(name)) throw new FluxError("EEXIST");
    this.index.revive(rootref);
    this.#insert({ name, owner, flags, rootref, rootseq: 0 });
    return this.#numbered({ kind: "create", namespace: name, owner, flags, rootref });
  }

  /** Removes a namespace: what is queued for it fails with ENOTSUP. Returns null where there is none. Throws ENOTSUP for the primary one. */
  removeNamespace(
    name: string,
  ): { record: NumberedRecord; commits: readonly PendingCommit[]; root: NamespaceRoot } | null {
    if (name === PRIMARY_NAMESPACE) throw new FluxError("ENOTSUP");
    const namespace = this.#namespaces.get(name);
    if (namespace === undefined) return null;
    this.#namespaces.delete(name);
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
    if (change.record.kind === "create") this.#namespaces.delete(change.record.namespace);
    else if (removed !== undefined) this.#insert(removed.root, removed.commits);
  }

  /** Applies what is queued: at most one version for each namespace, and one more per commit that is not to be merged. */
  turn(): TurnOutcome {
    const versions: NewVersion[] = [];
    const records: NumberedRecord[] = [];
    const failed: { commit: PendingCommit; error: FluxError }[] = [];
    const missing: { namespace: string; blobs: MissingBlob }[] = [];
    for (const namespace of this.#namespaces.values()) {
      while (namespace.queue.length > 0 && !namespace.isBlocked) {
        const step = this.#step(namespace);
        failed.push(...step.failed);
        if (step.version !== null) {
          versions.push(step.version);
          records.push(this.#numbered(recordOf(step.version)));
        }
        if (step.missing === null) continue;
        namespace.isBlocked = true;
        missing.push({ namespace: namespace.root.name, blobs: step.missing });
      }
    }
    return { versions, records, failed, missing };
  }

  /** The blobs that a namespace waited for are there (or cannot be had: then the head of its queue fails). */
  unblock(name: string, error: FluxError | null): PendingCommit | null {
    const namespace = this.#namespaces.get(name);
    if (namespace === undefined || !namespace.isBlocked) return null;
    namespace.isBlocked = false;
    return error === null ? null : (namespace.queue.shift() ?? null);
  }

  /** The records of a turn could not be logged: the namespaces go back, the numbers are free again. */
  rollBack(outcome: TurnOutcome): void {
    for (const { before } of outcome.versions.toReversed()) this.#namespace(before.name).root = before;
    this.#number -= outcome.records.length;
  }

  /** Does again what a record says. Throws MissingBlob; FluxError where it does not fit. */
  replay({ number, record }: NumberedRecord): void {
    if (number <= this.#number) return;
    if (number !== this.#number + 1)
      throw new FluxError("EIO", `record ${number} of the redo log does not follow ${this.#number}`);
    if (record.kind === "commits") this.#replayCommits(record);
    else if (record.kind === "create") {
      const { namespace: name, owner, flags, rootref } = record;
      this.#insert({ name, owner, flags, rootref, rootseq: 0 });
    } else this.#namespaces.delete(record.namespace);
    this.#number = number;
  }

  #replayCommits(record: Extract<LogRecord, { kind: "commits" }>): void {
    const namespace = this.#namespace(record.namespace);
    const draft = new Draft(this.index, rootOf(namespace.root));
    for (const payload of record.commits) draft.apply(parseCommit(payload.value).operations);
    namespace.root = new Version(namespace.root, record.rootseq, this.index, draft.root);
  }

  /** Makes one version from the head of a queue. */
  #step(namespace: Namespace): {
    version: NewVersion | null;
    failed: TurnOutcome["failed"];
    missing: MissingBlob | null;
  } {
    const before = namespace.root;
    const commits: PendingCommit[] = [];
    const failed: { commit: PendingCommit; error: FluxError }[] = [];
    let missing: MissingBlob | null = null;
    let draft: Draft | null = null;
    for (;;) {
      const commit = namespace.queue[commits.length + failed.length];
      if (commit === undefined) break;
      const isAlone = !this.mergesCommits || (commit.request.flags & CommitFlag.NoMerge) !== 0;
      if (isAlone && commits.length > 0) break;
      try {
        draft ??= new Draft(this.index, rootOf(before));
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
    namespace.queue.splice(0, commits.length + failed.length);
    if (draft === null || commits.length === 0) return { version: null, failed, missing };
    namespace.root = new Version(before, before.rootseq + 1, this.index, draft.root);
    for (const { request } of commits) this.index.noteUnhashed(request.operations.length);
    return { version: { root: namespace.root, before, commits, keys: keysOf(commits) }, failed, missing };
  }

  #namespace(name: string): Namespace {
    const namespace = this.#namespaces.get(name);
    if (namespace === undefined) throw new FluxError("ENOTSUP");
    return namespace;
  }

  #insert(root: NamespaceRoot, queue: readonly PendingCommit[] = []): void {
    this.#namespaces.set(root.name, { root, queue: [...queue], isBlocked: false });
  }

  #numbered(record: LogRecord): NumberedRecord {
    this.#number += 1;
    return { number: this.#number, record };
  }
}

function recordOf(version: NewVersion): LogRecord {
  return {
    kind: "commits",
    namespace: version.root.name,
    rootseq: version.root.rootseq,
    commits: version.commits.map((commit) => commit.payload),
  };
}

function keysOf(commits: readonly PendingCommit[]): Record<string, null> {
  const keys: Record<string, null> = Object.create(null) as Record<string, null>;
  for (const { request } of commits) for (const { key } of request.operations) keys[normalizeKey(key)] = null;
  return keys;
}
