/** The system's view of resources: which nodes are available, excluded, drained, and why. */
import { FluxError, isFluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject } from "../../base/json.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { Idset } from "../../formats/idset.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import type { Handle } from "../../sdk/handle.ts";
import { Float } from "../output/field-value.ts";
import { schedulerView, type FieldValues } from "./view.ts";

/** In the order in which `status` lists them. */
const STATES: readonly string[] = ["avail", "exclude", "allocated", "torpid", "housekeeping", "draining", "drained"];
const DEFAULT_STATES: readonly string[] = STATES.filter((state) => state !== "allocated");
export const VALID_STATES = "all,online,avail,offline,exclude,drain,draining,drained,torpid,allocated,housekeeping";
/** States of which there is no offline row without nodes. */
const DRAIN_STATES: readonly string[] = ["draining", "drained"];

/** What rows `status` shows. */
export interface StateChoice {
  readonly states: readonly string[];
  readonly online: boolean;
  readonly offline: boolean;
  /** Rows of nodes that are offline are shown though there are none. */
  readonly asksOffline: boolean;
}

export const STATUS_HEADINGS: Readonly<Record<string, string>> = {
  state: "STATE",
  statex: "STATE",
  status: "STATUS",
  up: "UP",
  "up.ascii": "UP",
  color_up: "",
  color_off: "",
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

  /** Rows for `status`. */
  statusRows(choice: StateChoice, options: RowOptions): FieldValues[] {
    const rows: NodeGroup[] = [];
    for (const state of choice.states)
      for (const isOnline of [true, false]) {
        if (!(isOnline ? choice.online : choice.offline)) continue;
        const groups = this.#groups.filter((group) => group.state === state && group.isOnline === isOnline);
        const included = groupsWithin(groups, options.include);
        rows.push(...included);
        const mayBeEmpty = isOnline || (choice.asksOffline && !DRAIN_STATES.includes(state));
        if (included.length === 0 && options.showsEmpty && mayBeEmpty)
          rows.push({ state, isOnline, timestamp: 0, reason: "", ranks: new Idset() });
      }
    return this.#merge(rows, options.label);
  }

  /** Rows for `drain`, by rank. */
  drainRows(options: RowOptions): FieldValues[] {
    const groups = this.#groups.filter(({ state }) => state === "drained" || state === "draining");
    const included = groupsWithin(groups, options.include).toSorted(byFirstRank);
    return this.#merge(included, options.label);
  }

  /** The rows of groups; of those that the format does not tell apart one. */
  #merge(groups: readonly NodeGroup[], label: (row: FieldValues) => string): FieldValues[] {
    const merged = new Map<string, NodeGroup>();
    for (const group of groups) {
      const key = label(this.#row({ ...group, ranks: new Idset() }));
      const known = merged.get(key);
      if (known === undefined) merged.set(key, { ...group, ranks: group.ranks.copy() });
      else known.ranks.addAll(group.ranks);
    }
    return [...merged.values()].map((group) => this.#row(group));
  }

  #row({ state, isOnline, timestamp, reason, ranks }: NodeGroup): FieldValues {
    return {
      state: isOnline ? state : `${state}*`,
      statex: state,
      status: isOnline ? "online" : "offline",
      up: isOnline ? "✔" : "✗",
      "up.ascii": isOnline ? "y" : "n",
      color_up: isOnline ? "\u001b[01;32m" : "\u001b[01;31m",
      color_off: "\u001b[0;0m",
      nnodes: ranks.count,
      ranks: ranks.toString(),
      nodelist: Hostlist.from([...ranks].flatMap((rank) => this.resources.node(rank)?.host ?? [])).toString(),
      timestamp: timestamp === 0 ? "" : new Float(timestamp),
      reason,
    };
  }
}

export interface RowOptions {
  readonly include: Idset | null;
  /** What the format shows of a row besides its nodes: rows that show the same are one. */
  readonly label: (row: FieldValues) => string;
  readonly showsEmpty: boolean;
}

