/**
 * The scheduler: first come, first served in order of priority, first fit (RFC 27, RFC 28). Runs at rank 0.
 *
 * Invariants: R is on its way to the KVS before the job manager is told, so that nothing the job manager commits about
 * the allocation is there without R; all allocations of one pass go in one commit.
 *
 * Module arguments: `mode=limited=N`, `mode=unlimited` (how many requests the job manager may have open).
 */
import { errorText, FluxError } from "../../base/errors.ts";
import { stringifyJson, type Integer, type JsonObject, type JsonValue } from "../../base/json.ts";
import { fluidKvsPath, formatFluid } from "../../formats/fluid.ts";
import { Idset } from "../../formats/idset.ts";
import type { TimerHandle } from "../../base/ports.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import { MATCHTAG_NONE, Payload, responseTo } from "../../protocol/message.ts";
import { KvsBatch } from "../../sdk/kvs-batch.ts";
import { lookupText } from "../../sdk/kvs-text.ts";
import { LogLevel, type ModuleContext, type ModuleDefinition, type RunningModule } from "../../sdk/module.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { ANY_USER, requireInteger, requireJobId, requireObject, type Methods } from "../../sdk/service.ts";
import { SchedulerCore, type Grant } from "./core.ts";
import { parseNodeConstraint } from "./node-constraint.ts";
import { ResourcePool, type NodeInventory, type NodeShare } from "./pool.ts";
import {
  AllocResponseType,
  type AcquireResponse,
  type AllocMode,
  type AllocResponse,
  type HelloResponse,
} from "./protocol.ts";
import { slotTotal } from "./request.ts";
import { inventoryOf, mergeShares, resourceSetOf, sharesOf } from "./resource-text.ts";

const DEFAULT_LIMIT = 8;
/** A job that waits longer than this at the head of the queue is annotated with the reason, in milliseconds. */
const REASON_DELAY_MS = 10;
/** Until resources are asked for again after the resource service has gone. */
const ACQUIRE_RETRY_MS = 200;
/** Debug flag: every waiting job is told why it waits and how many are ahead of it, not only the first. */
const EXPLAIN_ALL = 2;
/** Debug flag: every request is denied. */
const FAIL_ALLOC = 1;

export const schedSimpleModule: ModuleDefinition = {
  name: "sched-simple",
  async start(context) {
    const mode = parseMode(context.args);
    const scheduler = new Scheduler(context, mode);
    // There is one scheduler at a time: a second one ends here.
    await context.addService("sched");
    await context.addService("feasibility");
    // Resources may become known only when other brokers have started, and those wait for this one's modules.
    void scheduler.begin();
    return scheduler;
  },
};

/** Throws FluxError EINVAL. */
function parseMode(args: readonly string[]): AllocMode {
  let mode: AllocMode = { mode: "limited", limit: DEFAULT_LIMIT };
  for (const arg of args) {
    const match = /^(?:queue-)?mode=(unlimited|limited=(\d+)|single)$/.exec(arg);
    const limit = match?.[1] === "single" ? 1 : Number(match?.[2]);
    if (match?.[1] === "unlimited") mode = { mode: "unlimited" };
    else if (match !== null && limit > 0) mode = { mode: "limited", limit };
    else throw new FluxError("EINVAL", `sched-simple: unknown or invalid module option '${arg}'`);
  }
  return mode;
}

class Scheduler implements RunningModule {
  readonly #context: ModuleContext;
  readonly #mode: AllocMode;
  readonly #batch: KvsBatch;
  readonly #requests = new Map<Integer, IncomingRequest>();
  #core: SchedulerCore = new SchedulerCore(new ResourcePool([]), parseNodeConstraint);
  #inventory = new Map<number, NodeInventory>();
  /** What the instance's resource set says to schedulers: jobs' sets say it to those of their instances. */
  #scheduling: JsonValue | undefined = undefined;
  /** The annotations of waiting jobs: how many are ahead, null where only the reason was told. */
  #told: ReadonlyMap<Integer, number | null> = new Map();
  #isPassScheduled = false;
  #reasonTimer: TimerHandle | null = null;
  #acquireTimer: TimerHandle | null = null;
  #isStopped = false;

