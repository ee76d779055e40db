/**
 * The job manager: drives every active job from state to state (RFC 21).
 *
 * What comes in (submissions, answers of the scheduler and the execution service, requests of people, acknowledged
 * commits) becomes events; `apply` folds an event into its job; `plan` says what to do next; `settle` carries that out
 * until nothing is left to do. All of it is synchronous; what leaves goes through `ManagerOutput`.
 *
 * Invariants:
 * 1. A job's state changes by events only, and every event that is not volatile goes to its eventlog, in order.
 * 2. A job leaves memory when its `clean` event is in the KVS for certain, and not before.
 * 3. After `settle`, no job has an action left to do.
 * 4. What goes wrong with one job ends that job, by an exception, and nothing else.
 */
import { assert } from "../../base/assert.ts";
import { errorText, FluxError } from "../../base/errors.ts";
import type { Integer, JsonObject } from "../../base/json.ts";
import type { Clock } from "../../base/ports.ts";
import { formatFluid } from "../../formats/fluid.ts";
import { updateJobspec } from "../../formats/jobspec-attributes.ts";
import { checkReadable } from "../../formats/jobspec-readable.ts";
import { jobStateName } from "../../formats/job-states.ts";
import { jobName, type Jobspec } from "../../formats/jobspec.ts";
import { retryPolicyOf } from "../../formats/retry.ts";
import { compareIds, JobState, STATES_RUNNING, type JobEvent } from "../../sdk/job-protocol.ts";
import { LogLevel } from "../../sdk/module.ts";
import { mergeAnnotations } from "../../sdk/job-annotations.ts";
import { dropSchedulerAnnotations } from "./answers.ts";
import { Dependencies } from "./dependencies.ts";
import { ExecutionLink, type ExecutionOutput } from "./execution.ts";
import { apply, wantsDebug } from "./fold.ts";
import { History } from "./history.ts";
import { InactiveJobs } from "./inactive.ts";
import { queueOf, type Job } from "./job.ts";
import { annotationsEvent } from "./journal.ts";
import { Limits } from "./limits.ts";
import { outcomeOf, type Outcome } from "./outcome.ts";
import { plan, type Action } from "./plan.ts";
import { Queues } from "./queues.ts";
import { remainingResources, withExpiration } from "./resources.ts";
import { SchedulerLink, type SchedulerOutput } from "./scheduler.ts";
import type { Keeping } from "./store.ts";
import { Waits } from "./wait.ts";

export interface ManagerOutput extends SchedulerOutput, ExecutionOutput {
  /** Hands an event to the store. */
  record(job: Job, event: JobEvent, keeping: Keeping): void;
  /** Publishes a Flux event. */
  publish(topic: string, payload: object): void;
  log(level: LogLevel, text: string): void;
  /** An event was posted: plugins may have something to add. */
  posted(job: Job, name: string): void;
  /** A job gives its resources back; whether somebody has to tidy up before the scheduler gets them. */
  keepForHousekeeping(job: Job, R: JsonObject): boolean;
  /** Throws EINVAL where a job is refused for what the instance is. */
  admit(job: Job): void;
  /** Whether a part that people may take out is in place (`plugins.ts`). */
  hasPlugin(name: string): boolean;
  /** Called after every change of the set of active jobs and their states. */
  changed(): void;
}

/** Actions for one job in one go: more is a plan that does not come to an end. */
const ACTIONS_MAX = 100;

export class JobManager {
  readonly jobs: Map<Integer, Job> = new Map();
  readonly inactive: InactiveJobs = new InactiveJobs();
  readonly queues: Queues = new Queues();
  readonly limits: Limits = new Limits();
  readonly waits: Waits = new Waits();
  readonly history: History = new History();
  readonly dependencies: Dependencies;
  readonly scheduler: SchedulerLink;
  readonly execution: ExecutionLink;
  readonly ownerUserid: number;
  maxJobId: Integer = 0;
  readonly #output: ManagerOutput;
  readonly #clock: Clock;
  readonly #dirty = new Set<Job>();
  /** Jobs that were read back and start again. */
  readonly #requeued = new Set<Job>();
  readonly #stateCounts = new Map<JobState, number>();
  #isSettling = false;

