/** `flux jobs`: list jobs. */
import { FluxError, isFluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import type { Handle } from "../../sdk/handle.ts";
import { CommandExit, defineCommand, type Command, type CommandContext } from "../framework/command.ts";
import { jobIdText, parseJobId } from "../jobs/client.ts";
import { fetchJob, listRecords, recordContext } from "../jobs/listing.ts";
import { attributesOfFields, jobField, jobFieldHeading, jobJson, type JobRecord } from "../jobs/record.ts";
import { ALL_STATES, DEFAULT_STATES, parseFilter, selectionConstraint, type Selection } from "../jobs/selection.ts";
import { parseUser } from "../jobs/users.ts";
import { OutputFormat, sortRows, splitSort } from "../output/format-string.ts";
import { findFormat, formatHelp, type NamedFormat } from "../output/named-formats.ts";
import { pythonJson } from "../output/python-json.ts";
import { paintJob, wantsColor } from "../output/job-colors.ts";
import { parseDateTime } from "../submission/dates.ts";

const COUNT_DEFAULT = 1000;

const FORMATS: Readonly<Record<string, NamedFormat>> = {
  default: {
    description: "Default flux-jobs format string",
    format:
      "{id.f58:>12} ?:{queue:<8.8} +:{username:<8} {name:<10.10+} {status_abbrev:>2.2} {ntasks:>6} {nnodes:>6h} {contextual_time!F:>8h} {contextual_info}",
  },
  cute: {
    description: "Cute flux-jobs format string (default with emojis)",
    format:
      "{id.f58:>12} ?:{queue:<8.8} +:{username:<8} {name:<10.10+} {status_emoji:>5.5} {ntasks:>6} {nnodes:>6h} {contextual_time!F:>8h} {contextual_info}",
  },
  long: {
    description: "Extended flux-jobs format string",
    format:
      "{id.f58:>12} ?:{queue:<8.8} +:{username:<8} {name:<10.10+} {status:>9.9} {ntasks:>6} {nnodes:>6h} {t_submit!d:%b%d %R::>12} {t_remaining!F:>12h} {contextual_time!F:>8h} {contextual_info}",
  },
  deps: {
    description: "Show job urgency, priority, and dependencies",
    format: "{id.f58:>12} ?:{queue:<8.8} {name:<10.10+} {urgency:<3} {priority:<12} {state:<8.8} {dependencies}",
  },
  endreason: {
    description: "Show why each job ended",
    format:
      "{id.f58:>12} ?:{queue:<8.8} +:{username:<8} {name:<10.10+} {status_abbrev:>2.2} {t_inactive!d:%b%d %R::>12h} {inactive_reason}",
  },
};

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
      help: "Specify output format using Python's string format syntax or a defined format by name (use 'help' to get a list of names)",
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
  const { options } = context;
  const requested = options.text("format") ?? context.host.env["FLUX_JOBS_FORMAT_DEFAULT"] ?? "default";
  const special = await formatHelp("flux-jobs", { file: "flux-jobs" }, requested, FORMATS, context.host.env);
  if (special !== null) {
    context.out(special);
    return 0;
  }
  const format = await findFormat({ file: "flux-jobs" }, requested, FORMATS, context.host.env);
  const listing = new Listing(context, format);
  const handle = await context.open();
  if (options.has("stats-only")) return printStats(context, handle);
  if (options.has("json")) return listing.json(handle);
  return listing.table(handle, []);
}

class Listing {
  readonly #context: CommandContext;
  readonly #format: OutputFormat;
  readonly #sortKeys: readonly string[];
  readonly #color: boolean;
  #exitCode = 0;

