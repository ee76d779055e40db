/**
 * Where the inventory comes from, in this order: the configuration (`[resource]`: `path` or `config`; `[fake-resources]`),
 * what the KVS has already, what an enclosing instance allocated, what each rank reports of its machine.
 */
import { utf8Decode } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, parseJson, type JsonObject } from "../../base/json.ts";
import type { Disk } from "../../base/ports.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { hostOfHwloc, hwlocXml, resourcesFromHwloc } from "../../formats/hwloc-xml.ts";
import { Idset } from "../../formats/idset.ts";
import { fakeResources } from "../../formats/resource-config.ts";
import { ResourceSet, type NodeResources } from "../../formats/resource-set.ts";
import { Payload } from "../../protocol/message.ts";
import type { ModuleContext } from "../../sdk/module.ts";
import type { ResourceSettings } from "./config.ts";
import { coresOfTask } from "./slurm.ts";

type Machine = Pick<ModuleContext["ports"], "host" | "disk">;

/** The CPUs of this machine's cores: those that this process may use, or all of them. */
function coresOf({ host }: Machine, isWhole: boolean): readonly (readonly number[])[] {
  const all = isWhole ? host.allCoreCpus : undefined;
  return all ?? host.cores.map((core) => host.coreCpus?.[core] ?? [core]);
}

/** `[resource] norestrict`: what there is counts, not what the broker may use of it. */
function isUnrestricted(context: ModuleContext): boolean {
  return table(context.config(), "resource")["norestrict"] === true;
}

/** A topology that the environment names instead of this machine's; null where it names none. */
function namedTopology({ host: { env }, disk }: Machine): { readonly xml: string; readonly isOwn: boolean } | null {
  // The first is read as this machine's own topology; the second, hwloc's variable, as another's unless hwloc is told so.
  const [ours, another] = [env["FLUX_HWLOC_XMLFILE"], env["HWLOC_XMLFILE"]];
  const path = ours ?? another;
  if (path === undefined || path === "") return null;
  return { xml: read(disk, path), isOwn: ours !== undefined || env["HWLOC_THISSYSTEM"] === "1" };
}

/**
 * Cores, GPUs and host of the topology that the environment names, null where it names none. Of this machine's own only
 * what this process may use counts, unless all of it is wanted.
 */
export function namedNode(machine: Machine, isWhole: boolean): (NodeResources & { readonly host: string }) | null {
  const topology = namedTopology(machine);
  if (topology === null) return null;
  const allowed = topology.isOwn && !isWhole ? Idset.from(coresOf(machine, isWhole).flat()) : undefined;
  const host = hostOfHwloc(topology.xml) ?? machine.host.hostname;
  return { ...resourcesFromHwloc(topology.xml, allowed), host };
}

/** What one rank has. */
export function ownResources(context: ModuleContext): ResourceSet {
  const named = namedNode(context.ports, isUnrestricted(context));
  if (named !== null) return ResourceSet.fromNodes([[context.rank, named]]);
  const { gpus, hostname, env } = context.ports.host;
  const cores = coresOf(context.ports, isUnrestricted(context));
  // Under Slurm a task may see more than it was given. A job of an enclosing instance is bound to what it has.
  const given = context.attribute("jobid") === null ? coresOfTask(env, cores) : null;
  const node = {
    cores: given === null ? Idset.upTo(cores.length) : Idset.from(given),
    gpus: Idset.from(gpus),
    host: context.attribute("hostname") ?? hostname,
  };
  return ResourceSet.fromNodes([[context.rank, node]]);
}

/** The topology of this machine, as hwloc exports it: instances that run here as jobs ask for it. */
export function ownTopology(context: ModuleContext): Payload {
  const topology = namedTopology(context.ports);
  const ownXml = (): string => hwlocXml(context.ports.host.hostname, coresOf(context.ports, isUnrestricted(context)));
  return Payload.text(topology?.xml ?? ownXml());
}

