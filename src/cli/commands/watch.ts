/** `flux watch`: the output of jobs, of past ones too, and how they end. */
import { FluxError, isFluxError } from "../../base/errors.ts";
import type { Integer } from "../../base/json.ts";
import { tryParseFluid } from "../../formats/fluid.ts";
import { JobResult, STATES_RUNNING } from "../../formats/job-states.ts";
import { getAttribute } from "../../sdk/attributes.ts";
import type { Handle } from "../../sdk/handle.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";
import { fetchJob, listRecords } from "../jobs/listing.ts";
import type { JobRecord } from "../jobs/record.ts";
import { ALL_STATES, DEFAULT_STATES, parseFilter, selectionConstraint } from "../jobs/selection.ts";
import { TaskLimit } from "../jobs/recursion.ts";
import { watchJob } from "../jobs/watch.ts";
import { terminalLog } from "../submission/job-log.ts";
import { JobProgress } from "../output/progress.ts";
import { parseDateTime } from "../submission/dates.ts";

const COUNT_DEFAULT = 1000;
const EXIT_USAGE = 2;
/** Jobs of the past whose output is read at the same time. */
const PAST_MAX = 32;
const ATTRS = ["state", "t_submit", "result"];

export const command: Command = defineCommand({
  name: "watch",
  dialect: "argparse",
  summary: "monitor one or more Flux jobs",
  options: [
    { names: ["active"], short: "a", help: "Watch all active jobs for current user" },
    {
      names: ["all"],
      short: "A",
      help: "Watch all jobs for current user in all states including inactive",
    },
    {
      names: ["count"],
      short: "c",
      argument: "N",
      integer: true,
      help: `Limit to N jobs (default ${COUNT_DEFAULT})`,
    },
    {
      names: ["filter"],
      short: "f",
      argument: "STATE|RESULT",
      repeatable: true,
      help: "Watch jobs with specific job state or result",
    },
    {
      names: ["since"],
      argument: "WHEN",
      help: "Include only jobs that have been inactive since WHEN. (implies -a if no other --filter option is specified)",
    },
    { names: ["progress"], help: "Show progress bar" },
    { names: ["jps"], help: "Display jobs/s instead of elapsed time" },
    { names: ["label-io"], short: "l", help: "label lines of output with task id" },
    { names: ["verbose"], short: "v", repeatable: true, help: "Increase verbosity" },
  ],
  operands: [{ name: "JOBID", arity: "*", help: "Watch specific jobids" }],
  examples: ["flux watch --all", "flux watch JOBID JOBID"],
  run,
});

async function run(context: CommandContext): Promise<number> {
  const { options, operands } = context;
  const selects = ["active", "all", "filter", "since"].some((name) => options.has(name));
  if (operands.length === 0 && !selects)
    throw new FluxError(
      "EINVAL",
      "At least one job selection option is required\nTry 'flux watch --help' for more information.",
    );
  const ids = operands.map((text) => jobIdOf(context, text));
  const since = sinceOf(context);
  if (ids.length > 0 && selects) context.err("flux-watch: WARNING: Filtering options ignored with jobid list\n");
  const handle = await context.open();
  const jobs = ids.length > 0 ? await knownJobs(context, handle, ids) : await selectedJobs(context, handle, since);
  if (jobs.length === 0) {
    context.err("flux-watch: INFO: No matching jobs\n");
    return 0;
  }
  if (options.has("verbose")) context.err(`flux-watch: INFO: Watching ${jobs.length} jobs\n`);
  return watchAll(context, handle, jobs);
}

