/**
 * The pace of bulk work in a broker: a party that moves much does a bounded part, then waits here until the others have had
 * their turn. While others send small requests, bulk work also leaves the broker idle most of the time, so that a small
 * request finds it idle; and a processor, too, since the sender of much keeps those as busy as the broker does.
 *
 * Invariants: nobody waits longer than WAIT_MS_MAX for one part; where nobody sends small requests, the pace is that of the
 * machine.
 */
import type { Clock } from "../base/ports.ts";
import { MessageType, type Message } from "../protocol/message.ts";
import { Turns } from "../sdk/turns.ts";

/** For so long after a small request, another one is expected. */
const TALK_MS = 100;
/** The share of time that the broker is at work while bulk work goes on beside others. */
const BUSY_SHARE = 0.15;
/** A payload that is not longer is small, in bytes. */
const SMALL_BYTES_MAX = 16 * 1024;
const WAIT_MS_MAX = 25;
/** Parts in one turn of the loop while nobody else talks. */
const PARTS_PER_TURN = 2;

/** Whether somebody waits for a small answer. Blobs are asked for by those who move much. */
export function isSmallTalk({ type, topic, payload }: Message): boolean {
  return type === MessageType.Request && !topic.startsWith("content.") && (payload?.byteLength ?? 0) <= SMALL_BYTES_MAX;
}

export class Pace {
  readonly #clock: Clock;
  readonly #turns: Turns;
  /** When parties asked for something small last, of those who did lately; the latest stands last. */
  readonly #talkers = new Map<object, number>();
  /** The last part: when it began, and how long the broker had been at work in its life by then. */
  #beganMs = 0;
  #beganBusyMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#turns = new Turns(clock, PARTS_PER_TURN, () => this.#delayMs());
  }

  /** A party (a client, a link) that moves little has asked for something. */
  spoke(party: object): void {
    const nowMs = this.#clock.monotonicMs();
    this.#forgetSilent(nowMs);
    this.#talkers.delete(party);
    this.#talkers.set(party, nowMs);
  }

  /** A party moves much now: what it asked for before is no reason to hold it back. */
  moves(party: object): void {
    this.#talkers.delete(party);
  }

  /** Calls back when it is this one's turn, never within the call. */
  wait(proceed: () => void): void {
    this.#turns.wait(() => {
      this.#beganMs = this.#clock.monotonicMs();
      this.#beganBusyMs = this.#clock.busyMs();
      proceed();
    });
  }

  #delayMs(): number {
    const nowMs = this.#clock.monotonicMs();
    this.#forgetSilent(nowMs);
    if (this.#talkers.size === 0) return 0;
    const busyMs = this.#clock.busyMs() - this.#beganBusyMs;
    return Math.min(busyMs / BUSY_SHARE - (nowMs - this.#beganMs), WAIT_MS_MAX);
  }

  #forgetSilent(nowMs: number): void {
    for (const [party, talkMs] of this.#talkers) {
      if (nowMs - talkMs <= TALK_MS) return;
      this.#talkers.delete(party);
    }
  }
}
