/** `flux jobs`: list jobs. */
import { FluxError, isFluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import { tryParseFluid } from "../../formats/fluid.ts";
import type { Handle } from "../../sdk/handle.ts";
import { CommandExit, defineCommand, type Command, type CommandContext } from "../framework/command.ts";
import { jobIdText, parseJobId } from "../jobs/client.ts";
import { JOB_FORMATS } from "../jobs/formats.ts";
import { readRecords } from "../jobs/input.ts";
import { askInstance, StatsSummary, type JobStats } from "../jobs/instance.ts";
import { jobJson } from "../jobs/job-json.ts";
import { fetchJob, listRecords, recordContext } from "../jobs/listing.ts";
import { openInstance, TaskLimit } from "../jobs/recursion.ts";
import type { JobRecord } from "../jobs/record.ts";
import {
  ALL_STATES,
  DEFAULT_STATES,
  parseFilter,
  queuesMeant,
  selectionConstraint,
  type Selection,
} from "../jobs/selection.ts";
import { JobTable } from "../jobs/table.ts";
import { parseUser } from "../jobs/users.ts";
import { findFormat, formatHelp } from "../output/named-formats.ts";
import { pythonJson } from "../output/python-json.ts";
import { parseDateTime } from "../submission/dates.ts";

const COUNT_DEFAULT = 1000;
const FORMAT_SOURCE = { file: "flux-jobs" };
/** Instances that are asked at the same time. */
const THREADS_DEFAULT = 8;

export const command: Command = defineCommand({
  name: "jobs",
  dialect: "argparse",
  summary: "list jobs submitted to Flux",
  options: [
    { names: ["all-states"], short: "a", shortOnly: true, help: "List jobs in all states" },
    { names: ["all-users"], short: "A", shortOnly: true, help: "List all jobs for all users" },
    {
      names: ["count"],
      short: "c",
      argument: "N",
      integer: true,
      help: `Limit output to N jobs (default ${COUNT_DEFAULT})`,
    },
    {
      names: ["filter"],
      short: "f",
      argument: "STATE|RESULT",
      repeatable: true,
      help: "List jobs with specific job state or result",
    },
    {
      names: ["since"],
      argument: "WHEN",
      help: "Include jobs that have become inactive since WHEN. (implies -a if no other --filter option is specified)",
    },
    { names: ["no-header", "suppress-header"], short: "n", help: "Suppress printing of header line" },
    {
      names: ["user"],
      short: "u",
      argument: "[USERNAME|UID]",
      help: 'Limit output to specific username or userid (Specify "all" for all users)',
    },
    { names: ["name"], argument: "JOB-NAME", help: "Limit output to specific job name" },
    {
      names: ["queue"],
      short: "q",
      argument: "QUEUE,...",
      repeatable: true,
      help: "Limit output to specific queue or queues",
    },
    {
      names: ["include"],
      short: "i",
      argument: "HOSTS|RANKS",
      help: "Limit output to jobs that were allocated to the specified HOSTS or RANKS provided as a hostlist or idset.",
    },
    {
      names: ["format"],
      short: "o",
      argument: "FORMAT",
      help: "Specify output format using Python's string format syntax or a defined format by name (use 'help' to get a list of names). {attempt} is the attempt that a job with --retry is at: 2/3",
    },
    { names: ["sort"], argument: "KEY,...", help: "Specify sort order" },
    {
      names: ["width"],
      short: "w",
      argument: "N",
      optionalArgument: true,
      integer: true,
      help: "Truncate output at width N. If N=0 (default if N omitted) and stdout is connected to a terminal, use terminal width",
    },
    { names: ["json"], help: "Output jobs in JSON instead of formatted output" },
    {
      names: ["color"],
      argument: "WHEN",
      optionalArgument: true,
      help: "Use color; WHEN can be 'never', 'always' or 'auto' (default)",
    },
    { names: ["recursive"], short: "R", help: "List jobs recursively" },
    { names: ["level"], short: "L", argument: "N", integer: true, help: "With --recursive, only descend N levels" },
    {
      names: ["recurse-all"],
      help: "With --recursive, attempt to recurse all jobs, not just jobs of current user",
    },
    { names: ["threads"], argument: "N", integer: true, help: "Set max number of worker threads" },
    {
      names: ["from-stdin"],
      hidden: true,
      help: "List the jobs that standard input describes, one JSON object a line",
    },
    { names: ["stats"], help: "Print job statistics before header" },
    {
      names: ["stats-only"],
      help: "Print job statistics only and exit. Exits with non-zero status if there are no active jobs. Allows usage like: 'while flux jobs --stats-only; do sleep 1; done'",
    },
  ],
  operands: [{ name: "JOBID", arity: "*", help: "Limit output to specific Job IDs" }],
  examples: [
    "flux jobs -a",
    "flux jobs -f failed -o '{id} {name} {returncode}'",
    "flux jobs -no {status_abbrev} JOBID",
  ],
  run,
});

async function run(context: CommandContext): Promise<number> {
  const { options, host } = context;
  const isJson = options.has("json");
  if (isJson && (options.has("stats") || options.has("stats-only")))
    throw new FluxError("EINVAL", "--json incompatible with --stats or --stats-only");
  for (const id of context.operands)
    if (tryParseFluid(id.trim()) === null) context.failUsage(`argument JOBID: invalid JobID value: '${id}'`);
  const requested = options.text("format") ?? host.env["FLUX_JOBS_FORMAT_DEFAULT"] ?? "default";
  const special = await formatHelp("flux-jobs", FORMAT_SOURCE, requested, JOB_FORMATS, host.env);
  if (special !== null) {
    context.out(special);
    return 0;
  }
  const format = await findFormat(FORMAT_SOURCE, requested, JOB_FORMATS, host.env);
  const listing = new Listing(context, new JobTable(context, format, options.text("sort")));
  if (options.has("from-stdin")) return listing.show(await readRecords(context));
  const handle = await context.open();
  return options.has("stats-only") ? printStats(context, handle, true) : listing.list(handle);
}

/** The jobs of an instance, and of the instances among them where these are asked for. */
interface Level {
  readonly jobs: readonly JobRecord[];
  readonly stats: StatsSummary | null;
  readonly children: ReadonlyMap<JobRecord, Level>;
}

class Listing {
  readonly #context: CommandContext;
  readonly #table: JobTable;
  readonly #limit: TaskLimit;
  #exitCode = 0;

  constructor(context: CommandContext, table: JobTable) {
    this.#context = context;
    this.#table = table;
    this.#limit = new TaskLimit(Math.max(1, context.options.integer("threads") ?? THREADS_DEFAULT));
  }

  async list(handle: Handle): Promise<number> {
    const { options, operands } = this.#context;
    const isJson = options.has("json");
    if (options.has("stats")) await printStats(this.#context, handle, false);
    const jobs = await this.#jobs(handle, operands);
    const level = await this.#levelOf(handle, jobs, 0);
    if (isJson) this.#printJson(level);
    else this.#print(level, []);
    return this.#exitCode;
  }

  /** Shows jobs that are known already. */
  show(jobs: readonly JobRecord[]): number {
    const level: Level = { jobs, stats: null, children: new Map() };
    if (this.#context.options.has("json")) this.#printJson(level);
    else this.#print(level, []);
    return 0;
  }

  /** Asks the instances among jobs for what is to be shown of them: their own counts, their jobs. */
  async #levelOf(handle: Handle, jobs: readonly JobRecord[], depth: number): Promise<Level> {
    const { options, host } = this.#context;
    const isRecursive = options.has("recursive") || options.has("recurse-all");
    const descends = isRecursive && depth < (options.integer("level") ?? Infinity);
    const asks = this.#table.needsInstances && !options.has("json");
    const stats = options.has("stats") && depth > 0 ? new StatsSummary(await statsOf(handle, null)) : null;
    const children = new Map<JobRecord, Level>();
    const visit = async (job: JobRecord): Promise<void> => {
      const isMine = job.number("userid") === host.uid || options.has("recurse-all");
      const child = await openInstance(job);
      if (child === null) return;
      try {
        if (asks) job.instance = await askInstance(child);
        if (!descends || !isMine) return;
        const inner = await this.#jobs(child, []);
        children.set(job, await this.#levelOf(child, inner, depth + 1));
      } catch (error) {
        if (!isFluxError(error)) throw error;
        this.#context.complain(`${jobIdText(job.id)}: ${error.message}`);
      } finally {
        child.close();
      }
    };
    // An instance waits for those within it, so only the outermost ones count.
    const limited = (job: JobRecord): Promise<void> => (depth === 0 ? this.#limit.run(() => visit(job)) : visit(job));
    if (asks || descends) await Promise.all(jobs.filter((job) => !job.isInactive && job.uri !== null).map(limited));
    return { jobs, stats, children };
  }

  #printJson(level: Level): void {
    const { options, operands } = this.#context;
    const isRecursive = options.has("recursive") || options.has("recurse-all");
    const objects = jobObjects(level);
    const isOne = operands.length === 1 && !isRecursive;
    if (!isOne) this.#context.out(`${pythonJson({ jobs: objects })}\n`);
    else if (objects[0] !== undefined) this.#context.out(`${pythonJson(objects[0])}\n`);
  }

  #print(level: Level, path: readonly string[]): void {
    if (path.length > 0) this.#context.out(`\n${path.join("/")}:\n`);
    if (level.stats !== null) this.#context.out(`${statsText(level.stats)}\n`);
    this.#table.print(level.jobs, path.length === 0 && !this.#context.options.has("no-header"));
    for (const [job, inner] of level.children) this.#print(inner, [...path, jobIdText(job.id)]);
  }

  async #jobs(handle: Handle, ids: readonly string[]): Promise<JobRecord[]> {
    const { options } = this.#context;
    const attrs = options.has("json") ? ["all"] : this.#table.attributes;
    if (ids.length > 0) return this.#jobsById(handle, ids, attrs);
    const count = options.integer("count") ?? COUNT_DEFAULT;
    const since = this.#since();
    const jobs = await listRecords(handle, {
      attrs,
      constraint: selectionConstraint(await this.#selection(handle, since !== null)),
      // One more than is shown tells whether there are more.
      maxEntries: count > 0 ? count + 1 : count,
      ...(since !== null && { since }),
    });
    if (count <= 0 || jobs.length <= count) return jobs;
    if (!options.has("no-header") && !options.has("json")) this.#warnTruncated(count);
    return jobs.slice(0, count);
  }

  #warnTruncated(count: number): void {
    this.#context.err(
      `warning: output truncated at ${count} jobs.\nUse --count to increase returned results or use filters to alter results.\n`,
    );
  }

  async #jobsById(handle: Handle, ids: readonly string[], attrs: readonly string[]): Promise<JobRecord[]> {
    const { options } = this.#context;
    const filters = ["all-states", "all-users", "filter", "user", "since", "queue", "name", "count"];
    if (!options.has("recursive") && filters.some((name) => options.has(name)))
      this.#context.err("flux-jobs: WARNING: Filtering options ignored with jobid list\n");
    const context = recordContext();
    const found = await Promise.all(
      ids.map(async (text) => {
        try {
          return await fetchJob(handle, parseJobId(text), attrs, context);
        } catch (error) {
          if (!isFluxError(error)) throw error;
          const unknown = error.is("ENOENT") || error.is("EINVAL");
          this.#context.err(unknown ? `JobID ${text} unknown\n` : `${text}: ${error.message}\n`);
          return null;
        }
      }),
    );
    const jobs = found.filter((job) => job !== null);
    if (jobs.length === 0) throw new CommandExit(1);
    return jobs;
  }

  #since(): number | null {
    const text = this.#context.options.text("since");
    if (text === null || text === "") return null;
    const now = Date.now() / 1000;
    const since = /^\d+(\.\d*)?$/.test(text) ? Number(text) : parseDateTime(text, now);
    if (since === null) throw new FluxError("EINVAL", `--since: invalid datetime '${text}'`);
    if (since > now) throw new FluxError("EINVAL", `--since=${text} appears to be in the future`);
    return since;
  }

  async #selection(handle: Handle, since: boolean): Promise<Selection> {
    const { options, host } = this.#context;
    if (options.has("filter") && options.has("all-states"))
      this.#context.err("flux-jobs: WARNING: Both -a and --filter specified, ignoring -a\n");
    const filter = options.has("filter") ? parseFilter(options.list("filter")) : null;
    const all = filter === null && (options.has("all-states") || since);
    const include = options.text("include");
    const user = options.text("user");
    const everyone = options.has("all-users") || (include !== null && user === null);
    const userid = user === null ? host.uid : parseUser(user);
    const queues = options.list("queue").flatMap((list) => list.split(","));
    return {
      userid: everyone || userid < 0 ? null : userid,
      states: all ? ALL_STATES : (filter?.states ?? DEFAULT_STATES),
      results: all ? 0 : (filter?.results ?? 0),
      queues: queues.length === 0 ? queues : queuesMeant(queues, await handle.rpc<JsonObject>("config.get")),
      name: options.text("name") || null,
      include,
    };
  }
}

