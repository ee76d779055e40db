/**
 * Resource sets from configuration: the array `resource.config` (flux-config-resource(5)) and the table `fake-resources`
 * (flux-config-fake-resources(5)).
 *
 * Ranks are numbered in the order in which hosts are first listed.
 */
import { FluxError } from "../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../base/json.ts";
import { Hostlist } from "./hostlist.ts";
import { Idset } from "./idset.ts";
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
 * Throws FluxError EINVAL with the entry and what is wrong.
 */
export function resourcesFromConfig(value: JsonValue | undefined): ResourceSet {
  if (!Array.isArray(value) || value.length === 0) throw invalid("must be a non-empty array");
  const hosts = new Map<string, HostResources>();
  const properties = new Map<string, Idset>();
  for (const [index, entry] of (value as JsonValue[]).entries()) {
    try {
      addEntry(entry, hosts, properties);
    } catch (error) {
      throw invalid(`entry ${index + 1}: ${(error as Error).message}`);
    }
  }
  for (const [host, { cores, gpus }] of hosts) {
    if (cores.isEmpty && gpus.isEmpty) throw invalid(`host ${host} has no resources`);
  }
  let resources = ResourceSet.fromNodes(
    [...hosts].map(([host, { rank, cores, gpus }]) => [rank, { cores, gpus, host }]),
  );
  for (const [name, ranks] of properties) {
    resources = withConfiguredProperty(resources, name, ranks);
  }
  return resources;
}

/** Reads `fake-resources`: nodes, cores and GPUs that do not exist. Throws FluxError EINVAL with what is wrong. */
export function fakeResources(table: JsonObject): ResourceSet {
  const nnodes = count(table, "nnodes", undefined, 1);
  if (nnodes > FAKE_NODES_MAX) throw new FluxError("EINVAL", `fake-resources.nnodes: at most ${FAKE_NODES_MAX}`);
  const cores = Idset.upTo(count(table, "cores-per-node", 64, 1));
  const gpus = Idset.upTo(count(table, "gpus-per-node", 0, 0));
  const prefix = table["host-prefix"] ?? "fake";
  if (typeof prefix !== "string") throw new FluxError("EINVAL", "fake-resources.host-prefix: must be a string");
  const hosts = Hostlist.parse(`${prefix}[0-${nnodes - 1}]`);
  return ResourceSet.of({ ranks: Idset.upTo(nnodes), cores, gpus, hosts });
}

function addEntry(entry: JsonValue, hosts: Map<string, HostResources>, properties: Map<string, Idset>): void {
  if (!isJsonObject(entry)) throw new FluxError("EINVAL", "must be a table");
  const unknown = Object.keys(entry).find((key) => !KEYS.has(key));
  if (unknown !== undefined) throw new FluxError("EINVAL", `unknown key '${unknown}'`);
  if (typeof entry["hosts"] !== "string") throw new FluxError("EINVAL", "hosts is missing or not a string");
  const names = Hostlist.parse(entry["hosts"]);
  if (names.isEmpty) throw new FluxError("EINVAL", "hosts is empty");
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

function propertyNames(value: JsonValue | undefined): readonly string[] {
  if (value === undefined) return [];
  if (!Array.isArray(value) || !value.every((name) => typeof name === "string")) {
    throw new FluxError("EINVAL", "properties must be an array of strings");
  }
  return value as string[];
}

function ids(entry: JsonObject, key: string): Idset {
  const value = entry[key] ?? "";
  if (typeof value !== "string") throw new FluxError("EINVAL", `${key} must be a string`);
  return Idset.parse(value);
}

function withConfiguredProperty(resources: ResourceSet, name: string, ranks: Idset): ResourceSet {
  try {
    return resources.withProperty(name, ranks);
  } catch (error) {
    throw invalid((error as Error).message);
  }
}

function count(table: JsonObject, key: string, fallback: number | undefined, min: number): number {
  const value = table[key] ?? fallback;
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < min) {
    throw new FluxError("EINVAL", `fake-resources.${key}: must be an integer >= ${min}`);
  }
  return value;
}

function invalid(reason: string): FluxError {
  return new FluxError("EINVAL", `resource.config: ${reason}`);
}
