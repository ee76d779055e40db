/** The environment that Flux adds to that of the jobspec (flux-environment(7)). */
import { formatFluid } from "../../formats/fluid.ts";
import type { PluginFactory } from "../plugin.ts";

/** What belongs to the place of submission, not to the job. */
const REMOVED: readonly string[] = ["FLUX_KVS_NAMESPACE", "FLUX_PROXY_REMOTE"];

export const environmentPlugin: PluginFactory = ({ plan, host, tmpdir }) => {
  const id = formatFluid(plan.id);
  const common: Record<string, string> = {
    FLUX_URI: host.uri,
    FLUX_JOB_ID: id,
    FLUX_JOB_ID_PATH: `${host.jobIdPath === null || host.jobIdPath === "/" ? "" : host.jobIdPath}/${id}`,
    FLUX_JOB_SIZE: String(plan.taskCount),
    FLUX_JOB_NNODES: String(plan.brokerRanks.length),
    FLUX_JOB_TMPDIR: tmpdir,
    ...(host.jobId === null ? {} : { FLUX_ENCLOSING_ID: host.jobId }),
  };
  return {
    name: "environment",
    prepare(task, { env }) {
      for (const name of REMOVED) delete env[name];
      Object.assign(env, common, { FLUX_TASK_RANK: String(task.rank), FLUX_TASK_LOCAL_ID: String(task.localId) });
    },
  };
};
