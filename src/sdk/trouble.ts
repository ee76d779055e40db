/**
 * A trouble that lasts is logged when it begins, once a minute while it lasts, and when it is over: what is tried again
 * every second must not fill the log every second.
 */
import type { Clock } from "../base/ports.ts";
import { LogLevel } from "./module.ts";

const REMIND_MS = 60_000;

export class Trouble {
  readonly #clock: Clock;
  readonly #log: (level: LogLevel, text: string) => void;
  #text: string | null = null;
  #toldMs = 0;

  constructor(clock: Clock, log: (level: LogLevel, text: string) => void) {
    this.#clock = clock;
    this.#log = log;
  }

  /** It is there (still). */
  met(text: string): void {
    const nowMs = this.#clock.monotonicMs();
    if (text === this.#text && nowMs - this.#toldMs < REMIND_MS) return;
    this.#text = text;
    this.#toldMs = nowMs;
    this.#log(LogLevel.err, text);
  }

  /** What was tried succeeded. */
  over(): void {
    if (this.#text === null) return;
    this.#log(LogLevel.info, `over: ${this.#text}`);
    this.#text = null;
  }
}
