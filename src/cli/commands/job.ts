/** `flux job`: what can be asked of jobs and done to them, one subcommand each. What they do is loaded when one runs. */
import { defineCommand, type Command, type CommandContext, type OptionSpec } from "../framework/command.ts";

type Run = (context: CommandContext) => Promise<number | void>;
type Part = "attach" | "control" | "events" | "explain" | "ids" | "results" | "tasks";

/** Runs a function of one of the files beside this one. */
function from(part: Part, name: string): Run {
  return async (context) => {
    const module = (await load(part)) as Readonly<Record<string, Run>>;
    return module[name]!(context);
  };
}

function load(part: Part): Promise<unknown> {
  switch (part) {
    case "attach":
      return import("./job/attach.ts");
    case "control":
      return import("./job/control.ts");
    case "events":
      return import("./job/events.ts");
    case "explain":
      return import("./job/explain.ts");
    case "ids":
      return import("./job/ids.ts");
    case "results":
      return import("./job/results.ts");
    case "tasks":
      return import("./job/tasks.ts");
  }
}

function subcommand(
  name: string,
  part: Part,
  summary: string,
  usage: string,
  options: readonly OptionSpec[] = [],
  more: Partial<Command> = {},
): Command {
  return defineCommand({
    name,
    dialect: "getopt",
    summary,
    usage,
    options,
    run: from(part, functionName(name)),
    ...more,
  });
}

/** `wait-event` is carried out by `waitEvent`. */
function functionName(name: string): string {
  return name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}

const SIGNAL: OptionSpec = {
  names: ["signal"],
  short: "s",
  argument: "SIG",
  help: "Send signal SIG (default SIGTERM)",
};
const USER: OptionSpec = {
  names: ["user"],
  short: "u",
  argument: "USER",
  help: "Set target user or 'all' (instance owner only)",
};
const CONFIRM: OptionSpec = { names: ["force"], short: "f", help: "Confirm the command" };
const TIMEOUT: OptionSpec = { names: ["timeout"], short: "t", argument: "DURATION", help: "timeout after DURATION" };
const LOG_FORMAT: readonly OptionSpec[] = [
  { names: ["format"], short: "f", argument: "FORMAT", help: "Specify output format: text, json" },
  {
    names: ["time-format"],
    short: "T",
    argument: "FORMAT",
    help: "Specify time format: raw, iso, offset",
  },
  {
    names: ["human"],
    short: "H",
    help: "Display human-readable output. See also --color, --format, and --time-format.",
  },
];
const COLOR: OptionSpec = {
  names: ["color"],
  short: "L",
  argument: "WHEN",
  optionalArgument: true,
  help: "Colorize output when supported; WHEN can be 'always' (default if omitted), 'never', or 'auto' (default).",
};
const LOG_PATH: OptionSpec = {
  names: ["path"],
  short: "p",
  argument: "PATH",
  help: 'Specify alternate eventlog name or path suffix (e.g. "exec", "output", or "guest.exec.eventlog")',
};

const ATTACH_OPTIONS: readonly OptionSpec[] = [
  { names: ["show-events"], short: "E", help: "Show job events on stderr" },
  { names: ["show-exec"], short: "X", help: "Show exec events on stderr" },
  { names: ["show-status"], help: "Show job status line while pending" },
  {
    names: ["queue-check-interval"],
    argument: "FSD",
    hidden: true,
    help: "With --show-status, how often to ask whether the job's queue is stopped (default 2s)",
  },
  {
    names: ["wait-event"],
    short: "w",
    argument: "NAME",
    help: "Wait for event NAME before detaching from eventlog (default=finish)",
  },
  { names: ["label-io"], short: "l", help: "Label output by rank" },
  { names: ["verbose"], short: "v", repeatable: true, help: "Increase verbosity" },
  { names: ["quiet"], short: "q", help: "Suppress warnings written to stderr from flux-job" },
  { names: ["read-only"], short: "r", help: "Disable reading stdin and capturing signals" },
  { names: ["unbuffered"], short: "u", help: "Disable buffering of stdin" },
  {
    names: ["stdin-ranks"],
    short: "i",
    argument: "RANKS",
    help: "Send standard input to only RANKS (default: all)",
  },
  {
    names: ["tail"],
    argument: "NUM",
    optionalArgument: true,
    integer: true,
    help: "Output only the last NUM lines of job output (default 10)",
  },
  { names: ["debug"], help: "Enable parallel debugger to attach to a running job" },
  { names: ["debug-emulate"], hidden: true, help: "As a debugger would: let tasks go on that wait for one" },
];

