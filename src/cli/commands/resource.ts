/** `flux resource`: what an instance has, what is free, and what is withheld (flux-resource(1)). */
import { FluxError } from "../../base/errors.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { Idset } from "../../formats/idset.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import {
  CommandExit,
  defineCommand,
  type Command,
  type CommandContext,
  type OptionSpec,
} from "../framework/command.ts";
import { Float } from "../output/field-value.ts";
import { OutputFormat, splitSort } from "../output/format-string.ts";
import { wantsColor } from "../output/job-colors.ts";
import { findFormat, formatHelp, type NamedFormat } from "../output/named-formats.ts";
import { resourceSetText } from "../output/resource-set-text.ts";
import { EVENTLOG_OPTIONS, eventlog } from "../resource/eventlog.ts";
import type { Queues } from "../resource/queues.ts";
import { CONFIG_FILE, FROM_STDIN, hiddenQueues, resourceSource, systemSource } from "../resource/source.ts";
import { parseStates, STATUS_HEADINGS, VALID_STATES } from "../resource/status.ts";
import { LIST_HEADINGS, listRows, ranksOf, resourcesIn, type FieldValues } from "../resource/view.ts";

const LIST_FORMATS: Readonly<Record<string, NamedFormat>> = {
  default: {
    description: "Default flux-resource list format string",
    format: "{state:>10} ?+:{queue:<5} ?:{propertiesx:<10.10+} {nnodes:>6} +:{ncores:>6} ?+:{ngpus:>5} {nodelist}",
  },
  rlist: {
    description: "Format including resource list details",
    format: "{state:>10} ?+:{queue:<5} ?:{propertiesx:<10.10+} {nnodes:>6} +:{ncores:>6} ?+:{ngpus:>5} {rlist}",
  },
};
const STATUS_FORMATS: Readonly<Record<string, NamedFormat>> = {
  default: {
    description: "Default flux-resource status format string",
    format: "{state:>12} {color_up}{up:>2}{color_off} {nnodes:>6} {nodelist}",
  },
  long: {
    description: "Long flux-resource status format string",
    format: "{state:>12} {color_up}{up:>2}{color_off} {nnodes:>6} +:{reason:<30.30} {nodelist}",
  },
};
const DRAIN_FORMATS: Readonly<Record<string, NamedFormat>> = {
  long: {
    description: "Long flux-resource drain format string",
    format: "{timestamp!d:%b%d %R::<12} {state:<8.8} {ranks:<8.8+} +:{reason:<30.30} {nodelist}",
  },
  default: {
    description: "Default flux-resource drain format string",
    format: "{timestamp!d:%b%d %R::<12} {state:<8.8} {reason:<30.30+} {nodelist}",
  },
};

/** What marks who is up in color; without color nothing is there, and no space before it. */
const COLOR_FIELDS = /(?: ?\{color_up\})|\{color_off\}/g;

const FORMAT: OptionSpec = {
  names: ["format"],
  short: "o",
  argument: "FORMAT",
  help: "Specify output format: a format string or the name of one ('help' lists the names)",
};
const NO_HEADER: OptionSpec = { names: ["no-header"], short: "n", help: "Suppress printing of header line" };
const STATES: OptionSpec = {
  names: ["states", "state"],
  short: "s",
  argument: "STATE,...",
  help: "Output resources in given states",
};
const QUEUE: OptionSpec = {
  names: ["queue"],
  short: "q",
  argument: "QUEUE,...",
  help: "Include only the given queues",
};
const INCLUDE: OptionSpec = {
  names: ["include"],
  short: "i",
  argument: "TARGETS",
  help: "Include only these nodes: an idset of ranks or a hostlist",
};
const SKIP_EMPTY: readonly OptionSpec[] = [
  { names: ["skip-empty"], help: "Skip empty lines; on where --include is given" },
  { names: ["no-skip-empty"], help: "Do not skip empty lines, with --include either" },
];
/** Taken, and not told of. */
const hidden = (option: OptionSpec): OptionSpec => ({ ...option, hidden: true });
const STATUS_SKIP_EMPTY: OptionSpec = { names: ["skip-empty"], help: "Skip empty lines, with --states as well" };
const COLOR: OptionSpec = {
  names: ["color"],
  short: "L",
  argument: "WHEN",
  optionalArgument: true,
  help: "Use color; WHEN can be 'never', 'always' or 'auto' (default)",
};
/** What becomes of targets that are drained (undrained) already. */
const FORCE: OptionSpec = {
  names: ["force"],
  short: "f",
  repeatable: true,
  help: "Do not fail for targets that are so already, but replace their reason; twice: their timestamp, too",
};
const UPDATE: OptionSpec = {
  names: ["update"],
  short: "u",
  help: "Do not fail for targets that are so already, and leave their reason and timestamp",
};

