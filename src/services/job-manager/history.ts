/** The jobs of each user in the order of submission: what `flux job last` asks for (`job-manager.history.get`). */
import { FluxError } from "../../base/errors.ts";
import type { Integer } from "../../base/json.ts";
import { compareIds } from "../../sdk/job-protocol.ts";

export class History {
  /** Ascending by id, which is the order of submission. */
  readonly #jobs = new Map<number, Integer[]>();

  add(userid: number, id: Integer): void {
    const jobs = this.#jobs.get(userid);
    if (jobs === undefined) this.#jobs.set(userid, [id]);
    else {
      // Ids of several ranks come nearly in order.
      let place = jobs.length;
      while (place > 0 && compareIds(jobs[place - 1]!, id) > 0) place -= 1;
      if (place === jobs.length) jobs.push(id);
      else jobs.splice(place, 0, id);
    }
  }

  /** Removes purged jobs. */
  removeAll(ids: ReadonlySet<Integer>): void {
    for (const [userid, jobs] of this.#jobs)
      this.#jobs.set(
        userid,
        jobs.filter((id) => !ids.has(id)),
      );
  }

  /** A user's jobs, newest first, as a Python slice expression selects them. Throws EINVAL. */
  slice(userid: number, expression: string): Integer[] {
    const match = /^\[(-?\d*)(?::(-?\d*))?(?::(-?\d*))?\]$/.exec(expression.replaceAll(" ", ""));
    if (match === null) throw new FluxError("EINVAL", "could not parse python-style slice expression");
    const newestFirst = (this.#jobs.get(userid) ?? []).toReversed();
    const [, start = "", stop, step] = match;
    if (stop === undefined) {
      const only = start === "" ? undefined : newestFirst.at(Number(start));
      return only === undefined ? [] : [only];
    }
    return sliced(newestFirst, numberOf(start), numberOf(stop), numberOf(step ?? "") ?? 1);
  }
}

function numberOf(text: string): number | null {
  return text === "" || text === "-" ? null : Number(text);
}

/** Python's `list[start:stop:step]`. */
function sliced<T>(list: readonly T[], start: number | null, stop: number | null, step: number): T[] {
  if (step === 0) throw new FluxError("EINVAL", "could not parse python-style slice expression");
  const lowest = step > 0 ? 0 : -1;
  const highest = step > 0 ? list.length : list.length - 1;
  const bound = (index: number | null, fallback: number): number => {
    if (index === null) return fallback;
    return Math.min(Math.max(index < 0 ? index + list.length : index, lowest), highest);
  };
  const from = bound(start, step > 0 ? lowest : highest);
  const to = bound(stop, step > 0 ? highest : lowest);
  const result: T[] = [];
  for (let at = from; step > 0 ? at < to : at > to; at += step) result.push(list[at]!);
  return result;
}
