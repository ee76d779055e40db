/**
 * Holds a job's output back until it is known whether this terminal is attached to that of the job: what a task prints
 * there comes by that way already, and must not come twice where it is captured, too.
 */
import type { JobEvent } from "../../sdk/job-protocol.ts";

/** The task that has an interactive terminal. */
const INTERACTIVE_RANK = "0";

export class OutputGate {
  readonly #show: (entry: JobEvent) => void;
  #held: JobEvent[] | null = [];
  #isTerminalSeen = false;

  constructor(show: (entry: JobEvent) => void) {
    this.#show = show;
  }

  /** An entry of the job's output log. */
  take(entry: JobEvent): void {
    if (this.#held !== null) this.#held.push(entry);
    else if (!this.#isSeen(entry)) this.#show(entry);
  }

  /** Lets through what was held and what comes, but for what is seen on the job's terminal. */
  open(isTerminalSeen = false): void {
    const held = this.#held;
    if (held === null) return;
    this.#isTerminalSeen = isTerminalSeen;
    this.#held = null;
    for (const entry of held) this.take(entry);
  }

  #isSeen({ name, context }: JobEvent): boolean {
    if (!this.#isTerminalSeen || name !== "data") return false;
    return context?.["stream"] === "stdout" && String(context["rank"]) === INTERACTIVE_RANK;
  }
}
