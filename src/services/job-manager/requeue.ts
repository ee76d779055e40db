/**
 * What becomes of jobs that ran when their instance stopped, where the instance goes on with another allocation (attribute
 * `broker.resume`): they wait for resources again and start anew, unless `attributes.system.resume` is "lost".
 */
import { fluidKvsPath } from "../../formats/fluid.ts";
import type { Integer } from "../../base/json.ts";
import { JobState } from "../../sdk/job-protocol.ts";
import type { Handle } from "../../sdk/handle.ts";
import { Kvs, KvsTransaction } from "../../sdk/kvs.ts";
import type { Job } from "./job.ts";

/** The value of the attribute for jobs that must not run twice. */
const LOST = "lost";

export function startsAgain(job: Job): boolean {
  if (job.state !== JobState.Run || !job.hasResources || job.waitStatus !== null) return false;
  return job.jobspec?.attributes.system?.["resume"] !== LOST;
}

/** Removes what the first run left behind: its output would be taken for that of the second. */
export async function forgetRun(handle: Handle, id: Integer): Promise<void> {
  const path = fluidKvsPath(id);
  await new Kvs(handle).commit(new KvsTransaction().unlink(`${path}.guest`).unlink(`${path}.R`));
}
