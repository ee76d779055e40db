/**
 * What a storage workload did, and which states a crash may leave of it.
 *
 * A *change* is a commit, or the creation or removal of a namespace. The changes of a namespace have an order: that of
 * their versions. A recovered disk is allowed if the state of each namespace is that after some first part of its changes,
 * where
 *
 * 1. the part holds every change that the crash may not take, and none that was not yet asked for;
 * 2. if it holds a change, then all that was acknowledged before that change was asked for is there, too, in every
 *    namespace.
 */
import { PRIMARY_NAMESPACE } from "../../src/sdk/kvs-protocol.ts";

/** Values by key; null where there is no such namespace. */
export type Content = ReadonlyMap<string, string> | null;

export type Edit =
  | { readonly kind: "put" | "append"; readonly key: string; readonly value: string }
  | { readonly kind: "unlink"; readonly key: string };

/** When something happened: its place in the order of all that did, and the time. */
export interface Moment {
  readonly order: number;
  readonly ms: number;
}

export interface Change {
  readonly kind: "commit" | "create" | "remove";
  readonly namespace: string;
  readonly edits: readonly Edit[];
  readonly asked: Moment;
  acknowledged: Moment | null;
  /** The version that the answer to a commit named; -1 before. */
  rootseq: number;
}

function applyEdit(content: Map<string, string>, edit: Edit): void {
  const before = content.get(edit.key) ?? "";
  for (const key of content.keys()) if (key === edit.key || key.startsWith(`${edit.key}.`)) content.delete(key);
  if (edit.kind === "put") content.set(edit.key, edit.value);
  else if (edit.kind === "append") content.set(edit.key, before + edit.value);
}

/** The state of a namespace after a change. */
function after(content: Content, change: Change): Content {
  if (change.kind === "remove") return null;
  if (change.kind === "create") return new Map();
  const next = new Map(content);
  for (const edit of change.edits) applyEdit(next, edit);
  return next;
}

interface Track {
  readonly changes: readonly Change[];
  /** The state after each number of changes. */
  readonly states: readonly Content[];
}

/** What was lost and kept by a crash. */
export interface Verdict {
  /** Null where the state is allowed. */
  readonly fault: string | null;
  /** Changes that are there though nobody was told so. */
  readonly unasked: number;
  /** Changes that are gone. */
  readonly lost: number;
}

/** All that a workload did, in order. */
export class CrashModel {
  readonly #tracks = new Map<string, Track>();

  constructor(changes: readonly Change[]) {
    const names = new Set([PRIMARY_NAMESPACE, ...changes.map(({ namespace }) => namespace)]);
    for (const name of names) this.#tracks.set(name, trackOf(name, changes));
  }

