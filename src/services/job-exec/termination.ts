/**
 * Ending a job whose time has come (flux-config-exec(5), "job termination"): the tasks get SIGTERM (SIGALRM at a time
 * limit), then SIGKILL again and again, then its shells are given up, and in the end the nodes where something still runs
 * are drained.
 */
import type { Clock, TimerHandle } from "../../base/ports.ts";
import { SIGNALS } from "../../base/signals.ts";
import { BACKOFF_MAX, type ExecSettings } from "./settings.ts";

/** Kill timeouts from the first signal until shells are given up. */
const DESTROY_AFTER = 5;

export interface TerminationActions {
  /** Sends a signal to all tasks. */
  kill(signum: number): void;
  /** Gives the shells up, with all that they run, by a last signal. */
  destroy(signum: number): void;
  /** Drains the nodes where shells still run and forgets the job; `limit` is what was exceeded. */
  abandon(limit: string): void;
}

export class Termination {
  readonly #clock: Clock;
  readonly #settings: ExecSettings;
  readonly #actions: TerminationActions;
  readonly #startedMs: number;
  #timer: TimerHandle | null = null;
  #kills = 1;
  #attempts = 0;
  #wait: number;

  constructor(clock: Clock, settings: ExecSettings, actions: TerminationActions, exceptionType: string) {
    this.#clock = clock;
    this.#settings = settings;
    this.#actions = actions;
    this.#startedMs = clock.monotonicMs();
    this.#wait = settings.killTimeout;
    actions.kill(exceptionType === "timeout" ? SIGNALS["SIGALRM"]! : settings.termSignal);
    this.#next(settings.killTimeout);
  }

  /** A further fatal exception: who would not hear the first one is asked once more. */
  again(): void {
    this.#actions.kill(this.#settings.termSignal);
  }

  /** How often tasks and shells were sent a signal, and seconds until the next. */
  get report(): { kill_count: number; kill_shell_count: number; kill_timeout: number } {
    return { kill_count: this.#kills, kill_shell_count: this.#attempts, kill_timeout: this.#wait };
  }

  stop(): void {
    this.#timer?.cancel();
  }

  #next(seconds: number): void {
    this.#timer = this.#clock.after(seconds * 1000, () => this.#step());
  }

  #step(): void {
    const elapsed = (this.#clock.monotonicMs() - this.#startedMs) / 1000;
    const { killTimeout, killSignal, maxKillCount, maxKillTimeout } = this.#settings;
    const isOver = maxKillTimeout !== null && elapsed >= maxKillTimeout - 0.001;
    if (!isOver && elapsed < DESTROY_AFTER * killTimeout - 0.001) {
      this.#actions.kill(killSignal);
      this.#kills++;
      return this.#next(maxKillTimeout === null ? killTimeout : Math.min(killTimeout, maxKillTimeout - elapsed));
    }
    this.#actions.destroy(killSignal);
    this.#attempts++;
    const left = maxKillTimeout === null ? Infinity : maxKillTimeout - elapsed;
    if (left < 0.001) return this.#actions.abandon("max-kill-timeout");
    if (maxKillTimeout === null && this.#attempts >= maxKillCount) return this.#actions.abandon("max kill count");
    this.#next(Math.min(this.#wait, left));
    this.#wait = Math.min(2 * this.#wait, BACKOFF_MAX);
  }
}
