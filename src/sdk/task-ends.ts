/**
 * How the failed tasks of a job ended, grouped by wait status. Shells report it of their tasks when all of them have ended,
 * and the execution service of the whole job (event `shell.tasks-failed` of the exec.eventlog), so that `flux job explain`
 * can name each task. The event is an addition of this implementation; jobs of one task have none.
 */
import { isJsonObject, type JsonObject, type JsonValue } from "../base/json.ts";
import { Idset } from "../formats/idset.ts";

export const TASKS_FAILED = "shell.tasks-failed";

export class TaskEnds {
  readonly #ranks = new Map<number, Idset>();

  #count = 0;

  /** Tasks that were added, also those that did not fail. */
  get count(): number {
    return this.#count;
  }

  /** Adds tasks that ended with a wait status; 0 is no failure. */
  add(status: number, ranks: Iterable<number>): void {
    const known = this.#ranks.get(status) ?? new Idset();
    for (const rank of ranks) {
      this.#count += 1;
      known.add(rank);
    }
    if (status !== 0) this.#ranks.set(status, known);
  }

  /** Adds what an event tells; what it has not is passed over. */
  addContext(context: JsonObject | undefined): void {
    const ends = context?.["ends"];
    for (const end of Array.isArray(ends) ? (ends as JsonValue[]) : []) {
      const { wait_status, ranks } = isJsonObject(end) ? end : ({} as JsonObject);
      const idset = typeof ranks === "string" ? Idset.tryParse(ranks) : null;
      if (typeof wait_status === "number" && idset !== null) this.add(wait_status, idset);
    }
  }

  /** Ranks by wait status. */
  entries(): Iterable<[number, Idset]> {
    return this.#ranks;
  }

  /** The event's context; null where no task failed. */
  context(): JsonObject | null {
    const ends = Array.from(this.#ranks, ([wait_status, ranks]) => ({ wait_status, ranks: ranks.format() }));
    return ends.length === 0 ? null : { ends };
  }
}
