/**
 * The scheduler: jobs in order of priority, with or without backfill (RFC 27, RFC 28). Runs at rank 0.
 *
 * Invariants: R is on its way to the KVS before the job manager is told, so that nothing the job manager commits about
 * the allocation is there without R; all allocations of one pass go in one commit.
 *
 * `settings.ts` has its arguments and configuration.
 */
import { errorText, FluxError, isFluxError } from "../../base/errors.ts";
import { stringifyJson, type Integer, type JsonObject, type JsonValue } from "../../base/json.ts";
import { f58FormOf, fluidKvsPath, formatFluid } from "../../formats/fluid.ts";
import { Idset } from "../../formats/idset.ts";
import type { TimerHandle } from "../../base/ports.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import { Payload, responseTo } from "../../protocol/message.ts";
import { AllocResponseType } from "../../sdk/job-protocol.ts";
import { KvsBatch } from "../../sdk/kvs-batch.ts";
import { LogLevel, type ModuleContext, type ModuleDefinition, type RunningModule } from "../../sdk/module.ts";
import { IncomingRequest } from "../../sdk/request.ts";
import {
  ANY_USER,
  requireInteger,
  requireJobId,
  requireNumber,
  requireObject,
  type Methods,
} from "../../sdk/service.ts";
import { slotTotal } from "./choice.ts";
import { SchedulerCore, type Grant } from "./core.ts";
import { parseNodeConstraint } from "./node-constraint.ts";
import type { NodeInventory, NodeShare } from "./nodes.ts";
import { greet } from "./hello.ts";
import { Outlook } from "./outlook.ts";
import { ResourcePool } from "./pool.ts";
import { isPriority, isStream, type AcquireResponse, type AllocResponse } from "./protocol.ts";
import { inventoryOf, mergeShares, resourceSetOf } from "./resource-text.ts";
import { depthText, logLevelName, readSettings, type Settings } from "./settings.ts";
import { PassStatistics } from "./statistics.ts";

/** Until resources are asked for again after the resource service has gone. */
const ACQUIRE_RETRY_MS = 200;
/** Debug flags: every request is denied; every waiting job is told why it waits and how many are ahead of it. */
const [FAIL_ALLOC, EXPLAIN_ALL] = [1, 2] as const;

/** The scheduler under one of its names: they differ in what they do where nothing else is said. */
function definition(name: string): ModuleDefinition {
  return {
    name,
    async start(context) {
      const settings = readSettings(name, context.config(), context.args);
      const scheduler = new Scheduler(context, name, settings);
      // There is one scheduler at a time: a second one ends here.
      for (const service of ["sched", "feasibility"])
        await context.addService(service).catch((error: unknown) => {
          if (!isFluxError(error, "EEXIST")) throw error;
          throw new FluxError("EEXIST", `File exists: ${error.message}`, { cause: error });
        });
      // Resources may become known only when other brokers have started, and those wait for this one's modules. Where they
      // are known, who loads a scheduler has one that schedules.
      const isReady = scheduler.begin();
      if (await areResourcesKnown(context)) await isReady;
      return scheduler;
    },
  };
}

const areResourcesKnown = ({ handle }: ModuleContext): Promise<boolean> =>
  handle.rpc("resource.get", { wait: false }, { nodeid: 0 }).then(
    () => true,
    (error: unknown) => {
      if (!(error instanceof FluxError)) throw error;
      return false;
    },
  );

export const schedSimpleModule: ModuleDefinition = definition("sched-simple");
export const schedFifoModule: ModuleDefinition = definition("sched-fifo");
export const schedBackfillModule: ModuleDefinition = definition("sched-backfill");

class Scheduler implements RunningModule {
  readonly #context: ModuleContext;
  readonly #batch: KvsBatch;
  readonly #requests = new Map<Integer, IncomingRequest>();
  readonly #kind: string;
  #settings: Settings;
  #core: SchedulerCore;
  #inventory = new Map<number, NodeInventory>();
  /** What the instance's resource set says to schedulers: jobs' sets say it to those of their instances. */
  #scheduling: JsonValue | undefined = undefined;
  /** When the instance got its resources, in seconds since the epoch; 0 = it does not say. */
  #starttime = 0;
  readonly #outlook: Outlook;
  readonly #statistics: PassStatistics;
  #isPassScheduled = false;
  #acquireTimer: TimerHandle | null = null;
  #isStopped = false;

