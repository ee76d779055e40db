/**
 * Resource sets from configuration: the array `resource.config` (flux-config-resource(5)) and the table `fake-resources`
 * (flux-config-fake-resources(5)).
 *
 * Ranks are numbered in the order in which hosts are first listed.
 */
import { FluxError } from "../base/errors.ts";
import { isJsonObject, stringifyJson, type JsonObject, type JsonValue } from "../base/json.ts";
import { Hostlist } from "./hostlist.ts";
import { Idset } from "./idset.ts";
import { checkPropertyName } from "./resource-set-json.ts";
import { ResourceSet } from "./resource-set.ts";

/** The most nodes that can be made up. */
const FAKE_NODES_MAX = 100_000;

interface HostResources {
  readonly rank: number;
  cores: Idset;
  gpus: Idset;
}

const KEYS: ReadonlySet<string> = new Set(["hosts", "cores", "gpus", "properties"]);

/**
 * Reads `resource.config`. A host may be in several entries: each adds to what the host has.
 * Throws FluxError EINVAL with the entry (`config[0]` is the first) and what is wrong.
 */
export function resourcesFromConfig(value: JsonValue | undefined): ResourceSet {
  if (!Array.isArray(value)) throw invalid("resource config must be an array");
  const hosts = new Map<string, HostResources>();
  const properties = new Map<string, Idset>();
  for (const [index, entry] of (value as JsonValue[]).entries()) {
    try {
      addEntry(entry, hosts, properties);
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      throw invalid(`config[${index}]: ${error.message}`);
    }
  }
  if (hosts.size === 0) throw invalid("no hosts configured");
  const bare = [...hosts].filter(([, { cores, gpus }]) => cores.isEmpty && gpus.isEmpty).map(([host]) => host);
  if (bare.length > 0) throw invalid(`resource.config: ${Hostlist.from(bare).toString()} assigned no resources`);
  let resources = ResourceSet.fromNodes(
    [...hosts].map(([host, { rank, cores, gpus }]) => [rank, { cores, gpus, host }]),
  );
  for (const [name, ranks] of properties) resources = resources.withProperty(name, ranks);
  return resources;
}

/**
 * Reads `fake-resources`: nodes, cores and GPUs that do not exist. `node` is what each node has, where a topology says it.
 * Throws FluxError EINVAL with what is wrong.
 */
export function fakeResources(
  table: JsonObject,
  node: { readonly cores: Idset; readonly gpus: Idset } | null = null,
): ResourceSet {
  const nnodes = count(table, "nnodes", undefined, 1);
  if (nnodes > FAKE_NODES_MAX) throw new FluxError("EINVAL", `fake-resources.nnodes: at most ${FAKE_NODES_MAX}`);
  const cores = node?.cores ?? Idset.upTo(count(table, "cores-per-node", 64, 1));
  const gpus = node?.gpus ?? Idset.upTo(count(table, "gpus-per-node", 0, 0));
  const prefix = table["host-prefix"] ?? "fake";
  if (typeof prefix !== "string") throw new FluxError("EINVAL", "fake-resources.host-prefix: must be a string");
  const hosts = Hostlist.parse(`${prefix}[0-${nnodes - 1}]`);
  return ResourceSet.of({ ranks: Idset.upTo(nnodes), cores, gpus, hosts });
}

function addEntry(entry: JsonValue, hosts: Map<string, HostResources>, properties: Map<string, Idset>): void {
  if (!isJsonObject(entry)) throw invalid(`Expected object, got ${typeName(entry)}`);
  if (entry["hosts"] === undefined) throw invalid("Object item not found: hosts");
  for (const key of ["hosts", "cores", "gpus"]) {
    const value = entry[key];
    if (value !== undefined && typeof value !== "string") throw invalid(`Expected string, got ${typeName(value)}`);
  }
  const unknown = Object.keys(entry).filter((key) => !KEYS.has(key));
  if (unknown.length > 0) throw invalid(`${unknown.length} object item(s) left unpacked: ${unknown.join(", ")}`);
  const names = hostsOf(entry["hosts"] as string);
  const [cores, gpus] = [ids(entry, "cores"), ids(entry, "gpus")];
  const ranks = new Idset();
  for (const host of names) {
    const known = hosts.get(host);
    if (known === undefined) {
      hosts.set(host, { rank: hosts.size, cores, gpus });
    } else {
      known.cores = known.cores.isEmpty ? cores : known.cores.union(cores);
      known.gpus = known.gpus.isEmpty ? gpus : known.gpus.union(gpus);
    }
    ranks.add(hosts.get(host)!.rank);
  }
  for (const name of propertyNames(entry["properties"])) {
    properties.set(name, (properties.get(name) ?? new Idset()).union(ranks));
  }
}

function hostsOf(text: string): Hostlist {
  const hosts = Hostlist.tryParse(text);
  if (hosts === null) throw invalid(`Invalid hostlist hosts='${text}'`);
  if (hosts.isEmpty) throw invalid("empty hostlist specified");
  return hosts;
}

function propertyNames(value: JsonValue | undefined): readonly string[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw invalid("properties must be an array");
  const names = value as JsonValue[];
  const other = names.find((name) => typeof name !== "string");
  if (other !== undefined) throw invalid(`invalid property "${stringifyJson(other)}": not a string`);
  for (const name of names as string[]) {
    try {
      checkPropertyName(name);
    } catch {
      throw invalid(`invalid property "${name}"`);
    }
  }
  return names as string[];
}

function ids(entry: JsonObject, key: string): Idset {
  const text = (entry[key] ?? "") as string;
  const set = Idset.tryParse(text);
  if (set === null) throw invalid(`invalid idset ${key}='${text}'`);
  return set;
}

function typeName(value: JsonValue): string {
  if (Array.isArray(value)) return "array";
  if (value === null) return "null";
  if (typeof value === "number" || typeof value === "bigint")
    return Number.isInteger(Number(value)) ? "integer" : "real";
  return typeof value === "boolean" ? String(value) : typeof value;
}

function count(table: JsonObject, key: string, fallback: number | undefined, min: number): number {
  const value = table[key] ?? fallback;
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < min) {
    throw new FluxError("EINVAL", `fake-resources.${key}: must be an integer >= ${min}`);
  }
  return value;
}

function invalid(reason: string): FluxError {
  return new FluxError("EINVAL", reason);
}
