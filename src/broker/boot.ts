/**
 * From nothing to a broker that knows its place: rank and size, directories, attributes, its parts, its builtin services,
 * and the addresses and keys of its neighbours.
 */
import { utf8Length } from "../base/bytes.ts";
import { errnoSentence, FluxError, isFluxError } from "../base/errors.ts";
import type { JsonObject } from "../base/json.ts";
import { UNIX_PATH_BYTES_MAX, type Address, type Disk, type KeyPair, type Ports } from "../base/ports.ts";
import { Hostlist } from "../formats/hostlist.ts";
import { Idset } from "../formats/idset.ts";
import { Taskmap } from "../formats/taskmap.ts";
import type { Attributes } from "./attributes.ts";
import { encodeCard, fetchCard, formatEndpoint, type BootClient } from "./bootstrap.ts";
import { Core, type CoreEvents } from "./core.ts";
import { failureLimit } from "./failures.ts";
import { LogLevel } from "../sdk/module.ts";
import { doubtAboutStatedir, prepareRundir, prepareStatedir } from "./directories.ts";
import { Identity } from "./identity.ts";
import { instanceEnvironment } from "./environment.ts";
import { appendLine, type BrokerLog } from "./log.ts";
import type { ModuleRegistry } from "./module-files.ts";
import { isRecovering } from "./recovery.ts";
import { Overlay, type OverlayEvents } from "./overlay.ts";
import { applyTbonConfig, pulseLimits } from "./tbon-config.ts";
import { makeTree, type Tree } from "./tree.ts";

/** The release of the reference whose protocol this broker speaks: what clients see as attribute `version`. */
export const COMPATIBLE_VERSION = "0.88.0";

const OWNER_ALL = 0o700;

export interface BootOptions {
  readonly ports: Ports;
  readonly attributes: Attributes;
  readonly client: BootClient;
  readonly config: JsonObject;
  readonly reloadConfig: () => JsonObject;
  readonly registry: ModuleRegistry;
  readonly rusage: (() => JsonObject) | undefined;
  readonly builtinValues: Readonly<Record<string, string>>;
  readonly log: BrokerLog;
  readonly bugsAreFatal: boolean;
  readonly overlayEvents: OverlayEvents;
  readonly coreEvents: CoreEvents;
}

interface Place {
  readonly rank: number;
  readonly size: number;
  readonly name: string;
  readonly tree: Tree;
}

/** Rejects with FluxError where the broker cannot start; what was made until then is on disk. */
export async function bootBroker(options: BootOptions): Promise<{ core: Core; overlay: Overlay }> {
  const { ports, attributes, client, log } = options;
  const { rank, size, name } = await client.initialize();
  if (rank < 0 || rank >= size) throw new FluxError("EPROTO", `bootstrap: rank ${rank} is not below size ${size}`);
  applyTbonConfig(options.config, attributes, rank);
  const fanout = attributes.get("tbon.fanout");
  if (fanout !== null && !attributes.isGiven("tbon.topo")) attributes.set("tbon.topo", `kary:${fanout}`);
  if (client.method === "config" && !attributes.isGiven("tbon.topo")) attributes.set("tbon.topo", "custom");
  const tree = makeTree(attributes.require("tbon.topo"), size, client.plan?.parents);
  const place: Place = { rank, size, name, tree };
  setAttributes(options, place);
  log.append("broker", LogLevel.info, `boot: rank=${rank} size=${size}`);
  if (rank === 0) openLogFile(ports.disk, attributes.get("log-filename"));
  await inheritFromLauncher(options, place);
  const rundir = prepareRundir(ports.disk, attributes, ports.host);
  if (rank === 0) {
    prepareStatedir(ports.disk, attributes, ports.host);
    const doubt = doubtAboutStatedir(ports.disk, attributes);
    if (doubt !== null) log.append("broker", doubt.isSerious ? LogLevel.err : LogLevel.warning, doubt.text);
  }
  const socketPath = localSocket(ports.disk, attributes, rundir, rank);
  const identity = attributes.get("broker.respawn") !== null ? new Identity(ports, rundir, rank) : null;
  const keys = client.plan?.keys ?? identity?.keys ?? ports.codec.generateKeyPair();
  const uuid = ports.random.uuid();
  const overlay = new Overlay({
    ports,
    rank,
    tree,
    uuid,
    hostname: attributes.require("hostname"),
    keys,
    isPatient: client.plan !== undefined,
    isAlone: isRecovering(attributes),
    rejoinMs: attributes.seconds("tbon.rejoin_timeout") * 1000,
    limits: () => pulseLimits(attributes),
    events: options.overlayEvents,
  });
  const environment = instanceEnvironment(
    ports.host.env,
    attributes.require("local-uri"),
    ports.host.fluxPath,
    attributes.get("jobid"),
  );
  const { config, reloadConfig, registry, rusage, builtinValues, coreEvents } = options;
  const core = new Core({
    ports,
    attributes,
    registry,
    rusage,
    builtinValues,
    overlay,
    tree,
    rank,
    size,
    uuid,
    config,
    reloadConfig,
    environment,
    log,
    bugsAreFatal: options.bugsAreFatal,
    events: coreEvents,
  });
  try {
    await core.loadBuiltins(socketPath);
  } catch (error) {
    log.append("broker", LogLevel.info, "builtins-fail: load-builtins->unload-builtins");
    throw error;
  }
  await meetNeighbours(options, place, overlay, keys, identity);
  log.append("broker", LogLevel.debug, "entering event loop");
  if (rank === 0) {
    const hostlist = attributes.require("hostlist");
    overlay.open({ hostlist, config, epoch: uuid, starttime: attributes.require("broker.starttime") });
  }
  return { core, overlay };
}

