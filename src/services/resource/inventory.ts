/**
 * Where the inventory comes from, in this order: the configuration (`[resource]`: `path` or `config`; `[fake-resources]`),
 * what the KVS has already, what an enclosing instance allocated, what each rank reports of its machine.
 */
import { utf8Decode } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject } from "../../base/json.ts";
import type { Disk } from "../../base/ports.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { hwlocXml } from "../../formats/hwloc-xml.ts";
import { Idset } from "../../formats/idset.ts";
import { fakeResources, resourcesFromConfig } from "../../formats/resource-config.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import { Payload } from "../../protocol/message.ts";
import type { ModuleContext } from "../../sdk/module.ts";
import { coresOfTask } from "./slurm.ts";

/** What one rank has. */
export function ownResources(context: ModuleContext): ResourceSet {
  const { cores, coreCpus, gpus, hostname, env } = context.ports.host;
  // Under Slurm a task may see more than it was given. A job of an enclosing instance is bound to what it has.
  const given = context.attribute("jobid") === null ? coresOfTask(env, coreCpus ?? cores.map((core) => [core])) : null;
  const node = {
    cores: Idset.from(given === null ? cores : given.map((index) => cores[index]!)),
    gpus: Idset.from(gpus),
    host: context.attribute("hostname") ?? hostname,
  };
  return ResourceSet.fromNodes([[context.rank, node]]);
}

/** The topology of this machine, as hwloc exports it: instances that run here as jobs ask for it. */
export function ownTopology({ ports: { host } }: ModuleContext): Payload {
  const cores = host.cores.map((core) => host.coreCpus?.[core] ?? [core]);
  return Payload.text(hwlocXml(host.hostname, cores));
}

/** A table of the configuration; empty where it is not there. */
export function table(config: JsonObject, name: string): JsonObject {
  const value = config[name];
  return isJsonObject(value) ? value : {};
}

/** The inventory that the configuration describes, or null. Throws FluxError EINVAL, or what reading the file throws. */
export function configuredResources(config: JsonObject, disk: Disk, hosts: readonly string[]): ResourceSet | null {
  const resource = table(config, "resource");
  if (resource["config"] !== undefined) return rankByHosts(resourcesFromConfig(resource["config"]), hosts);
  const { path } = resource;
  if (path !== undefined) {
    if (typeof path !== "string") throw new FluxError("EINVAL", "resource.path must be a string");
    return rankByHosts(ResourceSet.parseText(utf8Decode(disk.readFile(path))), hosts);
  }
  return hasFakeResources(config) ? fakeResources(table(config, "fake-resources")) : null;
}

/** Whether ranks without a broker count as online: a made-up cluster. */
export function hasFakeResources(config: JsonObject): boolean {
  return isJsonObject(config["fake-resources"]);
}

/** Ranks as the brokers' hosts have them, where the two lists are of the same hosts. */
function rankByHosts(set: ResourceSet, hosts: readonly string[]): ResourceSet {
  const named = set.nodelist;
  const isPermutation = named.count === hosts.length && hosts.every((host) => named.has(host));
  return isPermutation ? set.rerank(Hostlist.from(hosts)) : set;
}
