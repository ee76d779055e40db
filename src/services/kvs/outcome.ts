/** What goes into a turn of the leader and what comes out of it (`core.ts`). */
import type { FluxError } from "../../base/errors.ts";
import type { Payload } from "../../protocol/message.ts";
import { normalizeKey, type CommitAnswer } from "../../sdk/kvs-protocol.ts";
import type { MissingBlob } from "./blob-index.ts";
import type { KeyMerge } from "./ref-list.ts";
import type { LogRecord, NumberedRecord } from "./redo-log.ts";
import type { CommitRequest } from "./protocol.ts";
import type { NamespaceRoot } from "./version.ts";

/** A commit that waits for its turn. */
export interface PendingCommit {
  readonly request: CommitRequest;
  readonly payload: Payload;
  /** Who sent it, or through whom it came: those of one sender keep their order. */
  readonly sender: string;
  /** Blobs of which the content store has been told that this commit refers to them. */
  adopted: ReadonlySet<string>;
  settle(outcome: CommitAnswer | FluxError): void;
}

/** A version that a turn made. */
export interface NewVersion {
  readonly root: NamespaceRoot;
  readonly before: NamespaceRoot;
  readonly commits: readonly PendingCommit[];
  readonly merges: readonly KeyMerge[];
  /** The keys written, in normal form, as members of an object; null where they are too many to be told. */
  readonly keys: Record<string, null> | null;
}

export interface TurnOutcome {
  readonly versions: readonly NewVersion[];
  readonly records: readonly NumberedRecord[];
  /** Commits that failed; nothing of them happened. */
  readonly failed: readonly { readonly commit: PendingCommit; readonly error: FluxError }[];
  /** Blobs that the head of a queue waits for. */
  readonly missing: readonly { readonly namespace: string; readonly blobs: MissingBlob }[];
  /** Blobs that queued commits refer to and only the content store may have: it must be told before they happen. */
  readonly foreign: readonly ForeignBlobs[];
  /** There is more to do in the next turn. */
  readonly goesOn: boolean;
}

export interface ForeignBlobs {
  readonly namespace: string;
  readonly refs: ReadonlySet<string>;
  readonly commits: readonly PendingCommit[];
}

/** What a step made of the head of a queue. */
export interface Step {
  readonly version: NewVersion | null;
  readonly failed: TurnOutcome["failed"];
  readonly missing: MissingBlob | null;
  readonly foreign: ForeignBlobs | null;
  /** What is missing is to be merged. */
  readonly awaitsMerge?: boolean;
  /** It is the long commit's. */
  readonly isLong?: boolean;
  /** The long commit goes on in the next turn. */
  readonly goesOn?: boolean;
}

export const NOTHING_YET: Step = { version: null, failed: [], missing: null, foreign: null };

/** What a version is in the redo log. */
export function recordOf(version: NewVersion): LogRecord {
  return {
    kind: "commits",
    namespace: version.root.name,
    rootseq: version.root.rootseq,
    commits: version.commits.map((commit) => commit.payload),
    merges: version.merges,
  };
}

/** The keys that commits write. */
export function keysOf(commits: readonly PendingCommit[]): Record<string, null> {
  const keys: Record<string, null> = Object.create(null) as Record<string, null>;
  for (const { request } of commits) for (const { key } of request.operations) keys[normalizeKey(key)] = null;
  return keys;
}