/** Opens the log file at once: a user who wants one must not find out at the end that there is none. */
function openLogFile(disk: Disk, path: string | null): void {
  if (path === null) return;
  try {
    appendLine(disk, path, "");
  } catch (error) {
    if (!isFluxError(error)) throw error;
    throw new FluxError(error.errnum, `Error opening logfile ${path}: ${errnoSentence(error.errnum)}`);
  }
}

function localSocket(disk: Disk, attributes: Attributes, rundir: string, rank: number): string {
  const given = attributes.get("local-uri");
  if (given === null) {
    attributes.set("local-uri", `local://${rundir}/local-${rank}`);
    return `${rundir}/local-${rank}`;
  }
  if (!given.startsWith("local://"))
    throw new FluxError("EINVAL", `local-uri '${given}' is malformed: it must begin with local://`);
  const path = given.slice("local://".length);
  if (utf8Length(path) > UNIX_PATH_BYTES_MAX)
    throw new FluxError(
      "ENAMETOOLONG",
      `local-uri: buffer overflow: the path exceeds max ${UNIX_PATH_BYTES_MAX} bytes of a socket's name`,
    );
  const directory = path.slice(0, path.lastIndexOf("/")) || "/";
  const info = disk.info(directory);
  if (info === null) throw new FluxError("ENOENT", `local-uri: cannot stat ${directory}: No such file or directory`);
  if (info.kind !== "directory") throw new FluxError("ENOTDIR", `local-uri: cannot use ${directory}: Not a directory`);
  if ((info.mode & OWNER_ALL) !== OWNER_ALL)
    throw new FluxError("EPERM", `local-uri: ${directory} does not have owner=rwx permissions`);
  return path;
}

function setAttributes(options: BootOptions, place: Place): void {
  const { ports, attributes, client } = options;
  const { rank, size, tree } = place;
  const { host, clock } = ports;
  const set = (name: string, value: string | number): void => attributes.set(name, String(value));
  const setDefault = (name: string, value: string | number): void => {
    if (attributes.get(name) === null) set(name, value);
  };
  set("rank", rank);
  set("size", size);
  set("version", COMPATIBLE_VERSION);
  set("security.owner", host.uid);
  set("broker.pid", host.pid);
  set("broker.starttime", clock.now().toFixed(2));
  set("broker.boot-method", client.method);
  setDefault("hostname", host.hostname);
  setQuorum(attributes, size, options.log);
  setDefault("broker.critical-ranks", Idset.from(tree.criticalRanks).format());
  failureLimit(attributes.get("broker.fail-on") ?? "none");
  checkCriticalRanks(attributes.require("broker.critical-ranks"), size);
  set("tbon.level", tree.levelOf(rank));
  set("tbon.maxlevel", tree.maxLevel);
  set("tbon.descendants", tree.descendantsOf(rank).length);
  if (rank === 0) setDefault("content.backing-module", "content-sqlite");
}

/** `broker.quorum` was a set of ranks once: the sets that scripts used are understood still. */
function setQuorum(attributes: Attributes, size: number, log: BrokerLog): void {
  const name = "broker.quorum";
  const given = attributes.get(name) ?? String(size);
  if (given === "0" || (size > 1 && given === `0-${size - 1}`)) {
    const meant = given === "0" ? 1 : size;
    attributes.set(name, String(meant));
    return log.append("broker", LogLevel.err, `assuming ${name}=${meant} for ${given}: it is a number of brokers now`);
  }
  if (!/^\d+$/.test(given) || Number(given) > size)
    throw new FluxError("EINVAL", `Error parsing ${name} attribute: '${given}' is not a number from 1 to ${size}`);
  attributes.set(name, given);
}

