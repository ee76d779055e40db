/** The options of the commands that submit jobs, as data. Order and words are those of the help. */
import type { OptionSpec } from "../framework/command.ts";

/** What the help ends with. */
export const TOPICS_HINT: string = `More by --help=TOPIC: size, dependencies, environment, templates, streams,
constraints, limits, many, directives, exit-status
`;

const COMMON_OPTIONS: readonly OptionSpec[] = [
  {
    names: ["help"],
    argument: "TOPIC",
    optionalArgument: true,
    help: "Show this help message or extended help for TOPIC and exit",
  },
  { names: ["bank"], short: "B", argument: "BANK", help: "Submit a job to a specific named bank" },
  { names: ["queue"], short: "q", argument: "NAME", help: "Submit a job to a specific named queue" },
  {
    names: ["time-limit"],
    short: "t",
    argument: "MIN|FSD",
    help: "Time limit in minutes when no units provided, otherwise in Flux standard duration, e.g. 30s, 2d, 1.5h",
  },
  {
    names: ["urgency"],
    argument: "N",
    help: "Set job urgency (0-31), hold=0, default=16, expedite=31",
  },
  { names: ["job-name"], argument: "NAME", help: "Set an optional name for job to NAME" },
  {
    names: ["once"],
    argument: "NAME",
    help: "Name the job NAME, and submit it only if no job of that name has succeeded or is under way: print its id instead",
  },
  {
    names: ["setopt"],
    short: "o",
    argument: "OPT",
    repeatable: true,
    help: "Set shell option OPT. An optional value is supported with OPT=VAL (default VAL=1) (multiple use OK)",
  },
  {
    names: ["setattr"],
    short: "S",
    argument: "ATTR",
    repeatable: true,
    help:
      "Set job attribute ATTR. An optional value is supported with ATTR=VAL (default VAL=1). If ATTR starts with " +
      "^, then VAL is a file containing valid JSON which will be used as the value of the attribute. (multiple " +
      "use OK)",
  },
  {
    names: ["add-file"],
    argument: "[NAME=]PATH",
    repeatable: true,
    help:
      "Add a file at PATH with optional NAME to jobspec. The file will be extracted to {{tmpdir}}/NAME. If NAME " +
      "is not specified, then the basename of PATH will be used. If necessary, permissions may be specified via " +
      "NAME:PERMS. (multiple use OK)",
  },
  {
    names: ["dependency"],
    argument: "URI",
    repeatable: true,
    help: "Set an RFC 26 dependency URI for this job",
  },
  {
    names: ["requires"],
    argument: "CONSTRAINT",
    repeatable: true,
    help: "Specify job constraints in RFC 35 syntax",
  },
  {
    names: ["begin-time"],
    argument: "+FSD|TIME",
    help: 'Set minimum start time as offset in FSD (e.g. +1h) or an absolute TIME (e.g. "3pm") for job',
  },
  {
    names: ["env"],
    argument: "RULE",
    repeatable: true,
    help:
      "Control how environment variables are exported. If RULE starts with '-' apply rest of RULE as a remove " +
      "filter (see --env-remove), if '^' then read rules from a file (see --env-file). Otherwise, set matching " +
      "environment variables from the current environment (--env=PATTERN) or set a value explicitly " +
      "(--env=VAR=VALUE). Rules are applied in the order they are used on the command line. (multiple use OK)",
  },
  {
    names: ["env-remove"],
    argument: "PATTERN",
    repeatable: true,
    help: "Remove environment variables matching PATTERN. If PATTERN starts with a '/', then it is matched as a regular expression, otherwise PATTERN is a shell glob expression. (multiple use OK)",
  },
  {
    names: ["env-file"],
    argument: "FILE",
    repeatable: true,
    help: "Read a set of environment rules from FILE. (multiple use OK)",
  },
  {
    names: ["rlimit"],
    argument: "RULE",
    repeatable: true,
    help:
      "Control how soft resource limits are propagated to the job. If RULE starts with a '-', then do not " +
      "propagate matching resource limits (e.g. '-*' propagates nothing). Otherwise, propagate the current limit " +
      "or a specific value, e.g. --rlimit=core or --rlimit=core=16. The option may be used multiple times to " +
      "build a reduced set of propagated limits, e.g. --rlimit=-*,core will only propagate RLIMIT_CORE.",
  },
  { names: ["input"], argument: "FILENAME", help: "Redirect job stdin from FILENAME, bypassing KVS" },
  { names: ["output"], argument: "FILENAME", help: "Redirect job stdout to FILENAME, bypassing KVS" },
  { names: ["error"], argument: "FILENAME", help: "Redirect job stderr to FILENAME, bypassing KVS" },
  { names: ["unbuffered"], short: "u", help: "Disable buffering of input and output" },
  { names: ["label-io"], short: "l", help: "Add rank labels to stdout, stderr lines" },
  { names: ["cwd"], argument: "DIRECTORY", help: "Set job working directory" },
  {
    names: ["flags"],
    argument: "FLAGS",
    repeatable: true,
    help: "Set comma separated list of job submission flags. Possible flags: debug, waitable, novalidate",
  },
  {
    names: ["signal"],
    argument: "[SIG][@TIME]",
    help: "Schedule delivery of signal SIG at a defined TIME before job expiration. Default SIG is SIGUSR1, default TIME is 60s.",
  },
  {
    names: ["retry"],
    argument: "N[,delay=FSD][,on=REASON[,REASON]]",
    help:
      "Run the job again, up to N times, where it fails: after a delay, and only for the reasons given (exit, signal, " +
      "exception; all by default). Those that depend on it see the last outcome.",
  },
  { names: ["dry-run", "dry"], help: "Don't actually submit job, just emit jobspec" },
  { names: ["quiet"], help: "Do not print jobid to stdout on submission" },
  { names: ["list-plugins"], help: "Print all command-line plugins that are loaded and exit" },
  { names: ["debug"], help: "Set job debug flag", hidden: true },
];

