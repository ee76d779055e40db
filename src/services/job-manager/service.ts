/**
 * The job manager as a service: messages in, events to the KVS, requests to the scheduler and the execution service.
 * What to do is decided in `core.ts`.
 */
import { errorText, FluxError, isFluxError } from "../../base/errors.ts";
import type { Integer, JsonObject } from "../../base/json.ts";
import type { TimerHandle } from "../../base/ports.ts";
import { f58FormOf, formatFluid } from "../../formats/fluid.ts";
import { parsePolicyConfig } from "../../formats/policy-config.ts";
import type { ResponseMessage } from "../../protocol/message.ts";
import { compareIds, JobState, type SubmittedJob } from "../../sdk/job-protocol.ts";
import { PRIMARY_NAMESPACE, type Operation } from "../../sdk/kvs-protocol.ts";
import { LogLevel, type ModuleContext, type ModuleDefinition, type RunningModule } from "../../sdk/module.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { ANYONE, type Methods } from "../../sdk/service.ts";
import { takeAllocationAnswer, takeExecutionAnswer } from "./answers.ts";
import { Archive, readArchive, unarchivedJobIds, waitableJobs, type StoredArchive } from "./archive.ts";
import { controlMethods } from "./control-methods.ts";
import { JobManager } from "./core.ts";
import { antecedentNamesOf, antecedentsOf } from "./dependency-schemes.ts";
import { apply } from "./fold.ts";
import { newJob, type Job } from "./job.ts";
import { Housekeeping, housekeepingConfigOf } from "./housekeeping.ts";
import { Journal } from "./journal.ts";
import { isDamage, putAside } from "./lost-found.ts";
import type { EndedJob } from "./inactive.ts";
import { forgetRun, startsAgain } from "./requeue.ts";
import { findNamed, inactiveEntries, readJob, restartReport, readOutcome, type StoredJob } from "./load.ts";
import { outcomeOf } from "./outcome.ts";
import {
  EVENTLOG_VERSION,
  executionHelloRequest,
  idRequest,
  schedulerReadyRequest,
  submitRequest,
} from "./protocol.ts";
import { InstanceLifetime } from "./lifetime.ts";
import { Perilog } from "./perilog.ts";
import { Plugins } from "./plugins.ts";
import { freedRanks } from "./resources.ts";
import { purgeExpired, purgeMethods, retentionOf, type Retention } from "./purge.ts";
import { queryMethods } from "./query-methods.ts";
import { CHECKPOINT_KEY, queueMethods, Quiet, restoreCheckpoint, saveCheckpoint } from "./queue-methods.ts";
import { EventStore } from "./store.ts";
import type { ManagerSurroundings } from "./surroundings.ts";

const SERVICE = "job-manager";
/** How often inactive jobs are looked through for those that the configuration does not keep. */
const PURGE_PERIOD_MS = 2000;
/** Tells those who served an earlier job manager that this one knows nothing of their requests: they say hello again. */
const RESTART_TOPICS = ["sched.manager-started", "job-exec.manager-started"];
/** How long the last events may take to be stored when the service ends. */
const STOP_TIMEOUT_MS = 5000;

export const jobManagerModule: ModuleDefinition = {
  name: SERVICE,
  start: (context) => JobManagerService.start(context),
};

class JobManagerService implements RunningModule {
  readonly #context: ModuleContext;
  /** The instance goes on where an earlier one stopped. */
  readonly #isResumed: boolean;
  readonly #manager: JobManager;
  readonly #store: EventStore;
  readonly #archive: Archive;
  readonly #journal = new Journal();
  readonly #quiet: Quiet;
  readonly #housekeeping: Housekeeping;
  readonly #plugins: Plugins;
  readonly #perilog: Perilog;
  readonly #lifetime: InstanceLifetime;
  readonly #surroundings: ManagerSurroundings;
  /** The route id of the scheduler that said hello last. */
  #schedulerSender: string | null = null;
  #retention: Retention = { ageLimit: Infinity, numLimit: Infinity };
  #purgeTimer: TimerHandle | null = null;