  constructor(context: CommandContext, chosen: string) {
    this.#context = context;
    const { keys, format } = splitSort(chosen);
    const sort = context.options.text("sort");
    this.#sortKeys = sort === null ? keys : sort.split(",");
    try {
      this.#format = new OutputFormat(format, jobFieldHeading);
    } catch (error) {
      if (!isFluxError(error)) throw error;
      throw new FluxError("EINVAL", `Error in user format: ${error.message}`, { cause: error });
    }
    for (const key of this.#sortKeys)
      if (jobFieldHeading(key.replace(/^-/, "")) === null)
        throw new FluxError("EINVAL", `Invalid sort key: ${key.replace(/^-/, "")}`);
    this.#color = wantsColor(context);
  }

  async json(handle: Handle): Promise<number> {
    const jobs = await this.#jobs(handle, ["all"]);
    const objects = jobs.map(jobJson);
    if (this.#context.operands.length === 1) {
      if (objects[0] !== undefined) this.#context.out(`${pythonJson(objects[0])}\n`);
    } else this.#context.out(`${pythonJson({ jobs: objects })}\n`);
    return this.#exitCode;
  }

  /** Prints the jobs of an instance, and those of the instances among them where that is wanted. */
  async table(handle: Handle, path: readonly string[]): Promise<number> {
    const { options } = this.#context;
    const recursive = options.has("recursive") || options.has("recurse-all");
    if (options.has("stats")) await printStats(this.#context, handle);
    const sortFields = this.#sortKeys.map((key) => key.replace(/^-/, ""));
    const attrs = [...attributesOfFields([...this.#format.fields, ...sortFields]), "state", "result", "userid"];
    const jobs = await this.#jobs(handle, [...new Set([...attrs, "annotations"])]);
    this.#print(jobs, path.length === 0);
    if (recursive && path.length < (options.integer("level") ?? Infinity)) await this.#children(jobs, path);
    return this.#exitCode;
  }

  async #children(jobs: readonly JobRecord[], path: readonly string[]): Promise<void> {
    for (const job of jobs) {
      const uri = instanceUri(job);
      const mine = job.number("userid") === this.#context.host.uid;
      if (uri === null || job.isInactive || (!mine && !this.#context.options.has("recurse-all"))) continue;
      const here = [...path, jobIdText(job.id)];
      this.#context.out(`\n${here.join("/")}:\n`);
      const child = await this.#context.open(uri);
      await this.table(child, here);
    }
  }

  #print(jobs: readonly JobRecord[], withHeader: boolean): void {
    const { options } = this.#context;
    const byRow = new Map(jobs.map((job) => [(name: string) => jobField(job, name), job]));
    const rows = sortRows([...byRow.keys()], this.#sortKeys, (name) => jobFieldHeading(name) !== null);
    const { header, lines } = this.#format.table(rows);
    const width = this.#width();
    if (withHeader && !options.has("no-header")) this.#context.out(`${cut(header, width)}\n`);
    lines.forEach((line, index) => {
      if (line === null) return;
      const text = `${cut(line, width)}\n`;
      this.#context.out(this.#color ? paintJob(byRow.get(rows[index]!)!, text, instanceUri) : text);
    });
  }

  #width(): number {
    const { options } = this.#context;
    if (!options.has("width")) return Infinity;
    const width = options.integer("width") ?? 0;
    if (width < 0) return Infinity;
    return width === 0 ? (this.#context.columns ?? Infinity) : width;
  }

  async #jobs(handle: Handle, attrs: readonly string[]): Promise<JobRecord[]> {
    const { operands, options } = this.#context;
    if (operands.length > 0) return this.#jobsById(handle, operands, attrs);
    const count = options.integer("count") ?? COUNT_DEFAULT;
    const since = this.#since();
    const jobs = await listRecords(handle, {
      attrs,
      constraint: selectionConstraint(this.#selection(since !== null)),
      maxEntries: count,
      ...(since !== null && { since }),
    });
    if (jobs.length === count && count > 0 && !options.has("no-header") && !options.has("json"))
      this.#warnTruncated(count);
    return jobs;
  }

  #warnTruncated(count: number): void {
    this.#context.err(
      `warning: output truncated at ${count} jobs.\nUse --count to increase returned results or use filters to alter results.\n`,
    );
  }

  async #jobsById(handle: Handle, ids: readonly string[], attrs: readonly string[]): Promise<JobRecord[]> {
    const { options } = this.#context;
    if (["all-states", "all-users", "filter", "user", "since", "queue", "name"].some((name) => options.has(name)))
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
          this.#exitCode = 1;
          return null;
        }
      }),
    );
    const jobs = found.filter((job) => job !== null);
    if (jobs.length === 0) throw new CommandExit(this.#exitCode);
    return jobs;
  }

  #since(): number | null {
    const text = this.#context.options.text("since");
    if (text === null) return null;
    const now = Date.now() / 1000;
    const since = parseDateTime(text, now);
    if (since === null) throw new FluxError("EINVAL", `--since: invalid datetime '${text}'`);
    if (since > now) throw new FluxError("EINVAL", `--since=${text} appears to be in the future`);
    return since;
  }

  #selection(since: boolean): Selection {
    const { options, host } = this.#context;
    const filter = options.has("filter") ? parseFilter(options.list("filter")) : null;
    const all = options.has("all-states") || (since && filter === null);
    const include = options.text("include");
    const user = options.text("user");
    const everyone = options.has("all-users") || (include !== null && user === null);
    const userid = user === null ? host.uid : parseUser(user);
    return {
      userid: everyone || userid < 0 ? null : userid,
      states: all ? ALL_STATES : (filter?.states ?? DEFAULT_STATES),
      results: all ? 0 : (filter?.results ?? 0),
      queues: options.list("queue").flatMap((list) => list.split(",")),
      name: options.text("name"),
      include,
    };
  }
}

/** Where the instance that a job is listens; null where it is none. */
function instanceUri(job: JobRecord): string | null {
  const uri = job.annotation(["user", "uri"]);
  return typeof uri === "string" ? uri.replace(/^ssh:\/\/[^/]*/, "local://") : null;
}

function cut(line: string, width: number): string {
  const letters = [...line];
  return letters.length <= width ? line : `${letters.slice(0, Math.max(0, width - 1)).join("")}+`;
}

interface JobStats {
  readonly job_states: Readonly<Record<string, number>>;
  readonly successful: number;
  readonly failed: number;
  readonly canceled: number;
  readonly timeout: number;
  readonly inactive_purged: number;
  readonly queues?: readonly (JsonObject & { readonly name: string })[];
}

/** Prints how many jobs are in which state; resolves with 1 where none is active. */
async function printStats(context: CommandContext, handle: Handle): Promise<number> {
  const whole = await handle.rpc<JobStats>("job-list.job-stats");
  const queue = context.options.text("queue");
  const stats = queue === null ? whole : (whole.queues?.find(({ name }) => name === queue) as JobStats | undefined);
  if (stats === undefined) throw new FluxError("EINVAL", `no stats available for queue ${queue}`);
  const states = stats.job_states;
  const sum = (...names: string[]): number => names.reduce((total, name) => total + (states[name] ?? 0), 0);
  const failed = stats.failed + stats.canceled + stats.timeout;
  const active = sum("depend", "priority", "sched", "run", "cleanup");
  context.out(
    `${sum("run", "cleanup")} running, ${stats.successful} completed, ${failed} failed, ${sum("depend", "priority", "sched")} pending, ${stats.inactive_purged} inactive purged\n`,
  );
  return active === 0 ? 1 : 0;
}