const SUBCOMMANDS: readonly Command[] = [
  subcommand("urgency", "control", "Set job urgency (0-31, HOLD, EXPEDITE, DEFAULT)", "[OPTIONS] id urgency", [
    { names: ["verbose"], short: "v", help: "Output old urgency value on success" },
  ]),
  subcommand(
    "raise",
    "control",
    "Raise exception on one or more jobs",
    "[OPTIONS] ids... [--] [message ...]",
    [
      {
        names: ["severity"],
        short: "s",
        argument: "N",
        integer: true,
        help: "Set exception severity [0-7] (default=0)",
      },
      { names: ["type"], short: "t", argument: "TYPE", help: "Set exception type (default=cancel)" },
      { names: ["message"], short: "m", argument: "NOTE", help: "Set exception note" },
    ],
    { keepSeparator: true },
  ),
  subcommand("raiseall", "control", "Raise an exception on multiple jobs.", "OPTIONS type [message ...]", [
    {
      names: ["severity"],
      short: "s",
      argument: "N",
      integer: true,
      help: "Set exception severity [0-7] (0 is fatal, default=7)",
    },
    USER,
    {
      names: ["states"],
      short: "S",
      argument: "STATES",
      help: "Set target job states (default=ACTIVE)",
    },
    CONFIRM,
  ]),
  subcommand("kill", "control", "Send signal to one or more running jobs", "[OPTIONS] ids...", [SIGNAL]),
  subcommand("killall", "control", "Send signal to multiple running jobs", "[OPTIONS]", [SIGNAL, USER, CONFIRM]),
  subcommand(
    "cancel",
    "control",
    "Cancel one or more jobs",
    "[OPTIONS] ids... [--] [message ...]",
    [{ names: ["message"], short: "m", argument: "NOTE", help: "Set exception note" }],
    { keepSeparator: true, hidden: true },
  ),
  subcommand("attach", "attach", "Interactively attach to job", "[OPTIONS] id", ATTACH_OPTIONS),
  subcommand("status", "results", "Wait for job(s) to complete and exit with largest exit code", "id [id...]", [
    { names: ["verbose"], short: "v", repeatable: true, help: "Increase verbosity" },
    {
      names: ["json"],
      short: "j",
      help: "Dump job result information gleaned from eventlog to stdout",
    },
    {
      names: ["exception-exit-code"],
      short: "e",
      argument: "N",
      integer: true,
      help: "Set the default exit code for any jobs that terminate solely due to an exception (e.g. canceled jobs or jobs rejected by the scheduler) to N [default=1]",
    },
  ]),
  subcommand("submit", "ids", "Run job", "[OPTIONS] [jobspec]", [
    {
      names: ["urgency"],
      short: "u",
      argument: "N",
      help: "Set job urgency (0-31), hold=0, default=16, expedite=31",
    },
    {
      names: ["flags"],
      short: "f",
      argument: "FLAGS",
      help: "Set submit comma-separated flags (e.g. debug, waitable)",
    },
  ]),
  subcommand(
    "list",
    "ids",
    "List active jobs, a JSON object each",
    "[OPTIONS]",
    [
      { names: ["all-user"], short: "a", help: "List my jobs, regardless of state" },
      { names: ["all"], short: "A", help: "List jobs of all users, regardless of state" },
      { names: ["count"], short: "c", argument: "COUNT", integer: true, help: "List at most COUNT jobs" },
      {
        names: ["states"],
        short: "s",
        argument: "STATES",
        repeatable: true,
        help: "List jobs in these states",
      },
      USER,
    ],
    { hidden: true },
  ),
  subcommand(
    "list-inactive",
    "ids",
    "List inactive jobs, a JSON object each",
    "[OPTIONS]",
    [
      { names: ["count"], short: "c", argument: "COUNT", integer: true, help: "List at most COUNT jobs" },
      { names: ["since"], short: "s", argument: "T", help: "List jobs that became inactive after timestamp T" },
    ],
    { hidden: true },
  ),
  subcommand(
    "list-ids",
    "ids",
    "List jobs by id, a JSON object each",
    "[OPTIONS] ID [ID ...]",
    [{ names: ["wait-state"], short: "W", argument: "STATE", help: "Wait until each job has reached STATE" }],
    { hidden: true },
  ),
  subcommand("id", "ids", "Convert jobid(s) to another form", "[OPTIONS] [id ...]", [
    {
      names: ["to"],
      short: "t",
      argument: "dec|kvs|hex|dothex|words|f58",
      help: "Convert jobid to specified form",
    },
  ]),
  subcommand("eventlog", "events", "Display eventlog for a job", "[OPTIONS] id", [
    ...LOG_FORMAT,
    COLOR,
    { names: ["follow"], short: "F", help: "Follow events until job is inactive." },
    LOG_PATH,
  ]),
  subcommand("wait-event", "events", "Wait for an event", "[OPTIONS] id event", [
    ...LOG_FORMAT,
    TIMEOUT,
    {
      names: ["match-context"],
      short: "m",
      argument: "KEY=VAL",
      repeatable: true,
      help: "match key=val in context",
    },
    {
      names: ["count"],
      short: "c",
      argument: "COUNT",
      integer: true,
      help: "required number of matches (default 1)",
    },
    { names: ["quiet"], short: "q", help: "Do not output matched event" },
    { names: ["verbose"], short: "v", help: "Output all events before matched event" },
    COLOR,
    LOG_PATH,
    {
      names: ["waitcreate"],
      short: "W",
      help: "If path does not exist, wait for its creation",
    },
  ]),
  subcommand("info", "events", "Display info for a job", "id key", [
    {
      names: ["original"],
      short: "o",
      help: 'For key "jobspec", return the original submitted jobspec',
    },
    {
      names: ["base"],
      short: "b",
      help: 'For key "jobspec" or "R", do not apply updates from eventlog',
    },
  ]),
  subcommand("explain", "explain", "Say in words why a job waits, or how it ended", "id [id...]"),
  subcommand("stats", "results", "Get current job stats", "[OPTIONS]..."),
  subcommand("namespace", "ids", "Convert job ids to job guest kvs namespace names", "[id ...]"),
  subcommand("wait", "results", "Wait for job(s) to complete.", "[--all] [id]", [
    { names: ["all"], short: "a", help: "Wait for all (waitable) jobs" },
    {
      names: ["verbose"],
      short: "v",
      help: "Emit a line of output for all jobs, not just failing ones",
    },
  ]),
  subcommand("memo", "results", "Post an RFC 21 memo to a job", "[--volatile] id key=value [key=value, ...]", [
    {
      names: ["volatile"],
      help: "Memo will not appear in eventlog (will be lost on restart)",
    },
  ]),
  subcommand("taskmap", "tasks", "Utility function for working with job task maps", "[OPTION] JOBID|TASKMAP", [
    { names: ["taskids"], argument: "NODEID", integer: true, help: "Print idset of tasks on node NODEID" },
    { names: ["ntasks"], argument: "NODEID", integer: true, help: "Print number of tasks on node NODEID" },
    {
      names: ["nodeid"],
      argument: "TASKID",
      integer: true,
      help: "Print the shell rank/nodeid on which a taskid executed",
    },
    {
      names: ["hostname"],
      argument: "TASKID",
      integer: true,
      help: "Print the hostname on which a taskid executed",
    },
    {
      names: ["to"],
      argument: "FORMAT",
      help: "Convert an RFC 34 taskmap to another format (FORMAT can be raw, pmi, hosts, or multiline)",
    },
  ]),
  subcommand("timeleft", "results", "Find remaining runtime for job or enclosing instance", "[JOBID]", [
    {
      names: ["human"],
      short: "H",
      help: "Output in Flux Standard Duration instead of seconds.",
    },
  ]),
  subcommand("hostpids", "tasks", "Print host:pid pairs for tasks in JOBID", "[OPTIONS] JOBID", [
    {
      names: ["delimiter"],
      short: "d",
      argument: "STRING",
      help: 'Set output delimiter (default=",")',
    },
    { names: ["ranks"], short: "r", argument: "IDSET", help: "Include only task ranks in IDSET" },
    TIMEOUT,
  ]),
  subcommand("last", "ids", "List my most recently submitted job id(s)", "SLICE"),
  subcommand(
    "purge",
    "results",
    "Purge the oldest inactive jobs",
    "[--age-limit=FSD] [--num-limit=N] [--batch=COUNT] [--force] [ID ...]",
    [
      {
        names: ["age-limit"],
        argument: "FSD",
        help: "Purge jobs that became inactive beyond age-limit.",
      },
      {
        names: ["num-limit"],
        argument: "COUNT",
        integer: true,
        help: "Purge oldest inactive jobs until COUNT are left.",
      },
      { names: ["force"], short: "f", help: "Perform the irreversible purge." },
      {
        names: ["batch"],
        argument: "COUNT",
        integer: true,
        help: "Limit number of jobs per request (default 50).",
      },
    ],
  ),
];

export const command: Command = defineCommand({
  name: "job",
  dialect: "getopt",
  summary: "get job status, info, etc (see: flux help job)",
  subcommands: SUBCOMMANDS,
  helpExitCode: 1,
  examples: ["flux job attach JOBID", "flux job wait-event JOBID start", "flux job eventlog -H JOBID"],
});
