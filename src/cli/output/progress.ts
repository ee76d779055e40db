/**
 * The progress bar of many jobs (`--progress`): one line at the end of what is printed, as wide as the terminal.
 *
 *     PD:3   R:2   CD:4   F:1   │███████████████████████▌                       │ 50.0% 0:00:04
 *     Submitting 10 jobs: │█████████████▎                                        │ 30.0% 412.0 job/s
 *
 * What is printed beside it goes above: the line is erased before and drawn again after, but not into a line that has no
 * end yet. It is drawn ten times a second, and a few times more for what is printed, however many jobs there are.
 */
import type { CommandContext } from "../framework/command.ts";

const PERIOD_MS = 100;
/** Redraws per period because of output; with more, a terminal would be busy with nothing else. */
const REDRAWS_MAX = 5;
const COLUMNS_DEFAULT = 80;
/** With fewer columns left, there is no bar. */
const BAR_MIN = 5;
const ERASE = "\r\u001b[K";
/** Eighths of a block. */
const BLOCKS = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
const COUNT_WIDTH = 4;

export interface ProgressOptions {
  readonly jobs: number;
  /** The jobs are waited for; else only their submission is. */
  readonly waits: boolean;
  /** Show jobs per second, not the time. */
  readonly rate: boolean;
  /** When what is measured began, in seconds since the epoch; now unless given. */
  readonly began?: number;
}

/** What the line tells. */
export interface ProgressState {
  readonly jobs: number;
  readonly waits: boolean;
  readonly pending: number;
  readonly running: number;
  readonly complete: number;
  readonly failed: number;
  readonly seconds: number;
  readonly rate: boolean;
}

/** The line for a terminal of so many columns; never longer. Pure. */
export function progressLine(state: ProgressState, columns: number): string {
  const { jobs, waits, complete, failed, seconds } = state;
  const done = complete + failed;
  const counts: readonly [string, number][] = [
    ["PD", state.pending],
    ["R", state.running],
    ["CD", complete],
    ["F", failed],
  ];
  // As wide as the largest count may become: the bar does not move.
  const width = Math.max(COUNT_WIDTH, String(jobs).length + 1);
  const left = waits
    ? counts.map(([name, count]) => `${name}:${String(count).padEnd(width)}`).join("")
    : `Submitting ${jobs} job${jobs === 1 ? "" : "s"}: `;
  const share = jobs === 0 ? 1 : Math.min(1, done / jobs);
  const percent = `${(share * 100).toFixed(1).padStart(5)}%`;
  const time = state.rate ? `${(done / Math.max(seconds, 1e-3)).toFixed(1).padStart(4)} job/s` : clockText(seconds);
  const right = `${percent} ${time}`;
  // The last column stays free: terminals differ in what they do once it is written.
  const room = columns - 1 - left.length - right.length - 2;
  if (room < BAR_MIN) return [...`${left}${right}`].slice(0, Math.max(0, columns - 1)).join("");
  const eighths = Math.floor(share * room * 8);
  const bar = "█".repeat(Math.floor(eighths / 8)) + BLOCKS[eighths % 8]!;
  return `${left}│${bar.padEnd(room)}│${right}`;
}

function clockText(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (value: number): string => String(value).padStart(2, "0");
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}

export class JobProgress {
  readonly #context: CommandContext;
  readonly #options: ProgressOptions;
  readonly #began: number;
  #pending = 0;
  #running = 0;
  #complete = 0;
  #failed = 0;
  #isShown = false;
  /** What was printed last had no line end. */
  #isMidLine = false;
  #hasDrawnChange = false;
  /** Times that the line was drawn again in this period because something was printed. */
  #redraws = 0;
  #timer: NodeJS.Timeout | null;

  constructor(context: CommandContext, options: ProgressOptions) {
    this.#context = context;
    this.#options = options;
    this.#began = options.began ?? Date.now() / 1000;
    this.#timer = setInterval(() => {
      this.#redraws = 0;
      this.#draw();
    }, PERIOD_MS);
    this.#draw();
  }

  /** A job was submitted, or is known to wait. */
  pending(): void {
    this.#pending++;
    if (!this.#options.waits) this.done(0);
    this.#changed();
  }

  /** A job that was pending began to run. */
  started(): void {
    this.#pending--;
    this.#running++;
    this.#changed();
  }

  /** A job is over; `was` says what it was counted as. */
  done(exitCode: number, was: "none" | "pending" | "running" = "pending"): void {
    if (was === "running") this.#running--;
    else if (was === "pending") this.#pending--;
    if (exitCode === 0) this.#complete++;
    else this.#failed++;
    this.#changed();
  }

  /** Prints above the line. */
  print(write: () => void, text: string | Uint8Array): void {
    this.#erase();
    write();
    if (text.length > 0) this.#isMidLine = typeof text === "string" ? !text.endsWith("\n") : text.at(-1) !== 10;
    // With much output, the timer draws again.
    if (this.#redraws++ < REDRAWS_MAX) this.#draw();
  }

  /** Draws the line a last time, and leaves it. */
  finish(): void {
    if (this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
    if (this.#isMidLine) this.#context.out("\n");
    this.#isMidLine = false;
    this.#draw();
    this.#context.out("\n");
  }

  /** The first change is shown at once: that something happens is news. */
  #changed(): void {
    if (this.#hasDrawnChange) return;
    this.#hasDrawnChange = true;
    this.#draw();
  }

  #erase(): void {
    if (this.#isShown) this.#context.out(ERASE);
    this.#isShown = false;
  }

  #draw(): void {
    if (this.#isMidLine) return;
    const { jobs, waits, rate } = this.#options;
    const line = progressLine(
      {
        jobs,
        waits,
        rate,
        pending: this.#pending,
        running: this.#running,
        complete: this.#complete,
        failed: this.#failed,
        seconds: Date.now() / 1000 - this.#began,
      },
      this.#context.columns ?? COLUMNS_DEFAULT,
    );
    this.#context.out(`${ERASE}${line}`);
    this.#isShown = true;
  }
}