  /** `kind` is the name of the scheduler, whatever it is loaded under. */
  constructor(context: ModuleContext, kind: string, settings: Settings) {
    this.#context = context;
    this.#kind = kind;
    this.#settings = settings;
    this.#core = new SchedulerCore(new ResourcePool([]), parseNodeConstraint, settings.policy);
    this.#statistics = new PassStatistics(context.ports.clock);
    this.#outlook = new Outlook(context.ports.clock, (id, sched) => {
      const request = this.#requests.get(id);
      if (request !== undefined)
        this.#respond(request, { id, type: AllocResponseType.Annotate, annotations: { sched } });
    });
    this.#batch = new KvsBatch({
      handle: context.handle,
      clock: context.ports.clock,
      failed: (error) => context.log(LogLevel.err, `committing R: ${error.message}`),
      delayed: (error) => context.log(LogLevel.err, `committing R: ${error.message}; trying again`),
    });
  }

  /** Gets resources, learns who holds some, then serves. */
  async begin(): Promise<void> {
    const { mode, logLevel } = this.#settings;
    try {
      await this.#acquire();
      await this.#greet();
      this.#serve();
      await this.#context.handle.rpc("job-manager.sched-ready", mode, { nodeid: 0 });
      const how = `queue-depth=${depthText(mode)} log-level=${logLevelName(logLevel)} pool-class=Rv1Pool`;
      const what = this.#setOf(this.#core.pool.inventory).dump();
      this.#log(LogLevel.info, `ready: ${how} Rv1 ${what} policy=${this.#core.policy}`);
    } catch (error) {
      if (this.#isStopped) return;
      if (!(error instanceof FluxError)) this.#context.fatal(error);
      else this.#log(LogLevel.err, `cannot start: ${error.message}`);
    }
  }

  /**
   * Gets the inventory and follows its state. Resolves with the first response. Where that ends later, the resource
   * service is being loaded anew, and is asked again; until it is there the state is what it was.
   */
  #acquire(isAgain = false): Promise<void> {
    return new Promise((resolve, reject) => {
      let isFollowing = false;
      const item = (payload: Payload | null): void => {
        isFollowing = true;
        this.#update((payload?.value ?? {}) as AcquireResponse);
        resolve();
      };
      const end = (error: FluxError | null): void => {
        const reason = error ?? new FluxError("EPROTO", "resource.acquire ended");
        reject(reason);
        if (this.#isStopped) return;
        if (isFollowing || !isAgain) this.#log(LogLevel.warning, `resource.acquire: ${reason.message}`);
        if (isFollowing || isAgain) this.#acquireLater();
      };
      this.#context.handle.open("resource.acquire", null, { item, end }, { cancelTopic: "resource.acquire-cancel" });
    });
  }

  #acquireLater(): void {
    this.#acquireTimer = this.#context.ports.clock.after(ACQUIRE_RETRY_MS, () => {
      // An end without a response leads to the next attempt.
      this.#acquire(true).catch(() => undefined);
    });
  }

  /** The job manager was loaded anew: it will ask again for what it still wants, and tells who holds resources. */
  #startOver(): undefined {
    const { pool, queue } = this.#core;
    for (const { id } of queue.leading(queue.size)) this.#core.remove(id);
    for (const id of pool.held.keys()) pool.free(id, null);
    this.#outlook.forget();
    this.#requests.clear();
    const failed = (error: unknown): void =>
      this.#log(LogLevel.err, `greeting the new job manager: ${errorText(error)}`);
    this.#greet()
      .then(() => this.#context.handle.rpc("job-manager.sched-ready", this.#settings.mode, { nodeid: 0 }))
      .catch(failed);
  }

  /** Learns which jobs hold resources already. */
  #greet(): Promise<void> {
    return greet({
      handle: this.#context.handle,
      pool: this.#core.pool,
      nameOf: (id) => this.#nameOf(id),
      log: (level, text) => this.#log(level, text),
    });
  }

  #serve(): void {
    const { server } = this.#context;
    server.add("sched", this.#schedMethods());
    server.add("feasibility", {
      check: { roles: ANY_USER, handler: (request) => this.#checkFeasibility(request) },
    });
    server.add(this.#context.name, { "stats-get": { roles: ANY_USER, handler: () => this.#stats() } });
  }

  /** Takes the policy and the log level of a new configuration; the depth was agreed upon with the job manager. */
  configure(config: JsonObject): void {
    this.#settings = readSettings(this.#kind, config, this.#context.args);
    this.#core.policy = this.#settings.policy;
    this.#schedulePass();
  }

  stop(): void {
    this.#isStopped = true;
    this.#outlook.stop();
    this.#acquireTimer?.cancel();
    for (const request of this.#requests.values())
      request.respondError(new FluxError("ENOSYS", "scheduler is unloading"));
    this.#requests.clear();
  }

  #schedMethods(): Methods {
    return {
      alloc: (request) => this.#alloc(request),
      free: (request) => this.#free(request),
      "manager-started": () => this.#startOver(),
      cancel: (request) => this.#cancel(request),
      prioritize: (request) => this.#prioritize(request),
      expiration: (request) => this.#expiration(request),
      "resource-status": { roles: ANY_USER, handler: () => this.#resourceStatus() },
    };
  }

  #update(response: AcquireResponse): void {
    if (response.resources !== undefined) this.#define(ResourceSet.parse(response.resources));
    const { pool } = this.#core;
    if (response.up !== undefined) pool.setUp(Idset.parse(response.up), true);
    if (response.down !== undefined) pool.setUp(Idset.parse(response.down), false);
    if (response.shrink !== undefined) this.#shrink(Idset.parse(response.shrink));
    if (response.expiration !== undefined) {
      this.#core.instanceExpiration = response.expiration;
      this.#log(LogLevel.info, `resource expiration updated to ${response.expiration.toFixed(2)}`);
    }
    this.#schedulePass();
  }

  /** Nodes are gone for good. Who can never run without them learns it now. */
  #shrink(ranks: Idset): void {
    const { pool, queue } = this.#core;
    pool.remove(ranks);
    for (const { id, request } of queue.leading(queue.size)) {
      const shortage = pool.shortage(request);
      if (shortage === null) continue;
      this.#core.remove(id);
      const alloc = this.#requests.get(id)!;
      this.#requests.delete(id);
      this.#outlook.takeBack(id);
      this.#finish(alloc, { id, type: AllocResponseType.Deny, note: `unsatisfiable request: ${shortage}` });
    }
  }

  /** All resources there are, all down. Who held some before still does, and who waited waits. */
  #define(resources: ResourceSet): void {
    const inventory = inventoryOf(resources);
    this.#inventory = new Map(inventory.map((node) => [node.rank, node]));
    const { pool, queue } = this.#core;
    this.#core = new SchedulerCore(new ResourcePool(inventory), parseNodeConstraint, this.#settings.policy);
    for (const [id, shares] of pool.held) this.#restore(id, shares, pool.ends.get(id));
    for (const job of queue.leading(queue.size)) this.#core.add(job);
    this.#core.instanceExpiration = resources.expiration;
    this.#starttime = resources.starttime;
    this.#scheduling = resources.scheduling;
  }

  #restore(id: Integer, shares: readonly NodeShare[], end: number): void {
    if (this.#core.pool.restore(id, shares, end)) return;
    this.#log(LogLevel.warning, `${this.#nameOf(id)} holds resources that are not there any more`);
  }

  #alloc(request: IncomingRequest): undefined {
    const id = requireJobId(request.json, "id");
    if (this.#requests.has(id) || this.#core.pool.held.has(id))
      throw new FluxError("EEXIST", `job ${id} has asked already`);
    try {
      const priority = requireInteger(request.json, "priority");
      const userid = requireInteger(request.json, "userid");
      const submitTime = Number(request.json["t_submit"] ?? 0);
      if (this.#hasFlag(FAIL_ALLOC)) throw new FluxError("EINVAL", "DEBUG_FAIL_ALLOC");
      const job = this.#core.check(requireObject(request.json, "jobspec"));
      // What is left to say needs no more of the request than where to.
      this.#requests.set(id, new IncomingRequest(this.#context.handle, { ...request.message, payload: null }));
      this.#core.add({ id, userid, priority, submitTime, request: job });
      this.#schedulePass();
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      this.#finish(request, { id, type: AllocResponseType.Deny, note: error.message });
    }
    return undefined;
  }

  #free(request: IncomingRequest): undefined {
    const id = requireJobId(request.json, "id");
    const isFinal = request.json["final"] === true;
    const set = isFinal && request.json["R"] === undefined ? null : ResourceSet.parse(request.json["R"]);
    this.#core.pool.free(id, isFinal || set === null ? null : set.ranks);
    if (set !== null) this.#logSet("free", id, set, isFinal ? " (final)" : "");
    this.#schedulePass();
    return undefined;
  }

  #cancel(request: IncomingRequest): undefined {
    const id = requireJobId(request.json, "id");
    if (this.#core.remove(id) === undefined) return undefined;
    const alloc = this.#requests.get(id)!;
    this.#requests.delete(id);
    this.#outlook.takeBack(id);
    this.#finish(alloc, { id, type: AllocResponseType.Cancel });
    this.#schedulePass();
    return undefined;
  }

  #prioritize(request: IncomingRequest): undefined {
    const { jobs } = request.json;
    if (!Array.isArray(jobs) || !jobs.every(isPriority)) throw new FluxError("EPROTO");
    for (const [id, priority] of jobs) this.#core.prioritize(id, priority);
    this.#schedulePass();
    return undefined;
  }

  #expiration(request: IncomingRequest): null {
    const id = requireJobId(request.json, "id");
    const expiration = requireNumber(request.json, "expiration");
    if (!this.#core.pool.setEnd(id, expiration)) throw new FluxError("ENOENT", "job has no allocation");
    this.#schedulePass();
    return null;
  }

  #checkFeasibility(request: IncomingRequest): null {
    this.#core.check(requireObject(request.json, "jobspec"));
    return null;
  }

  #resourceStatus(): JsonObject {
    const { pool } = this.#core;
    const all = this.#setOf(pool.inventory);
    const held = [...pool.held.values()].flat();
    return {
      all: all.with({ starttime: this.#starttime, expiration: this.#core.instanceExpiration }).toJSON(),
      down: all.keepRanks(Idset.from(pool.down)).toJSON(),
      allocated: this.#setOf(mergeShares(held)).toJSON(),
    };
  }

  #stats(): JsonObject {
    const { pool, queue, policy } = this.#core;
    return {
      ...this.#statistics.toJSON(),
      forecast_passes: this.#outlook.passes,
      forecast_yields: this.#outlook.annotations,
      pending_jobs: queue.size,
      allocated_jobs: pool.held.size,
      policy,
    };
  }

  #setOf(shares: readonly NodeShare[]): ResourceSet {
    return resourceSetOf(shares, (rank) => this.#inventory.get(rank));
  }

  #schedulePass(): void {
    if (this.#isStopped) return;
    this.#statistics.asked();
    if (this.#core.queue.size > 0) this.#outlookChanged();
    // After the messages at hand, but before anything else: held resources are what jobs wait for.
    this.#passLater((pass) => void Promise.resolve().then(pass));
  }

  #passLater(defer: (pass: () => void) => void): void {
    if (this.#isPassScheduled || !this.#core.isPassDue) return;
    this.#isPassScheduled = true;
    defer(() => {
      this.#isPassScheduled = false;
      if (!this.#isStopped) this.#pass();
    });
  }

  #pass(): void {
    const { clock } = this.#context.ports;
    const grants = this.#statistics.measure(() => this.#core.pass(clock.now()));
    const answers = grants.map((grant) => this.#grant(grant));
    this.#batch.flush();
    for (const { request, response } of answers) this.#finish(request, response);
    if (this.#core.queue.size > 0) this.#outlookChanged();
    // One that stopped short goes on when others had their turn.
    this.#passLater((pass) => clock.defer(pass));
  }

  #outlookChanged(): void {
    this.#outlook.changed(() => ({ core: this.#core, explainsAll: this.#hasFlag(EXPLAIN_ALL) }));
  }

  #hasFlag(flag: number): boolean {
    return ((this.#context.server.debugFlags.get(this.#context.name) ?? 0) & flag) !== 0;
  }

  /** RFC 27 matches responses by job id, so one request may have many even where it is no stream. */
  #respond(request: IncomingRequest, response: AllocResponse): void {
    this.#context.handle.respond(responseTo(request.message, 0, Payload.json(response)));
  }

  #finish(request: IncomingRequest, response: AllocResponse): void {
    this.#respond(request, response);
    if (isStream(request)) request.end();
  }

  #grant(grant: Grant): { request: IncomingRequest; response: AllocResponse } {
    const { job, shares, starttime, expiration, overtaken, shadow } = grant;
    const request = this.#requests.get(job.id)!;
    this.#requests.delete(job.id);
    const nslots = slotTotal(job.request, shares);
    const scheduling = this.#scheduling === undefined ? {} : { scheduling: this.#scheduling };
    const set = this.#setOf(shares)
      .withoutLocalProperties()
      .with({ starttime, expiration, nslots, ...scheduling });
    const resource = set.toJSON();
    const key = `${fluidKvsPath(job.id)}.R`;
    this.#batch.put(key, stringifyJson(resource));
    this.#batch.end(key);
    const sched = {
      resource_summary: set.dump(),
      ...(overtaken !== null && { backfill: this.#nameOf(overtaken.id) }),
      ...this.#outlook.takeBack(job.id),
    };
    this.#logSet("alloc", job.id, set);
    if (overtaken !== null)
      this.#log(LogLevel.debug, `backfill: ${this.#nameOf(job.id)} (shadow=${Math.floor(shadow ?? 0)})`);
    return { request, response: { id: job.id, type: AllocResponseType.Success, R: resource, annotations: { sched } } };
  }

  /** A job as people write it where this instance runs. */
  #nameOf(id: Integer): string {
    return formatFluid(id, f58FormOf(this.#context.ports.host.env));
  }

  #log(level: LogLevel, text: string): void {
    if (level <= this.#settings.logLevel) this.#context.log(level, text);
  }

  /** Logs what a job got or gave back; nothing is made of it where nobody wants to read it. */
  #logSet(what: string, id: Integer, set: ResourceSet, suffix = ""): void {
    if (this.#settings.logLevel >= LogLevel.debug)
      this.#context.log(LogLevel.debug, `${what}: ${this.#nameOf(id)}: ${set.dump()}${suffix}`);
  }
}
