/**
 * Resource sets, "R" (RFC 20, version 1): which cores and GPUs of which ranks; on which hosts; with which properties.
 *
 * A set is a value: operations return a new set. Ranks whose cores and GPUs are all taken away are no longer in it, and
 * properties speak only of ranks that are. The key `scheduling` belongs to the scheduler and is handed on unread.
 *
 * Invariants: ranks ascend; hosts are known of all ranks or of none; every property has a rank.
 *
 * Does not know: which resources are up, or who uses them.
 */
import { FluxError } from "../base/errors.ts";
import { parseJson, type JsonValue } from "../base/json.ts";
import { Hostlist } from "./hostlist.ts";
import { Idset } from "./idset.ts";
import {
  checkPropertyName,
  checkRankCount,
  hostsOf,
  invalid,
  join,
  parseResourceSet,
  type Extras,
  type NodeResources,
  type ResourceSetJson,
} from "./resource-set-json.ts";

export { checkPropertyName, checkRankCount, type NodeResources, type ResourceSetJson } from "./resource-set-json.ts";

const NO_EXTRAS: Extras = {
  properties: new Map(),
  starttime: 0,
  expiration: 0,
  nslots: undefined,
  scheduling: undefined,
};

/** What was read or written already: in one broker the R of a job passes several services as the same object, which never changes. */
const PARSED = new WeakMap<object, ResourceSet>();

export class ResourceSet {
  readonly #nodes: ReadonlyMap<number, NodeResources>;
  readonly #extras: Extras;
  readonly ranks: Idset;

