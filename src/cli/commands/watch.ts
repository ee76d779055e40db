/** `flux watch`: the output of jobs, of past ones too, and how they end. */
import { FluxError, isFluxError } from "../../base/errors.ts";
import type { Integer } from "../../base/json.ts";
import type { Handle } from "../../sdk/handle.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";
import { parseJobId } from "../jobs/client.ts";
import { fetchJob, listRecords } from "../jobs/listing.ts";
import { ALL_STATES, DEFAULT_STATES, parseFilter, selectionConstraint } from "../jobs/selection.ts";
import { watchJob } from "../jobs/watch.ts";
import { SubmissionProgress } from "../output/progress.ts";
import { parseDateTime } from "../submission/times.ts";

const COUNT_DEFAULT = 1000;

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
  const handle = await context.open();
  const ids = operands.length > 0 ? await knownIds(context, handle) : await selectedIds(context, handle);
  if (ids.length === 0) {
    context.err("flux-watch: INFO: No matching jobs\n");
    return 0;
  }
  const verbosity = options.count("verbose");
  if (verbosity > 0) context.err(`flux-watch: INFO: Watching ${ids.length} jobs\n`);
  const progress =
    options.has("progress") && context.stdoutIsTerminal ? new SubmissionProgress(context, options.has("jps")) : null;
  progress?.expect(ids.length);
  const codes = await Promise.all(
    ids.map(async (id) => {
      const code = await watchJob(context, handle, id, { label: options.has("label-io"), verbosity });
      progress?.done(code);
      return code;
    }),
  );
  progress?.finish();
  return Math.max(...codes);
}

async function knownIds(context: CommandContext, handle: Handle): Promise<Integer[]> {
  const found = await Promise.all(
    context.operands.map(async (text) => {
      try {
        return (await fetchJob(handle, parseJobId(text), ["state"])).id;
      } catch (error) {
        if (!isFluxError(error)) throw error;
        context.complain(`JobID ${text} unknown`);
        return null;
      }
    }),
  );
  return found.filter((id) => id !== null);
}

async function selectedIds(context: CommandContext, handle: Handle): Promise<Integer[]> {
  const { options, host } = context;
  const filter = options.has("filter") ? parseFilter(options.list("filter")) : null;
  const text = options.text("since");
  const since = text === null ? null : parseDateTime(text, Date.now() / 1000);
  if (text !== null && since === null) throw new FluxError("EINVAL", `--since: invalid datetime '${text}'`);
  const all = options.has("all") || (since !== null && filter === null);
  const jobs = await listRecords(handle, {
    attrs: ["state"],
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
  return jobs.map((job) => job.id);
}
