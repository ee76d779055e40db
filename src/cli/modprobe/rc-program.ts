/**
 * The Python program that holds the functions of rc files: orders go to it one at a time, and while it carries one out
 * it asks for what concerns the broker. Lines of JSON in both directions.
 */
import { dirname, join } from "node:path";
import { EMPTY_BYTES, concatBytes, utf8Decode, utf8Encode } from "../../base/bytes.ts";
import { errorText, FluxError } from "../../base/errors.ts";
import { isJsonObject, parseJson, stringifyJson, type JsonObject, type JsonValue } from "../../base/json.ts";
import type { ChildProcess } from "../../base/ports.ts";
import { exitCodeOfStatus } from "../../base/signals.ts";
import type { CommandContext } from "../framework/command.ts";

/** What the program may ask for, by name. What a method throws, the function of the rc file catches. */
export type Answers = Readonly<Record<string, (question: JsonObject) => Promise<JsonValue> | JsonValue>>;

const CHANNEL = "FLUX_MODPROBE_FD";
const NEWLINE = 10;

export class RcProgram {
  readonly #answers: Answers;
  #child: ChildProcess | null = null;
  #received: Uint8Array = EMPTY_BYTES;
  #waiting: { resolve(value: JsonValue): void; reject(error: Error): void } | null = null;
  #ended: Promise<void> = Promise.resolve();

  constructor(answers: Answers) {
    this.#answers = answers;
  }

  async start(context: CommandContext, rank: number, isVerbose: boolean): Promise<void> {
    const ports = await context.ports();
    const { env, fluxPath, cwd } = context.host;
    const program = join(dirname(dirname(fluxPath)), "libexec", "modprobe.py");
    const python = env["FLUX_PYTHON"] ?? "python3";
    this.#ended = new Promise((resolve) => {
      this.#child = ports.exec.spawn(
        {
          argv: [python, program, String(rank), isVerbose ? "verbose" : "quiet"],
          env,
          cwd,
          stdin: "inherit",
          stdout: "inherit",
          stderr: "inherit",
          channels: [CHANNEL],
          newProcessGroup: false,
        },
        {
          output: (_stream, chunk) => chunk !== null && this.#take(chunk),
          exit: (status) => {
            this.#fail(new FluxError("EIO", `${python} ended with exit code ${exitCodeOfStatus(status)}`));
            resolve();
          },
        },
      );
    });
  }

  /** The tasks that a file declares. Rejects with what went wrong while it was read. */
  async read(path: string): Promise<readonly JsonObject[]> {
    const tasks = await this.#order({ do: "read", path });
    return Array.isArray(tasks) ? tasks.filter(isJsonObject) : [];
  }

  /** Calls the `setup` functions of the files. */
  async setup(): Promise<void> {
    await this.#order({ do: "setup" });
  }

  /** Calls the function of a task. Rejects with what it raised. */
  async run(name: string): Promise<void> {
    await this.#order({ do: "task", name });
  }

  /** Resolves once the program has ended. */
  async close(): Promise<void> {
    this.#child?.closeInput(CHANNEL);
    await this.#ended;
  }

  #order(order: JsonObject): Promise<JsonValue> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#write(order);
    });
  }

  #write(value: JsonObject): void {
    this.#child?.write(CHANNEL, utf8Encode(`${stringifyJson(value)}\n`));
  }

  #fail(error: Error): void {
    this.#waiting?.reject(error);
    this.#waiting = null;
  }

  #take(chunk: Uint8Array): void {
    this.#received = concatBytes([this.#received, chunk]);
    for (let end = this.#received.indexOf(NEWLINE); end >= 0; end = this.#received.indexOf(NEWLINE)) {
      const line = parseJson(utf8Decode(this.#received.subarray(0, end)));
      this.#received = this.#received.slice(end + 1);
      if (isJsonObject(line)) this.#hear(line);
    }
  }

  #hear(line: JsonObject): void {
    const { call, failed, done } = line;
    if (typeof call === "string") return void this.#answer(call, line);
    if (typeof failed === "string") return this.#fail(new FluxError("EINVAL", failed));
    this.#waiting?.resolve(done ?? null);
    this.#waiting = null;
  }

  async #answer(call: string, question: JsonObject): Promise<void> {
    try {
      const answer = this.#answers[call];
      if (answer === undefined) throw new FluxError("ENOSYS", `no answer to ${call}`);
      this.#write({ value: await answer(question) });
    } catch (error) {
      this.#write({ error: errorText(error), ...(error instanceof FluxError ? { errnum: error.errnum } : {}) });
    }
  }
}