/** A table of the configuration; empty where it is not there. */
export function table(config: JsonObject, name: string): JsonObject {
  const value = config[name];
  return isJsonObject(value) ? value : {};
}

/** The inventory that the configuration describes, or null. Throws FluxError EINVAL, or what reading a file throws. */
export function configuredResources(
  settings: ResourceSettings,
  config: JsonObject,
  disk: Disk,
  hosts: readonly string[],
): ResourceSet | null {
  const described = settings.resources ?? (settings.path === null ? null : resourcesFromFile(disk, settings.path));
  if (described === null) return madeUpResources(config, disk);
  const set = rankByHosts(described, hosts);
  const { scheduling } = settings;
  if (scheduling === null) return set;
  try {
    return set.with({ scheduling: withPath(scheduling, () => parseJson(read(disk, scheduling))) });
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
    throw new FluxError(error.errnum, `error loading resource.scheduling: ${error.message}`, { cause: error });
  }
}

function madeUpResources(config: JsonObject, disk: Disk): ResourceSet | null {
  if (!hasFakeResources(config)) return null;
  const xml = madeUpTopology(config, disk);
  return fakeResources(table(config, "fake-resources"), xml === null ? null : resourcesFromHwloc(xml));
}

/** The hwloc XML that says what each node of a made-up cluster has; null where none is named. */
export function madeUpTopology(config: JsonObject, disk: Disk): string | null {
  const path = stringIn(config, "hwloc-xml-path");
  return path === null ? null : read(disk, path);
}

/** What changes the resources of a made-up cluster before they are used; null where nothing does. */
export function amenderOf(config: JsonObject): string | null {
  return stringIn(config, "amend-r");
}

function stringIn(config: JsonObject, key: string): string | null {
  const value = table(config, "fake-resources")[key];
  if (value === undefined || typeof value === "string") return value ?? null;
  throw new FluxError("EINVAL", `fake-resources.${key}: must be a string`);
}

function read(disk: Disk, path: string): string {
  return utf8Decode(disk.readFile(path));
}

/** R in a file. Throws FluxError EINVAL with the path and what is wrong there, or what reading it throws. */
export function resourcesFromFile(disk: Disk, path: string): ResourceSet {
  return withPath(path, () => ResourceSet.parseText(read(disk, path)));
}

/** Says of a mistake in a file which one it is, on one line. */
function withPath<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof FluxError) || error.message.includes(path)) throw error;
    throw new FluxError(error.errnum, `${path}: ${error.message.replaceAll(/\s+/g, " ")}`, { cause: error });
  }
}

const XML_NAME = /^(\d+)\.xml$/;

/** What a directory of `RANK.xml`, topologies as hwloc exports them, says of the ranks. Throws FluxError EINVAL. */
export function resourcesFromXml(disk: Disk, directory: string): ResourceSet {
  const nodes = disk.list(directory).flatMap((name) => {
    const rank = XML_NAME.exec(name)?.[1];
    if (rank === undefined) return [];
    const xml = read(disk, `${directory}/${name}`);
    const host = hostOfHwloc(xml);
    if (host === null) throw new FluxError("EINVAL", `${directory}/${name}: the name of the host is missing`);
    return [[Number(rank), { ...resourcesFromHwloc(xml), host }] as const];
  });
  if (nodes.length === 0) throw new FluxError("EINVAL", `${directory}: no XML files of the form RANK.xml found`);
  return ResourceSet.fromNodes(nodes.toSorted(([left], [right]) => left - right));
}

/** Whether ranks without a broker count as online: a made-up cluster. */
export function hasFakeResources(config: JsonObject): boolean {
  return isJsonObject(config["fake-resources"]);
}

/** Ranks as the brokers' hosts have them, where the two lists are of the same hosts. */
export function rankByHosts(set: ResourceSet, hosts: readonly string[]): ResourceSet {
  const named = set.nodelist;
  const isPermutation = named.count === hosts.length && hosts.every((host) => named.has(host));
  return isPermutation ? set.rerank(Hostlist.from(hosts)) : set;
}
