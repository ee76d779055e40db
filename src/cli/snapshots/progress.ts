/**
 * How far a command about a snapshot is: on a terminal a line that counts, elsewhere the last count only; or the keys, as
 * they are done. With `--sd-notify` the broker is told too.
 */
import type { Handle } from "../../sdk/handle.ts";
import type { CommandContext, OptionSpec } from "../framework/command.ts";

/** Counts above this are shown only at its multiples. */
const STEP_KEYS = 100;
const FIRST_KEYS = 10;

export const progressOptions: {
  readonly quiet: OptionSpec;
  readonly sdNotify: OptionSpec;
} = {
  quiet: { names: ["quiet"], short: "q", help: "Don't show periodic progress updates" },
  sdNotify: { names: ["sd-notify"], help: "Send status updates to systemd via flux-broker(1)" },
};

export class Progress {
  readonly #context: CommandContext;
  readonly #handle: Handle;
  /** "archived 5 keys" of a count. */
  readonly #text: (keys: number) => string;
  #keys = 0;
  #isLineOpen = false;

  constructor(context: CommandContext, handle: Handle, text: (keys: number) => string) {
    this.#context = context;
    this.#handle = handle;
    this.#text = text;
  }

  get #isCounting(): boolean {
    const { options } = this.#context;
    return !options.has("verbose") && !options.has("quiet");
  }

  /** One key more; `label` is what verbose output has for it. */
  add(label: string): void {
    this.#keys++;
    if (this.#context.options.has("verbose")) this.#context.err(`${label}\n`);
    if (this.#keys >= FIRST_KEYS && this.#keys % STEP_KEYS !== 0) return;
    this.#notify();
    if (this.#isCounting && this.#context.stderrIsTerminal) this.#show();
  }

  /** Says something between counts, on a line of its own. */
  say(line: string): void {
    if (this.#isLineOpen) this.#context.err("\n");
    this.#isLineOpen = false;
    this.#context.err(`${line}\n`);
  }

  /** All keys are done, or the command gives up. */
  finish(): void {
    this.#notify();
    if (!this.#isCounting) return;
    this.#show();
    this.#context.err("\n");
    this.#isLineOpen = false;
  }

  /** Ends an open line, so that a complaint stands on its own. */
  break(): void {
    if (this.#isLineOpen) this.#context.err("\n");
    this.#isLineOpen = false;
  }

  #show(): void {
    const { stderrIsTerminal, program } = this.#context;
    this.#context.err(`${stderrIsTerminal ? "\r" : ""}${program}: ${this.#text(this.#keys)}`);
    this.#isLineOpen = true;
  }

  #notify(): void {
    if (!this.#context.options.has("sd-notify")) return;
    const status = `${this.#context.program}(1) has ${this.#text(this.#keys)}`;
    this.#handle.send("state-machine.sd-notify", { status });
  }
}
