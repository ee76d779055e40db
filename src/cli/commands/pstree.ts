/** `flux pstree`: the jobs of an instance, and of the instances among them, as a tree (flux-pstree(1)). */
import { FluxError, isFluxError } from "../../base/errors.ts";
import type { Integer } from "../../base/json.ts";
import { tryParseFluid } from "../../formats/fluid.ts";
import { JobState } from "../../formats/job-states.ts";
import { getAttribute } from "../../sdk/attributes.ts";
import type { Handle } from "../../sdk/handle.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";
import { jobIdText } from "../jobs/client.ts";
import { askInstance } from "../jobs/instance.ts";
import { fetchJob, listRecords, recordContext } from "../jobs/listing.ts";
import { openInstance, TaskLimit } from "../jobs/recursion.ts";
import { attributesOfFields, jobField, jobFieldHeading, JobRecord } from "../jobs/record.ts";
import { ALL_STATES, parseFilter, selectionConstraint } from "../jobs/selection.ts";
import { OutputFormat, type Row } from "../output/format-string.ts";
import { CONNECTORS, forestLines, treeLines, truncated, type Connectors, type TreeNode } from "../output/tree-text.ts";

const COUNT_DEFAULT = 1000;
const COLUMNS_DEFAULT = 80;
/** Instances that are asked at the same time. */
const INSTANCES_MAX = 8;
const LABEL = "{name}";
const LABEL_WITH_STATUS = "{name}:{status_abbrev}";
const ROOT_NAME = ".";
/** What the tree needs to know of every job, besides what is shown. */
const ALWAYS_ATTRIBUTES = ["state", "result", "userid", "annotations", "name"];

const DETAILS: Readonly<Record<string, string>> = {
  default: "{id.f58:>12} {username:<8.8} {status_abbrev:>2.2} {ntasks:>6h} {nnodes:>6h} {runtime!F:>8h}",
  resources:
    "{id.f58:>12} {instance.resources.all.nnodes:>5} {instance.resources.allocated.nnodes:>5} " +
    "{instance.resources.all.ncores:>5} {instance.resources.allocated.ncores:>5} " +
    "{instance.resources.all.ngpus:>5} {instance.resources.allocated.ngpus:>5}",
  progress:
    "{id.f58:>12} {ntasks:>6h} {instance.stats.total:>6} {instance.progress!P:>5} {instance.utilization!P:>5} " +
    "{instance.gpu_utilization!P:>5} {runtime!H:>10}",
  stats: "{id.f58:>12} {instance.stats:^25} {runtime!H:>10}",
};

/** Headings that differ from those of `flux jobs`. */
const HEADINGS: Readonly<Record<string, string>> = {
  "instance.stats.total": "NJOBS",
  "instance.progress": "PROG",
  "instance.utilization": "CORE%",
  "instance.gpu_utilization": "GPU%",
  "instance.resources.all.nnodes": "NODES",
  "instance.resources.all.ncores": "CORES",
  "instance.resources.all.ngpus": "GPUS",
  "instance.resources.allocated.nnodes": "USED",
  "instance.resources.allocated.ncores": "USED",
  "instance.resources.allocated.ngpus": "USED",
};