function jobObjects(level: Level): JsonObject[] {
  return level.jobs.map((job) => {
    const inner = level.children.get(job);
    return inner === undefined ? jobJson(job) : { ...jobJson(job), jobs: jobObjects(inner) };
  });
}

async function statsOf(handle: Handle, queue: string | null): Promise<JobStats> {
  const whole = await handle.rpc<JobStats>("job-list.job-stats");
  if (queue === null) return whole;
  const stats = whole.queues?.find(({ name }) => name === queue);
  if (stats !== undefined) return stats;
  throw new FluxError("EINVAL", `error retrieving job stats: no stats available for queue ${queue}`);
}

function statsText({ running, successful, failed, pending }: StatsSummary): string {
  return `${running} running, ${successful} completed, ${failed} failed, ${pending} pending`;
}

/** Prints how many jobs are in which state; resolves with 1 where none is active. */
async function printStats(context: CommandContext, handle: Handle, isAll: boolean): Promise<number> {
  const queues = context.options.list("queue").flatMap((list) => list.split(","));
  let active = 0;
  for (const queue of queues.length === 0 ? [null] : queues) {
    const summary = new StatsSummary(await statsOf(handle, queue));
    context.out(`${statsText(summary)}, ${summary.purged} inactive purged\n`);
    active += summary.active;
  }
  return isAll && active === 0 ? 1 : 0;
}
