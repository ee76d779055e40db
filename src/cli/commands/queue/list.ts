/** `flux queue list`: a row per queue with its state, defaults and limits. */
import { isFluxError, FluxError } from "../../../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../../../base/json.ts";
import { tryParseFsd } from "../../../formats/duration.ts";
import { Idset } from "../../../formats/idset.ts";
import type { ResourceSet } from "../../../formats/resource-set.ts";
import type { Handle } from "../../../sdk/handle.ts";
import type { CommandContext } from "../../framework/command.ts";
import { Float, OutputFormat, sortRows, splitSort, type FieldValue, type Row } from "../../output/format-string.ts";
import { resourcesIn, schedulerView, type SchedulerView } from "../../resource/view.ts";
import { findFormat, formatHelp, type NamedFormat } from "../../output/named-formats.ts";

const FORMATS: Readonly<Record<string, NamedFormat>> = {
  default: {
    description: "Default flux queue list format string",
    format:
      "?:{queuem:<8.8} {enabled:>2} {started:>2} {defaults.timelimit!F:>8} {limits.timelimit!F:>8} {limits.range.nnodes:>10} {limits.range.ncores:>10} {limits.range.ngpus:>10}",
  },
};

const STATES = ["all", "free", "allocated", "up", "down"] as const;
type Kind = "nnodes" | "ncores" | "ngpus";

const HEADINGS: Readonly<Record<string, string>> = {
  queue: "QUEUE",
  queuem: "QUEUE",
  parent: "PARENT",
  submission: "SUBMIT",
  scheduling: "SCHED",
  enabled: "EN",
  started: "ST",
  "enabled.ascii": "EN",
  "started.ascii": "ST",
  "defaults.timelimit": "TDEFAULT",
  "limits.timelimit": "TLIMIT",
};

function heading(field: string): string | null {
  if (Object.hasOwn(HEADINGS, field)) return HEADINGS[field]!;
  const match = /^(?:limits\.(range|range\.effective|min|max)|resources\.(\w+))\.(nnodes|ncores|ngpus)$/.exec(field);
  if (match === null || (match[2] !== undefined && !STATES.includes(match[2] as "all"))) return null;
  const kind = match[3]!.toUpperCase();
  if (match[2] !== undefined) return match[2] === "all" ? kind : `${kind}:${match[2].toUpperCase()}`;
  return match[1] === "min" ? `MIN${kind.slice(1)}` : match[1] === "max" ? `MAX${kind.slice(1)}` : kind;
}

export async function listQueues(context: CommandContext): Promise<number> {
  const { options, host } = context;
  const requested = options.text("format") ?? host.env["FLUX_QUEUE_LIST_FORMAT_DEFAULT"] ?? "default";
  const special = formatHelp("flux-queue list", "flux-queue-list", requested, FORMATS, host.env);
  if (special !== null) {
    context.out(special);
    return 0;
  }
  const { keys, format } = splitSort(findFormat("flux-queue-list", requested, FORMATS, host.env));
  const output = userFormat(format);
  const handle = await context.open();
  const wanted = options.list("queue").flatMap((list) => list.split(","));
  const rows = await queueRows(handle, wanted);
  const { header, lines } = output.table(sortRows(rows, keys, (field) => heading(field) !== null));
  if (!options.has("no-header")) context.out(`${header}\n`);
  for (const line of lines) if (line !== null) context.out(`${line}\n`);
  return 0;
}

function userFormat(format: string): OutputFormat {
  try {
    return new OutputFormat(format, heading);
  } catch (error) {
    if (!isFluxError(error)) throw error;
    throw new FluxError("EINVAL", `Error in user format: ${error.message}`, { cause: error });
  }
}

async function queueRows(handle: Handle, wanted: readonly string[]): Promise<Row[]> {
  const [config, { queues }, view] = await Promise.all([
    handle.rpc("config.get"),
    handle.rpc<{ queues: readonly string[] }>("job-manager.queue-list"),
    schedulerView(handle),
  ]);
  const unknown = wanted.find((name) => !queues.includes(name));
  if (unknown !== undefined) throw new FluxError("EINVAL", `No such queue: ${unknown}`);
  const names: readonly (string | null)[] =
    queues.length === 0 ? [null] : wanted.length > 0 ? wanted : [...queues].sort();
  return Promise.all(
    names.map(async (name) => {
      const status = await handle.rpc("job-manager.queue-status", name === null ? {} : { name }, { nodeid: 0 });
      return queueRow(new QueueFacts(name, config, status, view));
    }),
  );
}

