/** `flux housekeeping`: what tidies up after jobs (flux-housekeeping(1)). */
import { FluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import { SIGNALS } from "../../base/signals.ts";
import { FLUID_FORMS, formatFluid, parseFluid, tryParseFluid, type FluidForm } from "../../formats/fluid.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { Idset } from "../../formats/idset.ts";
import { instanceHosts } from "../../sdk/attributes.ts";
import type { Handle } from "../../sdk/handle.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";
import { Float, type FieldValue } from "../output/field-value.ts";
import { OutputFormat, sortRows, splitSort, type Row } from "../output/format-string.ts";
import { findFormat, formatHelp, type NamedFormat } from "../output/named-formats.ts";

const SOURCE = { file: "flux-housekeeping" } as const;

const FORMATS: Readonly<Record<string, NamedFormat>> = {
  default: {
    description: "Default flux-housekeeping format string",
    format: "{id.f58:>12} {nnodes:>6} {pending.nnodes:>7} {runtime!F:>8} {nodelist}",
  },
  pending: {
    description: "flux-housekeeping format string including active nodes only",
    format: "{id.f58:>12} {pending.nnodes:>7} {runtime!F:>8} {pending.nodelist}",
  },
};

/** One job's housekeeping. */
interface Task {
  readonly id: string;
  /** Seconds since the epoch. */
  readonly startTime: number;
  readonly runtime: number;
  readonly allocated: Idset;
  readonly pending: Idset;
}

const HEADINGS: Readonly<Record<string, string>> = {
  id: "JOBID",
  ...Object.fromEntries(FLUID_FORMS.map((form) => [`id.${form}`, "JOBID"])),
  t_start: "T_START",
  runtime: "RUNTIME",
  nnodes: "NNODES",
  ranks: "RANKS",
  nodelist: "NODELIST",
  "allocated.nnodes": "NNODES",
  "allocated.ranks": "RANKS",
  "allocated.nodelist": "NODELIST",
  "pending.nnodes": "#ACTIVE",
  "pending.ranks": "ACTIVE_RANKS",
  "pending.nodelist": "ACTIVE_NODES",
};

function headingOf(field: string): string | null {
  return Object.hasOwn(HEADINGS, field) ? HEADINGS[field]! : null;
}

function rowOf(task: Task, hosts: Hostlist): Row {
  const nodelist = (ranks: Idset): string => Hostlist.from([...ranks].map((rank) => hosts.nth(rank) ?? "?")).format();
  return (field): FieldValue | undefined => {
    if (field === "id") return task.id;
    if (field.startsWith("id.")) return formatFluid(parseFluid(task.id), field.slice("id.".length) as FluidForm);
    if (field === "t_start") return new Float(task.startTime);
    if (field === "runtime") return new Float(task.runtime);
    const [, set = "allocated", what] = /^(?:(allocated|pending)\.)?(nnodes|ranks|nodelist)$/.exec(field) ?? [];
    const ranks = set === "pending" ? task.pending : task.allocated;
    if (what === "nnodes") return ranks.count;
    if (what === "ranks") return ranks.format();
    return what === "nodelist" ? nodelist(ranks) : undefined;
  };
}

const list: Command = {
  name: "list",
  dialect: "argparse",
  summary: "list active housekeeping tasks",
  options: [
    {
      names: ["include"],
      short: "i",
      argument: "HOSTS|RANKS",
      help: "Limit output to housekeeping jobs on HOSTS|RANKS",
    },
    { names: ["no-header"], short: "n", help: "Suppress printing of header line" },
    {
      names: ["format"],
      short: "o",
      argument: "FORMAT",
      help: "Specify output format using Python's string format syntax or a defined format by name (use 'help' to get a list of names)",
    },
  ],
  run: async (context) => {
    const { options, host } = context;
    const requested = options.text("format") ?? host.env["FLUX_HOUSEKEEPING_FORMAT_DEFAULT"] ?? "default";
    const special = await formatHelp("flux-housekeeping", SOURCE, requested, FORMATS, host.env);
    if (special !== null) return context.out(special);
    const { keys, format } = splitSort(await findFormat(SOURCE, requested, FORMATS, host.env));
    const output = new OutputFormat(format, headingOf);
    const handle = await context.open();
    const hosts = await instanceHosts(handle);
    const tasks = await tasksOf(context, handle, includedRanks(options.text("include"), hosts));
    const rows = sortRows(
      tasks.map((task) => rowOf(task, hosts)),
      keys,
      (name) => headingOf(name) !== null,
    );
    const { header, lines } = output.table(rows);
    if (!options.has("no-header")) context.out(`${header}\n`);
    for (const line of lines) if (line !== null) context.out(`${line}\n`);
  },
};

const kill: Command = {
  name: "kill",
  dialect: "argparse",
  summary: "kill active housekeeping tasks",
  options: [
    {
      names: ["signal"],
      short: "s",
      argument: "SIGNUM",
      help: "Specify signal number to send to housekeeping task",
    },
    {
      names: ["targets"],
      short: "t",
      argument: "RANKS|HOSTS",
      help: "Only target specific ranks or hostnames",
    },
    {
      names: ["jobid"],
      short: "j",
      argument: "JOBID",
      help: "target housekeeping tasks for this jobid",
    },
    { names: ["all"], help: "kill all active housekeeping tasks" },
  ],
  run: async (context) => {
    const { options } = context;
    const job = options.text("jobid");
    const targets = options.text("targets");
    if (job === null && targets === null && !options.has("all"))
      return context.fail("specify at least one of --targets, --jobid, or --all");
    const id = job === null ? null : tryParseFluid(job);
    if (id === null && job !== null) return context.failUsage(`argument -j/--jobid: invalid JobID value: '${job}'`);
    if (id !== null && options.has("all")) return context.fail("do not specify --jobid with --all");
    const signum = signalOf(options.text("signal") ?? "SIGTERM");
    if (signum === null) return context.failUsage(`argument -s/--signal: invalid signal '${options.text("signal")}'`);
    const handle = await context.open();
    const ranks = targets === null ? null : ranksOf(targets, await instanceHosts(handle));
    const request = {
      signum,
      ...(id === null ? {} : { jobid: id }),
      ...(ranks === null ? {} : { ranks: ranks.format() }),
    };
    await handle.rpc("job-manager.housekeeping-kill", request, { nodeid: 0 });
    return undefined;
  },
};

export const command: Command = defineCommand({
  name: "housekeeping",
  dialect: "argparse",
  summary: "list and control housekeeping tasks",
  subcommands: [list, kill],
});

/** Ranks that are named, by number or by host; a host that is not there is an error. */
function ranksOf(text: string, hosts: Hostlist): Idset {
  const ranks = Idset.tryParse(text);
  if (ranks !== null) return ranks;
  const named = Hostlist.parse(text);
  const [missing] = named.subtract(hosts);
  if (missing !== undefined) throw new FluxError("EINVAL", `didn't find ${missing} in instance hostlist`);
  return ranksWith(named, hosts);
}

/** The same for a filter. */
function includedRanks(text: string | null, hosts: Hostlist): Idset | null {
  if (text === null) return null;
  const ranks = Idset.tryParse(text);
  if (ranks !== null) return ranks;
  const named = Hostlist.parse(text);
  const missing = named.subtract(hosts);
  if (!missing.isEmpty)
    throw new FluxError("EINVAL", `host${missing.count > 1 ? "s" : ""} '${missing.format()}' not found`);
  return ranksWith(named, hosts);
}

function ranksWith(named: Hostlist, hosts: Hostlist): Idset {
  const names = new Set(named);
  return Idset.from([...hosts].flatMap((host, rank) => (names.has(host) ? [rank] : [])));
}

async function tasksOf(context: CommandContext, handle: Handle, included: Idset | null): Promise<Task[]> {
  const { housekeeping } = await handle.rpc<{ housekeeping: { running: JsonObject } }>("job-manager.stats-get", null, {
    nodeid: 0,
  });
  const now = (await context.ports()).clock.now();
  const tasks = Object.entries(housekeeping.running).map(([id, value]) => {
    const { t_start: start, pending, allocated } = value as { t_start: number; pending: string; allocated: string };
    return {
      id,
      startTime: start,
      runtime: now - start,
      pending: Idset.parse(pending),
      allocated: Idset.parse(allocated),
    };
  });
  if (included === null) return tasks;
  const restricted = tasks.map((task) => ({
    ...task,
    pending: task.pending.intersect(included),
    allocated: task.allocated.intersect(included),
  }));
  return restricted
    .filter(({ allocated }) => !allocated.isEmpty)
    .toSorted((left, right) => (parseFluid(left.id) < parseFluid(right.id) ? -1 : 1));
}

function signalOf(text: string): number | null {
  if (/^\d+$/.test(text)) return Number(text);
  const name = text.toUpperCase().startsWith("SIG") ? text.toUpperCase() : `SIG${text.toUpperCase()}`;
  return SIGNALS[name] ?? null;
}
