/** `--log` and `--log-stderr`: the messages about jobs go to files instead of the terminal. */
import { closeSync, openSync, writeSync } from "node:fs";
import { systemError } from "../../host/errors.ts";
import type { CommandContext, ParsedOptions } from "../framework/command.ts";
import type { BulkLog } from "./bulk.ts";

/** Many jobs may have a file each: once so many are open, further ones are opened for each message only. */
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
    // A file that cannot be written is known before the job is submitted; one that nothing is said in is empty.
    if (log !== null) this.#opened("--log", log);
    if (errors !== null) this.#opened("--log-stderr", errors);
    return {
      out: (text) => (log === null ? this.#context.out(text) : this.#append("--log", log, text)),
      err: (text) => (errors === null ? this.#context.err(text) : this.#append("--log-stderr", errors, text)),
    };
  }

  #append(option: string, path: string, text: string | Uint8Array): void {
    const descriptor = this.#opened(option, path);
    try {
      writeSync(descriptor, typeof text === "string" ? Buffer.from(text) : text);
    } catch (error) {
      throw systemError(`${option}: ${path}`, error);
    }
  }

  #opened(option: string, path: string): number {
    try {
      return this.#open(path);
    } catch (error) {
      throw systemError(`${option}: ${path}`, error);
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
