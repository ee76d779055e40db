/** The system's view of resources: which nodes are available, excluded, drained, and why. */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject } from "../../base/json.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { Idset } from "../../formats/idset.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import type { Handle } from "../../sdk/handle.ts";
import { schedulerView, type FieldValues } from "./view.ts";

/** In the order in which `status` lists them. */
const STATES: readonly string[] = ["avail", "exclude", "allocated", "torpid", "housekeeping", "draining", "drained"];
const DEFAULT_STATES: readonly string[] = ["avail", "exclude", "draining", "drained", "torpid", "housekeeping"];

export const STATUS_HEADINGS: Readonly<Record<string, string>> = {
  state: "STATE",
  statex: "STATE",
  status: "STATUS",
  up: "UP",
  "up.ascii": "UP",
  nnodes: "NNODES",
  ranks: "RANKS",
  nodelist: "NODELIST",
  timestamp: "TIME",
  reason: "REASON",
};

interface NodeGroup {
  readonly state: string;
  readonly isOnline: boolean;
  readonly timestamp: number;
  readonly reason: string;
  readonly ranks: Idset;
}

export class SystemView {
  readonly resources: ResourceSet;
  readonly #groups: readonly NodeGroup[];

  constructor(resources: ResourceSet, groups: readonly NodeGroup[]) {
    this.resources = resources;
    this.#groups = groups;
  }

  /** Rows for `status`. `isExplicit`: the states were asked for, so that empty ones show. */
  statusRows(states: readonly string[], options: RowOptions): FieldValues[] {
    return states.flatMap((state) => {
      const groups = this.#groups.filter((group) => group.state === state);
      const merged = mergeGroups(groups, options);
      if (merged.length === 0 && options.showsEmpty)
        return [this.#row({ state, isOnline: true, timestamp: 0, reason: "", ranks: new Idset() })];
      return merged.map((group) => this.#row(group));
    });
  }

  /** Rows for `drain`: newest first. */
  drainRows(options: RowOptions): FieldValues[] {
    const groups = this.#groups.filter(({ state }) => state === "drained" || state === "draining");
    return mergeGroups(groups, options)
      .toSorted((left, right) => right.timestamp - left.timestamp)
      .map((group) => this.#row(group));
  }

  #row({ state, isOnline, timestamp, reason, ranks }: NodeGroup): FieldValues {
    return {
      state: isOnline ? state : `${state}*`,
      statex: state,
      status: isOnline ? "online" : "offline",
      up: isOnline ? "✔" : "✗",
      "up.ascii": isOnline ? "y" : "n",
      nnodes: ranks.count,
      ranks: ranks.toString(),
      nodelist: Hostlist.from([...ranks].map((rank) => this.resources.node(rank)?.host ?? "")).toString(),
      timestamp: timestamp === 0 ? "" : shortTime(timestamp),
      reason,
    };
  }
}

export interface RowOptions {
  readonly include: Idset | null;
  /** The fields that the format shows: nodes that differ in none of them are one row. */
  readonly fields: readonly string[];
  readonly showsEmpty: boolean;
}

/** The states that a list of names means. Throws FluxError EINVAL. */
export function parseStates(text: string | null): readonly string[] {
  if (text === null) return DEFAULT_STATES;
  return text.split(",").flatMap((name) => {
    if (name === "all") return STATES;
    if (name === "drain") return ["draining", "drained"];
    if (name === "online" || name === "offline" || STATES.includes(name)) return [name];
    throw new FluxError("EINVAL", `Invalid resource state ${name} specified`);
  });
}

export async function systemView(handle: Handle): Promise<SystemView> {
  const [status, scheduler] = await Promise.all([
    handle.rpc("resource.status", null, { nodeid: 0 }),
    schedulerView(handle),
  ]);
  const resources = ResourceSet.parse(status["R"]);
  const set = (key: string): Idset => Idset.parse(String(status[key] ?? ""));
  const [online, exclude, torpid] = [set("online"), set("exclude"), set("torpid")];
  const allocated = scheduler.allocated.ranks;
  const groups: NodeGroup[] = [];
  const drained = new Idset();
  const add = (state: string, ranks: Idset, timestamp = 0, reason = ""): void => {
    for (const isOnline of [true, false]) {
      const part = isOnline ? ranks.intersect(online) : ranks.subtract(online);
      if (!part.isEmpty) groups.push({ state, isOnline, timestamp, reason, ranks: part });
    }
  };
  const drains = isJsonObject(status["drain"]) ? status["drain"] : {};
  for (const [ids, info] of Object.entries(drains)) {
    const ranks = Idset.parse(ids);
    drained.addAll(ranks);
    const { timestamp, reason } = info as { timestamp: number; reason?: string };
    add("draining", ranks.intersect(allocated), timestamp, reason ?? "");
    add("drained", ranks.subtract(allocated), timestamp, reason ?? "");
  }
  add("avail", resources.ranks.subtract(drained).subtract(exclude).subtract(torpid));
  add("exclude", exclude);
  add("torpid", torpid);
  add("allocated", allocated);
  add("online", resources.ranks.intersect(online));
  add("offline", resources.ranks.subtract(online));
  return new SystemView(resources, groups);
}

function mergeGroups(groups: readonly NodeGroup[], { include, fields }: RowOptions): NodeGroup[] {
  const merged = new Map<string, NodeGroup>();
  for (const group of groups) {
    const ranks = include === null ? group.ranks : group.ranks.intersect(include);
    if (ranks.isEmpty) continue;
    const timestamp = fields.includes("timestamp") ? group.timestamp : 0;
    const reason = fields.includes("reason") ? group.reason : "";
    const key = `${group.state} ${group.isOnline} ${timestamp} ${reason}`;
    const known = merged.get(key);
    if (known === undefined) merged.set(key, { ...group, timestamp, reason, ranks: ranks.copy() });
    else known.ranks.addAll(ranks);
  }
  return [...merged.values()];
}

/** "Nov22 17:14", in the local time zone. */
function shortTime(timestamp: number): string {
  const date = new Date(timestamp * 1000);
  const two = (value: number): string => String(value).padStart(2, "0");
  const month = date.toLocaleString("en-US", { month: "short" });
  return `${month}${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}`;
}