interface ChosenFormat {
  readonly format: OutputFormat;
  /** Fields to sort by; with a minus sign in descending order. */
  readonly sortKeys: readonly string[];
}

/** The format that `-o` names or is, or the environment for the subcommand; null after the list of formats was printed. */
async function formatOf(
  context: CommandContext,
  section: "list" | "status" | "drain",
  formats: Readonly<Record<string, NamedFormat>>,
  headings: Readonly<Record<string, string>>,
): Promise<ChosenFormat | null> {
  const { env } = context.host;
  const preferred = env[`FLUX_RESOURCE_${section.toUpperCase()}_FORMAT_DEFAULT`];
  const given = context.options.text("format") ?? preferred ?? "default";
  const source = { file: "flux-resource", section };
  const help = await formatHelp("flux-resource", source, given, formats, env);
  if (help !== null) {
    context.out(help);
    return null;
  }
  const { keys, format: text } = splitSort(await findFormat(source, given, formats, env));
  const format = section === "status" && !wantsColor(context) ? text.replace(COLOR_FIELDS, "") : text;
  const heading = (name: string): string | null => (Object.hasOwn(headings, name) ? headings[name]! : null);
  const unknown = keys.map((key) => key.replace(/^-/, "")).find((key) => heading(key) === null);
  if (unknown !== undefined) context.fail(`Invalid sort key: ${unknown}`);
  return { format: guarded(context, () => new OutputFormat(format, heading)), sortKeys: keys };
}

/** Ends the command with the sentence of an operating error. */
function guarded<T>(context: CommandContext, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof FluxError) context.fail(error.message);
    throw error;
  }
}

function comparable(value: FieldValues[string] | undefined): string | number {
  return value instanceof Float ? value.value : (value ?? "");
}

function compareRows(keys: readonly string[], left: FieldValues, right: FieldValues): number {
  for (const key of keys) {
    const name = key.replace(/^-/, "");
    const [a, b] = [comparable(left[name]), comparable(right[name])];
    if (a !== b) return a < b === (name === key) ? -1 : 1;
  }
  return 0;
}

function print(context: CommandContext, { format, sortKeys }: ChosenFormat, rows: readonly FieldValues[]): void {
  const sorted = rows.toSorted((left, right) => compareRows(sortKeys, left, right));
  const { header, lines } = format.table(sorted.map((row) => (field) => row[field]));
  if (!context.options.has("no-header")) context.out(`${header}\n`);
  for (const line of lines) if (line !== null) context.out(`${line}\n`);
}

/** What `-q` and `-i` leave; null = everything. */
function includedRanks(context: CommandContext, all: ResourceSet, queues: Queues): Idset | null {
  const targets = includedTargets(context);
  const names = namedQueues(context);
  const ranks = targets === null ? null : includeRanks(context, targets, all);
  if (names === null) return ranks;
  const wanted = guarded(context, () =>
    names.map((name) => queues.ranks(name, all)).reduce((left, right) => left.union(right)),
  );
  return ranks === null ? wanted : ranks.intersect(wanted);
}

/** What `-i` names; an empty text names nothing and limits nothing. */
function includedTargets({ options }: CommandContext): string | null {
  const targets = options.text("include");
  return targets === "" ? null : targets;
}

function includeRanks(context: CommandContext, targets: string, all: ResourceSet): Idset {
  if (Idset.tryParse(targets) === null && Hostlist.tryParse(targets) === null)
    context.fail(`--include: Invalid hostlist: '${targets}'`);
  return guarded(context, () => ranksOf(targets, all));
}

function namedQueues({ options }: CommandContext): readonly string[] | null {
  return options.text("queue")?.split(",") ?? null;
}