  constructor(context: ModuleContext, mode: AllocMode) {
    this.#context = context;
    this.#mode = mode;
    this.#batch = new KvsBatch({
      handle: context.handle,
      clock: context.ports.clock,
      failed: (error) => context.log(LogLevel.err, `committing R: ${error.message}`),
      delayed: (error) => context.log(LogLevel.err, `committing R: ${error.message}; trying again`),
    });
  }

  /** Gets resources, learns who holds some, then serves. */
  async begin(): Promise<void> {
    const mode = this.#mode;
    try {
      await this.#acquire();
      await this.#greet();
      this.#serve();
      await this.#context.handle.rpc("job-manager.sched-ready", mode, { nodeid: 0 });
      const depth = mode.mode === "limited" ? mode.limit : mode.mode;
      this.#context.log(LogLevel.debug, `ready: queue-depth=${depth} ${this.#setOf(this.#core.pool.inventory).dump()}`);
    } catch (error) {
      if (this.#isStopped) return;
      if (!(error instanceof FluxError)) this.#context.fatal(error);
      else this.#context.log(LogLevel.err, `cannot start: ${error.message}`);
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
        if (isFollowing || !isAgain) this.#context.log(LogLevel.err, `resource.acquire: ${reason.message}`);
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
    for (const { id } of queue.inOrder()) queue.remove(id);
    for (const id of pool.held.keys()) pool.free(id, null);
    this.#requests.clear();
    const failed = (error: unknown): void =>
      this.#context.log(LogLevel.err, `greeting the new job manager: ${errorText(error)}`);
    this.#greet()
      .then(() => this.#context.handle.rpc("job-manager.sched-ready", this.#mode, { nodeid: 0 }))
      .catch(failed);
  }

  /** Learns which jobs hold resources already. */
  async #greet(): Promise<void> {
    const { handle } = this.#context;
    const stream = handle.stream<HelloResponse>("job-manager.sched-hello", { "partial-ok": true }, { nodeid: 0 });
    for await (const hello of stream) {
      const text = await lookupText(this.#context.handle, `${fluidKvsPath(hello.id)}.R`);
      const freed = Idset.parse(hello.free ?? "");
      const shares = sharesOf(ResourceSet.parseText(text).removeRanks(freed));
      if (this.#core.pool.held.has(hello.id)) continue;
      this.#restore(hello.id, shares);
      const { id, priority, userid, t_submit } = hello;
      const details = `priority=${priority} userid=${userid} t_submit=${t_submit}`;
      this.#context.log(LogLevel.debug, `hello: id=${formatFluid(id, "f58")} ${details}`);
    }
  }

  #serve(): void {
    const { server } = this.#context;
    server.add("sched", this.#schedMethods());
    server.add("feasibility", {
      check: { roles: ANY_USER, handler: (request) => this.#checkFeasibility(request) },
    });
    server.add(this.#context.name, { "stats-get": { roles: ANY_USER, handler: () => this.#stats() } });
  }

  stop(): void {
    this.#isStopped = true;
    this.#reasonTimer?.cancel();
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
    if (response.shrink !== undefined) pool.remove(Idset.parse(response.shrink));
    if (response.expiration !== undefined) this.#core.instanceExpiration = response.expiration;
    this.#schedulePass();
  }

  /** All resources there are, all down. Who held some before still does, and who waited waits. */
  #define(resources: ResourceSet): void {
    const inventory = inventoryOf(resources);
    this.#inventory = new Map(inventory.map((node) => [node.rank, node]));
    const { pool, queue } = this.#core;
    this.#core = new SchedulerCore(new ResourcePool(inventory), parseNodeConstraint);
    for (const [id, shares] of pool.held) this.#restore(id, shares);
    for (const job of queue.inOrder()) this.#core.queue.add(job);
    this.#core.instanceExpiration = resources.expiration;
    this.#scheduling = resources.scheduling;
  }

  #restore(id: Integer, shares: readonly NodeShare[]): void {
    if (this.#core.pool.restore(id, shares)) return;
    this.#context.log(LogLevel.warning, `${formatFluid(id, "f58")} holds resources that are not there any more`);
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
      this.#requests.set(id, request);
      this.#core.queue.add({ id, userid, priority, submitTime, request: job });
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
    const ranks = isFinal ? null : ResourceSet.parse(request.json["R"]).ranks;
    this.#core.pool.free(id, ranks);
    this.#schedulePass();
    return undefined;
  }

  #cancel(request: IncomingRequest): undefined {
    const id = requireJobId(request.json, "id");
    if (this.#core.queue.remove(id) === undefined) return undefined;
    const alloc = this.#requests.get(id)!;
    this.#requests.delete(id);
    this.#finish(alloc, { id, type: AllocResponseType.Cancel });
    this.#schedulePass();
    return undefined;
  }

  #prioritize(request: IncomingRequest): undefined {
    const { jobs } = request.json;
    if (!Array.isArray(jobs) || !(jobs as JsonValue[]).every(isPriority)) throw new FluxError("EPROTO");
    for (const [id, priority] of jobs as [Integer, number][]) this.#core.queue.prioritize(id, priority);
    this.#schedulePass();
    return undefined;
  }

  #expiration(request: IncomingRequest): null {
    const id = requireJobId(request.json, "id");
    if (!this.#core.pool.held.has(id)) throw new FluxError("ENOENT", "job has no allocation");
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
      all: all.with({ expiration: this.#core.instanceExpiration }).toJSON(),
      down: all.keepRanks(Idset.from(pool.down)).toJSON(),
      allocated: this.#setOf(mergeShares(held)).toJSON(),
    };
  }

  #stats(): JsonObject {
    return { pending_jobs: this.#core.queue.size, allocated_jobs: this.#core.pool.held.size };
  }

  #setOf(shares: readonly NodeShare[]): ResourceSet {
    return resourceSetOf(shares, (rank) => this.#inventory.get(rank));
  }

  #schedulePass(): void {
    if (this.#explainsAll && !this.#isStopped) this.#explainLater();
    if (this.#isPassScheduled || this.#isStopped || !this.#core.isPassDue) return;
    this.#isPassScheduled = true;
    // After the messages at hand, but before anything else: held resources are what jobs wait for.
    void Promise.resolve().then(() => {
      this.#isPassScheduled = false;
      if (!this.#isStopped) this.#pass();
    });
  }

  #pass(): void {
    const { grants, blocked } = this.#core.pass(this.#context.ports.clock.now());
    const answers = grants.map((grant) => this.#grant(grant));
    this.#batch.flush();
    for (const { request, response } of answers) this.#finish(request, response);
    if (blocked !== null) this.#explainLater();
  }

  get #explainsAll(): boolean {
    return this.#hasFlag(EXPLAIN_ALL);
  }

  #hasFlag(flag: number): boolean {
    return ((this.#context.server.debugFlags.get(this.#context.name) ?? 0) & flag) !== 0;
  }

  /** Tells why jobs wait. Where jobs come and go quickly, their turn comes before anybody could read it. */
  #explainLater(): void {
    this.#reasonTimer?.cancel();
    this.#reasonTimer = this.#context.ports.clock.after(REASON_DELAY_MS, () => {
      this.#reasonTimer = null;
      const { queue } = this.#core;
      const told = new Map<Integer, number | null>();
      if (this.#explainsAll) for (const [ahead, { id }] of queue.inOrder().entries()) this.#explain(id, ahead, told);
      else if (queue.first !== undefined) this.#explain(queue.first.id, null, told);
      this.#told = told;
    });
  }

  /** Annotates a waiting job, where that is news. */
  #explain(id: Integer, ahead: number | null, told: Map<Integer, number | null>): void {
    const request = this.#requests.get(id);
    told.set(id, ahead);
    if (request === undefined || this.#told.get(id) === ahead) return;
    const sched = { reason_pending: "insufficient resources", ...(ahead === null ? {} : { jobs_ahead: ahead }) };
    this.#respond(request, { id, type: AllocResponseType.Annotate, annotations: { sched } });
  }

  /** RFC 27 matches responses by job id, so one request may have many even where it is no stream. */
  #respond(request: IncomingRequest, response: AllocResponse): void {
    this.#context.handle.respond(responseTo(request.message, 0, Payload.json(response)));
  }

  #finish(request: IncomingRequest, response: AllocResponse): void {
    this.#respond(request, response);
    if (isStream(request)) request.end();
  }

  #grant({ job, shares, starttime, expiration }: Grant): { request: IncomingRequest; response: AllocResponse } {
    const request = this.#requests.get(job.id)!;
    this.#requests.delete(job.id);
    const nslots = slotTotal(job.request);
    const scheduling = this.#scheduling === undefined ? {} : { scheduling: this.#scheduling };
    const set = this.#setOf(shares)
      .withoutLocalProperties()
      .with({ starttime, expiration, nslots, ...scheduling });
    const resource = set.toJSON();
    this.#batch.put(`${fluidKvsPath(job.id)}.R`, stringifyJson(resource));
    const annotations = { sched: { resource_summary: set.dump(), reason_pending: null, jobs_ahead: null } };
    return { request, response: { id: job.id, type: AllocResponseType.Success, R: resource, annotations } };
  }
}

/** Whether a value is `[id, priority]`. */
function isPriority(value: JsonValue): boolean {
  const [id, priority] = Array.isArray(value) ? (value as JsonValue[]) : [];
  return (typeof id === "number" || typeof id === "bigint") && typeof priority === "number";
}

/** What ends an alloc request; a caller that made a stream of it is told so. */
function isStream(request: IncomingRequest): boolean {
  return request.isStreaming && request.matchtag !== MATCHTAG_NONE;
}
