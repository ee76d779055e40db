/** What a job itself says of how it is run (`attributes.system.exec` of its jobspec), before the configuration. Pure. */
import { memberAt, type JsonObject } from "../../base/json.ts";
import { tryParseFsd } from "../../formats/duration.ts";

/** Seconds for its start barrier (`exec.bulkexec.barrier-timeout`), or null. */
export function barrierTimeoutOf(jobspec: JsonObject): number | null {
  const timeout = memberAt(jobspec, ["attributes", "system", "exec", "bulkexec", "barrier-timeout"]);
  return typeof timeout === "number" ? timeout : typeof timeout === "string" ? tryParseFsd(timeout) : null;
}

/** A program in the place of the job shell (`exec.job_shell`), or null. */
export function jobShellOf(jobspec: JsonObject): string | null {
  const path = memberAt(jobspec, ["attributes", "system", "exec", "job_shell"]);
  return typeof path === "string" ? path : null;
}
