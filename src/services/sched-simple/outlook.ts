/**
 * What waiting jobs are told: when they can be expected to start and, where somebody asked for it by a debug flag, how
 * many are ahead of them.
 *
 * Jobs come and go by thousands; who waits but a moment is told nothing, and nobody is told more often than somebody
 * could read. What was told is taken back when it does not hold any more.
 */
import type { Integer, JsonObject, JsonValue } from "../../base/json.ts";
import type { Clock, TimerHandle } from "../../base/ports.ts";
import type { SchedulerCore } from "./core.ts";

/** Before anything is told, in milliseconds. */
const DELAY_MS = 10;
/** Between two forecasts, in milliseconds. */
const INTERVAL_MS = 500;
/** The part of the time that forecasts may take. */
const SHARE = 0.02;
/** Jobs that are told when they start. */
const FORECAST_JOBS_MAX = 64;
/** An estimate that moved by less is told again to nobody, in seconds. */
const NEWS_SEC = 0.5;

interface Told {
  readonly estimate: number | null;
  readonly ahead: number | null;
}

export class Outlook {
  readonly #clock: Clock;
  readonly #tell: (id: Integer, sched: JsonObject) => void;
  readonly #told = new Map<Integer, Told>();
  #timer: TimerHandle | null = null;
  #notBeforeMs = -Infinity;
  /** How many forecasts there were, and how many jobs they told something. */
  passes = 0;
  annotations = 0;

  /** `tell` annotates a job. */
  constructor(clock: Clock, tell: (id: Integer, sched: JsonObject) => void) {
    this.#clock = clock;
    this.#tell = tell;
  }

  /** Something changed for those who wait. `explainsAll` tells them why they do. */
  changed(current: () => { readonly core: SchedulerCore; readonly explainsAll: boolean }): void {
    if (this.#timer !== null) return;
    const wait = this.#notBeforeMs - this.#clock.monotonicMs();
    this.#timer = this.#clock.after(Math.max(DELAY_MS, current().explainsAll ? 0 : wait), () => {
      this.#timer = null;
      const startMs = this.#clock.monotonicMs();
      const { core, explainsAll } = current();
      this.#update(core, explainsAll);
      const endMs = this.#clock.monotonicMs();
      this.#notBeforeMs = endMs + Math.max(INTERVAL_MS, (endMs - startMs) / SHARE);
    });
  }

  /** What takes back all that a job was told, and forgets it. */
  takeBack(id: Integer): JsonObject {
    const told = this.#told.get(id);
    this.#told.delete(id);
    if (told === undefined) return {};
    return {
      ...(told.estimate !== null && { t_estimate: null }),
      ...(told.ahead !== null && { reason_pending: null, jobs_ahead: null }),
    };
  }

  /** Nobody knows any more what was told. */
  forget(): void {
    this.#told.clear();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  #update(core: SchedulerCore, explainsAll: boolean): void {
    const estimates = new Map<Integer, number>();
    // Under a strict order no start times are estimated.
    if (core.policy === "easy" && core.pool.ends.size > 0) {
      this.passes++;
      for (const { id, time } of core.forecast(FORECAST_JOBS_MAX, this.#clock.now())) estimates.set(id, time);
    }
    const waiting = explainsAll ? core.queue.leading(core.queue.size).map(({ id }) => id) : [...estimates.keys()];
    const ids = new Set([...waiting, ...this.#told.keys()]);
    const places = new Map(explainsAll ? waiting.map((id, ahead) => [id, ahead] as const) : []);
    for (const id of ids) {
      if (core.queue.get(id) === undefined) this.#told.delete(id);
      else this.#news(id, { estimate: estimates.get(id) ?? null, ahead: places.get(id) ?? null });
    }
  }

  #news(id: Integer, now: Told): void {
    const before = this.#told.get(id) ?? { estimate: null, ahead: null };
    const sched: Record<string, JsonValue> = {};
    if (now.ahead !== before.ahead) {
      sched["reason_pending"] = now.ahead === null ? null : "insufficient resources";
      sched["jobs_ahead"] = now.ahead;
    }
    const isMoved =
      now.estimate === null || before.estimate === null
        ? now.estimate !== before.estimate
        : Math.abs(now.estimate - before.estimate) >= NEWS_SEC;
    if (isMoved) sched["t_estimate"] = now.estimate;
    if (Object.keys(sched).length === 0) return;
    const told = { estimate: isMoved ? now.estimate : before.estimate, ahead: now.ahead };
    if (told.estimate === null && told.ahead === null) this.#told.delete(id);
    else this.#told.set(id, told);
    this.annotations++;
    this.#tell(id, sched);
  }
}
