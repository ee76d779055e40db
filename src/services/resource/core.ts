/**
 * The state of the instance's resources as a fold over resource events (RFC 44): what there is, who is online, drained,
 * excluded; and the checks of drain and undrain.
 *
 * Invariants: a rank is not both drained and excluded; what is up is in R, online, neither drained nor excluded nor
 * torpid; every change is an event, applied here and shown to the journal.
 *
 * It knows neither messages nor the KVS.
 */
import { FluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { Idset } from "../../formats/idset.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import type { DefineMethod, DrainMode } from "./protocol.ts";

export interface ResourceEvent {
  readonly timestamp: number;
  readonly name: string;
  readonly context?: JsonObject;
}

interface Drain {
  readonly timestamp: number;
  readonly reason: string | null;
}

/** Values of `overwrite` in a drain event (RFC 44). */
const Overwrite = { None: 0, Reason: 1, ReasonAndTime: 2 } as const;

export class ResourceState {
  /** The whole inventory, excluded ranks too; null until it is defined. */
  resources: ResourceSet | null = null;
  method: DefineMethod | null = null;
  online: Idset = new Idset();
  torpid: Idset = new Idset();
  exclude: Idset = new Idset();
  /** Ranks that no broker has, of an inventory that was loaded all the same: nobody sees them go, so they are up. */
  unwatched: Idset = new Idset();
  /** Ranks whose brokers are gone and cannot come back: nothing more is scheduled there. */
  lost: Idset = new Idset();
  readonly #size: number;
  readonly #hosts: readonly string[];
  readonly #drains = new Map<number, Drain>();

  /** `hosts` names the brokers by rank. */
  constructor(size: number, hosts: readonly string[]) {
    this.#size = size;
    this.#hosts = hosts;
  }

  get drained(): Idset {
    return Idset.from(this.#drains.keys());
  }

  /** All ranks that exist: those of R, or of the instance until R is known. */
  get ranks(): Idset {
    return this.resources?.ranks ?? Idset.upTo(this.#size);
  }

  /** Ranks that jobs may be started on. */
  get up(): Idset {
    return this.online.intersect(this.ranks).subtract(this.drained).subtract(this.exclude).subtract(this.torpid);
  }

  /** What a scheduler gets: the inventory without the ranks that are excluded. */
  get acquirable(): ResourceSet {
    return (this.resources ?? ResourceSet.EMPTY).removeRanks(this.exclude);
  }

  /** What there is to schedule: that without the ranks that are gone. */
  get schedulable(): ResourceSet {
    return this.acquirable.removeRanks(this.lost);
  }

  hostOf(rank: number): string {
    return this.resources?.node(rank)?.host ?? this.#hosts[rank] ?? "unknown";
  }

  /** The hosts that events name: those of the brokers, whatever the inventory calls them. */
  hostsOf(ranks: Idset): string {
    return Hostlist.from([...ranks].map((rank) => this.#hosts[rank] ?? this.hostOf(rank))).toString();
  }

  /** Drained ranks with the same reason and time together, as `resource.status` has them. */
  drainTable(): JsonObject {
    const groups = new Map<string, { ranks: Idset; drain: Drain }>();
    for (const [rank, drain] of this.#drains) {
      const key = `${drain.timestamp} ${drain.reason ?? ""}`;
      const group = groups.get(key);
      if (group === undefined) groups.set(key, { ranks: Idset.of(rank), drain });
      else group.ranks.add(rank);
    }
    return Object.fromEntries(
      [...groups.values()].map(({ ranks, drain }) => [
        ranks.toString(),
        { timestamp: drain.timestamp, reason: drain.reason ?? "" },
      ]),
    );
  }

  /** Ranks named by an idset or a hostlist. Throws FluxError EINVAL. */
  parseTargets(targets: string): Idset {
    const ranks = Idset.tryParse(targets);
    if (ranks !== null) {
      if (ranks.isEmpty) throw new FluxError("EINVAL", "idset is empty");
      // A rank that the inventory lacks may have to be drained for just that.
      if (!this.ranks.union(Idset.upTo(this.#size)).includes(ranks))
        throw new FluxError("EINVAL", "idset is out of range");
      return ranks;
    }
    return this.#ranksOfHosts(targets);
  }

  /**
   * Checks a drain and makes its event. What is drained for a reason is not drained for another one unless the mode says
   * so. Throws FluxError EEXIST, EINVAL.
   */
  planDrain(targets: string, reason: string | null, mode: DrainMode, timestamp: number): ResourceEvent {
    const ranks = this.parseTargets(targets);
    const drained = Idset.from([...ranks].filter((rank) => (this.#drains.get(rank)?.reason ?? null) !== null));
    const excluded = ranks.intersect(this.exclude);
    const refused = mode === "default" ? drained.union(excluded) : excluded;
    if (!refused.isEmpty)
      throw refusal(refused, drainedWords(mode === "default" ? drained : new Idset(), excluded), drained);
    const context = {
      idset: ranks.toString(),
      nodelist: this.hostsOf(ranks),
      ...(reason === null ? {} : { reason }),
      overwrite: overwriteOf(mode),
    };
    return { timestamp, name: "drain", context };
  }

  /** Checks an undrain and makes its event: for all that it names, drained or not. Throws FluxError EEXIST, EINVAL. */
  planUndrain(targets: string, reason: string | null, mode: DrainMode, timestamp: number): ResourceEvent {
    const ranks = this.parseTargets(targets);
    const missing = ranks.subtract(this.drained);
    if (!missing.isEmpty && mode === "default") throw new FluxError("EEXIST", `${rankWords(missing)} not drained`);
    const context = {
      idset: ranks.toString(),
      nodelist: this.hostsOf(ranks),
      overwrite: overwriteOf(mode),
      ...(reason === null ? {} : { reason }),
    };
    return { timestamp, name: "undrain", context };
  }

  /** The events that lead from who was online to who is, and what is online besides. */
  planOnline(brokers: Idset, timestamp: number): ResourceEvent[] {
    const members = brokers.union(this.unwatched);
    const came = members.subtract(this.online);
    const went = this.online.subtract(members);
    const events: ResourceEvent[] = [];
    if (!came.isEmpty) events.push({ timestamp, name: "online", context: { idset: came.toString() } });
    if (!went.isEmpty) events.push({ timestamp, name: "offline", context: { idset: went.toString() } });
    return events;
  }

  /**
   * Folds in an event of an earlier run: hosts may have other ranks now, or be gone. Throws FluxError EINVAL where a
   * drain or undrain does not say whom.
   */
  replay(event: ResourceEvent): void {
    if (event.name !== "drain" && event.name !== "undrain") return;
    const { idset, nodelist } = event.context ?? {};
    const ranks = typeof idset === "string" ? Idset.tryParse(idset) : null;
    if (ranks === null) throw new FluxError("EINVAL", `${event.name} event: missing or invalid 'idset'`);
    const hosts = typeof nodelist === "string" ? Hostlist.tryParse(nodelist) : null;
    const now = hosts === null ? null : this.#ranksNow(hosts, ranks);
    this.apply(now === null ? event : { ...event, context: { ...event.context, idset: now.toString() } });
  }

  /** The ranks that hosts have today; null where names do not tell them apart. */
  #ranksNow(hosts: Hostlist, ranks: Idset): Idset | null {
    const names = [...new Set(hosts)];
    if (names.length !== ranks.count || new Set(this.#hosts).size !== this.#hosts.length) return null;
    return Idset.from(names.map((name) => this.#hosts.indexOf(name)).filter((rank) => rank >= 0));
  }

  /** Folds an event in. Events of other names change nothing. */
  apply(event: ResourceEvent): void {
    const context = event.context ?? {};
    const ranks = Idset.tryParse(String(context["idset"] ?? "")) ?? new Idset();
    switch (event.name) {
      case "drain":
        return this.#applyDrain(ranks, event.timestamp, context);
      case "undrain":
        for (const rank of ranks) this.#drains.delete(rank);
        return;
      case "online":
        this.online = this.online.union(ranks);
        return;
      case "offline":
        this.online = this.online.subtract(ranks);
        return;
      case "torpid":
        this.torpid = this.torpid.union(ranks);
        return;
      case "lively":
        this.torpid = this.torpid.subtract(ranks);
        return;
      default:
    }
  }

  /** Withholds ranks from scheduling; an excluded rank is drained no more. */
  setExclude(ranks: Idset): void {
    this.exclude = ranks;
    for (const rank of ranks) this.#drains.delete(rank);
  }

  #applyDrain(ranks: Idset, timestamp: number, context: JsonObject): void {
    const reason = typeof context["reason"] === "string" ? context["reason"] : null;
    for (const rank of ranks) {
      if (this.exclude.has(rank)) continue;
      const before = this.#drains.get(rank);
      const keepsTime = before !== undefined && context["overwrite"] !== Overwrite.ReasonAndTime;
      const keepsReason = before !== undefined && before.reason !== null && context["overwrite"] === Overwrite.None;
      this.#drains.set(rank, {
        timestamp: keepsTime ? before.timestamp : timestamp,
        reason: keepsReason ? before.reason : reason,
      });
    }
  }

  #ranksOfHosts(targets: string): Idset {
    let hosts: Hostlist;
    try {
      hosts = Hostlist.parse(targets);
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      throw new FluxError("EINVAL", `invalid targets: ${error.message}`);
    }
    const known = new Map<string, number[]>();
    for (const rank of this.ranks) {
      const host = this.hostOf(rank);
      const there = known.get(host);
      if (there === undefined) known.set(host, [rank]);
      else there.push(rank);
    }
    const ranks = new Idset();
    const unknown = new Hostlist();
    for (const host of hosts) {
      const found = known.get(host);
      if (found === undefined) unknown.push(host);
      else for (const rank of found) ranks.add(rank);
    }
    if (!unknown.isEmpty) throw new FluxError("EINVAL", `invalid targets: invalid hosts: ${unknown}`);
    return ranks;
  }
}

function overwriteOf(mode: DrainMode): number {
  if (mode === "overwrite") return Overwrite.Reason;
  return mode === "force-overwrite" ? Overwrite.ReasonAndTime : Overwrite.None;
}

function rankWords(ranks: Idset): string {
  return `rank${ranks.count > 1 ? "s" : ""} ${ranks}`;
}

function drainedWords(drained: Idset, excluded: Idset): string {
  if (excluded.isEmpty) return "already drained";
  return drained.isEmpty ? "excluded" : "already drained or excluded";
}

function refusal(ranks: Idset, words: string, drained: Idset): FluxError {
  return new FluxError(drained.isEmpty ? "EINVAL" : "EEXIST", `${rankWords(ranks)} ${words}`);
}
