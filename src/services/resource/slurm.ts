/**
 * What Slurm granted to an instance that it started: the CPUs of each task, from its environment, and the time until the end
 * of the job, which may be moved while it runs: a program follows it.
 *
 * Does not know: affinity and cgroups. What those leave visible is given; the environment only narrows it.
 */
import { errorText } from "../../base/errors.ts";
import { LogLevel, type ModuleContext } from "../../sdk/module.ts";

type Environment = Readonly<Record<string, string>>;

/** The number at an index of a list such as `2(x3),1`. */
export function repeatedAt(list: string, index: number): number | null {
  let at = 0;
  for (const part of list.split(",")) {
    const match = /^(\d+)(?:\(x(\d+)\))?$/.exec(part);
    if (match === null) return null;
    at += Number(match[2] ?? 1);
    if (index < at) return Number(match[1]);
  }
  return null;
}

/**
 * The cores of a task, by index, of those that it can see with the CPUs (hardware threads) of each: tasks of one node
 * divide what the step has there. All of them where Slurm says nothing, or has bound the task already.
 */
export function coresOfTask(env: Environment, coreCpus: readonly (readonly number[])[]): number[] {
  const all = coreCpus.map((_, core) => core);
  const granted = Number(env["SLURM_CPUS_ON_NODE"]);
  if (!(granted > 0)) return all;
  const isTask = env["SLURM_STEP_NODELIST"] !== undefined;
  const tasks = isTask
    ? (repeatedAt(env["SLURM_STEP_TASKS_PER_NODE"] ?? "1", Number(env["SLURM_NODEID"] ?? 0)) ?? 1)
    : 1;
  const place = isTask ? Number(env["SLURM_LOCALID"] ?? 0) : 0;
  const share = Math.max(1, Math.floor(granted / tasks));
  const visible = coreCpus.reduce((sum, cpus) => sum + cpus.length, 0);
  if (visible <= share) return all;
  const chosen: number[] = [];
  let before = 0;
  for (const [core, cpus] of coreCpus.entries()) {
    if (before >= place * share && before < (place + 1) * share) chosen.push(core);
    before += cpus.length;
  }
  // Steps may be given more CPUs than there are: tasks share them then.
  return chosen.length > 0 ? chosen : [all[place % all.length]!];
}

/** Starts what follows the end of the Slurm job that this instance runs in, if it does: a program in the background. */
export function followSlurmJob({ handle, log, ports }: ModuleContext): void {
  const { SLURM_JOB_ID: job, SLURM_CONF } = ports.host.env;
  if (job === undefined) return;
  if (!/^\d+$/.test(job)) return log(LogLevel.err, "invalid SLURM_JOB_ID. Skipping expiration sync");
  const cmd = {
    cmdline: ["flux", "slurm-expiration-sync", `--jobid=${job}`],
    label: "slurm-sync",
    // Programs of an instance do not see variables of its launcher.
    env_add: SLURM_CONF === undefined ? {} : { SLURM_CONF },
  };
  handle
    .rpc("rexec.exec", { cmd, flags: 0 })
    .catch((error: unknown) => log(LogLevel.err, `following the end of the Slurm job: ${errorText(error)}`));
}
