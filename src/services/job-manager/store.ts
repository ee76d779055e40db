/**
 * Where the events of jobs go: what is posted while a commit is under way is appended to the eventlogs by the next KVS commit;
 * otherwise an event is committed at once, or, if nothing depends on it, after a short wait for others. When a commit is
 * acknowledged, those that waited for it are told.
 *
 * Invariants:
 * 1. One commit is in flight at a time, so eventlogs have the order in which events were posted, across jobs too.
 * 2. `sent` and `durable` are called exactly once per batch, in order, `durable` never before the commit is acknowledged.
 * 3. A commit that fails is tried again: an event that was posted is never dropped.
 */
import type { LogLevel } from "../../sdk/module.ts";
import { Trouble } from "../../sdk/trouble.ts";
import { errorText, isFluxError, type FluxError } from "../../base/errors.ts";
import type { Clock, TimerHandle } from "../../base/ports.ts";
import { fluidKvsPath } from "../../formats/fluid.ts";
import { encodeEvent, type JobEvent } from "../../sdk/job-protocol.ts";
import { makeTextVal } from "../../formats/treeobj.ts";
import { OPERATION_APPEND, OPERATION_LAST, type Operation } from "../../sdk/kvs-protocol.ts";
import type { Job } from "./job.ts";

const RETRY_DELAY_MS = 1000;
/** How long an event that nothing waits for is kept for the next commit, in milliseconds, unless somebody sets that. */
const COMPANY_DELAY_MS = 10;
/**
 * Steps of the microtask queue in which the scheduler answers to resources that were given back: the allocation of the next
 * job goes with the end of the one before.
 */
const ANSWER_STEPS = 5;
/** A commit of more operations than this takes the KVS several turns, and commits of others may pass it meanwhile. */
const ORDERED_OPERATIONS_MAX = 1024;
/** Events that nothing waits for: most jobs end soon after they started, and then it is one commit. */
const PATIENT_EVENTS: ReadonlySet<string> = new Set(["start"]);

/** What happened to one job in one batch, in order. */
export interface JobEntry {
  readonly job: Job;
  /** Events to store. */
  readonly events: JobEvent[];
  /** Events to show to watchers: the stored ones, and volatile ones between them. */
  readonly shown: JobEvent[];
  /** Events of the eventlog among those shown that were stored before. */
  knownCount: number;
}

/**
 * What becomes of an event: `stored` in the eventlog and shown; `known`: it is in the eventlog already, and only shown;
 * `volatile`: shown, and in no eventlog.
 */
export type Keeping = "stored" | "known" | "volatile";

export interface EventStoreOptions {
  readonly clock: Clock;
  /** Commits operations; resolves when they are in the KVS. */
  commit(operations: readonly Operation[]): Promise<void>;
  /** A batch is on its way, or there: what anybody at this broker commits from now on comes after it. */
  sent(entries: readonly JobEntry[]): void;
  durable(entries: readonly JobEntry[]): void;
  log(level: LogLevel, text: string): void;
}

interface Batch {
  readonly entries: Map<Job, JobEntry>;
  readonly operations: Operation[];
  readonly waiters: { resolve(): void; reject(error: FluxError): void }[];
  isToldSent: boolean;
}

function emptyBatch(): Batch {
  return { entries: new Map(), operations: [], waiters: [], isToldSent: false };
}

export class EventStore {
  readonly #options: EventStoreOptions;
  readonly #trouble: Trouble;
  /** What comes until the next commit. */
  #batch: Batch = emptyBatch();
  /** Something of the batch is waited for. */
  #isUrgent = false;
  #companyDelayMs = COMPANY_DELAY_MS;
  #companyTimer: TimerHandle | null = null;
  #isScheduled = false;
  #isCommitting = false;
  #isStopped = false;

  constructor(options: EventStoreOptions) {
    this.#options = options;
    this.#trouble = new Trouble(options.clock, options.log);
  }

