/** The dependency scheme `begin-time` (RFC 26): timers of jobs that wait for a time. */
import type { Clock, TimerHandle } from "../../base/ports.ts";
import { JobState } from "../../sdk/job-protocol.ts";
import type { Job } from "./job.ts";

export class BeginTimes {
  readonly #clock: Clock;
  /** Called when the time of a dependency has come. */
  readonly #came: (job: Job, description: string) => void;
  readonly #timers = new Map<Job, TimerHandle[]>();

  constructor(clock: Clock, came: (job: Job, description: string) => void) {
    this.#clock = clock;
    this.#came = came;
  }

  /** Waits for a time, in seconds since the epoch. */
  wait(job: Job, time: number, description: string): void {
    const delayMs = Math.max(0, (time - this.#clock.now()) * 1000);
    // A timer's range is limited: what lies further ahead is looked at again then.
    const timer = this.#clock.after(Math.min(delayMs, 2 ** 30), () => this.#look(job, time, description), {
      background: true,
    });
    const timers = this.#timers.get(job);
    if (timers === undefined) this.#timers.set(job, [timer]);
    else timers.push(timer);
  }

  forget(job: Job): void {
    for (const timer of this.#timers.get(job) ?? []) timer.cancel();
    this.#timers.delete(job);
  }

  stop(): void {
    for (const timers of this.#timers.values()) for (const timer of timers) timer.cancel();
    this.#timers.clear();
  }

  #look(job: Job, time: number, description: string): void {
    if (job.dependencies?.has(description) !== true || job.state !== JobState.Depend) return;
    if (this.#clock.now() < time) this.wait(job, time, description);
    else this.#came(job, description);
  }
}