export const command: Command = defineCommand({
  name: "pstree",
  dialect: "argparse",
  summary: "display job hierarchies",
  description: "Display the jobs of an instance, and of the instances that run as jobs in it, as a tree.",
  options: [
    { names: ["all"], short: "a", help: "Include all jobs for current user in all states" },
    {
      names: ["count"],
      short: "c",
      argument: "N",
      integer: true,
      help: `Limit to N jobs per instance (default ${COUNT_DEFAULT})`,
    },
    {
      names: ["filter"],
      short: "f",
      argument: "STATE|RESULT",
      repeatable: true,
      help: "list jobs with specific job state or result",
    },
    { names: ["extended"], short: "x", help: "print extended details before tree output" },
    { names: ["long"], short: "l", help: "do not truncate long lines to terminal width" },
    { names: ["level"], short: "L", argument: "N", integer: true, help: "only descend N levels" },
    { names: ["parent-ids"], short: "p", help: "include jobids in parent labels" },
    { names: ["no-header"], short: "n", help: "Suppress header with -x, --extended" },
    { names: ["no-combine"], short: "X", help: "disable combination of identical children" },
    { names: ["label"], short: "o", argument: "FORMAT", help: `change label format (default='${LABEL}')` },
    { names: ["parent-label"], argument: "FORMAT", help: "change label format for parent only" },
    {
      names: ["detail-format"],
      argument: "FORMAT",
      help: "specify output format for extended details (implies -x, --extended)",
    },
    {
      names: ["details", "detail"],
      short: "d",
      argument: "NAME",
      help: `Select a named extended details format (${Object.keys(DETAILS).join(",")})`,
    },
    { names: ["compact"], short: "C", help: "Use compact tree connectors" },
    { names: ["ascii"], help: "Use ASCII character tree connectors" },
    {
      names: ["skip-root"],
      argument: "[yes|no]",
      help: "suppress or include the enclosing instance in output. Default is 'no' unless the -x, --extended or -d, --details options are used.",
    },
  ],
  operands: [{ name: "JOBID", arity: "*", help: "Limit output to specific jobids" }],
  examples: ["flux pstree", "flux pstree -a", "flux pstree --details=progress", "flux pstree -x JOBID"],
  run,
});

async function run(context: CommandContext): Promise<number> {
  const { options, operands } = context;
  const ids = operands.map(
    (text) => tryParseFluid(text) ?? context.failUsage(`argument JOBID: invalid JobID value: '${text}'`),
  );
  const style = styleOf(context);
  const reader = new TreeReader(context, style);
  const handle = await context.open();
  const jobs = ids.length > 0 ? await reader.named(handle, ids) : await reader.list(handle);
  if (ids.length > 0 && jobs.length === 0) return 0;
  const root = await rootOf(context, handle, style.needsInstances);
  const tree: TreeNode<Row> = {
    label: style.parent(root),
    value: root,
    children: await reader.nodes(jobs, options.integer("level") ?? Infinity),
  };
  print(context, style, tree);
  return 0;
}

/** How the tree shall look. */
interface TreeStyle {
  readonly label: (row: Row) => string;
  readonly parent: (row: Row) => string;
  readonly details: OutputFormat | null;
  readonly connectors: Connectors;
  readonly skipsRoot: boolean;
  /** Attributes of job-list that are shown. */
  readonly attributes: readonly string[];
  readonly needsInstances: boolean;
}

function styleOf(context: CommandContext): TreeStyle {
  const { options, operands } = context;
  const label = options.text("label") ?? (options.has("all") ? LABEL_WITH_STATUS : LABEL);
  const parent = options.text("parent-label") ?? options.text("label") ?? LABEL;
  const formats = [label, options.has("parent-ids") ? `{id.f58} ${parent}` : parent].map(formatOf);
  const details = detailsOf(context);
  const skip = options.text("skip-root");
  if (skip !== null && skip !== "yes" && skip !== "no")
    throw new FluxError("EINVAL", "--skip-root requires either 'yes' or 'no'");
  if (options.has("ascii") && options.has("compact"))
    throw new FluxError("EINVAL", "Choose only one of --ascii, --compact");
  const fields = [...formats, ...(details === null ? [] : [details])].flatMap((format) => format.fields);
  return {
    label: (row) => formats[0]!.table([row]).lines[0] ?? "",
    parent: (row) => formats[1]!.table([row]).lines[0] ?? "",
    details,
    connectors: CONNECTORS[options.has("ascii") ? "ascii" : options.has("compact") ? "compact" : "default"],
    skipsRoot: skip === null ? details !== null || operands.length > 0 : skip === "yes",
    attributes: [...new Set([...ALWAYS_ATTRIBUTES, ...attributesOfFields(fields)])],
    needsInstances: fields.some((name) => name.startsWith("instance.")),
  };
}

function detailsOf(context: CommandContext): OutputFormat | null {
  const { options } = context;
  const explicit = options.text("detail-format");
  if (explicit !== null) return formatOf(explicit);
  if (!options.has("details") && !options.has("extended")) return null;
  const name = options.text("details") ?? "default";
  if (!Object.hasOwn(DETAILS, name)) throw new FluxError("EINVAL", `Unknown --details format '${name}'`);
  return formatOf(DETAILS[name]!);
}

