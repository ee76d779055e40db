/**
 * One line at the end of the terminal that says what a pending job waits for, and since when:
 *
 *     flux-job: ƒ22Ej2Fkb waiting for resources (default queue stopped)                     00:00:04
 *
 * It is shown after a second, and gone when there is output. Where it is asked for (`--show-status`), it tells every step
 * at once, also to what is no terminal, and stays when the job has started.
 */
import { monotonicMs } from "../../host/clock.ts";
import type { CommandContext } from "../framework/command.ts";

const PERIOD_MS = 1000;
const COLUMNS_DEFAULT = 80;
const CLOCK_WIDTH = 8;
/** What the terminal echoes for a key that interrupts: `^C`, which must not wrap. */
const ECHO_WIDTH = 2;
const ERASE = "\r\u001b[K";
const WAITING_FOR_RESOURCES = "waiting for resources";
const STARTED = "started";

/** What a job does after each event of its log. */
const STEPS: Readonly<Record<string, string>> = {
  submit: "submitted",
  validate: "resolving dependencies",
  depend: "waiting for priority assignment",
  priority: WAITING_FOR_RESOURCES,
  alloc: "starting",
  start: STARTED,
};

export interface StatusOptions {
  /** The job's id as text. */
  readonly job: string;
  /** The line is shown where standard error is a terminal. */
  readonly wanted: boolean;
  /** The line is shown in any case, and at once. */
  readonly forced: boolean;
  /** How often it is asked whether the job's queue is stopped, in seconds. */
  readonly queueCheckSeconds: number;
  /** Resolves with the name of the job's queue where that is stopped. */
  stoppedQueue(): Promise<string | null>;
}

export class StatusLine {
  readonly #context: CommandContext;
  readonly #options: StatusOptions;
  readonly #began = monotonicMs();
  #timer: NodeJS.Timeout | null = null;
  #text = "";
  #queue: string | null = null;
  #nextCheckMs: number;
  #prologs = 0;
  #isAllocated = false;
  #isShown = false;

  constructor(context: CommandContext, options: StatusOptions) {
    this.#context = context;
    this.#options = options;
    this.#nextCheckMs = options.queueCheckSeconds * 1000;
    const silent = context.host.env["FLUX_ATTACH_NONINTERACTIVE"] !== undefined;
    if (silent || !(options.forced || (options.wanted && context.stderrIsTerminal))) return;
    this.#timer = setInterval(() => this.#tick(), PERIOD_MS);
  }

  /** Takes note of an event of the job. */
  event(name: string, severity = 0): void {
    if (this.#timer === null) return;
    if (name === "prolog-start") this.#prologs++;
    if (name === "prolog-finish") this.#prologs--;
    if (name === "alloc") this.#isAllocated = true;
    const step = this.#stepAfter(name, severity);
    if (step === null) return;
    this.#text = step;
    if (this.#options.forced) this.#draw();
    if (name === "start" || name === "finish" || name === "clean") this.#end();
  }

  /** Makes room for something else; the line comes back where it is still wanted. */
  hide(): void {
    if (this.#isShown) this.#context.err(ERASE);
    this.#isShown = false;
  }

  /** Removes the line for good. */
  clear(): void {
    this.hide();
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  #stepAfter(name: string, severity: number): string | null {
    if (name === "exception") return severity === 0 ? "canceling due to exception" : null;
    if (name === "finish" || name === "clean") return this.#text;
    // Until the last prolog is over, nothing starts.
    if (this.#prologs > 0 && this.#isAllocated && name !== "start") return "waiting for job prolog";
    if (name === "prolog-finish" && this.#isAllocated) return STEPS["alloc"]!;
    return STEPS[name] ?? null;
  }

  #end(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    if (!this.#options.forced || this.#text !== STARTED) return this.hide();
    this.#context.err("\n");
    this.#isShown = false;
  }

  #tick(): void {
    const elapsedMs = monotonicMs() - this.#began;
    if (this.#text === WAITING_FOR_RESOURCES && elapsedMs >= this.#nextCheckMs) {
      this.#nextCheckMs = Infinity;
      void this.#checkQueue();
    }
    this.#draw();
  }

  async #checkQueue(): Promise<void> {
    const queue = await this.#options.stoppedQueue();
    this.#nextCheckMs = monotonicMs() - this.#began + this.#options.queueCheckSeconds * 1000;
    const isNews = queue !== this.#queue;
    this.#queue = queue;
    if (isNews && this.#timer !== null) this.#draw();
  }

  #draw(): void {
    const seconds = Math.round((monotonicMs() - this.#began) / 1000);
    const clock = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60]
      .map((part) => String(part).padStart(2, "0"))
      .join(":");
    const stopped =
      this.#text === WAITING_FOR_RESOURCES && this.#queue !== null ? ` (${this.#queue} queue stopped)` : "";
    const width = (this.#context.columns ?? COLUMNS_DEFAULT) - ECHO_WIDTH - 1;
    const room = Math.max(0, width - CLOCK_WIDTH - 1);
    const left = [...`flux-job: ${this.#options.job} ${this.#text}${stopped}`].slice(0, room).join("").padEnd(room);
    this.#isShown = true;
    this.#context.err(`${ERASE}${left} ${clock}`);
  }
}