/** Options of the commands that run tasks, not instances. */
const TASK_OPTIONS: readonly OptionSpec[] = [
  {
    names: ["taskmap"],
    argument: "URI",
    help: "Select the scheme for mapping task ids to nodes as a URI (i.e. SCHEME[:VALUE]). Value options include block, cyclic, cyclic:N, or manual:TASKMAP (default: block)",
  },
  {
    names: ["verbose"],
    short: "v",
    repeatable: true,
    help: "Increase verbosity on stderr (multiple use OK)",
  },
];

const RESOURCES = "Common resource options";
const PER_TASK =
  "Per task options:\n  The following options allow per-task specification of resources, and\n  should not be combined with per-resource options.\n";
const PER_RESOURCE =
  "Per resource options:\n  The following options allow per-resource specification of tasks, and\n  should not be used with per-task options above\n";

/** The heading of what plugins add. */
export const PLUGINS = "Options provided by plugins (--help=OPTION for extended plugin documentation)";

/** Resources as they stand in a jobspec: built in, where users look for what plugins add. */
export const SHAPE_OPTIONS: readonly OptionSpec[] = [
  {
    names: ["resources-shape"],
    argument: "SHAPE",
    group: PLUGINS,
    help: "Provide an RFC 46 jobspec shape on the command line. Any other resource arguments will be ignored.",
  },
  {
    names: ["resources-json"],
    argument: "FILE",
    group: PLUGINS,
    help: "Provide a JSON file specifying the `resources` section of a jobspec.",
  },
];

const RESOURCE_OPTIONS: readonly OptionSpec[] = [
  { names: ["nodes"], short: "N", argument: "N", group: RESOURCES, help: "Number of nodes to allocate" },
  {
    names: ["exclusive"],
    short: "x",
    group: RESOURCES,
    help: "With -N, --nodes, allocate nodes exclusively",
  },
  { names: ["ntasks"], short: "n", argument: "N", group: PER_TASK, help: "Number of tasks to start" },
  {
    names: ["cores-per-task"],
    short: "c",
    argument: "N",
    group: PER_TASK,
    help: "Number of cores to allocate per task",
  },
  {
    names: ["gpus-per-task"],
    short: "g",
    argument: "N",
    group: PER_TASK,
    help: "Number of GPUs to allocate per task",
  },
  { names: ["cores"], argument: "N", group: PER_RESOURCE, help: "Request a total number of cores" },
  { names: ["tasks-per-node"], argument: "N", group: PER_RESOURCE, help: "Force number of tasks per node" },
  { names: ["tasks-per-core"], argument: "N", group: PER_RESOURCE, help: "Force number of tasks per core" },
  {
    names: ["gpus-per-node"],
    argument: "N",
    group: PER_RESOURCE,
    help: "Request a number of GPUs per node with --nodes",
  },
];

/** Options of the commands that submit many jobs at once. */
const BULK_OPTIONS: readonly OptionSpec[] = [
  {
    names: ["cc"],
    argument: "IDSET",
    help: "Replicate job for each ID in IDSET. (FLUX_JOB_CC=ID will be set for each job submitted)",
  },
  { names: ["bcc"], argument: "IDSET", help: "Like --cc, but FLUX_JOB_CC is not set" },
  { names: ["wait-event"], argument: "NAME", help: "Wait for event NAME for all jobs after submission" },
  {
    names: ["wait"],
    help: "Wait for all jobs to complete after submission (same as --wait-event=clean)",
  },
  { names: ["watch"], help: "Watch all job output (implies --wait)" },
  {
    names: ["log"],
    argument: "FILE",
    help: "Print program log messages (e.g. submitted jobid) to FILE instead of terminal",
  },
  {
    names: ["log-stderr"],
    argument: "FILE",
    help: "Separate stderr messages into FILE instead of terminal or logfile destination",
  },
  { names: ["progress"], help: "Show progress of job submission or completion (with --wait)" },
  { names: ["jps"], help: "With --progress, show job throughput" },
];