function checkCriticalRanks(text: string, size: number): void {
  const ranks = Idset.tryParse(text);
  if (ranks === null || [...ranks].some((rank) => rank >= size))
    throw new FluxError(
      "EINVAL",
      `invalid value for broker.critical-ranks='${text}': not a set of ranks below the size ${size}`,
    );
}

/** What the enclosing instance, or the launcher, says of this one. */
async function inheritFromLauncher(options: BootOptions, place: Place): Promise<void> {
  const { ports, attributes, client } = options;
  const { env } = ports.host;
  const level = await client.get("flux.instance-level");
  attributes.set("instance-level", level ?? "0");
  if (level !== null) {
    attributes.set("jobid", place.name);
    const hint = await client.get("flux.tbon-interface-hint");
    if (hint !== null) attributes.set("tbon.interface-hint", hint);
  }
  const parentUri = env["FLUX_URI"];
  if (parentUri !== undefined && level !== null) attributes.set("parent-uri", parentUri);
  const namespace = env["FLUX_KVS_NAMESPACE"];
  if (namespace !== undefined && level !== null) attributes.set("parent-kvs-namespace", namespace);
  // The path that the enclosing instance gives a job ends with that job: this instance.
  attributes.set("jobid-path", level === null ? "/" : (env["FLUX_JOB_ID_PATH"] ?? `/${place.name}`));
  const mapping = await mappingOf(client, place.size);
  if (mapping !== null) attributes.set("broker.mapping", mapping);
}

/** RFC 34: which ranks share a node. Null where the launcher does not say. */
async function mappingOf(client: BootClient, size: number): Promise<string | null> {
  const taskmap = await client.get("flux.taskmap");
  if (taskmap !== null) return taskmap.replace(/^\{.*"map":(.*)\}$/, "$1");
  const vector = await client.get("PMI_process_mapping");
  const blocks = vector === null ? [] : [...vector.matchAll(/\((\d+),(\d+),(\d+)\)/g)];
  if (blocks.length === 0) return size === 1 || client.plan !== undefined ? `[[0,${size},1,1]]` : null;
  return `[${expandBlocks(
    blocks.map((block) => [Number(block[1]), Number(block[2]), Number(block[3])] as const),
    size,
  ).join(",")}]`;
}

/** The list of blocks repeats until every rank is placed. */
function expandBlocks(blocks: readonly (readonly [number, number, number])[], size: number): string[] {
  const result: string[] = [];
  let left = size;
  for (let index = 0; left > 0; index++) {
    const [first, nodes, perNode] = blocks[index % blocks.length]!;
    if (nodes === 0 || perNode === 0) break;
    const whole = Math.min(nodes, Math.floor(left / perNode));
    if (whole > 0) result.push(`[${first},${whole},${perNode},1]`);
    left -= whole * perNode;
    if (whole < nodes && left > 0) {
      result.push(`[${first + whole},1,${left},1]`);
      left = 0;
    }
  }
  return result;
}

/** Exchanges addresses and keys with parent and children; listens for the children before anybody can know where. */
async function meetNeighbours(
  options: BootOptions,
  place: Place,
  overlay: Overlay,
  keys: KeyPair,
  identity: Identity | null,
): Promise<void> {
  const { attributes, client } = options;
  const { rank, size, tree } = place;
  const host = attributes.require("hostname");
  if (client.plan !== undefined) return meetByPlan(options, place, overlay, keys);
  const { address, nearAddress } = await listenFor(options, place, overlay, identity);
  if (size === 1) {
    if (attributes.get("hostlist") === null) attributes.set("hostlist", host);
    return client.finalize();
  }
  const card = encodeCard({ host, publicKey: keys.publicKey, address, nearAddress });
  await client.put(String(rank), card);
  await client.barrier();
  if ((await client.get(String(rank))) !== card)
    throw new FluxError("EEXIST", `bootstrap: two brokers claim rank ${rank}: does each have the launcher's PMI_RANK?`);
  const beside = rank === 0 ? new Idset() : ranksBeside(attributes, rank);
  // The parent, and those to whom this broker can turn when it is lost; likewise below.
  for (const above of tree.ancestorsOf(rank)) await meetAbove(options, place, overlay, above, beside.has(above));
  if (rank === 0) await meetAll(client, attributes, overlay, place, host);
  else for (const below of tree.descendantsOf(rank)) overlay.setCard(below, await fetchCard(client, below));
  // Nobody connects before every parent knows its children's keys.
  await client.barrier();
  await client.finalize();
}

