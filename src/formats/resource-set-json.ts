/**
 * The JSON form of R (RFC 20): its types, and reading it strictly. `resource-set.ts` has what is done with it.
 */
import { FluxError } from "../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../base/json.ts";
import { Hostlist } from "./hostlist.ts";
import { Idset } from "./idset.ts";

/** The most ranks that a set may have. */
const RANKS_MAX = 2 ** 20;

/** What a set has of one rank. The id sets are shared between ranks and must not be changed. */
export interface NodeResources {
  readonly cores: Idset;
  readonly gpus: Idset;
  /** Undefined in an R without a nodelist. */
  readonly host: string | undefined;
}

/** R as it travels. */
export interface ResourceSetJson extends JsonObject {
  readonly version: 1;
  readonly execution: {
    readonly R_lite: readonly {
      readonly rank: string;
      readonly children: { readonly core?: string; readonly gpu?: string };
    }[];
    readonly nodelist?: readonly string[];
    readonly nslots?: number;
    readonly properties?: Readonly<Record<string, string>>;
    readonly starttime: number;
    readonly expiration: number;
  };
  readonly scheduling?: JsonValue;
}

/** What R says besides its resources. */
export interface Extras {
  readonly properties: ReadonlyMap<string, Idset>;
  /** Seconds since the Unix epoch; 0 is unset. */
  readonly starttime: number;
  readonly expiration: number;
  readonly nslots: number | undefined;
  readonly scheduling: JsonValue | undefined;
}

/** Reads R. Throws FluxError EINVAL with what is wrong. */
export function parseResourceSet(value: JsonValue | undefined): { nodes: Map<number, NodeResources>; extras: Extras } {
  if (!isJsonObject(value)) throw invalid("not an object");
  if (value["version"] !== 1) throw invalid(`version ${String(value["version"])} is not supported`);
  const execution = value["execution"];
  if (!isJsonObject(execution)) throw invalid("execution: missing or not an object");
  const nodes = parseRlite(execution["R_lite"]);
  const ranks = [...nodes.keys()].sort((left, right) => left - right);
  const hosts = hostsOf(parseNodelist(execution["nodelist"]), ranks.length);
  for (const [index, rank] of ranks.entries()) nodes.set(rank, { ...nodes.get(rank)!, host: hosts?.[index] });
  const extras = {
    properties: parseProperties(execution["properties"], Idset.from(ranks)),
    starttime: parseTime(execution["starttime"], "starttime"),
    expiration: parseTime(execution["expiration"], "expiration"),
    nslots: parseNslots(execution["nslots"]),
    scheduling: value["scheduling"],
  };
  return { nodes, extras };
}

/** Throws FluxError EINVAL where RFC 20 forbids the name for a property. */
export function checkPropertyName(name: string): void {
  const illegal = /[!&'"^`|()]/.exec(name);
  if (illegal !== null) throw invalid(`property '${name}': invalid character '${illegal[0]}'`);
  if (name === "") throw invalid("a property has no name");
}

/** What two sets have of one rank. Throws FluxError EINVAL where they disagree about its host. */
export function join(rank: number, left: NodeResources, right: NodeResources): NodeResources {
  if (left.host !== right.host)
    throw invalid(`rank ${rank} is ${left.host ?? "?"} in one set and ${right.host ?? "?"} in the other`);
  return { cores: left.cores.union(right.cores), gpus: left.gpus.union(right.gpus), host: left.host };
}

function parseRlite(value: JsonValue | undefined): Map<number, NodeResources> {
  const nodes = new Map<number, NodeResources>();
  // Some writers give an empty object for "nothing".
  if (isJsonObject(value) && Object.keys(value).length === 0) return nodes;
  if (!Array.isArray(value)) throw invalid("execution.R_lite: missing or not an array");
  for (const [index, entry] of (value as JsonValue[]).entries()) {
    const where = `R_lite[${index}]`;
    if (!isJsonObject(entry)) throw invalid(`${where}: not an object`);
    const children = entry["children"];
    if (!isJsonObject(children)) throw invalid(`${where}: children is missing or not an object`);
    const unknown = Object.keys(children).find((name) => name !== "core" && name !== "gpu");
    if (unknown !== undefined) throw invalid(`${where}: resource type '${unknown}' is not supported`);
    const cores = parseIds(children["core"] ?? "", `${where}: core`);
    const gpus = parseIds(children["gpu"] ?? "", `${where}: gpu`);
    const ranks = parseIds(entry["rank"], `${where}: rank`);
    checkRankCount(nodes.size + ranks.count);
    for (const rank of ranks) {
      const known = nodes.get(rank);
      const node = { cores, gpus, host: undefined };
      nodes.set(rank, known === undefined ? node : join(rank, known, node));
    }
  }
  return nodes;
}

/** Throws FluxError EINVAL where a set would have too many ranks. */
export function checkRankCount(count: number): void {
  if (count > RANKS_MAX) throw invalid(`${count} ranks, at most ${RANKS_MAX} are possible`);
}

function parseIds(value: JsonValue | undefined, where: string): Idset {
  if (typeof value !== "string") throw invalid(`${where} is missing or not a string`);
  try {
    return Idset.parse(value);
  } catch (error) {
    throw invalid(`${where}: ${(error as Error).message}`);
  }
}

function parseNodelist(value: JsonValue | undefined): Hostlist {
  const hosts = new Hostlist();
  if (value === undefined) return hosts;
  if (!Array.isArray(value)) throw invalid("execution.nodelist: not an array");
  for (const item of value as JsonValue[]) {
    if (typeof item !== "string") throw invalid("execution.nodelist: not an array of strings");
    hosts.append(item);
  }
  return hosts;
}

/** The hosts by rank; null where none are known. Throws FluxError EINVAL where their number is not `count`. */
export function hostsOf(hosts: Hostlist, count: number): readonly string[] | null {
  if (hosts.isEmpty) return null;
  if (hosts.count !== count) throw invalid(`nodelist has ${hosts.count} hosts for ${count} ranks`);
  return hosts.toArray();
}

function parseProperties(value: JsonValue | undefined, ranks: Idset): ReadonlyMap<string, Idset> {
  if (value === undefined) return new Map();
  if (!isJsonObject(value)) throw invalid("execution.properties: not an object");
  const properties = new Map<string, Idset>();
  for (const [name, ids] of Object.entries(value)) {
    checkPropertyName(name);
    const owners = parseIds(ids, `property '${name}'`);
    if (!ranks.includes(owners)) throw invalid(`property '${name}': ranks ${owners.subtract(ranks)} not found`);
    properties.set(name, owners);
  }
  return properties;
}

function parseTime(value: JsonValue | undefined, name: string): number {
  if (value === undefined) return 0;
  if (typeof value !== "number" || value < 0) throw invalid(`execution.${name}: not a time`);
  return value;
}

function parseNslots(value: JsonValue | undefined): number | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== "number" || !Number.isInteger(value) || value < 1)
    throw invalid("execution.nslots: not a count");
  return value;
}

export function invalid(reason: string): FluxError {
  return new FluxError("EINVAL", `invalid R: ${reason}`);
}
