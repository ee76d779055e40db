/**
 * What clients of a history did and saw. Every commit adds its name to a journal key of its namespace, so that the
 * journal, read at the end, tells the order in which commits happened, also of those that were never answered.
 */

/** The key that every commit appends its name to. */
export const JOURNAL = "journal";
/** Keys that commits write whole; the value is the name of the commit. */
export const KEYS = ["k0", "k1", "d.k2", "d.k3"] as const;
/** Two keys of one directory that are written together. */
export const PAIR = "pair";

export interface CommitRecord {
  readonly name: string;
  readonly namespace: string;
  readonly keys: readonly string[];
  /** Whether it writes both halves of the pair. */
  readonly writesPair: boolean;
  /** The version that the answer named; null when there was no answer. */
  rootseq: number | null;
}

interface Event {
  readonly client: string;
  readonly rank: number;
  readonly namespace: string;
  /** How many events of the history came before it was begun. */
  readonly eventsBefore: number;
}

export type HistoryEvent = Event &
  (
    | { readonly kind: "acknowledged"; readonly commit: CommitRecord }
    /** The journal, as it was read. */
    | { readonly kind: "journal"; readonly text: string }
    /** A value, or null where there was none. */
    | { readonly kind: "value"; readonly key: string; readonly value: string | null }
    | { readonly kind: "pair"; readonly left: string | null; readonly right: string | null }
    /** Several reads from one root. */
    | {
        readonly kind: "snapshot";
        readonly rootseq: number;
        readonly journal: string;
        readonly values: readonly (readonly [key: string, value: string | null])[];
      }
    | { readonly kind: "version"; readonly rootseq: number }
    /** The wait for a version is over. */
    | { readonly kind: "reached"; readonly rootseq: number }
    /** The machine of rank 0 lost its power: what was seen and not acknowledged may be gone. */
    | { readonly kind: "power" }
  );

/** What a watcher was told, in order, until its connection was lost or the history was over. */
export interface WatchRecord {
  readonly client: string;
  readonly namespace: string;
  readonly key: string;
  readonly kind: "append" | "value";
  /** How many events of the history came before it was begun. */
  readonly eventsBefore: number;
  readonly told: string[];
  /** How many events there had been when it was told each. */
  readonly toldAfter: number[];
  /** It was still being told when the history ended. */
  isComplete: boolean;
}

/** A whole history. */
export interface History {
  /** In the order in which they happened. */
  readonly events: readonly HistoryEvent[];
  readonly commits: readonly CommitRecord[];
  readonly watches: readonly WatchRecord[];
  /** How many events there had been when the leader died, each time. */
  readonly leaderDeaths: readonly number[];
  /** The journal of each namespace at the end, on every rank. */
  readonly journals: ReadonlyMap<string, readonly string[]>;
}
