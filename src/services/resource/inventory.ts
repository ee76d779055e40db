/**
 * Where the inventory comes from, in this order: the configuration (`[resource]`: `path` or `config`; `[fake-resources]`),
 * what the KVS has already, what an enclosing instance allocated, what each rank reports of its machine.
 */
import { utf8Decode } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../../base/json.ts";
import type { Disk } from "../../base/ports.ts";
import { parseFluid } from "../../formats/fluid.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { Idset } from "../../formats/idset.ts";
import { ResourceSet, type NodeResources } from "../../formats/resource-set.ts";
import { Handle } from "../../sdk/handle.ts";
import { connectLocal } from "../../sdk/local-connector.ts";
import type { ModuleContext } from "../../sdk/module.ts";

/** What one rank has. */
export function ownResources(context: ModuleContext): ResourceSet {
  const { cores, gpus, hostname } = context.ports.host;
  const node = {
    cores: Idset.from(cores),
    gpus: Idset.from(gpus),
    host: context.attribute("hostname") ?? hostname,
  };
  return ResourceSet.fromNodes([[context.rank, node]]);
}

/** A table of the configuration; empty where it is not there. */
export function table(config: JsonObject, name: string): JsonObject {
  const value = config[name];
  return isJsonObject(value) ? value : {};
}

/** The inventory that the configuration describes, or null. Throws FluxError EINVAL, or what reading the file throws. */
export function configuredResources(config: JsonObject, disk: Disk, hosts: readonly string[]): ResourceSet | null {
  const resource = table(config, "resource");
  if (Array.isArray(resource["config"])) return fromEntries(resource["config"] as JsonValue[], hosts);
  const { path } = resource;
  if (path !== undefined) {
    if (typeof path !== "string") throw new FluxError("EINVAL", "resource.path must be a string");
    return rankByHosts(ResourceSet.parseText(utf8Decode(disk.readFile(path))), hosts);
  }
  return fakeResources(config);
}

/** Whether ranks without a broker count as online: a made-up cluster. */
export function hasFakeResources(config: JsonObject): boolean {
  return isJsonObject(config["fake-resources"]);
}

function fakeResources(config: JsonObject): ResourceSet | null {
  if (!hasFakeResources(config)) return null;
  const fake = table(config, "fake-resources");
  const count = positiveInteger(fake, "nnodes");
  const cores = fake["cores-per-node"] === undefined ? 64 : positiveInteger(fake, "cores-per-node");
  const gpus = typeof fake["gpus-per-node"] === "number" ? fake["gpus-per-node"] : 0;
  const prefix = typeof fake["host-prefix"] === "string" ? fake["host-prefix"] : "fake";
  return ResourceSet.of({
    ranks: Idset.upTo(count),
    cores: Idset.upTo(cores),
    gpus: Idset.upTo(gpus),
    hosts: Hostlist.from(Array.from({ length: count }, (_, rank) => `${prefix}${rank}`)),
  });
}

function positiveInteger(fake: JsonObject, key: string): number {
  const value = fake[key];
  if (typeof value === "number" && Number.isInteger(value) && value > 0) return value;
  throw new FluxError("EINVAL", `fake-resources.${key} must be a positive integer`);
}

/** `[[resource.config]]`: each entry adds cores, gpus or properties to hosts. Throws FluxError EINVAL. */
function fromEntries(entries: readonly JsonValue[], hosts: readonly string[]): ResourceSet {
  const nodes = new Map<string, NodeResources>();
  const properties: [name: string, hosts: string[]][] = [];
  for (const entry of entries) {
    if (!isJsonObject(entry) || typeof entry["hosts"] !== "string")
      throw new FluxError("EINVAL", "resource.config: each entry must have a 'hosts' string");
    const named = Hostlist.parse(entry["hosts"]).toArray();
    for (const host of named) {
      const known = nodes.get(host) ?? { cores: new Idset(), gpus: new Idset(), host };
      nodes.set(host, {
        cores: known.cores.union(idsOf(entry, "cores")),
        gpus: known.gpus.union(idsOf(entry, "gpus")),
        host,
      });
    }
    for (const name of (entry["properties"] ?? []) as string[]) properties.push([name, named]);
  }
  for (const [host, node] of nodes)
    if (node.cores.isEmpty) throw new FluxError("EINVAL", `resource.config: resources for host ${host} have no cores`);
  let set = ResourceSet.fromNodes([...nodes.values()].map((node, rank) => [rank, node] as const));
  for (const [name, named] of properties) set = set.withProperty(name, set.ranksOfHosts(Hostlist.from(named)));
  return rankByHosts(set, hosts);
}

function idsOf(entry: JsonObject, key: string): Idset {
  const value = entry[key];
  if (value === undefined) return new Idset();
  if (typeof value !== "string") throw new FluxError("EINVAL", `resource.config: '${key}' must be an idset`);
  return Idset.parse(value);
}

/** Ranks as the brokers' hosts have them, where the two lists are of the same hosts. */
function rankByHosts(set: ResourceSet, hosts: readonly string[]): ResourceSet {
  const named = set.nodelist;
  const isPermutation = named.count === hosts.length && hosts.every((host) => named.has(host));
  return isPermutation ? set.rerank(Hostlist.from(hosts)) : set;
}

/** What the enclosing instance allocated to this one, numbered from 0; null where there is none or it does not fit. */
export async function enclosingResources(context: ModuleContext): Promise<ResourceSet | null> {
  const jobId = context.attribute("jobid");
  const uri = context.attribute("parent-uri");
  if (jobId === null || uri === null) return null;
  const handle = new Handle(await connectLocal(context.ports, uri, { retries: 0 }));
  try {
    const { R } = await handle.rpc<{ R: JsonValue }>("job-info.lookup", {
      id: parseFluid(jobId),
      keys: ["R"],
      flags: 0,
    });
    const set = typeof R === "string" ? ResourceSet.parseText(R) : ResourceSet.parse(R);
    return set.nnodes === context.size ? set.withoutLocalProperties().with({ nslots: undefined }).remap() : null;
  } finally {
    handle.close();
  }
}
