/**
 * A program of `libexec` that holds what users wrote in Python: orders go to it one at a time, and while it carries one
 * out it asks for what it cannot do itself. Lines of JSON in both directions, over a socket; its standard streams are the
 * command's.
 */
import { dirname, join } from "node:path";
import { EMPTY_BYTES, concatBytes, utf8Decode, utf8Encode } from "../../base/bytes.ts";
import { errorText, FluxError } from "../../base/errors.ts";
import { isJsonObject, parseJson, stringifyJson, type JsonObject, type JsonValue } from "../../base/json.ts";
import type { ChildProcess } from "../../base/ports.ts";
import { exitCodeOfStatus } from "../../base/signals.ts";
import { pythonPath } from "./builtin-values.ts";
import type { CommandContext } from "./command.ts";

/** What the program may ask for, by name. What a method throws, the function that asked catches. */
export type Answers = Readonly<Record<string, (question: JsonObject) => Promise<JsonValue> | JsonValue>>;

const NEWLINE = 10;

export class PythonProgram {
  readonly #file: string;
  /** The variable that tells the program the number of its socket. */
  readonly #channel: string;
  readonly #answers: Answers;
  #child: ChildProcess | null = null;
  #received: Uint8Array = EMPTY_BYTES;
  #waiting: { resolve(value: JsonValue): void; reject(error: Error): void } | null = null;
  #ended: Promise<void> = Promise.resolve();

  constructor(file: string, channel: string, answers: Answers = {}) {
    this.#file = file;
    this.#channel = channel;
    this.#answers = answers;
  }

  /** The user's Python bindings are found as by `flux python`. */
  async start(context: Pick<CommandContext, "ports" | "host">, words: readonly string[]): Promise<void> {
    const ports = await context.ports();
    const { env, fluxPath, cwd } = context.host;
    const program = join(dirname(dirname(fluxPath)), "libexec", this.#file);
    const python = env["FLUX_PYTHON"] ?? "python3";
    this.#ended = new Promise((resolve) => {
      this.#child = ports.exec.spawn(
        {
          argv: [python, program, ...words],
          env: { ...env, PYTHONPATH: pythonPath(env) },
          cwd,
          stdin: "inherit",
          stdout: "inherit",
          stderr: "inherit",
          channels: [this.#channel],
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

  /** Resolves once the program has ended. */
  async close(): Promise<void> {
    this.#child?.closeInput(this.#channel);
    await this.#ended;
  }

  /** Has the program do something. Rejects with what went wrong. */
  order(order: JsonObject): Promise<JsonValue> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#write(order);
    });
  }

  #write(value: JsonObject): void {
    this.#child?.write(this.#channel, utf8Encode(`${stringifyJson(value)}\n`));
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