  /** Adds an event to the next batch. */
  add(job: Job, event: JobEvent, keeping: Keeping = "stored"): void {
    let entry = this.#batch.entries.get(job);
    if (entry === undefined) this.#batch.entries.set(job, (entry = { job, events: [], shown: [], knownCount: 0 }));
    if (keeping === "stored") entry.events.push(event);
    if (keeping === "known") entry.knownCount += 1;
    entry.shown.push(event);
    if (PATIENT_EVENTS.has(event.name)) this.#waitForCompany();
    else this.#schedule();
  }

  /** Adds another operation to the batch. */
  addOperation(operation: Operation): void {
    this.#batch.operations.push(operation);
    this.#schedule();
  }

  /**
   * Resolves when everything added before this call is in the KVS. Throws ENOSYS where there is no KVS to wait for; what was
   * added is stored when there is one again.
   */
  committed(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#batch.waiters.push({ resolve, reject });
      this.#schedule();
    });
  }

  /** Sets how long an event that nothing waits for is kept for the next commit. */
  waitForCompanyMs(delayMs: number): void {
    this.#companyDelayMs = delayMs;
  }

  /** Stops trying again; what is in flight is abandoned. */
  stop(): void {
    this.#isStopped = true;
    this.#companyTimer?.cancel();
  }

  #waitForCompany(): void {
    this.#companyTimer ??= this.#options.clock.after(this.#companyDelayMs, () => this.#schedule());
  }

  #schedule(): void {
    this.#isUrgent = true;
    if (this.#isScheduled || this.#isCommitting) return;
    this.#isScheduled = true;
    // Not later than this: a job's start waits for the commit. What comes while it is in flight goes with the next.
    void this.#flushSoon();
  }

  async #flushSoon(): Promise<void> {
    for (let step = 0; step < ANSWER_STEPS; step++) await Promise.resolve();
    this.#isScheduled = false;
    this.#flush();
  }

  #flush(): void {
    const batch = this.#batch;
    this.#batch = emptyBatch();
    this.#isUrgent = false;
    this.#companyTimer?.cancel();
    this.#companyTimer = null;
    const { entries, operations } = batch;
    for (const { job, events } of entries.values())
      if (events.length > 0) operations.push(appendOperation(job, events));
    this.#isCommitting = true;
    if (operations.length > 0) this.#commit(batch);
    if (operations.length <= ORDERED_OPERATIONS_MAX) this.#tellSent(batch);
    if (operations.length === 0) this.#finish(batch);
  }

  #tellSent(batch: Batch): void {
    if (batch.isToldSent) return;
    batch.isToldSent = true;
    const entries = [...batch.entries.values()];
    for (const { job, events, knownCount } of entries) job.sentCount += events.length + knownCount;
    this.#options.sent(entries);
  }

  #commit(batch: Batch): void {
    if (this.#isStopped) return;
    this.#options.commit(batch.operations).then(
      () => {
        this.#trouble.over();
        this.#finish(batch);
      },
      (error: unknown) => {
        if (this.#isStopped) return;
        this.#trouble.met(`commit of job events failed, trying again: ${errorText(error)}`);
        if (isFluxError(error, "ENOSYS"))
          for (const { reject } of [...batch.waiters.splice(0), ...this.#batch.waiters.splice(0)]) reject(error);
        this.#options.clock.after(RETRY_DELAY_MS, () => this.#commit(batch), { background: true });
      },
    );
  }

  #finish(batch: Batch): void {
    this.#isCommitting = false;
    this.#tellSent(batch);
    const entries = [...batch.entries.values()];
    for (const { job, events, knownCount } of entries) job.durableCount += events.length + knownCount;
    this.#options.durable(entries);
    for (const { resolve } of batch.waiters) resolve();
    if (this.#isUrgent) this.#schedule();
  }
}

function appendOperation(job: Job, events: readonly JobEvent[]): Operation {
  const text = events.length === 1 ? encodeEvent(events[0]!) : events.map(encodeEvent).join("");
  const isLast = events.at(-1)!.name === "clean";
  const flags = OPERATION_APPEND | (isLast ? OPERATION_LAST : 0);
  return { key: `${fluidKvsPath(job.id)}.eventlog`, flags, dirent: makeTextVal(text) };
}