async function list(context: CommandContext): Promise<void> {
  const { options } = context;
  const chosen = await formatOf(context, "list", LIST_FORMATS, LIST_HEADINGS);
  if (chosen === null) return;
  const hidden = await hiddenQueues(context);
  const { view, queues } = await resourceSource(context);
  const include = includedRanks(context, view.all, queues);
  const states = (options.text("states") ?? "free,allocated,down").split(",");
  const shownQueues = namedQueues(context) ?? queues.names.filter((name) => !hidden.includes(name));
  const settings = { fields: chosen.format.fields, queues, shownQueues };
  const rows = guarded(context, () => listRows(view, states, include, settings));
  const shown = skipsEmpty(context) ? rows.filter((row) => row["nnodes"] !== 0) : rows;
  print(context, chosen, shown);
}

/** Whether what is empty is not shown: by default where only some targets are asked for. */
function skipsEmpty(context: CommandContext): boolean {
  const { options } = context;
  return options.has("skip-empty") || (includedTargets(context) !== null && !options.has("no-skip-empty"));
}

/** The union of the states asked for. */
async function selected(context: CommandContext): Promise<ResourceSet> {
  const { view, queues } = await resourceSource(context);
  const states = (context.options.text("states") ?? "all").split(",");
  const sets = guarded(context, () => states.map((state) => resourcesIn(view, state)));
  const whole = sets.reduce((left, right) => left.union(right));
  const include = includedRanks(context, view.all, queues);
  return include === null ? whole : whole.keepRanks(include);
}

async function info(context: CommandContext): Promise<void> {
  const { nnodes, ncores, ngpus } = await selected(context);
  // Of targets that are not there nothing is told, as `list` has no line for them.
  if (nnodes === 0 && skipsEmpty(context)) return;
  context.out(`${nnodes} Nodes, ${ncores} Cores, ${ngpus} GPUs\n`);
}

/** What a format shows of a row besides which nodes it is about, and how many. */
function labelOf(format: OutputFormat): (row: FieldValues) => string {
  const nodes: FieldValues = { nnodes: 0, ranks: "", nodelist: "" };
  return (row) => format.table([(field) => nodes[field] ?? row[field]], { withHeader: false }).lines[0] ?? "";
}

async function status(context: CommandContext): Promise<void> {
  const chosen = await formatOf(context, "status", STATUS_FORMATS, STATUS_HEADINGS);
  if (chosen === null) return;
  if (context.options.text("states") === "help") {
    context.err(`flux-resource: INFO: valid states: ${VALID_STATES}\n`);
    return;
  }
  const states = guarded(context, () => parseStates(context.options.text("states")));
  const { view, queues } = await systemSource(context);
  const include = includedRanks(context, view.resources, queues);
  const showsEmpty = context.options.has("states") && !context.options.has("skip-empty");
  print(context, chosen, view.statusRows(states, { include, label: labelOf(chosen.format), showsEmpty }));
}

async function listDrained(context: CommandContext): Promise<void> {
  const chosen = await formatOf(context, "drain", DRAIN_FORMATS, STATUS_HEADINGS);
  if (chosen === null) return;
  const { view, queues } = await systemSource(context);
  const include = includedRanks(context, view.resources, queues);
  print(context, chosen, view.drainRows({ include, label: labelOf(chosen.format), showsEmpty: false }));
}

function modeOf(context: CommandContext): { mode?: string } {
  const { options } = context;
  const forced = options.count("force");
  if (forced > 0 && options.has("update")) context.fail("Only one of --force and --update may be specified");
  if (options.has("update")) return { mode: "update" };
  return forced === 0 ? {} : { mode: forced > 1 ? "force-overwrite" : "overwrite" };
}

/** Everything after the targets is the reason, also what looks like an option. */
function targetsAndReason({ operands }: CommandContext): { targets?: string; reason?: string } {
  const [targets, ...words] = operands;
  if (targets === undefined) return {};
  if (words[0] === "--") words.shift();
  return words.length === 0 ? { targets } : { targets, reason: words.join(" ") };
}

