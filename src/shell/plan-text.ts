/** What a job's plan for a node looks like to readers: in templates of paths and arguments, and in the log. Pure. */
import { errnoSentence } from "../base/errors.ts";
import type { Disk } from "../base/ports.ts";
import { Idset } from "../formats/idset.ts";
import { allocatedCounts } from "../formats/jobspec-counts.ts";
import type { JobTags } from "../formats/mustache.ts";
import type { JobPlan } from "./plan.ts";

/** The tags `node.*` of mustache templates. */
export function nodeTags({ shellRank, host, cores, gpus }: JobPlan, brokerRank: number): NonNullable<JobTags["node"]> {
  return {
    id: shellRank,
    name: host,
    broker_rank: brokerRank,
    cores: Idset.from(cores).toString(),
    gpus: Idset.from(gpus).toString(),
    ncores: cores.length,
  };
}

/** What is said at the start where the shell is verbose: of the job by its leader, of the node by each. */
export function planTexts({ shellRank, taskCount, tasks, cores, jobspec, resources }: JobPlan): string[] {
  const ranks = Idset.from(tasks.map(({ rank }) => rank)).format({ brackets: true });
  const own = `${shellRank}: ${tasks.length === 1 ? "task" : "tasks"} ${ranks} on cores ${Idset.from(cores)}`;
  if (shellRank !== 0) return [own];
  const { nnodes, nslots, slotsPerNode, coresPerSlot } = allocatedCounts(jobspec, resources);
  const slots = `slot_count=${nslots} cores_per_slot=${coresPerSlot} slots_per_node=${nnodes === 0 ? -1 : slotsPerNode}`;
  return [`${shellRank}: task_count=${taskCount} ${slots}`, own];
}

/** What is said where a job's directory is not on this node; null where it is. */
export function lostDirectoryText({ cwd, host }: JobPlan, disk: Disk, fallback: string): string | null {
  const info = disk.info(cwd);
  if (info?.kind === "directory") return null;
  return `host ${host}: Could not change dir to ${cwd}: ${errnoSentence(info === null ? 2 : 20)}. Going to ${fallback} instead`;
}
