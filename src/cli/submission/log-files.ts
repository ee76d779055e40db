/** `--log` and `--log-stderr`: the messages about jobs go to files instead of the terminal. */
import { closeSync, openSync, writeSync } from "node:fs";
import { systemError } from "../../host/errors.ts";
import type { CommandContext, ParsedOptions } from "../framework/command.ts";
import type { BulkLog } from "./bulk.ts";

/** Many jobs may have a file each; each is opened for the moment of its message once so many are open. */
const OPEN_FILES_MAX = 128;

export class LogFiles {
  readonly #context: CommandContext;
  readonly #terminal: BulkLog;
  readonly #descriptors = new Map<string, number>();
  readonly #begun = new Set<string>();

  constructor(context: CommandContext) {
    this.#context = context;
    this.#terminal = { out: (text) => context.out(text), err: (text) => context.err(text) };
  }

  /** Where the messages about a job with these options go. */
  for(options: ParsedOptions): BulkLog {
    const log = options.text("log");
    const errors = options.text("log-stderr") ?? log;
    if (log === null && errors === null) return this.#terminal;
    return {
      out: (text) => (log === null ? this.#context.out(text) : this.#append(log, text)),
      err: (text) => (errors === null ? this.#context.err(text) : this.#append(errors, text)),
    };
  }

  #append(path: string, text: string | Uint8Array): void {
    try {
      const bytes = typeof text === "string" ? Buffer.from(text) : text;
      writeSync(this.#open(path), bytes);
    } catch (error) {
      throw systemError(`--log: ${path}`, error);
    }
  }

  #open(path: string): number {
    const known = this.#descriptors.get(path);
    if (known !== undefined) return known;
    if (this.#descriptors.size >= OPEN_FILES_MAX) {
      for (const descriptor of this.#descriptors.values()) closeSync(descriptor);
      this.#descriptors.clear();
    }
    const descriptor = openSync(path, this.#begun.has(path) ? "a" : "w");
    this.#begun.add(path);
    this.#descriptors.set(path, descriptor);
    return descriptor;
  }
}