function queueRow(facts: QueueFacts): Row {
  return (field) => (heading(field) === null ? undefined : facts.value(field));
}

/** What is known of one queue; null is the queue without a name. */
class QueueFacts {
  readonly #name: string | null;
  readonly #config: JsonObject;
  readonly #status: JsonObject;
  readonly #view: SchedulerView;

  constructor(name: string | null, config: JsonObject, status: JsonObject, view: SchedulerView) {
    this.#name = name;
    this.#config = config;
    this.#status = status;
    this.#view = view;
  }

  value(field: string): FieldValue {
    const enabled = this.#status["enable"] === true;
    const started = this.#status["start"] === true;
    const name = this.#name ?? "";
    switch (field) {
      case "queue":
        return name;
      case "queuem":
        return name !== "" && name === at(this.#config, "policy.jobspec.defaults.system.queue") ? `${name}*` : name;
      case "parent":
        return textOf(this.#own("parent"));
      case "submission":
        return enabled ? "enabled" : "disabled";
      case "scheduling":
        return started ? "started" : "stopped";
      case "enabled":
        return enabled ? "✔" : "✗";
      case "started":
        return started ? "✔" : "✗";
      case "enabled.ascii":
        return enabled ? "y" : "n";
      case "started.ascii":
        return started ? "y" : "n";
      case "defaults.timelimit":
        return duration(this.#policy("jobspec.defaults.system.duration"));
      case "limits.timelimit":
        return duration(this.#policy("limits.duration"));
      default:
        return this.#count(field);
    }
  }

  #count(field: string): FieldValue {
    const kind = field.slice(field.lastIndexOf(".") + 1) as Kind;
    if (field.startsWith("resources.")) return this.#amount(field.split(".")[1]!, kind);
    const low = this.#limit("min", kind);
    const high = this.#limit("max", kind);
    if (field.startsWith("limits.min.")) return low;
    if (field.startsWith("limits.max.")) return high === Infinity ? "inf" : high;
    const total = this.#amount("all", kind);
    return `${low}-${Math.min(high, total) === Infinity ? "inf" : Math.min(high, total)}`;
  }

  #limit(edge: "min" | "max", kind: Kind): number {
    const value = this.#policy(`limits.job-size.${edge}.${kind}`);
    if (typeof value === "number" && value >= 0) return value;
    return edge === "min" ? 0 : Infinity;
  }

  /** How much there is of a kind of resource in a state, among the nodes of the queue. */
  #amount(state: string, kind: Kind): number {
    const all = resourcesIn(this.#view, "all");
    const mine = this.#ranks(all);
    const set = resourcesIn(this.#view, state);
    return (mine === null ? set : set.keepRanks(mine))[kind];
  }

  /** The ranks that have all properties which the queue requires; null is every rank. */
  #ranks(all: ResourceSet): Idset | null {
    const requires = this.#own("requires");
    if (!Array.isArray(requires)) return null;
    const names = requires as readonly string[];
    return Idset.from(
      [...all.nodes()].map(([rank]) => rank).filter((rank) => names.every((name) => all.hasProperty(rank, name))),
    );
  }

  /** A policy of this queue, or that of all queues. */
  #policy(path: string): JsonValue | undefined {
    return this.#own(`policy.${path}`) ?? at(this.#config, `policy.${path}`);
  }

  #own(path: string): JsonValue | undefined {
    return this.#name === null ? undefined : at(this.#config, `queues.${this.#name}.${path}`);
  }
}

function at(object: JsonObject, path: string): JsonValue | undefined {
  let value: JsonValue | undefined = object;
  for (const part of path.split(".")) value = isJsonObject(value) ? value[part] : undefined;
  return value;
}

function textOf(value: JsonValue | undefined): string {
  return typeof value === "string" ? value : "";
}

function duration(value: JsonValue | undefined): Float {
  const seconds = typeof value === "number" ? value : typeof value === "string" ? tryParseFsd(value) : null;
  return new Float(seconds === null || seconds === 0 ? Infinity : seconds);
}