function formatOf(format: string): OutputFormat {
  const heading = (name: string): string | null =>
    Object.hasOwn(HEADINGS, name) ? HEADINGS[name]! : jobFieldHeading(name);
  return new OutputFormat(format, heading);
}

/** The instance itself, as a job. */
async function rootOf(context: CommandContext, handle: Handle, asks: boolean): Promise<Row> {
  const attribute = async (name: string): Promise<number> => Number(await getAttribute(handle, name));
  const [size, began] = await Promise.all([attribute("size"), attribute("broker.starttime")]);
  const { uid } = context.host;
  const attributes = { id: 0, userid: uid, state: JobState.Run, ntasks: size, nnodes: size, t_run: began };
  const record = new JobRecord(attributes, recordContext());
  if (asks) record.instance = await askInstance(handle);
  return (name) => (name === "name" || /^id(\.|$)/.test(name) ? ROOT_NAME : jobField(record, name));
}

class TreeReader {
  readonly #context: CommandContext;
  readonly #style: TreeStyle;
  readonly #limit = new TaskLimit(INSTANCES_MAX);

  constructor(context: CommandContext, style: TreeStyle) {
    this.#context = context;
    this.#style = style;
  }

  /** The jobs of an instance that are selected. */
  list(handle: Handle): Promise<JobRecord[]> {
    const { options, host } = this.#context;
    const given = options.has("filter") ? parseFilter(options.list("filter")) : null;
    const filter = options.has("all") ? { states: ALL_STATES, results: 0 } : (given ?? parseFilter(["running"]));
    return listRecords(handle, {
      attrs: this.#style.attributes,
      constraint: selectionConstraint({ userid: host.uid, ...filter, queues: [], name: null, include: null }),
      maxEntries: options.integer("count") ?? COUNT_DEFAULT,
    });
  }

  /** Jobs by their ids; says which do not exist. */
  async named(handle: Handle, ids: readonly Integer[]): Promise<JobRecord[]> {
    const found = await Promise.all(
      ids.map(async (id, index) => {
        try {
          return await fetchJob(handle, id, this.#style.attributes);
        } catch (error) {
          if (!isFluxError(error)) throw error;
          const word = this.#context.operands[index]!;
          this.#context.err(error.is("ENOENT") ? `JobID ${word} unknown\n` : `JobID ${word}: ${error.message}\n`);
          return null;
        }
      }),
    );
    return found.filter((job) => job !== null);
  }

  nodes(jobs: readonly JobRecord[], levels: number): Promise<TreeNode<Row>[]> {
    return Promise.all(jobs.map((job) => this.#node(job, levels)));
  }

  async #node(job: JobRecord, levels: number): Promise<TreeNode<Row>> {
    const { label, parent, needsInstances } = this.#style;
    const value: Row = (name) => jobField(job, name);
    const inner = await this.#limit.run(async () => {
      const child = await openInstance(job);
      if (child === null) return null;
      try {
        if (needsInstances) job.instance = await askInstance(child);
        return levels > 0 ? await this.list(child) : [];
      } catch (error) {
        // It has ended meanwhile: then it is shown as any other job.
        if (!isFluxError(error)) throw error;
        this.#context.err(`flux-pstree: ${jobIdText(job.id)}: ${error.message}\n`);
        return null;
      } finally {
        child.close();
      }
    });
    if (inner === null) return { label: label(value), value, children: [] };
    return { label: parent(value), value, children: await this.nodes(inner, levels - 1) };
  }
}

function print(context: CommandContext, style: TreeStyle, tree: TreeNode<Row>): void {
  const { options, host } = context;
  const combine = style.details === null && !options.has("no-combine");
  const lines = (style.skipsRoot ? forestLines : treeLines)(tree, style.connectors, combine);
  const width = options.has("long")
    ? Infinity
    : Number(host.env["COLUMNS"] || context.columns || COLUMNS_DEFAULT) || COLUMNS_DEFAULT;
  const details = style.details?.table(lines.map((line) => line.value)) ?? null;
  const blank = " ".repeat(details === null ? 0 : [...details.header].length);
  if (details !== null && !options.has("no-header")) context.out(`${truncated(details.header, width)}\n`);
  lines.forEach((line, index) => {
    const before = details === null ? "" : `${details.lines[index] ?? blank} `;
    context.out(`${truncated(before + line.text, width)}\n`);
  });
}