async function drain(context: CommandContext): Promise<void> {
  const { targets, ...reason } = targetsAndReason(context);
  if (targets === undefined) return listDrained(context);
  const request = { targets, ...reason, ...modeOf(context) };
  const handle = await context.open();
  await handle.rpc("resource.drain", request, { nodeid: 0 }).catch((error: FluxError) => {
    context.complain(`[Errno ${error.errnum}] ${error.message}`);
    if (error.is("EEXIST")) context.err("flux-resource: INFO: Use --force to overwrite existing drain reason\n");
    throw new CommandExit(1);
  });
}

async function undrain(context: CommandContext): Promise<void> {
  const request = { ...targetsAndReason(context), ...modeOf(context) };
  const handle = await context.open();
  await handle.rpc("resource.undrain", request, { nodeid: 0 }).catch((error: FluxError) => context.fail(error.message));
}

async function reload(context: CommandContext): Promise<void> {
  const [path] = context.operands;
  const absolute = path!.startsWith("/") ? path! : `${context.host.cwd}/${path}`;
  const request = { path: absolute, xml: context.options.has("xml"), force: context.options.has("force") };
  const handle = await context.open();
  await handle.rpc("resource.reload", request, { nodeid: 0 }).catch((error: FluxError) => context.fail(error.message));
}

const TARGETS = { name: "targets", arity: "?", help: "Nodes, as an idset of ranks or a hostlist" } as const;
const REASON = { name: "reason", arity: "...", help: "Reason: all words that follow" } as const;

const SUBCOMMANDS: readonly Command[] = [
  {
    name: "acquire-mute",
    dialect: "argparse",
    summary: "Mute resource.acquire responses",
    async run(context) {
      const handle = await context.open();
      await handle.rpc("resource.acquire-mute", null, { nodeid: 0 });
    },
  },
  {
    name: "drain",
    dialect: "argparse",
    summary: "Drain resources, or list what is drained",
    options: [FORCE, UPDATE, INCLUDE, QUEUE, FORMAT, NO_HEADER, COLOR],
    operands: [TARGETS, REASON],
    stopAtOperand: true,
    run: drain,
  },
  {
    name: "undrain",
    dialect: "argparse",
    summary: "Resume resources",
    options: [UPDATE, FORCE],
    operands: [{ ...TARGETS, arity: "1" }, REASON],
    stopAtOperand: true,
    run: undrain,
  },
  {
    name: "status",
    dialect: "argparse",
    summary: "Display overall system status of resources",
    options: [FORMAT, STATES, INCLUDE, QUEUE, NO_HEADER, COLOR, STATUS_SKIP_EMPTY, FROM_STDIN, CONFIG_FILE],
    run: status,
  },
  {
    name: "list",
    dialect: "argparse",
    summary: "List scheduler view of resources",
    options: [FORMAT, STATES, INCLUDE, QUEUE, ...SKIP_EMPTY, NO_HEADER, FROM_STDIN, CONFIG_FILE],
    run: list,
  },
  {
    name: "info",
    dialect: "argparse",
    summary: "Print brief, one-line summary of scheduler view of resources",
    options: [STATES, INCLUDE, QUEUE, ...SKIP_EMPTY.map(hidden), FROM_STDIN, CONFIG_FILE],
    run: info,
  },
  {
    name: "reload",
    dialect: "argparse",
    summary: "Reload resource inventory",
    options: [
      { names: ["xml"], short: "x", help: "Take path for a directory of hwloc XML files" },
      { names: ["force"], short: "f", help: "Do not fail where resources have invalid ranks" },
    ],
    operands: [{ name: "path", arity: "1", help: "File in RFC 20 form, or directory of <rank>.xml files" }],
    run: reload,
  },
  {
    name: "R",
    dialect: "argparse",
    summary: "Emit an RFC 20 R of the scheduler view of resources",
    options: [STATES, INCLUDE, QUEUE, FROM_STDIN, CONFIG_FILE],
    async run(context) {
      context.out(`${resourceSetText(await selected(context), "core")}\n`);
    },
  },
  {
    name: "eventlog",
    dialect: "argparse",
    summary: "Watch the resource journal",
    options: EVENTLOG_OPTIONS,
    run: eventlog,
  },
];

export const command: Command = defineCommand({
  name: "resource",
  dialect: "argparse",
  summary: "list/manipulate Flux resource status",
  subcommands: SUBCOMMANDS,
});
