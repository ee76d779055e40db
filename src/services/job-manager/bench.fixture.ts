/** A job manager on a bench: its messages are kept, its clock stands still, its commits wait for the test. */
import type { JsonObject } from "../../base/json.ts";
import type { Clock } from "../../base/ports.ts";
import type { Jobspec } from "../../formats/jobspec.ts";
import { takeAllocationAnswer, takeExecutionAnswer } from "./answers.ts";
import { JobManager } from "./core.ts";
import { apply } from "./fold.ts";
import { newJob, type Job } from "./job.ts";

export const OWNER = 1000;
export const R: JsonObject = {
  version: 1,
  execution: { R_lite: [{ rank: "0-1", children: { core: "0" } }], nodelist: ["h[0-1]"], starttime: 1, expiration: 0 },
};

/** A manager whose messages are kept, whose clock stands still, and whose commits the test acknowledges. */
export class Bench {
  now = 1000;
  readonly sent: { topic: string; payload: JsonObject }[] = [];
  readonly #timers: { at: number; callback: () => void }[] = [];
  readonly #recorded = new Map<Job, number>();
  #nextId = 1;
  readonly manager: JobManager;

  constructor() {
    const keep = (topic: string, payload: object): void =>
      void this.sent.push({ topic, payload: payload as JsonObject });
    const clock: Clock = {
      now: () => this.now,
      monotonicMs: () => this.now * 1000,
      busyMs: () => 0,
      defer: (callback) => callback(),
      after: (delayMs, callback) => {
        const timer = { at: this.now + delayMs / 1000, callback };
        this.#timers.push(timer);
        return { cancel: () => void this.#timers.splice(this.#timers.indexOf(timer), 1) };
      },
    };
    this.manager = new JobManager({
      clock,
      ownerUserid: OWNER,
      output: {
        record: (job, _event, keeping) => {
          if (keeping !== "volatile") this.#recorded.set(job, (this.#recorded.get(job) ?? 0) + 1);
        },
        requestAllocation: (payload) => keep("sched.alloc", payload),
        tellScheduler: keep,
        requestStart: keep,
        publish: keep,
        log: () => {},
        changed: () => {},
        posted: () => {},
        keepForHousekeeping: () => false,
        hasPlugin: () => true,
        admit: () => {},
      },
    });
    this.manager.scheduler.ready(Infinity);
    this.manager.executionHello("job-exec", "exec");
  }

  /** Acknowledges everything that was recorded. */
  commit(): void {
    const recorded = [...this.#recorded];
    this.#recorded.clear();
    for (const [job, count] of recorded) job.sentCount = job.durableCount += count;
    this.manager.sent(recorded.map(([job]) => job));
    this.manager.durable(recorded.map(([job]) => job));
    if (this.#recorded.size > 0) this.commit();
  }

  submit(system: JsonObject = {}, options: { urgency?: number; flags?: number; userid?: number } = {}): Job {
    const { urgency = 16, flags = 0, userid = OWNER } = options;
    const job = newJob(this.#nextId, jobspecWith(system));
    this.#nextId += 1;
    const event = { timestamp: this.now, name: "submit", context: { userid, urgency, flags, version: 1 } };
    apply(job, event);
    job.events.push(event);
    this.manager.submit(job);
    this.manager.settle();
    return job;
  }

  /** Messages on a topic since the last call. */
  take(topic: string): JsonObject[] {
    const taken = this.sent.filter((message) => message.topic === topic).map(({ payload }) => payload);
    for (let at = this.sent.length - 1; at >= 0; at -= 1) if (this.sent[at]!.topic === topic) this.sent.splice(at, 1);
    return taken;
  }

  allocate(job: Job): void {
    takeAllocationAnswer(this.manager, { id: job.id, type: 0, R, annotations: { sched: { resource_summary: "x" } } });
    this.commit();
  }

  execute(job: Job, type: string, data: JsonObject = {}): void {
    takeExecutionAnswer(this.manager, { id: job.id, type, data });
    this.commit();
  }

  /** Runs a job from the allocation to its end. */
  run(job: Job, status = 0): void {
    this.commit();
    this.allocate(job);
    this.execute(job, "start");
    this.execute(job, "finish", { status });
    this.execute(job, "release", { ranks: "all", final: true });
  }

  pass(seconds: number): void {
    this.now += seconds;
    for (const timer of this.#timers.filter(({ at }) => at <= this.now)) {
      this.#timers.splice(this.#timers.indexOf(timer), 1);
      timer.callback();
    }
    this.commit();
  }
}

export function jobspecWith(system: JsonObject): Jobspec {
  return {
    version: 1,
    resources: [{ type: "slot", count: 1, label: "task", with: [{ type: "core", count: 1 }] }],
    tasks: [{ command: ["true"], slot: "task", count: { per_slot: 1 } }],
    attributes: { system: { duration: 0, ...system } },
  };
}