async function watchAll(context: CommandContext, handle: Handle, jobs: readonly JobRecord[]): Promise<number> {
  const { options } = context;
  const origin = jobs.reduce((first, job) => Math.min(first, job.number("t_submit")), Infinity);
  const progress = await progressOf(context, handle, jobs, origin);
  const log = terminalLog(context, progress);
  const style = { label: options.has("label-io"), verbosity: options.count("verbose"), origin };
  const past = new TaskLimit(PAST_MAX);
  let worst = 0;
  const watch = async (job: JobRecord): Promise<void> => {
    let isRunning = !job.isInactive && (job.state & STATES_RUNNING) !== 0;
    const started = (): void => {
      if (isRunning || job.isInactive) return;
      isRunning = true;
      progress?.started();
    };
    const code = await watchJob(log, handle, job.id, { ...style, started });
    worst = Math.max(worst, code);
    if (!job.isInactive) progress?.done(code, isRunning ? "running" : "pending");
  };
  // What is over is read a few at a time: there may be very many of them.
  await Promise.all(jobs.map((job) => (job.isInactive ? past.run(() => watch(job)) : watch(job))));
  progress?.finish();
  return worst;
}

/** The progress bar, with what is known of the jobs already; null where there is none. */
async function progressOf(
  context: CommandContext,
  handle: Handle,
  jobs: readonly JobRecord[],
  origin: number,
): Promise<JobProgress | null> {
  const { options } = context;
  if (!options.has("progress")) return null;
  if (!context.stdoutIsTerminal) {
    context.err("flux-watch: WARNING: stdout is not a tty. Ignoring --progress option\n");
    return null;
  }
  const began = options.has("all") ? await instanceStart(handle, origin) : origin;
  const progress = new JobProgress(context, { jobs: jobs.length, waits: true, rate: options.has("jps"), began });
  for (const job of jobs) {
    if (job.isInactive) progress.done(job.number("result") === JobResult.Completed ? 0 : 1, "none");
    else progress.pending();
    if (!job.isInactive && (job.state & STATES_RUNNING) !== 0) progress.started();
  }
  return progress;
}

/** When the instance began, in seconds since the epoch. */
async function instanceStart(handle: Handle, otherwise: number): Promise<number> {
  try {
    return Number(await getAttribute(handle, "broker.starttime"));
  } catch (error) {
    if (isFluxError(error)) return otherwise;
    throw error;
  }
}

function jobIdOf(context: CommandContext, text: string): Integer {
  return tryParseFluid(text) ?? context.failUsage(`argument JOBID: invalid JobID value: '${text}'`);
}

/** The time of `--since`; null where it is not given. */
function sinceOf(context: CommandContext): number | null {
  const text = context.options.text("since");
  if (text === null) return null;
  const now = Date.now() / 1000;
  const since = parseDateTime(text, now);
  if (since === null) return context.fail(`--since: invalid value '${text}'`, EXIT_USAGE);
  if (since > now) return context.fail(`--since=${text} appears to be in the future`, EXIT_USAGE);
  return since;
}

/** The jobs that exist; says which do not. */
async function knownJobs(context: CommandContext, handle: Handle, ids: readonly Integer[]): Promise<JobRecord[]> {
  const found = await Promise.all(
    ids.map(async (id, index) => {
      try {
        return await fetchJob(handle, id, ATTRS);
      } catch (error) {
        if (!isFluxError(error)) throw error;
        context.complain(`JobID ${context.operands[index]} unknown`);
        return null;
      }
    }),
  );
  return found.filter((job) => job !== null);
}

async function selectedJobs(context: CommandContext, handle: Handle, since: number | null): Promise<JobRecord[]> {
  const { options, host } = context;
  const filter = options.has("filter") ? parseFilter(options.list("filter")) : null;
  const all = options.has("all") || (since !== null && filter === null);
  return listRecords(handle, {
    attrs: ATTRS,
    constraint: selectionConstraint({
      userid: host.uid,
      states: all ? ALL_STATES : (filter?.states ?? DEFAULT_STATES),
      results: all ? 0 : (filter?.results ?? 0),
      queues: [],
      name: null,
      include: null,
    }),
    maxEntries: options.integer("count") ?? COUNT_DEFAULT,
    ...(since !== null && { since }),
  });
}
