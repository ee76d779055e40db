/** `flux watch`: the output of jobs, of past ones too, and how they end. */
import { FluxError, isFluxError } from "../../base/errors.ts";
import type { Integer } from "../../base/json.ts";
import { tryParseFluid } from "../../formats/fluid.ts";
import type { Handle } from "../../sdk/handle.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";
import { fetchJob, listRecords } from "../jobs/listing.ts";
import type { JobRecord } from "../jobs/record.ts";
import { ALL_STATES, DEFAULT_STATES, parseFilter, selectionConstraint } from "../jobs/selection.ts";
import { watchJob } from "../jobs/watch.ts";
import { SubmissionProgress } from "../output/progress.ts";
import { parseDateTime } from "../submission/dates.ts";

const COUNT_DEFAULT = 1000;
const EXIT_USAGE = 2;
const ATTRS = ["state", "t_submit"];

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
  const progress = progressOf(context);
  progress?.expect(jobs.length);
  const origin = Math.min(...jobs.map((job) => job.number("t_submit")));
  const verbosity = options.count("verbose");
  const codes = await Promise.all(
    jobs.map(async ({ id }) => {
      let ran = false;
      const started = (): void => {
        ran = true;
        progress?.started();
      };
      const code = await watchJob(context, handle, id, { label: options.has("label-io"), verbosity, origin, started });
      progress?.done(code, ran);
      return code;
    }),
  );
  progress?.finish();
  return Math.max(...codes);
}

function progressOf(context: CommandContext): SubmissionProgress | null {
  const { options } = context;
  if (!options.has("progress")) return null;
  if (context.stdoutIsTerminal) return new SubmissionProgress(context, options.has("jps"));
  context.err("flux-watch: WARNING: stdout is not a tty. Ignoring --progress option\n");
  return null;
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
