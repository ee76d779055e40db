/** What the commands of `flux resource` show: the scheduler's view (`list`, `info`, `R`) and the system's (`status`, `drain`). */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject } from "../../base/json.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { Idset } from "../../formats/idset.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import type { Handle } from "../../sdk/handle.ts";
import { QueuePolicy } from "../queues/policy.ts";

/** What a line shows, by field. */
export type FieldValues = Readonly<Record<string, string | number>>;

/** Resources by state, as the scheduler has them. */
export interface SchedulerView {
  readonly all: ResourceSet;
  readonly down: ResourceSet;
  readonly allocated: ResourceSet;
}

export async function schedulerView(handle: Handle): Promise<SchedulerView> {
  const { all, down, allocated } = await handle.rpc("resource.sched-status", null, { nodeid: 0 });
  return { all: ResourceSet.parse(all), down: ResourceSet.parse(down), allocated: ResourceSet.parse(allocated) };
}

/** Throws FluxError EINVAL for a state that there is none of. */
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
  const known = Hostlist.parse(targets).intersect(resources.nodelist);
  return known.isEmpty ? new Idset() : resources.ranksOfHosts(known);
}

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

/** Rows of `list`: one per state, or several where a queue or property of the format tells nodes apart. */
export function listRows(
  view: SchedulerView,
  states: readonly string[],
  include: Idset | null,
  options: { readonly fields: readonly string[]; readonly queues: QueueProperties },
): FieldValues[] {
  const rows: FieldValues[] = [];
  for (const state of states) {
    const whole = resourcesIn(view, state);
    const resources = include === null ? whole : whole.keepRanks(include);
    const groups = new Map<string, { ranks: Idset; labels: FieldValues }>();
    for (const [rank] of resources.nodes()) {
      const labels = labelsOf(rank, view.all, options);
      const key = JSON.stringify(labels);
      const group = groups.get(key);
      if (group === undefined) groups.set(key, { ranks: Idset.of(rank), labels });
      else group.ranks.add(rank);
    }
    if (groups.size === 0)
      groups.set("", { ranks: new Idset(), labels: { queue: "", properties: "", propertiesx: "" } });
    for (const { ranks, labels } of groups.values()) rows.push(listRow(state, resources.keepRanks(ranks), labels));
  }
  return rows;
}

function listRow(state: string, resources: ResourceSet, labels: FieldValues): FieldValues {
  return {
    state,
    ...labels,
    nnodes: resources.nnodes,
    ncores: resources.ncores,
    ngpus: resources.ngpus,
    ranks: resources.ranks.toString(),
    nodelist: resources.nodelist.toString(),
    rlist: resources.dump(),
  };
}

/** The queues and properties of a rank, as far as the format shows them. */
function labelsOf(
  rank: number,
  all: ResourceSet,
  { fields, queues }: { readonly fields: readonly string[]; readonly queues: QueueProperties },
): FieldValues {
  const properties = [...all.properties.keys()].filter((name) => all.hasProperty(rank, name));
  const queueNames = [...queues]
    .filter(([, required]) => required.every((name) => properties.includes(name)))
    .map(([name]) => name);
  const show = (field: string, value: string): string => (fields.includes(field) ? value : "");
  return {
    queue: show("queue", queueNames.join(",")),
    properties: show("properties", properties.join(",")),
    propertiesx: show("propertiesx", properties.filter((name) => !queueNames.includes(name)).join(",")),
  };
}

/** The properties that each configured queue requires; a virtual queue has those of its parent. */
export type QueueProperties = ReadonlyMap<string, readonly string[]>;

export function queuesOf(config: JsonObject): QueueProperties {
  const queues = isJsonObject(config["queues"]) ? config["queues"] : {};
  return new Map(Object.keys(queues).map((name) => [name, new QueuePolicy(config, name).requires]));
}
