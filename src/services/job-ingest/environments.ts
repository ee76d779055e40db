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
  /** In what two environments differed last: jobs of a series (`--cc`) differ in the same each time. */
  #telling = "";

  /** The jobspec with an environment that equals its own and is shared. */
  share(jobspec: Jobspec): Jobspec {
    const environment = environmentOf(jobspec);
    if (environment === null) return jobspec;
    const known = this.#recent.find((candidate) => this.#isSame(candidate, environment));
    if (known === undefined) {
      this.#recent = [environment, ...this.#recent.slice(0, RECENT_MAX - 1)];
      return jobspec;
    }
    return withEnvironment(jobspec, known);
  }

  #isSame(left: JsonObject, right: JsonObject): boolean {
    if (left[this.#telling] !== right[this.#telling]) return false;
    const keys = Object.keys(left);
    if (keys.length !== Object.keys(right).length) return false;
    const different = keys.find((key) => left[key] !== right[key]);
    if (different === undefined) return true;
    this.#telling = different;
    return false;
  }
}
