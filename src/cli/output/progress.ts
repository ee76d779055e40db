/** The progress bar of `flux submit --progress`: how many of the jobs are done, how many failed, how fast. */
import type { CommandContext } from "../framework/command.ts";

const PERIOD_MS = 100;
const BAR_WIDTH = 40;
const ERASE = "\r\u001b[K";

export class SubmissionProgress {
  readonly #context: CommandContext;
  readonly #showRate: boolean;
  readonly #began = performance.now();
  #total = 0;
  #running = 0;
  #done = 0;
  #failed = 0;
  #timer: NodeJS.Timeout | null;

  constructor(context: CommandContext, showRate: boolean) {
    this.#context = context;
    this.#showRate = showRate;
    this.#timer = setInterval(() => this.#draw(), PERIOD_MS);
  }

  expect(jobs: number): void {
    this.#total += jobs;
  }

  /** A job began to run. */
  started(): void {
    this.#running++;
  }

  /** A job is over; `ran` where it was said to have begun. */
  done(exitCode: number, ran = false): void {
    this.#done++;
    if (ran) this.#running--;
    if (exitCode !== 0) this.#failed++;
  }

  finish(): void {
    if (this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
    this.#draw();
    this.#context.out("\n");
  }

  #draw(): void {
    const seconds = (performance.now() - this.#began) / 1000;
    const share = this.#total === 0 ? 0 : this.#done / this.#total;
    const filled = Math.round(share * BAR_WIDTH);
    const bar = `${"█".repeat(filled)}${" ".repeat(BAR_WIDTH - filled)}`;
    const counts = `PD:${this.#total - this.#done - this.#running} R:${this.#running} CD:${this.#done - this.#failed} F:${this.#failed}`;
    const rate = this.#showRate ? ` ${(this.#done / Math.max(seconds, 1e-3)).toFixed(1)} job/s` : "";
    this.#context.out(
      `${ERASE}${counts} │${bar}│ ${(share * 100).toFixed(1).padStart(5)}% (${seconds.toFixed(1)} s${rate})`,
    );
  }
}