/** The states that a list of names means. Throws FluxError EINVAL. */
export function parseStates(text: string | null): StateChoice {
  if (text === null) return { states: DEFAULT_STATES, online: true, offline: true, asksOffline: false };
  const wanted = text.split(",").flatMap((name) => {
    if (name === "all") return STATES;
    if (name === "drain") return DRAIN_STATES;
    if (name === "online" || name === "offline" || STATES.includes(name)) return [name];
    const hint = `flux-resource: INFO: valid states: ${VALID_STATES}`;
    throw new FluxError("EINVAL", `Invalid resource state ${name} specified\n${hint}`);
  });
  const online = wanted.includes("online");
  const offline = wanted.includes("offline");
  const isFilter = online || offline;
  const named = STATES.filter((state) => wanted.includes(state));
  return {
    states: named.length === 0 ? DEFAULT_STATES : named,
    online: online || !isFilter,
    offline: offline || !isFilter,
    asksOffline: offline,
  };
}

export async function systemView(handle: Handle): Promise<SystemView> {
  const [status, scheduler, housekeeping] = await Promise.all([
    handle.rpc("resource.status", null, { nodeid: 0 }),
    schedulerView(handle),
    housekeepingRanks(handle),
  ]);
  return parseSystemView(status, scheduler.allocated.ranks, housekeeping);
}

/** The view that an answer of `resource.status` gives, and what is known of the nodes besides. Throws FluxError EINVAL. */
export function parseSystemView(status: JsonObject, allocated: Idset, housekeeping: Idset): SystemView {
  const missing = ["R", "drain", "online", "offline", "exclude"].find((key) => status[key] === undefined);
  if (missing !== undefined) throw new FluxError("EINVAL", `resource status lacks '${missing}'`);
  const resources = ResourceSet.parse(status["R"]);
  const set = (key: string): Idset => Idset.parse(String(status[key] ?? ""));
  const [online, exclude, torpid] = [set("online"), set("exclude"), set("torpid")];
  const groups: NodeGroup[] = [];
  const drained = new Idset();
  const add = (state: string, ranks: Idset, timestamp = 0, reason = ""): void => {
    for (const isOnline of [true, false]) {
      const part = isOnline ? ranks.intersect(online) : ranks.subtract(online);
      if (!part.isEmpty) groups.push({ state, isOnline, timestamp, reason, ranks: part });
    }
  };
  const drains = isJsonObject(status["drain"]) ? status["drain"] : {};
  // By rank: the members of a JSON object have no order of their own.
  const byRank = Object.entries(drains)
    .map(([ids, info]) => ({ ranks: Idset.parse(ids), info }))
    .toSorted(byFirstRank);
  for (const { ranks, info } of byRank) {
    drained.addAll(ranks);
    const { timestamp, reason } = info as { timestamp: number; reason?: string };
    add("draining", ranks.intersect(allocated), timestamp, reason ?? "");
    add("drained", ranks.subtract(allocated), timestamp, reason ?? "");
  }
  add("avail", resources.ranks.subtract(drained).subtract(exclude).subtract(torpid));
  add("exclude", exclude);
  add("torpid", torpid.subtract(drained));
  add("allocated", allocated);
  add("housekeeping", housekeeping);
  return new SystemView(resources, groups);
}

function byFirstRank(left: { readonly ranks: Idset }, right: { readonly ranks: Idset }): number {
  return (left.ranks.first ?? 0) - (right.ranks.first ?? 0);
}

/** Ranks that are cleaned up after a job; none where the job manager is not there to ask. */
async function housekeepingRanks(handle: Handle): Promise<Idset> {
  const ranks = new Idset();
  const statistics: JsonObject = await handle
    .rpc("job-manager.stats-get", null, { nodeid: 0 })
    .catch((error: unknown) => {
      if (isFluxError(error, "ENOSYS")) return {};
      throw error;
    });
  const housekeeping = statistics["housekeeping"];
  const running = isJsonObject(housekeeping) ? housekeeping["running"] : undefined;
  for (const job of Object.values(isJsonObject(running) ? running : {}))
    if (isJsonObject(job)) ranks.addAll(Idset.parse(String(job["pending"] ?? "")));
  return ranks;
}

function groupsWithin(groups: readonly NodeGroup[], include: Idset | null): NodeGroup[] {
  if (include === null) return [...groups];
  return groups
    .map((group) => ({ ...group, ranks: group.ranks.intersect(include) }))
    .filter(({ ranks }) => !ranks.isEmpty);
}
