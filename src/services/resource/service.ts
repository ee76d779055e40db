/**
 * The resource service: the inventory of the instance and who of it may be used (RFC 28, RFC 44). Rank 0 decides and
 * serves; the other ranks report what their machine has.
 *
 * Invariants: `resource.R` is in the KVS before `resource-define` is posted; a scheduler's view is up to date with every
 * event applied; the events that must outlive a restart (resource-define, drain, undrain, resource-update) are in the
 * KVS before the one who asked for them is answered.
 *
 * Module arguments: `noverify` (do not compare with the machine), `no-fallback` (an enclosing instance's allocation or
 * nothing), `monitor-force-up` (ranks count as online without a broker), `notruncate` (the eventlog is
 * never cut short).
 */
import { errorText, FluxError } from "../../base/errors.ts";
import { stringifyJson, type JsonObject } from "../../base/json.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { Idset } from "../../formats/idset.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import { encodeEvent, parseEventlog } from "../../sdk/job-protocol.ts";
import { KvsBatch } from "../../sdk/kvs-batch.ts";
import { Kvs, KvsTransaction } from "../../sdk/kvs.ts";
import { lookupText } from "../../sdk/kvs-text.ts";
import { LogLevel, type ModuleContext, type ModuleDefinition, type RunningModule } from "../../sdk/module.ts";
import { amendResources } from "./amend.ts";
import { Acquisition } from "./acquisition.ts";
import { ResourceState, type ResourceEvent } from "./core.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { RequestSet } from "../../sdk/request-set.ts";
import { readResourceSettings, type ResourceSettings } from "./config.ts";
import { EnclosingInstance } from "./enclosing.ts";
import { checkExclude, excludedRanks } from "./exclude.ts";
import { checkpointText, eventsToKeep, eventsToReplay, parseCheckpoint } from "./history.ts";
import {
  amenderOf,
  configuredResources,
  hasFakeResources,
  madeUpTopology,
  ownResources,
  rankByHosts,
} from "./inventory.ts";
import { Journal } from "./journal.ts";
import { resourceMethods } from "./methods.ts";
import type { DefineMethod } from "./protocol.ts";
import { startReporter, verifyOwn } from "./reporter.ts";
import { followSlurmJob } from "./slurm.ts";

const KEY_R = "resource.R";
const KEY_EVENTLOG = "resource.eventlog";
const KEY_CHECKPOINT = "checkpoint.resource";

export const resourceModule: ModuleDefinition = {
  name: "resource",
  async start(context) {
    const args = parseArguments(context.args);
    if (context.rank !== 0) return startReporter(context, args.isVerifying);
    const service = new ResourceService(context, args);
    await service.restore();
    service.serve();
    if (args.isVerifying && service.state.resources !== null) await verifyOwn(context);
    return service;
  },
};

interface Arguments {
  readonly forceUp: boolean;
  readonly noFallback: boolean;
  readonly isVerifying: boolean;
  readonly isTruncating: boolean;
}

/** Throws FluxError EINVAL. */
function parseArguments(args: readonly string[]): Arguments {
  const known = new Set(["noverify", "no-fallback", "monitor-force-up", "force-up", "norestrict", "notruncate"]);
  const unknown = args.find((arg) => !known.has(arg));
  if (unknown !== undefined) throw new FluxError("EINVAL", `unknown option: ${unknown}`);
  return {
    forceUp: args.includes("monitor-force-up") || args.includes("force-up"),
    noFallback: args.includes("no-fallback"),
    isVerifying: !args.includes("noverify"),
    isTruncating: !args.includes("notruncate"),
  };
}

export class ResourceService implements RunningModule {
  readonly context: ModuleContext;
  readonly state: ResourceState;
  readonly journal: Journal;
  readonly acquisition: Acquisition;
  readonly #args: Arguments;
  #settings: ResourceSettings;
  readonly #batch: KvsBatch;
  readonly #enclosingInstance: EnclosingInstance;
  readonly #hosts: readonly string[];
  #reported: ResourceSet;
  #isDefining = false;
  readonly #definedWaiters: (() => void)[] = [];
  /** Requests that wait until so many ranks are online. */
  readonly onlineWaiters: RequestSet<number> = new RequestSet();
  #isStopped = false;

