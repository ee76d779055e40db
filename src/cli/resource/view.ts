/** What the commands of `flux resource` show: the scheduler's view (`list`, `info`, `R`) and the system's (`status`, `drain`). */
import { FluxError, isFluxError } from "../../base/errors.ts";
import { stringifyJson, type JsonObject, type JsonValue } from "../../base/json.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { Idset } from "../../formats/idset.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import type { Handle } from "../../sdk/handle.ts";
import type { Float } from "../output/field-value.ts";
import type { Queues } from "./queues.ts";

/** What a line shows, by field. */
export type FieldValues = Readonly<Record<string, string | number | Float>>;

/** Resources by state, as the scheduler has them. */
export interface SchedulerView {
  readonly all: ResourceSet;
  readonly down: ResourceSet;
  readonly allocated: ResourceSet;
}

/** The view as a service tells it. Throws FluxError for what is none. */
export function parseView({ all, down, allocated }: JsonObject): SchedulerView {
  const setOf = (value: JsonValue | undefined): ResourceSet =>
    value === undefined || value === null ? ResourceSet.EMPTY : ResourceSet.parse(value);
  return { all: setOf(all), down: setOf(down), allocated: setOf(allocated) };
}

/** Asks `topic`; the scheduler itself where that does not exist. */
export async function schedulerView(handle: Handle, topic = "resource.sched-status"): Promise<SchedulerView> {
  try {
    return parseView(await handle.rpc(topic, null, { nodeid: 0 }));
  } catch (error) {
    if (!isFluxError(error, "ENOSYS")) throw error;
    return parseView(await handle.rpc("sched.resource-status", null, { nodeid: 0 }));
  }
}

/** The resources in a state. Throws FluxError EINVAL where there is no such state. */
export function resourcesIn(view: SchedulerView, state: string): ResourceSet {
  const { all, down, allocated } = view;
  switch (state) {
    case "all":
      return all;
    case "up":
      return all.subtract(down);
    case "down":
      return down;
    case "allocated":
      return allocated;
    case "free":
      return all.subtract(down).subtract(allocated);
    default:
      throw new FluxError("EINVAL", `Invalid resource state ${state} specified`);
  }
}

/** Ranks that a list of targets means: an idset, or hosts; those that do not exist are no error. */
export function ranksOf(targets: string, resources: ResourceSet): Idset {
  const ranks = Idset.tryParse(targets);
  if (ranks !== null) return ranks;
  const wanted = new Set(Hostlist.parse(targets));
  return Idset.from(
    [...resources.nodes()].filter(([rank, node]) => wanted.has(nameOf(rank, node))).map(([rank]) => rank),
  );
}

/** The name of a node: of one whose host nobody knows, its rank. */
function nameOf(rank: number, { host }: { readonly host?: string | null }): string {
  return host ?? `rank${rank}`;
}

const LABELS: readonly string[] = ["queue", "properties", "propertiesx"];

export const LIST_HEADINGS: Readonly<Record<string, string>> = {
  state: "STATE",
  queue: "QUEUE",
  properties: "PROPERTIES",
  propertiesx: "PROPERTIES",
  nnodes: "NNODES",
  ncores: "NCORES",
  ngpus: "NGPUS",
  ranks: "RANKS",
  nodelist: "NODELIST",
  rlist: "LIST",
};

export interface ListOptions {
  /** The fields that the format shows. */
  readonly fields: readonly string[];
  /** Every queue, hidden ones included. */
  readonly queues: Queues;
  /** The queues to show, in this order. */
  readonly shownQueues: readonly string[];
}

/** Rows of `list`: one for each state, queue and set of properties, as far as the format tells them apart. */
export function listRows(
  view: SchedulerView,
  states: readonly string[],
  include: Idset | null,
  options: ListOptions,
): FieldValues[] {
  const groups = new Map<string, { resources: ResourceSet; labels: FieldValues }>();
  for (const state of states) {
    const whole = resourcesIn(view, state);
    const resources = include === null ? whole : whole.keepRanks(include);
    for (const [part, labels] of partsOf(resources, view.all, options)) {
      const key = stringifyJson({ ...labels, state: options.fields.includes("state") ? state : "" });
      const known = groups.get(key)?.resources;
      groups.set(key, {
        resources: known === undefined ? part : known.union(part),
        labels: groups.get(key)?.labels ?? { ...labels, state },
      });
    }
  }
  if (options.fields.length === 1 && LABELS.includes(options.fields[0]!))
    return [mergedLabels([...groups.values()].map(({ labels }) => labels))];
  return [...groups.values()].map(({ resources, labels }) => listRow(resources, labels));
}

/** The nodes of one state, apart by what the format shows of them. */
function partsOf(resources: ResourceSet, all: ResourceSet, options: ListOptions): [ResourceSet, FieldValues][] {
  const groups = new Map<string, { ranks: Idset; labels: FieldValues }>();
  for (const [rank] of resources.nodes()) {
    const labels = labelsOf(rank, all, options);
    const key = stringifyJson(labels);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { ranks: Idset.of(rank), labels });
    else group.ranks.add(rank);
  }
  if (groups.size === 0) return labelsOfNone(options).map((labels) => [resources, labels]);
  return [...groups.values()].map(({ ranks, labels }) => [resources.keepRanks(ranks), labels]);
}

/** Of a format that shows one of these only, people want to know which there are. */
function mergedLabels(parts: readonly FieldValues[]): FieldValues {
  const merged = (field: string): string =>
    [...new Set(parts.flatMap((labels) => String(labels[field]).split(",")))].filter((name) => name !== "").join(",");
  return Object.fromEntries(LABELS.map((field) => [field, merged(field)]));
}

/** Where a state has no nodes, each queue says so for itself. */
function labelsOfNone({ fields, shownQueues }: ListOptions): FieldValues[] {
  const names = fields.includes("queue") && shownQueues.length > 0 ? shownQueues : [""];
  return names.map((queue) => ({ queue, properties: "", propertiesx: "" }));
}

function listRow(resources: ResourceSet, labels: FieldValues): FieldValues {
  return {
    ...labels,
    nnodes: resources.nnodes,
    ncores: resources.ncores,
    ngpus: resources.ngpus,
    ranks: resources.ranks.toString(),
    nodelist: Hostlist.from([...resources.nodes()].map(([rank, node]) => nameOf(rank, node))).toString(),
    rlist: resources.dump(),
  };
}

/** The queues and properties of a rank, as far as the format shows them. */
function labelsOf(rank: number, all: ResourceSet, { fields, queues, shownQueues }: ListOptions): FieldValues {
  const properties = [...all.properties.keys()].filter((name) => all.hasProperty(rank, name));
  const queueNames = shownQueues.filter((name) =>
    queues.requirements(name).every((property) => properties.includes(property)),
  );
  const show = (field: string, value: string): string => (fields.includes(field) ? value : "");
  return {
    queue: show("queue", queueNames.join(",")),
    properties: show("properties", properties.join(",")),
    propertiesx: show("propertiesx", properties.filter((name) => !queues.has(name)).join(",")),
  };
}
