/** `flux pgrep` and `flux pkill`: jobs by name or range of ids. */
import { FluxError, isFluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import type { Handle } from "../../sdk/handle.ts";
import { cancelJob } from "../../sdk/jobs.ts";
import {
  CommandExit,
  defineCommand,
  type Command,
  type CommandContext,
  type OptionSpec,
} from "../framework/command.ts";
import { JOB_FORMATS } from "../jobs/formats.ts";
import { jobIdText, watchEventlog } from "../jobs/client.ts";
import { listRecords } from "../jobs/listing.ts";
import { parseJobPattern, type JobPattern } from "../jobs/pattern.ts";
import type { JobRecord } from "../jobs/record.ts";
import { ALL_STATES, DEFAULT_STATES, parseFilter, queuesMeant, selectionConstraint } from "../jobs/selection.ts";
import { JobTable } from "../jobs/table.ts";
import { parseUser } from "../jobs/users.ts";
import { findFormat, formatHelp, type NamedFormat } from "../output/named-formats.ts";

const EXIT_USAGE = 2;
const ENTRIES_DEFAULT = 1000;
/** The default of `flux jobs` is `full` here. */
const FORMATS: Readonly<Record<string, NamedFormat>> = {
  default: { description: "Default flux-pgrep format string", format: "{id.f58}" },
  full: { ...JOB_FORMATS["default"]!, description: "full flux-pgrep format string" },
  long: JOB_FORMATS["long"]!,
  deps: JOB_FORMATS["deps"]!,
};
const FORMAT_SOURCE = { file: "flux-jobs" };

const ALL_STATES_OPTION: OptionSpec = {
  names: ["all-states"],
  short: "a",
  shortOnly: true,
  help: "Target jobs in all states",
};
const ALL_USERS: OptionSpec = { names: ["all-users"], short: "A", shortOnly: true, help: "Target all users" };
const SELECTION: readonly OptionSpec[] = [
  {
    names: ["user"],
    short: "u",
    argument: "[USERNAME|UID]",
    help: 'Limit output to specific username or userid (Specify "all" for all users)',
  },
  {
    names: ["filter"],
    short: "f",
    argument: "STATE|RESULT",
    repeatable: true,
    help: "List jobs with specific job state or result",
  },
  {
    names: ["queue"],
    short: "q",
    argument: "QUEUE,...",
    repeatable: true,
    help: "Limit output to specific queue or queues",
  },
  {
    names: ["count"],
    short: "c",
    argument: "N",
    integer: true,
    help: "Limit output to the first N matches",
  },
  {
    names: ["max-entries"],
    argument: "N",
    integer: true,
    help: `Limit number of searched jobs to N entries (default: ${ENTRIES_DEFAULT})`,
  },
];
const EXPRESSION = [{ name: "EXPRESSION", arity: "+", help: "job name pattern or id range" }] as const;

const pgrep: Command = defineCommand({
  name: "pgrep",
  dialect: "argparse",
  summary: "search or cancel matching jobs",
  options: [
    ALL_STATES_OPTION,
    ALL_USERS,
    ...SELECTION,
    { names: ["no-header"], short: "n", help: "Suppress printing of header line" },
    {
      names: ["format"],
      short: "o",
      argument: "FORMAT",
      help: "Specify output format using Python's string format syntax or a defined format by name (use 'help' to get a list of names)",
    },
  ],
  operands: EXPRESSION,
  async run(context): Promise<number> {
    const { options, host } = context;
    const requested = options.text("format") ?? host.env["FLUX_PGREP_FORMAT_DEFAULT"] ?? "default";
    const special = await formatHelp("flux-jobs", FORMAT_SOURCE, requested, FORMATS, host.env);
    if (special !== null) {
      context.out(special);
      return 0;
    }
    const table = new JobTable(context, await findFormat(FORMAT_SOURCE, requested, FORMATS, host.env), null);
    const { jobs } = await matching(context, table.attributes);
    if (jobs.length > 0) table.print(jobs, requested !== "default" && !options.has("no-header"));
    return jobs.length === 0 ? 1 : 0;
  },
});

const pkill: Command = defineCommand({
  name: "pkill",
  dialect: "argparse",
  summary: "cancel matching jobs",
  options: [
    { ...ALL_STATES_OPTION, hidden: true },
    ALL_USERS,
    ...SELECTION,
    { names: ["wait"], short: "w", help: "Wait for jobs to finish after cancel" },
  ],
  operands: EXPRESSION,
  async run(context): Promise<number> {
    const { jobs, handle } = await matching(context, []);
    if (jobs.length === 0) return 1;
    const results = await Promise.all(jobs.map((job) => cancelOne(context, handle, job)));
    const canceled = results.filter((done) => done).length;
    context.err(`flux-pkill: INFO: Canceled ${canceled} job${canceled === 1 ? "" : "s"}\n`);
    return canceled === jobs.length ? 0 : 1;
  },
});

export const commands: Readonly<Record<string, Command>> = { pgrep, pkill };

async function matching(
  context: CommandContext,
  attrs: readonly string[],
): Promise<{ jobs: readonly JobRecord[]; handle: Handle }> {
  const { options, operands, host } = context;
  const pattern = patternOf(context, operands);
  const filter = options.has("filter") ? parseFilter(options.list("filter")) : null;
  const user = options.text("user");
  const userid = user === null ? host.uid : parseUser(user);
  const queues = options.list("queue").flatMap((list) => list.split(","));
  const handle = await context.open();
  const constraint = selectionConstraint({
    userid: options.has("all-users") || userid < 0 ? null : userid,
    states: options.has("all-states") ? ALL_STATES : (filter?.states ?? DEFAULT_STATES),
    results: options.has("all-states") ? 0 : (filter?.results ?? 0),
    queues: queues.length === 0 ? queues : queuesMeant(queues, await handle.rpc<JsonObject>("config.get")),
    name: null,
    include: null,
  });
  const all = await listRecords(handle, {
    attrs: [...new Set([...attrs, "name"])],
    constraint,
    maxEntries: options.integer("max-entries") ?? ENTRIES_DEFAULT,
  });
  const jobs = all.filter((job) => pattern({ id: job.id, name: job.text("name") }));
  return { jobs: jobs.slice(0, options.integer("count") ?? jobs.length), handle };
}

function patternOf(context: CommandContext, expressions: readonly string[]): JobPattern {
  try {
    return parseJobPattern(expressions);
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
    context.complain(error.message);
    throw new CommandExit(EXIT_USAGE);
  }
}

async function cancelOne(context: CommandContext, handle: Handle, job: JobRecord): Promise<boolean> {
  try {
    await cancelJob(handle, job.id);
    if (context.options.has("wait")) await untilInactive(handle, job);
    return true;
  } catch (error) {
    if (!isFluxError(error)) throw error;
    context.complain(`${jobIdText(job.id)}: ${error.message}`);
    return false;
  }
}

function untilInactive(handle: Handle, job: JobRecord): Promise<void> {
  return new Promise((resolve, reject) => {
    watchEventlog(handle, job.id, "eventlog", {
      event: () => undefined,
      end: (error) => (error === null ? resolve() : reject(error)),
    });
  });
}
