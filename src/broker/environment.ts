/**
 * The environment of the programs that a broker starts (flux-environment(7)): that of the broker, without what belongs to
 * the launcher of this instance, with the way to this instance. Pure.
 */
import { GUARDED_VARIABLE } from "../sdk/guard.ts";

const REMOVED_PREFIXES = ["PMI_", "PMIX_", "SLURM_", "PALS_", "OMPI_COMM_WORLD_", "MV2_COMM_WORLD_", "JSM_NAMESPACE_"];
const REMOVED_NAMES: ReadonlySet<string> = new Set([
  "FLUX_PMI_LIBRARY_PATH",
  "I_MPI_PMI_LIBRARY",
  "NOTIFY_SOCKET",
  "FLUX_KVS_NAMESPACE",
  "FLUX_PROXY_REMOTE",
  "HYDI_CONTROL_FD",
  "MPI_LOCALNRANKS",
  "MPI_LOCALRANKID",
  "FLUX_START_LIFELINE_FD",
  "FLUX_RESUMED",
]);

/** What a job knows of itself. An instance that is a job hands none of it on: its own jobs have their own. */
const JOB_NAMES = [
  "FLUX_ENCLOSING_ID",
  "FLUX_JOB_ID",
  "FLUX_JOB_ID_PATH",
  "FLUX_JOB_SIZE",
  "FLUX_JOB_NNODES",
  "FLUX_JOB_TMPDIR",
  "FLUX_TASK_RANK",
  "FLUX_TASK_LOCAL_ID",
];

/** The environment of the programs of an instance; `jobid` is its own in the enclosing instance, where it has one. */
export function instanceEnvironment(
  inherited: Readonly<Record<string, string>>,
  localUri: string,
  fluxPath: string,
  jobid: string | null,
): Record<string, string> {
  const kept = Object.entries(inherited).filter(
    ([name]) => !REMOVED_NAMES.has(name) && !REMOVED_PREFIXES.some((prefix) => name.startsWith(prefix)),
  );
  const environment = commandEnvironment(Object.fromEntries(kept), fluxPath);
  environment["FLUX_URI"] = localUri;
  environment[GUARDED_VARIABLE] = localUri;
  for (const name of JOB_NAMES) delete environment[name];
  if (jobid !== null) environment["FLUX_ENCLOSING_ID"] = jobid;
  // libyogrt, which tells programs how much time is left, would ask Slurm otherwise.
  if (inherited["SLURM_JOB_ID"] !== undefined) environment["YOGRT_BACKEND"] = "flux";
  return environment;
}

/** Lists of directories that are handed on without repetitions. */
const PATH_LISTS = ["FLUX_RC_EXTRA", "FLUX_SHELL_RC_PATH"];

/** The environment of programs that commands start: all that they have themselves. `flux env` in a job keeps its PMI. */
export function commandEnvironment(
  inherited: Readonly<Record<string, string>>,
  fluxPath: string,
): Record<string, string> {
  return { ...inherited, PATH: withDirectoryOf(fluxPath, inherited["PATH"] ?? "") };
}

/** Lists of directories as programs of Flux get them. */
export function tidyPathLists(environment: Record<string, string | undefined>): void {
  for (const name of PATH_LISTS) {
    const list = environment[name];
    if (list !== undefined) environment[name] = [...new Set(list.split(":"))].join(":");
  }
}

/** The `flux` that programs find is the one that runs the instance. */
function withDirectoryOf(fluxPath: string, path: string): string {
  const directory = fluxPath.slice(0, Math.max(0, fluxPath.lastIndexOf("/")));
  const entries = path.split(":").filter((entry) => entry !== "");
  if (directory === "" || entries[0] === directory) return path;
  return [directory, ...entries].join(":");
}
