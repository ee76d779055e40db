/**
 * What starts the command of an entry: an interval, matching events, or moments of a calendar. A trigger is armed and
 * disarmed any number of times, and calls back when the command is due; it does not know what happens then.
 */
import type { JsonObject } from "../../base/json.ts";
import type { Clock, TimerHandle } from "../../base/ports.ts";
import { CALENDAR_FIELDS, nextMoment } from "../../formats/crontab.ts";
import { globExpression } from "../../formats/glob.ts";
import type { Handle, Subscription } from "../../sdk/handle.ts";
import type { TriggerRequest } from "./protocol.ts";

/** Timers are not set further ahead than this: a clock that is put right is followed within the day. */
const WAIT_MAX_MS: number = 24 * 3600 * 1000;

export interface TriggerSurroundings {
  readonly handle: Handle;
  readonly clock: Clock;
  /** The command is due. */
  due(): void;
  /** When it was last started, in seconds since the epoch; 0: never. */
  lastRun(): number;
  /** A run comes later, because of the least interval between two. */
  delayed(seconds: number): void;
  /** There is no further moment. */
  exhausted(): void;
}

export interface Trigger {
  readonly type: TriggerRequest["type"];
  /** Resolves once none can be missed. */
  arm(): Promise<void>;
  disarm(): void;
  /** The settings and counters that users see. */
  data(): JsonObject;
}

export function triggerOf(request: TriggerRequest, surroundings: TriggerSurroundings): Trigger {
  switch (request.type) {
    case "interval":
      return new IntervalTrigger(request, surroundings);
    case "event":
      return new EventTrigger(request, surroundings);
    case "datetime":
      return new CalendarTrigger(request, surroundings);
  }
}

/** Waits for a point of time, however far. */
class Alarm {
  readonly #clock: Clock;
  #timer: TimerHandle | null = null;
  /** In seconds since the epoch; 0: not set. */
  time = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  set(time: number, callback: () => void): void {
    this.cancel();
    this.time = time;
    this.#wait(callback);
  }

  cancel(): void {
    this.#timer?.cancel();
    this.#timer = null;
    this.time = 0;
  }

  get isSet(): boolean {
    return this.#timer !== null;
  }

  #wait(callback: () => void): void {
    const leftMs = (this.time - this.#clock.now()) * 1000;
    this.#timer = this.#clock.after(
      Math.min(Math.max(0, leftMs), WAIT_MAX_MS),
      () => {
        this.#timer = null;
        if (leftMs > WAIT_MAX_MS) this.#wait(callback);
        else callback();
      },
      { background: true },
    );
  }
}

class IntervalTrigger implements Trigger {
  readonly type = "interval";
  readonly #request: Extract<TriggerRequest, { type: "interval" }>;
  readonly #surroundings: TriggerSurroundings;
  readonly #alarm: Alarm;

  constructor(request: Extract<TriggerRequest, { type: "interval" }>, surroundings: TriggerSurroundings) {
    this.#request = request;
    this.#surroundings = surroundings;
    this.#alarm = new Alarm(surroundings.clock);
  }

  arm(): Promise<void> {
    this.#next(this.#surroundings.clock.now() + this.#request.afterSeconds);
    return Promise.resolve();
  }

  #next(time: number): void {
    this.#alarm.set(time, () => {
      const { intervalSeconds } = this.#request;
      const now = this.#surroundings.clock.now();
      // From beat to beat, not from run to run; beats that were slept through are not made up for.
      if (intervalSeconds > 0) this.#next(Math.max(time + intervalSeconds, now));
      else this.#alarm.cancel();
      this.#surroundings.due();
    });
  }

  disarm(): void {
    this.#alarm.cancel();
  }

  data(): JsonObject {
    const { intervalSeconds, afterSeconds } = this.#request;
    return { interval: intervalSeconds, after: afterSeconds, next_wakeup: this.#alarm.time };
  }
}

class EventTrigger implements Trigger {
  readonly type = "event";
  readonly #request: Extract<TriggerRequest, { type: "event" }>;
  readonly #surroundings: TriggerSurroundings;
  /** A run that waits for the least interval to pass. */
  readonly #alarm: Alarm;
  #subscription: Subscription | null = null;
  #counter = 0;

  constructor(request: Extract<TriggerRequest, { type: "event" }>, surroundings: TriggerSurroundings) {
    this.#request = request;
    this.#surroundings = surroundings;
    this.#alarm = new Alarm(surroundings.clock);
  }

  async arm(): Promise<void> {
    this.#counter = 0;
    const { topic } = this.#request;
    const matches = globExpression(topic === "" ? "*" : topic);
    // Subscriptions are by prefix: that of a pattern ends where its first special character is.
    this.#subscription = await this.#surroundings.handle.subscribe(topic.split(/[*?[]/, 1)[0]!, (event) => {
      if (matches.test(event.topic)) this.#happened();
    });
  }

  #happened(): void {
    const { after, nth, minIntervalSeconds } = this.#request;
    const count = ++this.#counter;
    if (count < after) return;
    if (nth > 0 && (count - after) % nth !== 0) return;
    const waitSeconds = this.#surroundings.lastRun() + minIntervalSeconds - this.#surroundings.clock.now();
    if (minIntervalSeconds === 0 || waitSeconds <= 0) return this.#surroundings.due();
    if (this.#alarm.isSet) return;
    this.#surroundings.delayed(waitSeconds);
    this.#alarm.set(this.#surroundings.clock.now() + waitSeconds, () => this.#surroundings.due());
  }

  disarm(): void {
    this.#alarm.cancel();
    this.#subscription?.cancel();
    this.#subscription = null;
  }

  data(): JsonObject {
    const { topic, nth, after, minIntervalSeconds } = this.#request;
    return { topic, nth, after, counter: this.#counter, min_interval: minIntervalSeconds };
  }
}

class CalendarTrigger implements Trigger {
  readonly type = "datetime";
  readonly #request: Extract<TriggerRequest, { type: "datetime" }>;
  readonly #surroundings: TriggerSurroundings;
  readonly #alarm: Alarm;

  constructor(request: Extract<TriggerRequest, { type: "datetime" }>, surroundings: TriggerSurroundings) {
    this.#request = request;
    this.#surroundings = surroundings;
    this.#alarm = new Alarm(surroundings.clock);
  }

  arm(): Promise<void> {
    this.#next();
    return Promise.resolve();
  }

  #next(): void {
    // A timer may be a little early; the same moment does not come twice.
    const from = Math.max(this.#surroundings.clock.now(), this.#alarm.time);
    const time = nextMoment(this.#request.calendar, from);
    if (time === null) {
      this.#alarm.cancel();
      return this.#surroundings.exhausted();
    }
    this.#alarm.set(time, () => {
      this.#surroundings.due();
      if (this.#alarm.time === time) this.#next();
    });
  }

  disarm(): void {
    this.#alarm.cancel();
  }

  data(): JsonObject {
    const fields = CALENDAR_FIELDS.map((field) => [field, this.#request.calendar[field].format()]);
    return { next_wakeup: this.#alarm.time, ...(Object.fromEntries(fields) as JsonObject) };
  }
}