  private constructor(nodes: Iterable<readonly [number, NodeResources]>, extras: Extras) {
    this.#nodes = new Map([...nodes].sort(([left], [right]) => left - right));
    this.ranks = Idset.from(this.#nodes.keys());
    this.#extras = { ...extras, properties: restrict(extras.properties, this.ranks) };
  }

  static get EMPTY(): ResourceSet {
    return EMPTY;
  }

  /** The same cores and GPUs on each of the ranks; `hosts` name the ranks in ascending order. Throws FluxError EINVAL. */
  static of(options: { ranks: Idset; cores?: Idset; gpus?: Idset; hosts?: Hostlist | undefined }): ResourceSet {
    const { ranks, cores = new Idset(), gpus = new Idset() } = options;
    checkRankCount(ranks.count);
    const hosts = hostsOf(options.hosts ?? new Hostlist(), ranks.count);
    const nodes = [...ranks].map((rank, index) => [rank, { cores, gpus, host: hosts?.[index] }] as const);
    return new ResourceSet(nodes, NO_EXTRAS);
  }

  /** A set of nodes that may differ. Throws FluxError EINVAL where some have a host and others not. */
  static fromNodes(nodes: Iterable<readonly [rank: number, node: NodeResources]>): ResourceSet {
    const entries = [...nodes];
    const named = entries.filter(([, node]) => node.host !== undefined).length;
    if (named !== 0 && named !== entries.length) throw invalid("some ranks have a host and others have none");
    return new ResourceSet(entries, NO_EXTRAS);
  }

  /** Reads R. Throws FluxError EINVAL with what is wrong. */
  static parse(value: JsonValue | undefined): ResourceSet {
    const json = typeof value === "object" ? value : null;
    const known = json === null ? undefined : PARSED.get(json);
    if (known !== undefined) return known;
    const { nodes, extras } = parseResourceSet(value);
    const set = new ResourceSet(nodes, extras);
    if (json !== null) PARSED.set(json, set);
    return set;
  }

  static parseText(text: string): ResourceSet {
    return ResourceSet.parse(parseJson(text));
  }

  get nnodes(): number {
    return this.#nodes.size;
  }

  get ncores(): number {
    return this.#sum((node) => node.cores.count);
  }

  get ngpus(): number {
    return this.#sum((node) => node.gpus.count);
  }

  get isEmpty(): boolean {
    return this.#nodes.size === 0;
  }

  /** Seconds since the Unix epoch; 0 where unset. */
  get starttime(): number {
    return this.#extras.starttime;
  }

  /** Seconds since the Unix epoch; 0 where unset. */
  get expiration(): number {
    return this.#extras.expiration;
  }

  /** How many slots the scheduler made of the set, where a scheduler made it. */
  get nslots(): number | undefined {
    return this.#extras.nslots;
  }

  get scheduling(): JsonValue | undefined {
    return this.#extras.scheduling;
  }

  /** Which ranks have which property. */
  get properties(): ReadonlyMap<string, Idset> {
    return this.#extras.properties;
  }

  node(rank: number): NodeResources | undefined {
    return this.#nodes.get(rank);
  }

  /** The nodes by ascending rank. */
  nodes(): IterableIterator<[number, NodeResources]> {
    return this.#nodes.entries();
  }

  /** The hosts in the order of the ranks; empty where none are known. */
  get nodelist(): Hostlist {
    return Hostlist.from([...this.#nodes.values()].flatMap(({ host }) => (host === undefined ? [] : [host])));
  }

  /** The ranks on any of the hosts: several of one host where brokers share it. Throws FluxError ENOENT with the first host that is not in the set. */
  ranksOfHosts(hosts: Hostlist): Idset {
    const wanted = new Set(hosts);
    const ranks = this.#ranksWhere((node) => node.host !== undefined && wanted.has(node.host));
    const found = new Set([...ranks].map((rank) => this.#nodes.get(rank)!.host));
    for (const host of wanted) if (!found.has(host)) throw new FluxError("ENOENT", `host ${host} not found`);
    return ranks;
  }

  hasProperty(rank: number, name: string): boolean {
    return this.#extras.properties.get(name)?.has(rank) ?? false;
  }

  with(changes: Partial<Omit<Extras, "properties">>): ResourceSet {
    return new ResourceSet(this.#nodes, { ...this.#extras, ...changes });
  }

  /** Gives ranks a property. Throws FluxError EINVAL for a name that RFC 20 forbids, ENOENT for ranks not in the set. */
  withProperty(name: string, ranks: Idset): ResourceSet {
    checkPropertyName(name);
    const unknown = ranks.subtract(this.ranks);
    if (!unknown.isEmpty) throw new FluxError("ENOENT", `ranks ${unknown} not found`);
    const properties = new Map(this.#extras.properties);
    properties.set(name, (properties.get(name) ?? new Idset()).union(ranks));
    return new ResourceSet(this.#nodes, { ...this.#extras, properties });
  }

  /** Without any property. */
  withoutProperties(): ResourceSet {
    return new ResourceSet(this.#nodes, { ...this.#extras, properties: new Map() });
  }

  /** Without the properties that begin with `+`, which describe this instance and are not for its jobs. */
  withoutLocalProperties(): ResourceSet {
    const properties = new Map([...this.#extras.properties].filter(([name]) => !name.startsWith("+")));
    return new ResourceSet(this.#nodes, { ...this.#extras, properties });
  }

  /** All that is in one set or the other. The times and the scheduler's key are this set's. */
  union(other: ResourceSet): ResourceSet {
    if (!this.isEmpty && !other.isEmpty && this.nodelist.isEmpty !== other.nodelist.isEmpty) {
      throw invalid("cannot join a set with hosts and one without");
    }
    const nodes = new Map(this.#nodes);
    for (const [rank, node] of other.#nodes) {
      const mine = nodes.get(rank);
      nodes.set(rank, mine === undefined ? node : join(rank, mine, node));
    }
    const properties = new Map(this.#extras.properties);
    for (const [name, ranks] of other.#extras.properties) {
      properties.set(name, (properties.get(name) ?? new Idset()).union(ranks));
    }
    return new ResourceSet(nodes, { ...this.#extras, properties });
  }

  /** Like union, for sets that have nothing in common. Throws FluxError EEXIST where they have. */
  append(other: ResourceSet): ResourceSet {
    const common = this.intersect(other);
    if (!common.isEmpty) throw new FluxError("EEXIST", `resources are in both sets: ${common.dump()}`);
    return this.union(other);
  }

  /** What is in this set and not in the other. */
  subtract(other: ResourceSet): ResourceSet {
    return this.#combine((rank, { cores, gpus }) => {
      const taken = other.#nodes.get(rank);
      return taken === undefined ? [cores, gpus] : [cores.subtract(taken.cores), gpus.subtract(taken.gpus)];
    });
  }

  /** What is in both sets. */
  intersect(other: ResourceSet): ResourceSet {
    return this.#combine((rank, { cores, gpus }) => {
      const shared = other.#nodes.get(rank);
      return shared === undefined ? null : [cores.intersect(shared.cores), gpus.intersect(shared.gpus)];
    });
  }

  /** This set on the given ranks only. */
  keepRanks(ranks: Idset): ResourceSet {
    return new ResourceSet(
      [...this.#nodes].filter(([rank]) => ranks.has(rank)),
      this.#extras,
    );
  }

  /** This set without the given ranks. */
  removeRanks(ranks: Idset): ResourceSet {
    return new ResourceSet(
      [...this.#nodes].filter(([rank]) => !ranks.has(rank)),
      this.#extras,
    );
  }

  includes(other: ResourceSet): boolean {
    return [...other.#nodes].every(([rank, { cores, gpus }]) => {
      const mine = this.#nodes.get(rank);
      return mine !== undefined && mine.cores.includes(cores) && mine.gpus.includes(gpus);
    });
  }

  equals(other: ResourceSet): boolean {
    return this.nnodes === other.nnodes && this.includes(other) && other.includes(this);
  }

  /** Numbers the ranks 0, 1, 2 … in their order: how a nested instance sees what it was given. */
  remap(): ResourceSet {
    return this.#renumber((_node, index) => index);
  }

  /** Numbers the cores of every node from 0: how brokers see them that are bound to just these. */
  withCoresFromZero(): ResourceSet {
    const nodes = [...this.#nodes].map(
      ([rank, node]) => [rank, { ...node, cores: Idset.upTo(node.cores.count) }] as const,
    );
    return new ResourceSet(nodes, this.#extras);
  }

  /** Numbers the ranks as the hosts are listed. Throws FluxError ENOENT for a host that is not listed, EOVERFLOW for a wrong number of hosts. */
  rerank(hosts: Hostlist): ResourceSet {
    if (hosts.count !== this.nnodes) {
      throw new FluxError("EOVERFLOW", `number of hosts (${hosts.count}) must match node count (${this.nnodes})`);
    }
    const places = new Map<string, number[]>();
    for (const [index, host] of [...hosts].entries()) places.set(host, [...(places.get(host) ?? []), index]);
    return this.#renumber(({ host }) => {
      const rank = places.get(host ?? "")?.shift();
      if (rank === undefined) throw new FluxError("ENOENT", `host ${host ?? "?"} not found in hostlist`);
      return rank;
    });
  }

  /** One word a group of equal nodes: `rank[0-1]/core[0-3],gpu0 rank2/core0`. */
  dump(): string {
    return this.#groups()
      .map(({ ranks, cores, gpus }) => {
        const parts = [cores === "" ? "" : `core${bracket(cores)}`, gpus === "" ? "" : `gpu${bracket(gpus)}`];
        return `rank${bracket(ranks.format())}/${parts.filter((part) => part !== "").join(",")}`;
      })
      .join(" ");
  }

  toJSON(): ResourceSetJson {
    const { properties, starttime, expiration, nslots, scheduling } = this.#extras;
    const nodelist = this.nodelist;
    const R_lite = this.#groups().map(({ ranks, cores, gpus }) => ({
      rank: ranks.format(),
      children: { ...(cores !== "" && { core: cores }), ...(gpus !== "" && { gpu: gpus }) },
    }));
    const names = [...properties].map(([name, ranks]) => [name, ranks.format()] as const);
    const json: ResourceSetJson = {
      version: 1,
      execution: {
        R_lite,
        ...(nslots !== undefined && { nslots }),
        starttime,
        expiration,
        ...(!nodelist.isEmpty && { nodelist: [nodelist.format()] }),
        ...(names.length > 0 && { properties: Object.fromEntries(names) }),
      },
      ...(scheduling !== undefined && { scheduling }),
    };
    PARSED.set(json, this);
    return json;
  }

  /** Ranks with equal resources, by their first rank. */
  #groups(): { ranks: Idset; cores: string; gpus: string }[] {
    // Equal nodes mostly share their id sets, so each set is written once.
    const texts = new Map<Idset, string>();
    const textOf = (ids: Idset) => {
      const known = texts.get(ids);
      if (known !== undefined) return known;
      const text = ids.format();
      texts.set(ids, text);
      return text;
    };
    const groups = new Map<string, { ranks: Idset; cores: string; gpus: string }>();
    for (const [rank, node] of this.#nodes) {
      const [cores, gpus] = [textOf(node.cores), textOf(node.gpus)];
      const key = `${cores}/${gpus}`;
      const group = groups.get(key);
      if (group === undefined) groups.set(key, { ranks: Idset.of(rank), cores, gpus });
      else group.ranks.add(rank);
    }
    return [...groups.values()];
  }

  #combine(rest: (rank: number, node: NodeResources) => [cores: Idset, gpus: Idset] | null): ResourceSet {
    const nodes: [number, NodeResources][] = [];
    for (const [rank, node] of this.#nodes) {
      const left = rest(rank, node);
      if (left === null || (left[0].isEmpty && left[1].isEmpty)) continue;
      nodes.push([rank, { cores: left[0], gpus: left[1], host: node.host }]);
    }
    return new ResourceSet(nodes, this.#extras);
  }

  #renumber(rankOf: (node: NodeResources, index: number) => number): ResourceSet {
    const renumbered = new Map<number, number>();
    const nodes: [number, NodeResources][] = [];
    for (const [index, [rank, node]] of [...this.#nodes].entries()) {
      renumbered.set(rank, rankOf(node, index));
      nodes.push([renumbered.get(rank)!, node]);
    }
    const properties = [...this.#extras.properties].map(
      ([name, ranks]) => [name, Idset.from([...ranks].map((rank) => renumbered.get(rank)!))] as const,
    );
    return new ResourceSet(nodes, { ...this.#extras, properties: new Map(properties) });
  }

  #ranksWhere(wanted: (node: NodeResources) => boolean): Idset {
    return Idset.from([...this.#nodes].filter(([, node]) => wanted(node)).map(([rank]) => rank));
  }

  #sum(of: (node: NodeResources) => number): number {
    let sum = 0;
    for (const node of this.#nodes.values()) sum += of(node);
    return sum;
  }
}

const EMPTY = ResourceSet.of({ ranks: new Idset() });

function restrict(properties: ReadonlyMap<string, Idset>, ranks: Idset): ReadonlyMap<string, Idset> {
  if (properties.size === 0) return properties;
  const kept = [...properties].map(([name, ids]) => [name, ids.intersect(ranks)] as const);
  return new Map(kept.filter(([, ids]) => !ids.isEmpty));
}

function bracket(ids: string): string {
  return /[,-]/.test(ids) ? `[${ids}]` : ids;
}
