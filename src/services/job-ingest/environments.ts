/**
 * Jobs of one user mostly have the same environment, of several kilobytes. Pending jobs share one object for it: memory
 * per job then does not depend on its size.
 */
import type { JsonObject } from "../../base/json.ts";
import type { Jobspec } from "../../formats/jobspec.ts";
import { environmentOf, withEnvironment } from "../../sdk/job-environment.ts";

/** Environments to compare with. */
const RECENT_MAX = 8;

export class SharedEnvironments {
  #recent: JsonObject[] = [];

  /** The jobspec with an environment that equals its own and is shared. */
  share(jobspec: Jobspec): Jobspec {
    const environment = environmentOf(jobspec);
    if (environment === null) return jobspec;
    const known = this.#recent.find((candidate) => isSame(candidate, environment));
    if (known === undefined) {
      this.#recent = [environment, ...this.#recent.slice(0, RECENT_MAX - 1)];
      return jobspec;
    }
    return withEnvironment(jobspec, known);
  }
}

function isSame(left: JsonObject, right: JsonObject): boolean {
  const keys = Object.keys(left);
  if (keys.length !== Object.keys(right).length) return false;
  return keys.every((key) => left[key] === right[key]);
}
