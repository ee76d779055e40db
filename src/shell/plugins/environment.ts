/** The environment that Flux adds to that of the jobspec (flux-environment(7)). */
import { formatFluid } from "../../formats/fluid.ts";
import { isFluxError } from "../../base/errors.ts";
import { GUARDED_VARIABLE } from "../../sdk/guard.ts";
import { ShellLogLevel, type PluginFactory, type ShellContext } from "../plugin.ts";

const FALLBACK_TMPDIR = "/tmp";

/** What belongs to the place of submission, not to the job. */
const REMOVED: readonly string[] = ["FLUX_PROXY_REMOTE", GUARDED_VARIABLE];

export const environmentPlugin: PluginFactory = (shell) => {
  const common = jobEnvironment(shell);
  return {
    prepare(task, { env }) {
      for (const name of REMOVED) delete env[name];
      Object.assign(env, common, { FLUX_TASK_RANK: String(task.rank), FLUX_TASK_LOCAL_ID: String(task.localId) });
    },
  };
};

/** What every program of a job on this node has in its environment. */
export function jobEnvironment(shell: ShellContext): Record<string, string> {
  const { plan, host, tmpdir } = shell;
  const id = formatFluid(plan.id, host.idForm);
  return {
    FLUX_URI: host.uri,
    FLUX_JOB_ID: id,
    FLUX_KVS_NAMESPACE: `job-${plan.id}`,
    FLUX_JOB_ID_PATH: `${host.jobIdPath === null || host.jobIdPath === "/" ? "" : host.jobIdPath}/${id}`,
    FLUX_JOB_SIZE: String(plan.taskCount),
    FLUX_JOB_NNODES: String(plan.brokerRanks.length),
    FLUX_JOB_TMPDIR: tmpdir,
    ...localEnvironment(shell),
    ...(host.jobId === null ? {} : { FLUX_ENCLOSING_ID: host.jobId }),
    ...openMpiEnvironment(shell),
  };
}

/** Open MPI keeps what the tasks of a node share in the job's directory, where nothing of it is left over. */
function openMpiEnvironment({ plan, tmpdir }: ShellContext): Record<string, string> {
  const mpi = plan.options.text("mpi");
  return mpi === "none" ? {} : { OMPI_MCA_btl_vader_backing_directory: tmpdir };
}

/** Variables that speak of the place of submission, corrected for this node. */
function localEnvironment(shell: ShellContext): Record<string, string> {
  const { HOSTNAME: hostname, TMPDIR: tmpdir } = shell.plan.environment;
  const { disk, host } = shell.host.ports;
  const corrected: Record<string, string> = {};
  if (hostname !== undefined) corrected["HOSTNAME"] = host.hostname;
  if (tmpdir === undefined || disk.info(tmpdir) !== null) return corrected;
  try {
    disk.makeDirectory(tmpdir, { recursive: true });
  } catch (error) {
    if (!isFluxError(error)) throw error;
    shell.log(ShellLogLevel.warning, `Unable to create TMPDIR=${tmpdir}, resetting TMPDIR=${FALLBACK_TMPDIR}`);
    corrected["TMPDIR"] = FALLBACK_TMPDIR;
  }
  return corrected;
}