  get namespaces(): string[] {
    return [...this.#tracks.keys()];
  }

  /**
   * Whether a state may be what is left. `isSafe` tells which acknowledged changes the crash may not take; `crash` is
   * when it happened. `rootseqs` are the versions that were recovered.
   */
  judge(
    found: ReadonlyMap<string, Content>,
    rootseqs: ReadonlyMap<string, number>,
    crash: Moment,
    isSafe: (acknowledged: Moment) => boolean,
  ): Verdict {
    let choices: ReadonlyMap<string, number>[] = [new Map()];
    for (const [name, track] of this.#tracks) {
      const content = found.get(name) ?? null;
      const isOwed = ({ acknowledged: at }: Change): boolean => at !== null && isBefore(at, crash) && isSafe(at);
      const least = track.changes.findLastIndex(isOwed) + 1;
      const most = track.changes.findLastIndex(({ asked }) => isBefore(asked, crash)) + 1;
      const counts = countsOf(track, content, rootseqs.get(name), least, most);
      if (counts.length === 0) return { fault: describe(name, track, content, least, most), unasked: 0, lost: 0 };
      choices = choices.flatMap((choice) => counts.map((count) => new Map([...choice, [name, count]])));
    }
    const faults = choices.map((choice) => this.#causeMissing(choice));
    const good = faults.indexOf(null);
    if (good < 0) return { fault: faults[0]!, unasked: 0, lost: 0 };
    return { fault: null, ...this.#countLosses(choices[good]!, crash) };
  }

  #countLosses(kept: ReadonlyMap<string, number>, crash: Moment): { unasked: number; lost: number } {
    const sum = { unasked: 0, lost: 0 };
    for (const [name, count] of kept) {
      const { changes } = this.#tracks.get(name)!;
      const acknowledged = changes.findLastIndex(({ acknowledged: at }) => at !== null && isBefore(at, crash)) + 1;
      sum.unasked += Math.max(0, count - acknowledged);
      sum.lost += Math.max(0, acknowledged - count);
    }
    return sum;
  }

  /** A change that is there although something acknowledged before it was asked for is not. */
  #causeMissing(kept: ReadonlyMap<string, number>): string | null {
    for (const [name, count] of kept) {
      const change = this.#tracks.get(name)!.changes[count - 1];
      if (change === undefined) continue;
      for (const [other, otherCount] of kept) {
        const cause = this.#tracks.get(other)!.changes[otherCount];
        if (cause !== undefined && cause.acknowledged !== null && isBefore(cause.acknowledged, change.asked))
          return `change ${count} of ${name} is there, change ${otherCount + 1} of ${other}, acknowledged before, is not`;
      }
    }
    return null;
  }
}

/** After how many changes a namespace can have been as it is: a state may come again. */
function countsOf(track: Track, content: Content, rootseq: number | undefined, least: number, most: number): number[] {
  const counts: number[] = [];
  for (let count = least; count <= Math.max(least, most); count++) {
    const last = track.changes[count - 1];
    const isVersion = last?.kind !== "commit" || last.rootseq === rootseq;
    if (isVersion && isEqual(track.states[count]!, content)) counts.push(count);
  }
  return counts;
}

function trackOf(name: string, changes: readonly Change[]): Track {
  const ordered = orderOf(changes.filter(({ namespace }) => namespace === name));
  const states: Content[] = [name === PRIMARY_NAMESPACE ? new Map() : null];
  for (const change of ordered) states.push(after(states.at(-1)!, change));
  return { changes: ordered, states };
}

/** Changes in the order of their versions; a namespace is created and removed while nothing else is under way in it. */
function orderOf(changes: readonly Change[]): Change[] {
  const ordered: Change[] = [];
  let commits: Change[] = [];
  const flush = (): void => {
    ordered.push(...commits.toSorted((left, right) => left.rootseq - right.rootseq));
    commits = [];
  };
  for (const change of changes) {
    if (change.kind === "commit") commits.push(change);
    else {
      flush();
      ordered.push(change);
    }
  }
  flush();
  return ordered;
}

function isBefore(moment: Moment, other: Moment): boolean {
  return moment.order < other.order;
}

function isEqual(left: Content, right: Content): boolean {
  if (left === null || right === null) return left === right;
  if (left.size !== right.size) return false;
  for (const [key, value] of left) if (right.get(key) !== value) return false;
  return true;
}

function describe(name: string, track: Track, content: Content, least: number, most: number): string {
  const nearest = track.states.findIndex((state) => isEqual(state, content));
  const text = nearest >= 0 ? `the state after ${nearest} changes` : `no state that ever was (${shorten(content)})`;
  return `${name}: must hold between ${least} and ${most} changes, has ${text}; expected ${shorten(track.states[least]!)}`;
}

function shorten(content: Content): string {
  if (content === null) return "no namespace";
  const entries = Array.from(
    content,
    ([key, value]) => `${key}=${value.length > 24 ? `${value.slice(0, 24)}…(${value.length})` : value}`,
  );
  return entries.join(" ").slice(0, 400);
}