  constructor(options: { output: ManagerOutput; clock: Clock; ownerUserid: number }) {
    this.#output = options.output;
    this.#clock = options.clock;
    this.ownerUserid = options.ownerUserid;
    this.scheduler = new SchedulerLink(
      options.output,
      (queue) => this.queues.isStarted(queue),
      (job) => {
        if (wantsDebug(job)) this.post(job, "debug.alloc-request");
      },
    );
    this.execution = new ExecutionLink(options.output);
    this.dependencies = new Dependencies(
      {
        post: (job, name, context) => {
          this.post(job, name, context);
          this.settle();
        },
        raise: (job, type, severity, note) => {
          this.raise(job, { type, severity, note, userid: this.ownerUserid });
          this.settle();
        },
        outcome: (id) => this.outcome(id),
        lastNamed: (userid, name) => this.inactive.lastNamed(userid, name),
        job: (id) => this.jobs.get(id),
        hasPlugin: (name) => options.output.hasPlugin(name),
      },
      options.clock,
    );
  }

  /** Jobs in any of the states of a mask. */
  count(states: number): number {
    let count = 0;
    for (const [state, jobs] of this.#stateCounts) if ((state & states) !== 0) count += jobs;
    return count;
  }

  /** What is known of a job, active or not; null where nothing is in memory. */
  outcome(id: Integer): Outcome | null {
    const job = this.jobs.get(id);
    return job === undefined ? this.inactive.outcome(id) : outcomeOf(job);
  }

  /** An active job. Throws ENOENT, or EINVAL where a caller is used to that. */
  active(id: Integer, errno: "ENOENT" | "EINVAL" = "ENOENT", unknown = "unknown job id"): Job {
    const job = this.jobs.get(id);
    if (job !== undefined && job.state !== JobState.Inactive) return job;
    const isInactive = job !== undefined || this.inactive.outcome(id) !== null;
    throw new FluxError(errno, isInactive ? "job is inactive" : unknown);
  }

  /**
   * Takes a new job, whose submit event is in its eventlog already. Throws EINVAL with a sentence where a queue, a limit
   * or a dependency refuses it; then nothing of it is left here.
   */
  submit(job: Job): void {
    const queue = queueOf(job);
    this.queues.checkSubmission(queue);
    this.#checkLimits(job.jobspec!, queue);
    retryPolicyOf(job.jobspec!);
    this.#output.admit(job);
    const takeDependencies = this.dependencies.check(job);
    this.#insert(job);
    for (const event of job.events) this.#output.record(job, event, "known");
    this.#contained(job, () => {
      this.#output.posted(job, "submit");
      takeDependencies();
      this.post(job, "validate");
    });
  }

  /** The jobspec that an update would make, which must be within the limits of its queue. Throws EINVAL. */
  checkUpdate(job: Job, updates: JsonObject): Jobspec {
    const jobspec = updatedJobspec(job, updates);
    this.#checkLimits(jobspec, jobspec.attributes.system?.queue ?? "");
    return jobspec;
  }

  #checkLimits(jobspec: Jobspec, queue: string): void {
    if (this.#output.hasPlugin(".limit-duration"))
      this.limits.checkDuration(jobspec.attributes.system?.duration ?? 0, queue);
    if (this.#output.hasPlugin(".limit-job-size")) this.limits.checkSize(jobspec, queue);
  }

  /** Takes a job that was read back from its eventlog after a restart; one that ran may be to start again. */
  restore(job: Job, isRequeued: boolean = false): void {
    this.#insert(job);
    if (isRequeued) this.#requeued.add(job);
  }

  /** Makes restored jobs go on. */
  resume(): void {
    for (const job of this.jobs.values())
      this.#contained(job, () => {
        if (job.state === JobState.New) this.#admitAgain(job);
        else this.dependencies.restore(job);
        if (this.#requeued.delete(job)) this.#requeue(job);
        if (job.state === JobState.Run) this.#awaitReattach(job);
        else if (job.state !== JobState.Depend) this.post(job, "flux-restart");
      });
    this.settle();
  }

  /** Nothing changes for a job that runs, where it is found running. */
  #awaitReattach(job: Job): void {
    if (job.reattach && wantsDebug(job)) this.post(job, "debug.exec-reattach-start", { id: job.id });
  }

  #requeue(job: Job): void {
    this.post(job, "requeue", { reason: "the instance stopped while the job ran" });
    job.R = null;
    job.reattach = false;
  }

  /** Appends an event to a job's eventlog. Throws EINVAL, with nothing changed, where it is not legal. */
  post(job: Job, name: string, context?: JsonObject): void {
    const event: JobEvent =
      context === undefined ? { timestamp: this.#clock.now(), name } : { timestamp: this.#clock.now(), name, context };
    const before = job.state;
    const jobspec = name === "jobspec-update" ? updatedJobspec(job, context ?? {}) : null;
    apply(job, event);
    if (jobspec !== null) this.#replaceJobspec(job, jobspec);
    this.#countState(before, -1);
    this.#countState(job.state, 1);
    job.events.push(event);
    this.#output.record(job, event, "stored");
    this.#dirty.add(job);
    this.#follow(job, event);
    this.#output.posted(job, name);
  }

  /** Posts an exception event, and tells everyone. */
  raise(job: Job, context: JsonObject): void {
    this.post(job, "exception", context);
    const { type, severity, wait_status } = context;
    const payload = { id: job.id, type, severity };
    this.#output.publish("job-exception", wait_status === undefined ? payload : { ...payload, wait_status });
  }

  /** Replaces annotations by an update (RFC 27) that is in no eventlog. */
  annotate(job: Job, annotations: JsonObject): void {
    job.annotations = mergeAnnotations(job.annotations, annotations);
    this.#output.record(job, annotationsEvent(this.#clock.now(), job), "volatile");
  }

  /** Marks a job for another look at what to do for it. */
  touch(job: Job): void {
    this.#dirty.add(job);
  }

  /** Does what is to be done, for every job that something happened to. */
  settle(): void {
    if (this.#isSettling) return;
    this.#isSettling = true;
    try {
      for (const job of this.#dirty) {
        this.#dirty.delete(job);
        if (!job.isStuck) this.#contained(job, () => this.#act(job));
      }
    } finally {
      this.#isSettling = false;
    }
    this.scheduler.pump();
    this.#output.changed();
  }

  /** The events of these jobs, as many as their `durableCount` says, are in the KVS. */
  durable(jobs: Iterable<Job>): void {
    for (const job of jobs) {
      if (job.state === JobState.Inactive && job.durableCount === job.events.length) this.#retire(job);
    }
    this.settle();
  }

  /** The events of these jobs, as many as their `sentCount` says, are on their way to the KVS. */
  sent(jobs: Iterable<Job>): void {
    for (const job of jobs) if (job.state === JobState.Run) this.#dirty.add(job);
    if (this.#dirty.size > 0) this.settle();
  }

  /** The scheduler is gone: its jobs wait until another one is ready. */
  schedulerLost(): void {
    for (const job of this.scheduler.lost()) {
      dropSchedulerAnnotations(this, job);
      this.#dirty.add(job);
    }
    this.settle();
  }

  /** An execution service takes over. */
  executionHello(service: string, sender: string): void {
    this.executionLost(null);
    for (const job of this.execution.hello(service, sender)) this.#dirty.add(job);
    for (const job of this.jobs.values()) if ((job.state & STATES_RUNNING) !== 0) this.#dirty.add(job);
    this.settle();
  }

  /** The execution service is gone (null: whichever it is); false where this is not it. */
  executionLost(sender: string | null): boolean {
    if (!this.execution.lost(sender)) return false;
    for (const job of this.execution.open)
      if (wantsDebug(job)) this.post(job, "debug.start-lost", { note: "disconnect" });
    return true;
  }

  #insert(job: Job): void {
    assert(!this.jobs.has(job.id), `job ${job.id} is there already`);
    this.jobs.set(job.id, job);
    this.#countState(job.state, 1);
    if (compareIds(job.id, this.maxJobId) > 0) this.maxJobId = job.id;
    this.waits.began(job);
    this.history.add(job.userid, job.id);
  }

  #countState(state: JobState, change: number): void {
    this.#stateCounts.set(state, (this.#stateCounts.get(state) ?? 0) + change);
  }

  /** A job that was accepted, and had not got further when the instance stopped. */
  #admitAgain(job: Job): void {
    try {
      if (job.dependencies === null && job.satisfied === null) this.dependencies.check(job)();
      else this.dependencies.restore(job);
      this.post(job, "validate");
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      this.raise(job, { type: "dependency", severity: 0, note: error.message, userid: this.ownerUserid });
    }
  }

  /** What an event means for everything but the fold. */
  #follow(job: Job, event: JobEvent): void {
    switch (event.name) {
      case "priority":
        return this.scheduler.changed(job);
      case "start":
        return this.dependencies.started(job);
      case "resource-update":
        return this.#updateExpiration(job);
      case "retry":
        return this.#retry(job, event.context!);
      case "clean":
        return this.dependencies.ended(job);
      case "exception":
        if (job.state === JobState.Cleanup) this.dependencies.forget(job);
        return;
      default:
    }
  }

  #replaceJobspec(job: Job, jobspec: Jobspec): void {
    const wasQueued = job.allocation === "queued";
    if (wasQueued) this.scheduler.withdraw(job);
    job.jobspec = jobspec;
    if (wasQueued) this.scheduler.enqueue(job);
  }

  #retry(job: Job, { delay }: JsonObject): void {
    job.R = null;
    job.reattach = false;
    if (typeof delay === "number" && delay > 0) this.dependencies.delay(job, this.#clock.now() + delay);
  }

  /** Housekeeping has nothing of a job any more. */
  tidied(id: Integer): void {
    const job = this.jobs.get(id);
    if (job === undefined) return;
    job.isTidying = false;
    this.#dirty.add(job);
    this.settle();
  }

  #updateExpiration(job: Job): void {
    if (job.R === null) return;
    job.R = withExpiration(job.R, job.expiration!);
  }

  #act(job: Job): void {
    for (let count = 0; count < ACTIONS_MAX; count += 1) {
      const action = plan(job);
      if (action === null || !this.#carryOut(job, action)) return;
    }
    throw new FluxError("EDEADLK", `job in state ${jobStateName(job.state)} never settles`);
  }

  /** Whatever goes wrong here is that job's trouble: it ends by an exception, the others go on. */
  #contained(job: Job, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.failed(job, error);
    }
  }

  /** Something went wrong with a job. One that cannot be ended either stays as it is until the next restart. */
  failed(job: Job, error: unknown): void {
    const sentence = errorText(error);
    const isExpected = error instanceof FluxError;
    const trace = !isExpected && error instanceof Error ? `\n${error.stack}` : "";
    this.#output.log(LogLevel.err, `${formatFluid(job.id, "f58")}: ${sentence}${trace}`);
    if (job.state === JobState.Inactive) return;
    if (job.exception !== null) {
      job.isStuck = true;
      return;
    }
    try {
      const note = isExpected ? sentence : `internal error: ${sentence}`;
      this.raise(job, { type: "job-manager", severity: 0, note, userid: this.ownerUserid });
    } catch {
      job.isStuck = true;
    }
  }

  /** Returns false where the action has to wait. */
  #carryOut(job: Job, action: Action): boolean {
    switch (action.kind) {
      case "post":
        this.post(job, action.name, action.context);
        return true;
      case "enqueue":
        this.scheduler.enqueue(job);
        return true;
      case "withdraw":
        this.scheduler.withdraw(job);
        return true;
      case "start":
        if (!this.execution.isReady) return false;
        this.execution.start(job);
        if (wantsDebug(job)) this.post(job, "debug.start-request");
        return true;
      case "free":
        this.#free(job);
        return true;
    }
  }

  #free(job: Job): void {
    // Without an R there is nothing that the scheduler could take back.
    if (job.R !== null && !job.isUnscheduled) {
      const R = remainingResources(job);
      job.isTidying = this.#output.keepForHousekeeping(job, R);
      if (!job.isTidying) this.scheduler.free({ id: job.id, R, final: true });
    }
    this.post(job, "free");
  }

  /** A job's record is complete: only a few words of it stay. */
  #retire(job: Job): void {
    if (!this.jobs.delete(job.id)) return;
    this.#countState(job.state, -1);
    this.inactive.add(job.id, job.events.at(-1)!.timestamp, outcomeOf(job));
    if (job.jobspec !== null) this.inactive.rememberName(job.userid, jobName(job.jobspec), job.id);
    this.waits.ended(job);
  }
}

/** The jobspec that an update makes. Throws EINVAL where no service could read it. */
function updatedJobspec(job: Job, updates: JsonObject): Jobspec {
  return checkReadable(updateJobspec(job.jobspec!, updates));
}