  private constructor(context: ModuleContext) {
    this.#context = context;
    this.#isResumed = context.attribute("broker.resume") !== null;
    const { handle, ports } = context;
    this.#lifetime = new InstanceLifetime(context);
    this.#store = new EventStore({
      clock: ports.clock,
      commit: (operations) => this.#commit(operations),
      sent: (entries) => this.#manager.sent(entries.map(({ job }) => job)),
      durable: (entries) => {
        this.#journal.show(entries);
        this.#manager.durable(entries.map(({ job }) => job));
        this.#archive.review();
      },
      log: (level, text) => context.log(level, text),
    });
    this.#manager = new JobManager({
      clock: ports.clock,
      ownerUserid: context.ownerUserid,
      output: {
        record: (job, event, keeping) => this.#store.add(job, event, keeping),
        requestAllocation: (payload) => handle.sendUntagged("sched.alloc", payload),
        tellScheduler: (topic, payload) => handle.send(topic, payload),
        requestStart: (topic, payload) => handle.sendUntagged(topic, payload),
        publish: (topic, payload) => handle.sendEvent(topic, payload),
        log: (level, text) => context.log(level, text),
        posted: (job, name) => this.#plugins.follow(job, name),
        keepForHousekeeping: (job, R) => this.#housekeeping.take(job, R),
        admit: (job) => {
          this.#plugins.admit(job);
          if (this.#plugins.has(".validate-duration"))
            this.#lifetime.check(job.jobspec?.attributes.system?.duration ?? 0);
        },
        hasPlugin: (name) => this.#plugins.has(name),
        changed: () => this.#quiet.review(),
      },
    });
    this.#archive = new Archive(this.#manager, (operation) => this.#store.addOperation(operation));
    const log = (level: LogLevel, text: string): void => context.log(level, text);
    const idText = (id: Integer): string => this.#idText(id);
    const tools = { handle, clock: ports.clock, ownerUserid: context.ownerUserid, log, idText };
    this.#housekeeping = new Housekeeping({ ...tools, free: (payload) => this.#freed(payload) });
    this.#perilog = new Perilog({
      ...tools,
      post: (job, name, eventContext) => this.#manager.post(job, name, eventContext),
      raise: (job, eventContext) => this.#manager.raise(job, eventContext),
      settle: () => this.#manager.settle(),
    });
    this.#plugins = new Plugins({
      ownerUserid: context.ownerUserid,
      perilog: this.#perilog,
      running: () => [...this.#manager.jobs.values()].filter(({ hasResources }) => hasResources),
      post: (job, name, eventContext) => this.#manager.post(job, name, eventContext),
      raise: (job, eventContext) => this.#manager.raise(job, eventContext),
      addOperation: (operation) => this.#store.addOperation(operation),
    });
    this.#surroundings = {
      handle,
      now: () => ports.clock.now(),
      committed: () => this.#store.committed(),
      addOperation: (operation) => this.#store.addOperation(operation),
      waitForCompanyMs: (delayMs) => this.#store.waitForCompanyMs(delayMs),
      publish: (topic, payload) => handle.sendEvent(topic, payload),
      plugins: this.#plugins,
      archive: this.#archive,
      recall: (id) => this.#recall(id),
    };
    this.#quiet = new Quiet(this.#manager);
  }

  /** Housekeeping gives something back to the scheduler. */
  #freed(payload: { id: Integer; R: JsonObject; final: boolean }): void {
    this.#manager.scheduler.free(payload);
    if (payload.final) this.#manager.tidied(payload.id);
  }

  static async start(context: ModuleContext): Promise<RunningModule> {
    const service = new JobManagerService(context);
    service.#plugins.loadConfigured(context.config());
    service.configure(context.config());
    await service.#restore().catch((error: unknown) => {
      context.log(LogLevel.err, `restart failed: ${traceOf(error)}`);
      throw error;
    });
    context.handle.onUntagged((response) => service.#answered(response));
    context.server.add(SERVICE, service.#methods());
    service.#manager.resume();
    for (const job of service.#manager.jobs.values()) service.#perilog.resume(job);
    service.#manager.settle();
    service.#lifetime.follow();
    for (const topic of RESTART_TOPICS) context.handle.send(topic);
    service.#schedulePurge();
    return service;
  }

  configure(config: JsonObject): void {
    const policy = parsePolicyConfig(config);
    const retention = retentionOf(config);
    const housekeeping = housekeepingConfigOf(config);
    this.#plugins.configure(config);
    this.#housekeeping.configure(housekeeping);
    this.#manager.queues.configure(config, policy);
    this.#manager.limits.configure(policy);
    this.#retention = retention;
    this.#manager.settle();
  }

  async stop(): Promise<void> {
    this.#purgeTimer?.cancel();
    this.#manager.dependencies.stop();
    this.#perilog.stop();
    this.#lifetime.stop();
    this.#housekeeping.stop();
    this.#quiet.stop();
    saveCheckpoint(this.#manager, this.#surroundings);
    // Without a KVS there is nothing to wait for.
    await Promise.race([this.#store.committed().catch(() => undefined), this.#patience()]);
    this.#store.stop();
    this.#journal.stop();
  }

  /** A store that takes no more commits must not keep the instance from ending. */
  #patience(): Promise<void> {
    return new Promise(
      (resolve) => void this.#context.ports.clock.after(STOP_TIMEOUT_MS, resolve, { background: true }),
    );
  }

  async #commit(operations: readonly Operation[]): Promise<void> {
    await this.#context.handle.rpc("kvs.commit", { namespace: PRIMARY_NAMESPACE, flags: 0, ops: operations });
  }

  #methods(): Methods {
    const manager = this.#manager;
    return {
      submit: (request) => this.#submit(request),
      ...controlMethods(manager, this.#surroundings),
      ...queryMethods(manager, {
        journal: this.#journal,
        plugins: this.#plugins,
        housekeeping: this.#housekeeping,
      }),
      ...queueMethods(manager, this.#surroundings),
      ...purgeMethods(manager, this.#surroundings),
      ...this.#quiet.methods(),
      wait: (request) => {
        const { id } = idRequest(request);
        manager.waits.wait(request, id, manager.jobs.get(id) ?? null);
        return undefined;
      },
      "events-journal": { streaming: true, handler: (request) => this.#openJournal(request) },
      "events-journal-cancel": (request) => void this.#journal.cancel(request),
      "sched-hello": { streaming: true, handler: (request) => this.#schedulerHello(request) },
      "sched-ready": (request) => this.#schedulerReady(request),
      "exec-hello": (request) => {
        manager.executionHello(executionHelloRequest(request).service, request.sender);
        return null;
      },
      disconnect: { roles: ANYONE, handler: (request) => void this.#disconnect(request) },
    };
  }

  /** Jobs that the ingest service has stored. Dependencies on jobs that are not in memory are looked up first. */
  async #submit(request: IncomingRequest): Promise<object> {
    const { jobs: submitted } = submitRequest(request);
    await this.#recallAll(submitted.flatMap(({ jobspec }) => antecedentsOf(jobspec)));
    for (const { userid, jobspec } of submitted)
      for (const name of antecedentNamesOf(jobspec)) await this.#recallNamed(userid, name);
    const errors: [Integer, string][] = [];
    for (const job of submitted) {
      try {
        this.#manager.submit(jobOf(job));
      } catch (error) {
        if (!(error instanceof FluxError)) this.#context.log(LogLevel.err, `job ${job.id} refused: ${traceOf(error)}`);
        errors.push([job.id, errorText(error)]);
      }
    }
    this.#manager.settle();
    // Where it were not found after a crash, nobody must have been told of it.
    if (this.#archive.submitted(submitted.map(({ id }) => id))) await this.#store.committed();
    return { errors };
  }

  #openJournal(request: IncomingRequest): undefined {
    const { jobs, inactive } = this.#manager;
    this.#journal.add(request, jobs.values(), inactive, (ids) => inactiveEntries(this.#context.handle, ids));
  }

  #schedulerHello(request: IncomingRequest): null {
    this.#manager.schedulerLost();
    this.#schedulerSender = request.sender;
    for (const job of this.#manager.jobs.values()) {
      if (!job.hasResources || job.isUnscheduled) continue;
      const { id, priority, userid, tSubmit } = job;
      const free = freedRanks(job);
      request.respond({ id, priority, userid, t_submit: tSubmit, ...(free === null ? {} : { free }) });
    }
    for (const held of this.#housekeeping.allocations()) request.respond(held);
    this.#manager.scheduler.hello();
    const flags = request.json["partial-ok"] === true ? " +partial-ok" : "";
    this.#context.log(LogLevel.debug, `scheduler: hello${flags}`);
    return null;
  }

  #schedulerReady(request: IncomingRequest): object {
    const { mode, limit } = schedulerReadyRequest(request);
    this.#schedulerSender = request.sender;
    this.#context.log(LogLevel.debug, `scheduler: ready ${mode}`);
    this.#manager.scheduler.ready(limit);
    this.#manager.settle();
    return { count: this.#manager.count(JobState.Sched) };
  }

  /** An answer to a request without a matchtag: of the scheduler or of the execution service. */
  #answered(response: ResponseMessage): void {
    const isScheduler = response.topic.startsWith("sched.");
    try {
      if (response.errnum !== 0) throw new FluxError(response.errnum, response.payload?.text ?? undefined);
      const payload = response.payload?.value ?? {};
      if (isScheduler) takeAllocationAnswer(this.#manager, payload);
      else takeExecutionAnswer(this.#manager, payload);
    } catch (error) {
      // A scheduler that is unloaded gives back what it was asked, and that is no trouble.
      const isUnloaded = isScheduler && isFluxError(error, "ENOSYS");
      if (!isUnloaded) this.#context.log(LogLevel.err, `${response.topic}: ${traceOf(error)}`);
      if (isScheduler) this.#manager.schedulerLost();
      else if (response.errnum !== 0) this.#manager.executionLost(null);
    }
  }

  #disconnect(request: IncomingRequest): void {
    if (request.sender === this.#schedulerSender) {
      this.#schedulerSender = null;
      this.#context.log(LogLevel.debug, "alloc: stop due to disconnect: Success");
      this.#manager.schedulerLost();
    }
    if (this.#manager.executionLost(request.sender)) this.#context.log(LogLevel.debug, "execution service is gone");
    this.#journal.disconnect(request);
    this.#manager.waits.disconnect(request);
    this.#quiet.disconnect(request);
  }

  async #restore(): Promise<void> {
    const { handle, log } = this.#context;
    if (!(await restoreCheckpoint(this.#manager, handle))) log(LogLevel.info, `restart: ${CHECKPOINT_KEY} not found`);
    const archive = await this.#readArchive();
    const pages = archive?.pages ?? [];
    const ended = pages.flatMap(({ jobs }) => jobs).sort((left, right) => compareIds(left.id, right.id));
    for (const { id, outcome } of ended) this.#knowEnded(id, outcome.userid);
    for await (const job of waitableJobs(pages, (id) => this.#readJob(id)))
      if (job?.kind === "inactive") this.#manager.waits.restored(job.id, job.folded);
    const others: EndedJob[] = [];
    for await (const ids of unarchivedJobIds(this.#context.handle, archive)) {
      const jobs = await Promise.all(ids.map((id) => this.#readJob(id)));
      for (const stored of jobs) {
        if (stored === null) continue;
        if (stored.kind === "active") {
          await this.#restoreActive(stored);
          continue;
        }
        const { id, timestamp, folded } = stored;
        others.push({ id, timestamp, outcome: outcomeOf(folded) });
        this.#manager.waits.restored(id, folded);
        this.#knowEnded(id, folded.userid);
      }
    }
    this.#manager.inactive.restore(pages, others);
    for (const line of restartReport(this.#manager, this.#idText(this.#manager.maxJobId)))
      this.#context.log(LogLevel.info, `restart: ${line}`);
    this.#archive.resume(archive?.through ?? 0);
    this.#archive.review();
    const antecedents = [...this.#manager.jobs.values()].flatMap((job) =>
      job.state <= JobState.Depend ? antecedentsOf(job.jobspec!) : [],
    );
    await this.#recallAll(antecedents);
  }

  #knowEnded(id: Integer, userid: number): void {
    this.#manager.history.add(userid, id);
    this.#knowId(id);
  }

  async #restoreActive({ job, lacksAlloc }: StoredJob & { kind: "active" }): Promise<void> {
    const isRequeued = this.#isResumed && startsAgain(job);
    if (isRequeued || (this.#isResumed && lacksAlloc)) await forgetRun(this.#context.handle, job.id);
    this.#manager.restore(job, isRequeued);
    if (lacksAlloc && !this.#isResumed) this.#manager.post(job, "alloc");
  }

  #idText(id: Integer): string {
    return formatFluid(id, f58FormOf(this.#context.ports.host.env));
  }

  #knowId(id: Integer): void {
    if (compareIds(id, this.#manager.maxJobId) > 0) this.#manager.maxJobId = id;
  }

  async #readArchive(): Promise<StoredArchive | null> {
    try {
      return await readArchive(this.#context.handle);
    } catch (error) {
      if (!isFluxError(error)) throw error;
      this.#context.log(LogLevel.err, `${error.message}: all jobs are read instead`);
      return null;
    }
  }

  async #readJob(id: Integer): Promise<Awaited<ReturnType<typeof readJob>> | null> {
    try {
      return await readJob(this.#context.handle, id, this.#isResumed);
    } catch (error) {
      this.#context.log(LogLevel.err, `job ${this.#idText(id)} not replayed: ${traceOf(error)}`);
      this.#knowId(id);
      if (isDamage(error)) await putAside(this.#context.handle, id);
      return null;
    }
  }

  async #recallAll(ids: readonly Integer[]): Promise<void> {
    if (ids.length > 0) await Promise.all(ids.map((id) => this.#recall(id)));
  }

  async #recall(id: Integer): Promise<void> {
    if ((typeof id === "number" && id < 0) || this.#manager.outcome(id) !== null) return;
    const outcome = await readOutcome(this.#context.handle, id);
    if (outcome !== null && !this.#manager.jobs.has(id)) this.#manager.inactive.remember(id, outcome);
  }

  /** Finds the last job with a name that is over, where it is not in memory. */
  async #recallNamed(userid: number, name: string): Promise<void> {
    const known = this.#manager.inactive.lastNamed(userid, name);
    const id = known ?? (await findNamed(this.#context.handle, userid, name));
    if (id === null) return;
    if (known === null) this.#manager.inactive.rememberName(userid, name, id);
    await this.#recall(id);
  }

  #schedulePurge(): void {
    const again = (): void => this.#schedulePurge();
    this.#purgeTimer = this.#context.ports.clock.after(
      PURGE_PERIOD_MS,
      () => {
        const { ageLimit, numLimit } = this.#retention;
        if (ageLimit === Infinity && numLimit === Infinity) return again();
        purgeExpired(this.#manager, this.#surroundings, this.#retention).then(again, (error: unknown) => {
          this.#context.log(LogLevel.err, `purging inactive jobs: ${traceOf(error)}`);
          again();
        });
      },
      { background: true },
    );
  }
}

/** An error as the log has it: of one that nobody foresaw, where it came from. */
function traceOf(error: unknown): string {
  return error instanceof Error && !(error instanceof FluxError) ? String(error.stack) : errorText(error);
}

/** A job as its submit event makes it. */
function jobOf(submitted: SubmittedJob): Job {
  const { id, userid, urgency, flags, t_submit, jobspec } = submitted;
  const job = newJob(id, jobspec);
  const context = { userid, urgency, flags, version: EVENTLOG_VERSION };
  const event = { timestamp: t_submit, name: "submit", context };
  apply(job, event);
  job.events.push(event);
  return job;
}