export const RUN_OPTIONS: readonly OptionSpec[] = [
  ...COMMON_OPTIONS,
  ...TASK_OPTIONS,
  { names: ["wait-event"], argument: "NAME", help: "Pass --wait-event=NAME to flux-job attach" },
  ...RESOURCE_OPTIONS,
  ...SHAPE_OPTIONS,
];

export const SUBMIT_OPTIONS: readonly OptionSpec[] = [
  ...COMMON_OPTIONS,
  ...TASK_OPTIONS,
  ...BULK_OPTIONS,
  ...RESOURCE_OPTIONS,
  ...SHAPE_OPTIONS,
];

export const BULKSUBMIT_OPTIONS: readonly OptionSpec[] = [
  ...COMMON_OPTIONS,
  ...TASK_OPTIONS,
  ...BULK_OPTIONS,
  {
    names: ["define"],
    argument: "NAME=CODE",
    repeatable: true,
    help:
      "Define a named method for transforming any input, accessible via e.g. '{0.NAME}'. The method is an " +
      "expression in Python syntax of the input 'x', e.g. --define=pow='2**int(x)'. (multiple use OK)",
  },
  { names: ["shuffle"], help: "Shuffle list of commands before submission" },
  {
    names: ["sep"],
    argument: "STRING",
    help: "Set the input argument separator. To split on whitespace, use --sep=none. The default is newline.",
  },
  ...RESOURCE_OPTIONS,
  ...SHAPE_OPTIONS,
];

/** Options of the commands that start instances. */
const INSTANCE_OPTIONS: readonly OptionSpec[] = [
  {
    names: ["conf"],
    argument: "CONF",
    repeatable: true,
    help:
      "Set configuration for a child Flux instance. CONF may be a multiline string in JSON or TOML, a " +
      "configuration key=value, a path to a JSON or TOML file, or a configuration loaded by name from a standard " +
      "search path. This option may specified multiple times, in which case the config is iteratively updated.",
  },
  { names: ["broker-opts"], argument: "OPTS", repeatable: true, help: "Pass options to flux brokers" },
  { names: ["dump"], argument: "FILE", optionalArgument: true, help: "Archive KVS on exit" },
  {
    names: ["fail-on"],
    argument: "any|N|none",
    help: "Fail when any, or at least N, of the jobs inside have failed, though the script succeeds (default none)",
  },
  {
    names: ["resume"],
    argument: "PATH",
    help: "Go on where the instance stopped that PATH was left by: its statedir, or a dump of its content",
  },
  {
    names: ["nslots"],
    short: "n",
    argument: "N",
    integer: true,
    help: "Number of total resource slots requested. The size of a resource slot may be specified via the -c, --cores-per-slot and -g, --gpus-per-slot options. The default slot size is 1 core.",
  },
  { names: ["cores-per-slot"], short: "c", argument: "N", integer: true, help: "Number of cores to allocate per slot" },
  { names: ["gpus-per-slot"], short: "g", argument: "N", integer: true, help: "Number of GPUs to allocate per slot" },
  {
    names: ["nodes"],
    short: "N",
    argument: "N",
    integer: true,
    help: "Distribute allocated resource slots across N individual nodes",
  },
  { names: ["exclusive"], short: "x", help: "With -N, --nodes, allocate nodes exclusively" },
  {
    names: ["add-brokers"],
    argument: "N",
    integer: true,
    hidden: true,
    help: "Add N brokers, which get no jobs, to the first node",
  },
];

export const BATCH_OPTIONS: readonly OptionSpec[] = [
  ...COMMON_OPTIONS,
  ...INSTANCE_OPTIONS,
  ...SHAPE_OPTIONS,
  { names: ["wrap"], help: "Wrap arguments or stdin in a /bin/sh script" },
];

export const ALLOC_OPTIONS: readonly OptionSpec[] = [
  ...COMMON_OPTIONS,
  ...INSTANCE_OPTIONS,
  ...SHAPE_OPTIONS,
  {
    names: ["verbose"],
    short: "v",
    repeatable: true,
    help: "Increase verbosity on stderr (multiple use OK)",
  },
  { names: ["bg"], help: "Wait for new instance to start, but do not attach to it." },
];
