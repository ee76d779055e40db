/**
 * A user's own start-up file for the shells of a job (the shell options `initrc` and `userrc`): a JavaScript or TypeScript
 * module. It is run by a process of its own before the shell's plugins are made: what a user writes cannot hold up or break
 * the shells of others. What it wants comes back as data, and is carried out here.
 *
 * Files in Lua, as flux-core has them (flux-shell-initrc(5)), are run the same way. Where a file wants to hear of what happens
 * later, its process stays (`plugins/initrc.ts`).
 *
 * Invariant: the file is read once per shell, before the tasks of any node start.
 */
import { errnoSentence, FluxError, isFluxError, type ErrnoName } from "../base/errors.ts";
import { isJsonObject, type JsonObject } from "../base/json.ts";
import type { Ports } from "../base/ports.ts";
import { formatFluid } from "../formats/fluid.ts";
import { InitrcProcess } from "./initrc-process.ts";
import { ShellOptions } from "./options.ts";
import { serviceName, type JobPlan } from "./plan.ts";

/** Variables to be set; null (Lua has none: false) removes one. */
export type Changes = Readonly<Record<string, string | null | false>>;

/** What the file wants. */
export interface InitrcReport {
  readonly options: JsonObject;
  readonly environment: Changes;
  /** By task rank. */
  readonly tasks: Readonly<Record<string, { environment?: Changes; command?: string[] }>>;
  /** Messages for the job's log, with their level. */
  readonly log: readonly { level: number; message: string; component?: string }[];
  /** The job is not to run, and why. */
  readonly refusal: string | null | false;
  /** What it wants to hear of later, each with true: topics of flux-shell-plugins(7). */
  readonly topics: Readonly<Record<string, unknown>>;
}

export interface InitrcRun {
  readonly process: InitrcProcess;
  /** Rejects with FluxError. */
  readonly report: Promise<InitrcReport>;
}

/** The file that a job names, relative to its directory or absolute; null where it names none. Throws FluxError ENOENT, EPERM with a sentence that names the file. */
export function initrcPath(plan: JobPlan, { disk, host }: Ports): string | null {
  const given = plan.options.value("userrc") ?? plan.options.value("initrc");
  if (given === undefined) return null;
  const path = String(given);
  const absolute = path.startsWith("/") ? path : `${plan.cwd}/${path}`;
  const refuse = (name: ErrnoName, why: string): FluxError => new FluxError(name, `loading rc file ${path}: ${why}`);
  if (disk.info(absolute) === null) throw refuse("ENOENT", errnoSentence(2));
  if (plan.userid !== host.uid) throw refuse("EPERM", "only the owner of the instance can have a file run");
  return path;
}

/** Runs the file, with what it may look at. Throws FluxError where that cannot be done. */
export function runInitrc(path: string, plan: JobPlan, { exec, host }: Ports): InitrcRun {
  const { environment, cwd } = plan;
  const process = new InitrcProcess(exec, {
    argv: [host.fluxPath, "shell-initrc", path],
    env: { ...environment },
    cwd,
  });
  const report = process.tell(factsOf(plan, host.uid)).then(reportOf);
  const failure = (error: unknown): never => {
    throw isFluxError(error) ? new FluxError(error.errnum, `loading rc file ${path}: ${error.message}`) : error;
  };
  return { process, report: report.catch(failure) };
}

function factsOf(plan: JobPlan, instanceOwner: number): JsonObject {
  return {
    info: {
      jobId: formatFluid(plan.id),
      name: plan.name,
      rank: plan.shellRank,
      size: plan.brokerRanks.length,
      taskCount: plan.taskCount,
      host: plan.host,
      cwd: plan.cwd,
      cores: [...plan.cores],
      gpus: [...plan.gpus],
      command: [...plan.command],
    },
    options: plan.options.all,
    environment: { ...plan.environment },
    tasks: plan.tasks.map(({ rank, localId }) => ({ rank, localId })),
    service: serviceName(plan),
    instanceOwner,
    jobid: plan.id,
    jobspec: plan.jobspec as object as JsonObject,
    R: plan.resources.toJSON() as object as JsonObject,
    ranks: plan.brokerRanks.map((brokerRank, shellRank) => rankFacts(plan, brokerRank, shellRank)),
  };
}

function rankFacts(plan: JobPlan, brokerRank: number, shellRank: number): JsonObject {
  const { host, cores, gpus } = plan.resources.node(brokerRank)!;
  return {
    id: shellRank,
    name: host ?? "",
    broker_rank: brokerRank,
    ntasks: plan.taskmap.ntasksOf(shellRank),
    taskids: plan.taskmap.taskIds(shellRank).toString(),
    resources: {
      ncores: cores.count,
      cores: cores.toString(),
      gpus: gpus.toString(),
    },
  };
}

/** Throws FluxError EPROTO: the files of users have a part in what is reported. */
export function reportOf({ options, environment, tasks, log, refusal, topics }: JsonObject): InitrcReport {
  const isWhole = [options, environment, tasks, topics, ...(isJsonObject(tasks) ? Object.values(tasks) : [])].every(
    isJsonObject,
  );
  if (!isWhole || !Array.isArray(log)) throw new FluxError("EPROTO", "the rc file's process gave no report");
  return { options, environment, tasks, log: log.filter(isJsonObject), refusal, topics } as object as InitrcReport;
}

/** The plan with what the file wants for all tasks. */
export function planWith(plan: JobPlan, { options, environment }: InitrcReport): JobPlan {
  const variables: Record<string, string> = { ...plan.environment };
  apply(variables, environment);
  return { ...plan, options: new ShellOptions(options), environment: variables };
}

export function apply(variables: Record<string, string>, changes: Changes): void {
  for (const [name, value] of Object.entries(changes))
    if (value === null || value === false) delete variables[name];
    else variables[name] = value;
}
