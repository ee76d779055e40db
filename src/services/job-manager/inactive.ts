/**
 * What is remembered of jobs that have ended: their ids in the order in which they ended (for purging), and for the
 * latest of them how they ended (for dependencies and error texts). All else is in the KVS.
 *
 * Invariant: outcomes are bounded; per finished job two numbers stay, until it is purged.
 */
import type { Integer } from "../../base/json.ts";
import { compareIds } from "../../sdk/job-protocol.ts";
import type { Outcome } from "./outcome.ts";

/** Names of jobs that are over, each with the last of them; what is older is asked of the job list. */
const NAMES_MAX = 10_000;
/** Outcomes kept in memory; older ones are read back from the KVS when someone asks. */
const OUTCOMES_MAX = 10_000;

export class InactiveJobs {
  readonly #outcomes = new Map<Integer, Outcome>();
  /** By the time at which they ended: the oldest first. */
  #ids: Integer[] = [];
  /** Seconds since the epoch, beside `#ids`. */
  #times: number[] = [];

  /** By user and name. */
  readonly #names = new Map<string, Integer>();

  get count(): number {
    return this.#ids.length;
  }

  add(id: Integer, timestamp: number, outcome: Outcome): void {
    this.#ids.push(id);
    this.#times.push(timestamp);
    this.remember(id, outcome);
  }

  /** Takes the jobs that a restart found, in any order. */
  restore(jobs: readonly { id: Integer; timestamp: number }[]): void {
    const sorted = [...jobs].sort((left, right) => left.timestamp - right.timestamp || compareIds(left.id, right.id));
    this.#ids = sorted.map(({ id }) => id);
    this.#times = sorted.map(({ timestamp }) => timestamp);
  }

  /** Keeps an outcome for a while, whoever found it. */
  remember(id: Integer, outcome: Outcome): void {
    this.#outcomes.delete(id);
    this.#outcomes.set(id, outcome);
    if (this.#outcomes.size <= OUTCOMES_MAX) return;
    const [oldest] = this.#outcomes.keys();
    this.#outcomes.delete(oldest!);
  }

  rememberName(userid: number, name: string, id: Integer): void {
    const key = `${userid}:${name}`;
    this.#names.delete(key);
    this.#names.set(key, id);
    if (this.#names.size <= NAMES_MAX) return;
    const [oldest] = this.#names.keys();
    this.#names.delete(oldest!);
  }

  /** The last job of a user with a name; null where that is not known. */
  lastNamed(userid: number, name: string): Integer | null {
    return this.#names.get(`${userid}:${name}`) ?? null;
  }

  outcome(id: Integer): Outcome | null {
    return this.#outcomes.get(id) ?? null;
  }

  /** The oldest jobs that are older than `before` (seconds since the epoch) or too many, at most `batch`. */
  expired(before: number, keep: number, batch: number): Integer[] {
    let count = 0;
    while (count < this.#ids.length && (this.#times[count]! < before || this.#ids.length - count > keep)) count += 1;
    return this.#ids.slice(0, Math.min(count, batch));
  }

  /** How many would be purged without a bound on the batch. */
  expiredCount(before: number, keep: number): number {
    return this.expired(before, keep, Infinity).length;
  }

  has(id: Integer): boolean {
    return this.#ids.includes(id);
  }

  remove(ids: readonly Integer[]): void {
    const gone = new Set(ids);
    for (const id of ids) this.#outcomes.delete(id);
    const kept = this.#ids.map((id, index) => [id, this.#times[index]!] as const).filter(([id]) => !gone.has(id));
    this.#ids = kept.map(([id]) => id);
    this.#times = kept.map(([, timestamp]) => timestamp);
  }
}