async function meetAbove(
  { client, attributes }: BootOptions,
  { tree, rank: own }: Place,
  overlay: Overlay,
  rank: number,
  isNear: boolean,
): Promise<void> {
  const card = await fetchCard(client, rank);
  const address = (isNear ? card.nearAddress : null) ?? card.address;
  overlay.setCard(rank, { ...card, address });
  if (rank !== tree.parentOf(own)) return;
  if (address === null) throw new FluxError("EPROTO", `bootstrap: rank ${rank} does not say where it listens`);
  attributes.set("tbon.parent-endpoint", formatEndpoint(address));
}

/** The leader reads every card, for the list of hosts. */
async function meetAll(
  client: BootClient,
  attributes: Attributes,
  overlay: Overlay,
  place: Place,
  ownHost: string,
): Promise<void> {
  const hosts = [ownHost];
  for (let rank = 1; rank < place.size; rank++) {
    const card = await fetchCard(client, rank);
    overlay.setCard(rank, card);
    hosts.push(card.host);
  }
  if (attributes.get("hostlist") === null) attributes.set("hostlist", Hostlist.from(hosts).format());
}

/** The ranks on the node of a rank, as far as that is known. */
function ranksBeside(attributes: Attributes, rank: number): Idset {
  const text = attributes.get("broker.mapping");
  const map = text === null ? Taskmap.UNKNOWN : Taskmap.parse(text);
  for (let node = 0; node < map.nnodes; node++) {
    const ranks = map.taskIds(node);
    if (ranks.has(rank)) return ranks;
  }
  return Idset.from([rank]);
}

/** Listens at a socket file for children on this node, and where other hosts reach this one for the others. */
async function listenFor(
  { ports, attributes }: BootOptions,
  { rank, tree }: Place,
  overlay: Overlay,
  identity: Identity | null,
): Promise<{ address: Address | null; nearAddress: Address | null }> {
  const children = tree.descendantsOf(rank);
  const usesFiles = (attributes.get("tbon.prefertcp") ?? "0") === "0";
  const beside = usesFiles ? ranksBeside(attributes, rank) : new Idset();
  const near = children.filter((child) => beside.has(child));
  const path = `${attributes.require("rundir")}/tbon-${rank}`;
  const nearAddress = near.length === 0 ? null : await overlay.listen({ kind: "unix", path });
  const hint = attributes.get("tbon.interface-hint") ?? "default-route";
  const host = ports.net.hostAddress(hint === "default-route" ? undefined : hint);
  const port = identity?.port ?? 0;
  const address = near.length === children.length ? null : await overlay.listen({ kind: "tcp", host, port });
  if (identity !== null && address?.kind === "tcp") identity.port = address.port;
  const endpoint = address ?? nearAddress;
  if (endpoint !== null) attributes.set("tbon.endpoint", formatEndpoint(endpoint));
  return { address, nearAddress };
}

async function meetByPlan(options: BootOptions, place: Place, overlay: Overlay, keys: KeyPair): Promise<void> {
  const { attributes, client } = options;
  const plan = client.plan!;
  const { rank, tree } = place;
  if (attributes.get("hostlist") === null) attributes.set("hostlist", Hostlist.from(plan.hosts).format());
  const cardOf = (of: number): { host: string; publicKey: Uint8Array; address: Address | null } => ({
    host: plan.hosts[of] ?? "",
    publicKey: keys.publicKey,
    address: plan.connectAddress(of),
  });
  const children = tree.childrenOf(rank);
  for (const each of [...tree.ancestorsOf(rank), ...tree.descendantsOf(rank)]) overlay.setCard(each, cardOf(each));
  if (children.length > 0) {
    const bind = plan.bindAddress(rank);
    if (bind === null) throw new FluxError("EINVAL", `bootstrap: host ${plan.hosts[rank]} needs a bind address`);
    attributes.set("tbon.endpoint", formatEndpoint(await overlay.listen(bind)));
  }
  const parent = tree.parentOf(rank);
  if (parent === null) return;
  const card = cardOf(parent);
  if (card.address === null) throw new FluxError("EINVAL", `bootstrap: host ${card.host} needs a connect address`);
  attributes.set("tbon.parent-endpoint", formatEndpoint(card.address));
}
