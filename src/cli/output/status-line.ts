/** One line on the terminal that says what a pending job waits for, and for how long; gone when there is output. */
import type { CommandContext } from "../framework/command.ts";

const PERIOD_MS = 1000;
const ERASE = "\r\u001b[K";

/** What a job waits for after each event of its log. */
const WAITS: Readonly<Record<string, string>> = {
  submit: "resolving dependencies",
  validate: "resolving dependencies",
  depend: "waiting for priority assignment",
  priority: "waiting for resources",
  "prolog-start": "waiting for job prolog",
  alloc: "starting",
  start: "starting",
};

export class StatusLine {
  readonly #context: CommandContext;
  readonly #job: string;
  #timer: NodeJS.Timeout | null = null;
  #text = "";
  #began = 0;
  #shown = false;

  constructor(context: CommandContext, job: string, wanted: boolean) {
    this.#context = context;
    this.#job = job;
    const silent = context.host.env["FLUX_ATTACH_NONINTERACTIVE"] !== undefined;
    if (!wanted || silent || !context.stderrIsTerminal) return;
    this.#began = performance.now();
    this.#timer = setInterval(() => this.#draw(), PERIOD_MS);
  }

  /** Takes note of an event of the job. */
  event(name: string): void {
    this.#text = WAITS[name] ?? this.#text;
    if (name === "finish" || name === "clean") this.clear();
  }

  /** Removes the line for good. */
  clear(): void {
    if (this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
    if (this.#shown) this.#context.err(ERASE);
  }

  #draw(): void {
    const seconds = Math.round((performance.now() - this.#began) / 1000);
    const clock = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60]
      .map((part) => String(part).padStart(2, "0"))
      .join(":");
    this.#shown = true;
    this.#context.err(`${ERASE}flux-job: ${this.#job} ${this.#text.padEnd(40)} ${clock}`);
  }
}
