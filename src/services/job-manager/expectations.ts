/** Jobs that wait for jobs of a name which are not submitted yet (`dependency-schemes.ts`, `@@NAME`). */
import type { AfterScheme } from "./dependency-schemes.ts";
import type { Job } from "./job.ts";

/** A dependency on a job that is not submitted yet. */
export interface Expectation {
  readonly job: Job;
  readonly scheme: AfterScheme;
  readonly description: string;
}

export class Expectations {
  /** By user and name. */
  readonly #waiting = new Map<string, Set<Expectation>>();

  add(name: string, expectation: Expectation): void {
    const key = `${expectation.job.userid}:${name}`;
    const waiting = this.#waiting.get(key);
    if (waiting === undefined) this.#waiting.set(key, new Set([expectation]));
    else waiting.add(expectation);
  }

  /** The dependencies that wait for a user's job of a name; the key is `USERID:NAME`. */
  of(key: string): Iterable<Expectation> {
    return this.#waiting.get(key) ?? [];
  }

  /** The same, and nobody does any more. */
  take(key: string): Iterable<Expectation> {
    const waiting = this.of(key);
    this.#waiting.delete(key);
    return waiting;
  }

  remove(job: Job, name: string): void {
    const key = `${job.userid}:${name}`;
    const waiting = this.#waiting.get(key);
    for (const expectation of waiting ?? []) if (expectation.job === job) waiting!.delete(expectation);
    if (waiting?.size === 0) this.#waiting.delete(key);
  }
}