  constructor(context: ModuleContext, args: Arguments) {
    this.context = context;
    this.#args = args;
    this.#settings = readResourceSettings(context.config());
    this.#hosts = hostsOf(context);
    this.state = new ResourceState(context.size, this.#hosts);
    this.journal = new Journal(() => this.state.resources?.toJSON(), this.#settings.journalMax);
    this.acquisition = new Acquisition(this.state);
    this.#reported = ownResources(context);
    this.#enclosingInstance = new EnclosingInstance(context, (expiration) => this.#follow(expiration));
    this.#batch = new KvsBatch({
      handle: context.handle,
      clock: context.ports.clock,
      failed: (error) => this.#complain(`committing to ${KEY_EVENTLOG}: ${error.message}`),
      delayed: (error) => context.log(LogLevel.err, `committing to ${KEY_EVENTLOG}: ${error.message}; trying again`),
    });
  }

  /** Brings back what an earlier run of the instance left in the KVS, and looks for an inventory. */
  async restore(): Promise<void> {
    // What an earlier allocation had, and who was drained there, says nothing of this one.
    if (this.context.attribute("broker.resume") !== null) await this.#forget();
    await this.#replay();
    await this.#lookAround();
    this.#post({
      timestamp: this.#now(),
      name: "restart",
      context: {
        ranks: Idset.upTo(this.context.size).toString(),
        online: this.state.online.toString(),
        nodelist: Hostlist.from(this.#hosts).toString(),
      },
    });
    const config = this.context.config();
    const configured = configuredResources(this.#settings, config, this.context.ports.disk, this.#hosts);
    const preset = configured === null ? await this.#lookup(KEY_R) : null;
    const known = configured === null ? (preset === null ? null : ResourceSet.parseText(preset)) : configured;
    checkExclude(this.#settings.exclude, known?.ranks ?? this.state.ranks, [
      ...(known?.nodelist ?? []),
      ...this.#hosts,
    ]);
    if (known === null) return;
    const amended = configured === null ? known : await this.#amend(known);
    await this.define(amended, configured === null ? "kvs" : "configuration");
  }

  /** What a made-up cluster is to be, by a program of the user's. */
  async #amend(resources: ResourceSet): Promise<ResourceSet> {
    const config = this.context.config();
    const { ports } = this.context;
    const amender = this.#settings.resources === null && this.#settings.path === null ? amenderOf(config) : null;
    if (amender === null) return resources;
    return await amendResources(ports, amender, resources, madeUpTopology(config, ports.disk));
  }

  async #forget(): Promise<void> {
    const transaction = new KvsTransaction();
    for (const key of [KEY_R, KEY_EVENTLOG, KEY_CHECKPOINT]) transaction.unlink(key);
    await new Kvs(this.context.handle).commit(transaction);
  }

  /** Goes on from the last checkpoint, makes a new one, and forgets events that nobody wants any more. */
  async #replay(): Promise<void> {
    const [log, saved] = await Promise.all([this.#lookup(KEY_EVENTLOG), this.#lookup(KEY_CHECKPOINT)]);
    const events = log === null ? [] : parseEventlog(log);
    const checkpoint = saved === null ? null : parseCheckpoint(saved);
    for (const event of eventsToReplay(checkpoint, events)) this.state.replay(event);
    // Readers of the journal learn why nodes are drained; the inventory of then says nothing of that of now.
    for (const event of events) if (event.name !== "resource-define") this.journal.add(event);
    if (!this.#args.isTruncating) return;
    const kept = eventsToKeep(checkpoint, events, { now: this.#now(), historySec: this.#settings.historySec });
    if (kept.length < events.length) this.#batch.put(KEY_EVENTLOG, kept.map(encodeEvent).join(""));
  }

  /** Checks a new configuration; most of it counts from the next start on. Throws FluxError EINVAL. */
  configure(config: JsonObject): void {
    const settings = readResourceSettings(config);
    // Whoever names files that cannot be read learns it now, not at the next start.
    configuredResources(settings, config, this.context.ports.disk, this.#hosts);
    this.#settings = settings;
    this.journal.limit = this.#settings.journalMax;
  }

  serve(): void {
    this.context.server.add(this.context.name, resourceMethods(this));
    if (!this.#isInRecovery) {
      this.#watchGroup("broker.online", (members) => this.#brokersOnline(members));
      void this.defined().then(() => this.#isStopped || followSlurmJob(this.context));
    }
    this.#watchGroup("broker.torpid", (members) => this.#setTorpid(members));
    if (this.state.resources === null) void this.#discover();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#enclosingInstance.close();
    this.acquisition.end(new FluxError("ECANCELED", "the resource module is unloading"));
    this.journal.close(new FluxError("ECANCELED"));
    this.onlineWaiters.failAll(new FluxError("ENOSYS", "the resource module is unloading"));
    // Alone, a broker that repairs an instance does not know the hosts that are drained.
    if (this.#isInRecovery) return;
    this.#batch.put(KEY_CHECKPOINT, checkpointText(this.state, this.#now()));
    // Without it the next start reads the whole log.
    await this.#batch.settle(KEY_CHECKPOINT, { orDelayed: true }).catch(() => undefined);
  }

  /** Resolves once the inventory is known. */
  defined(): Promise<void> {
    if (this.state.resources !== null) return Promise.resolve();
    return new Promise((resolve) => this.#definedWaiters.push(resolve));
  }

  /** Answers a request once so many ranks are online. */
  awaitOnline(request: IncomingRequest, count: number): void {
    this.onlineWaiters.add(request, count);
    this.#answerOnline();
  }

  #answerOnline(): void {
    for (const [request, count] of this.onlineWaiters) {
      if (this.state.online.count < count) continue;
      this.onlineWaiters.delete(request);
      request.respond();
    }
  }

  /** Takes what a rank has; when all have told, the inventory is theirs together. */
  report(resources: ResourceSet): void {
    this.#reported = this.#reported.removeRanks(resources.ranks).append(resources);
    if (this.state.resources === null && !this.#args.noFallback) void this.#discover();
  }

  /** Makes a resource set the inventory. `unwatched` are ranks of it that no broker has. */
  async define(resources: ResourceSet, method: DefineMethod, unwatched: Idset = new Idset()): Promise<void> {
    this.#isDefining = true;
    try {
      const brokers = this.state.online.subtract(this.state.unwatched);
      this.state.unwatched = unwatched;
      this.#setOnline(brokers);
      await this.#define(resources, method);
    } finally {
      this.#isDefining = false;
    }
  }

  async #define(resources: ResourceSet, method: DefineMethod): Promise<void> {
    const undrained = this.#exclude(resources);
    this.#batch.put(KEY_R, stringifyJson(resources.toJSON()));
    // An instance whose disk is full starts, too.
    await this.#batch.settle(KEY_R, { orDelayed: true });
    this.state.resources = resources;
    this.state.method = method;
    this.#exclude(resources);
    if (this.#args.forceUp || hasFakeResources(this.context.config())) this.#setOnline(resources.ranks);
    await this.change({ timestamp: this.#now(), name: "resource-define", context: { method } }, { orDelayed: true });
    // An excluded rank is drained no more, nor after a restart without the exclusion.
    if (!undrained.isEmpty) {
      const context = { idset: undrained.toString(), nodelist: this.state.hostsOf(undrained) };
      await this.change({ timestamp: this.#now(), name: "undrain", context });
    }
    for (const resolve of this.#definedWaiters.splice(0)) resolve();
  }

  /** Applies an event, shows it to the journal and the scheduler, and resolves when the KVS has it. */
  async change(event: ResourceEvent, options: { orDelayed?: boolean } = {}): Promise<void> {
    this.#post(event);
    this.#logDrain(event);
    this.#batch.append(KEY_EVENTLOG, encodeEvent(event));
    await this.#batch.settle(KEY_EVENTLOG, options);
  }

  #logDrain({ name, context = {} }: ResourceEvent): void {
    if (name !== "drain" && name !== "undrain") return;
    const { idset, nodelist, overwrite = 0, reason } = context as Record<string, string | number>;
    const text = `${name} idset=${idset} nodelist=${nodelist} overwrite=${overwrite} reason=${reason ?? ""}`;
    this.context.log(LogLevel.info, text);
  }

  /** Takes ranks offline, whatever the group says. */
  forceDown(ranks: Idset): void {
    this.#brokersOnline(this.state.online.subtract(ranks));
  }

  /** The end of the instance's allocation moved. */
  async setExpiration(expiration: number): Promise<void> {
    const resources = this.state.resources?.with({ expiration });
    if (resources === undefined) throw new FluxError("EAGAIN", "resources are not known yet");
    this.state.resources = resources;
    this.#batch.put(KEY_R, stringifyJson(resources.toJSON()));
    await this.change({ timestamp: this.#now(), name: "resource-update", context: { expiration } });
    this.acquisition.setExpiration(expiration);
  }

  /** The enclosing instance gave this one another end. */
  #follow(expiration: number): void {
    this.setExpiration(expiration).catch((error: unknown) =>
      this.#complain(`updating the expiration: ${errorText(error)}`),
    );
  }

  /** What an instance that ends at once could not finish is no trouble. */
  #complain(text: string): void {
    if (!this.#isStopped) this.context.log(LogLevel.err, text);
  }

  #post(event: ResourceEvent): void {
    this.state.apply(event);
    this.journal.add(event);
    this.acquisition.update();
  }

  /** A broker that found the others at the start of the instance cannot find them again; one that is configured can. */
  #brokersOnline(members: Idset): void {
    if (this.context.attribute("broker.boot-method") !== "config" && this.state.method !== "configuration")
      this.state.lost = this.state.lost.union(this.state.online).subtract(members);
    this.#setOnline(members);
  }

  #setOnline(members: Idset): void {
    for (const event of this.state.planOnline(members, this.#now())) this.#post(event);
    this.#answerOnline();
  }

  /** Finds out which brokers are there when the service starts. */
  async #lookAround(): Promise<void> {
    if (this.#isInRecovery) return;
    const group = { name: "broker.online" };
    if (this.#isForced(group.name)) {
      this.state.online = Idset.upTo(this.context.size);
      return;
    }
    const { members } = await this.context.handle.rpc<{ members: string }>("groups.get", group, { nodeid: 0 });
    this.#setOnline(Idset.parse(members));
  }

  /** While an instance is repaired nothing is to run in it. */
  get #isInRecovery(): boolean {
    return (this.context.attribute("broker.recovery-mode") ?? "0") !== "0";
  }

  #setTorpid(members: Idset): void {
    const came = members.subtract(this.state.torpid);
    const went = this.state.torpid.subtract(members);
    const timestamp = this.#now();
    if (!came.isEmpty) this.#post({ timestamp, name: "torpid", context: { idset: came.toString() } });
    if (!went.isEmpty) this.#post({ timestamp, name: "lively", context: { idset: went.toString() } });
  }

  /** Returns the ranks that were drained until now. */
  #exclude(resources: ResourceSet): Idset {
    const targets = this.#settings.exclude;
    if (targets === "") return new Idset();
    const before = this.state.resources;
    const { drained } = this.state;
    this.state.resources = resources;
    try {
      this.state.setExclude(excludedRanks(targets, resources.ranks) ?? this.state.parseTargets(targets));
      return drained.intersect(this.state.exclude);
    } finally {
      this.state.resources = before;
    }
  }

  /** The enclosing instance's allocation, or what all ranks reported. */
  async #discover(): Promise<void> {
    try {
      const enclosing = await this.#enclosing();
      if (this.state.resources !== null || this.#isDefining || this.#isStopped) return;
      if (enclosing !== null) return await this.define(rankByHosts(enclosing, this.#hosts), "job-info");
      if (this.#reported.nnodes !== this.context.size) return;
      await this.define(this.#reported, "dynamic-discovery");
    } catch (error) {
      if (!(error instanceof FluxError)) return this.context.fatal(error);
      this.#complain(`defining resources: ${error.message}`);
    }
  }

  async #enclosing(): Promise<ResourceSet | null> {
    if (this.#settings.rediscover) return null;
    try {
      return await this.#enclosingInstance.resources();
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      this.context.log(LogLevel.warning, `no resources from the enclosing instance: ${error.message}`);
      if (this.#args.noFallback) throw error;
      return null;
    }
  }

  #watchGroup(name: string, changed: (members: Idset) => void): void {
    const item = (payload: { value: JsonObject } | null): void => {
      const members = payload?.value["members"];
      if (typeof members === "string" && !this.#isForced(name)) changed(Idset.parse(members));
    };
    const end = (error: FluxError | null): void => {
      if (!this.#isStopped) this.context.log(LogLevel.err, `watching ${name}: ${error?.message ?? "ended"}`);
    };
    this.context.handle.open("groups.get", { name }, { item, end }, { nodeid: 0 });
  }

  #isForced(group: string): boolean {
    return group === "broker.online" && (this.#args.forceUp || hasFakeResources(this.context.config()));
  }

  async #lookup(key: string): Promise<string | null> {
    try {
      return await lookupText(this.context.handle, key);
    } catch (error) {
      if (error instanceof FluxError && error.is("ENOENT")) return null;
      throw error;
    }
  }

  #now(): number {
    return this.context.ports.clock.now();
  }
}

/** The hosts of the brokers by rank. */
function hostsOf(context: ModuleContext): readonly string[] {
  const listed = Hostlist.tryParse(context.attribute("hostlist") ?? "");
  if (listed !== null && listed.count === context.size) return listed.toArray();
  return Array.from({ length: context.size }, () => context.ports.host.hostname);
}
