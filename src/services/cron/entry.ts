/**
 * One cron entry: its trigger, its rules (how often, how many failures, at most one task at a time), its statistics, and
 * the last of its tasks.
 */
import { FluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import type { Clock } from "../../base/ports.ts";
import type { Handle } from "../../sdk/handle.ts";
import { LogLevel } from "../../sdk/module.ts";
import type { EntryRequest } from "./protocol.ts";
import { Task } from "./task.ts";
import { triggerOf, type Trigger } from "./trigger.ts";

export interface EntrySurroundings {
  readonly handle: Handle;
  readonly clock: Clock;
  log(level: LogLevel, text: string): void;
  /** A task is to run now, or at the next synchronisation: calls `start` then. Returns whether it must wait. */
  admit(entry: Entry): boolean;
  /** A deleted entry has no task any more. */
  finished(entry: Entry): void;
}

export class Entry {
  readonly id: number;
  readonly request: EntryRequest;
  readonly #surroundings: EntrySurroundings;
  readonly #trigger: Trigger;
  /** The newest first. */
  readonly #tasks: Task[] = [];
  readonly #statistics = {
    ctime: 0,
    starttime: 0,
    lastrun: 0,
    /** Since it was started. */
    count: 0,
    failcount: 0,
    /** Since it was created. */
    total: 0,
    success: 0,
    failure: 0,
    deferred: 0,
  };
  #isStopped = true;
  #isDeleted = false;

  constructor(id: number, request: EntryRequest, surroundings: EntrySurroundings) {
    this.id = id;
    this.request = request;
    this.#surroundings = surroundings;
    this.#statistics.ctime = surroundings.clock.now();
    this.#trigger = triggerOf(request.trigger, {
      handle: surroundings.handle,
      clock: surroundings.clock,
      due: () => this.#due(),
      lastRun: () => this.#statistics.lastrun,
      delayed: (seconds) =>
        surroundings.log(LogLevel.debug, `${this.label}: delaying ${seconds.toFixed(3)}s due to min interval`),
      exhausted: () => {
        this.#isStopped = true;
        surroundings.log(LogLevel.err, `${this.label}: no further moment matches. Stopping.`);
      },
    });
  }

  get label(): string {
    return `cron-${this.id}`;
  }
  get #current(): Task | null {
    const [task] = this.#tasks;
    return task === undefined || task.isOver ? null : task;
  }
  get #isComplete(): boolean {
    return this.request.repeat > 0 && this.#statistics.count >= this.request.repeat;
  }

  /** Arms the trigger; counts for `repeat` and `stop-on-failure` begin anew. Throws EINVAL where it is armed. */
  async start(): Promise<void> {
    if (!this.#isStopped || this.#isDeleted) throw new FluxError("EINVAL");
    this.#isStopped = false;
    Object.assign(this.#statistics, { starttime: this.#surroundings.clock.now(), count: 0, failcount: 0 });
    await this.#trigger.arm();
  }

  /** Throws EINVAL where it is stopped. */
  stop(): void {
    if (this.#isStopped) throw new FluxError("EINVAL");
    this.#isStopped = true;
    this.#trigger.disarm();
  }

  /** It goes away; a task that runs may end by itself, or is ended. Returns whether it is gone already. */
  delete(kill: boolean): boolean {
    if (!this.#isStopped) this.stop();
    this.#isDeleted = true;
    const task = this.#current;
    if (task !== null && (kill || task.state === "Deferred")) task.kill();
    return this.#current === null;
  }

  /** The service ends. */
  abandon(): void {
    this.#trigger.disarm();
    this.#current?.abandon();
  }

  #due(): void {
    const { log, admit } = this.#surroundings;
    if (this.#current !== null) {
      log(LogLevel.info, `${this.label}: ${this.request.name}: task still running or scheduled`);
      return;
    }
    const task = new Task(this.#surroundings, this.request, this.label);
    this.#tasks.unshift(task);
    this.#tasks.length = Math.min(this.#tasks.length, this.request.historyCount);
    this.#statistics.count += 1;
    this.#statistics.total += 1;
    if (this.#isComplete) this.stop();
    if (admit(this)) this.#statistics.deferred += 1;
    else this.runTask();
  }

  /** Starts the task that is due. */
  runTask(): void {
    const task = this.#current;
    if (task === null || task.state !== "Deferred") return;
    task.run(() => this.#taskOver(task));
    this.#statistics.lastrun = task.startTime;
  }

  #taskOver(task: Task): void {
    if (task.hasSucceeded) this.#statistics.success += 1;
    else {
      this.#statistics.failure += 1;
      this.#statistics.failcount += 1;
      const { stopOnFailure } = this.request;
      if (stopOnFailure > 0 && this.#statistics.failcount >= stopOnFailure && !this.#isStopped) {
        this.#surroundings.log(LogLevel.err, `${this.label}: exceeded failure limit of ${stopOnFailure}. stopping`);
        this.stop();
      }
    }
    if (this.#isDeleted) this.#surroundings.finished(this);
  }

  toJson(): JsonObject {
    const { name, command, repeat, rank, timeoutSeconds } = this.request;
    return {
      id: this.id,
      rank,
      name,
      command,
      repeat,
      stopped: this.#isStopped,
      type: this.#trigger.type,
      ...(timeoutSeconds === null ? {} : { timeout: timeoutSeconds }),
      stats: { ...this.#statistics },
      typedata: this.#trigger.data(),
      tasks: this.#tasks.map((task) => task.toJson()),
    };
  }
}
