/**
 * The process that runs a user's start-up file: it is told what has happened, a line of JSON each, and answers each line by one
 * that begins with a mark; whatever else the file prints is nobody's. The first line says what is known of the job, the
 * answer to it is the file's report.
 *
 * Invariant: what is told is answered in order, and once the process has ended at once.
 */
import { utf8Decode, utf8Encode } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import { isJsonObject, parseJson, stringifyJson, type JsonObject } from "../base/json.ts";
import type { ChildProcess, Exec, SpawnOptions } from "../base/ports.ts";
import { exitCodeOfStatus } from "../base/signals.ts";

/** What lines of answers begin with. */
export const RC_LINE_MARK = "\u0001";
/** Characters of an answer, and of complaints that are kept. */
const ANSWER_LENGTH_MAX: number = 4 * 1024 * 1024;
const COMPLAINT_LENGTH_MAX = 2000;

export class InitrcProcess {
  readonly #child: ChildProcess;
  readonly #waiting: PromiseWithResolvers<JsonObject>[] = [];
  readonly #decoder = new TextDecoder();
  #line = "";
  #complaint = "";
  #end: FluxError | null = null;

  /** Throws FluxError where it cannot be started. */
  constructor(exec: Exec, options: Pick<SpawnOptions, "argv" | "env" | "cwd">) {
    this.#child = exec.spawn(
      { ...options, stdin: "pipe", stdout: "pipe", stderr: "pipe", diesWithParent: true },
      {
        output: (stream, chunk) => {
          if (chunk === null) return;
          if (stream === "stdout") this.#read(this.#decoder.decode(chunk, { stream: true }));
          else this.#complaint = (this.#complaint + utf8Decode(chunk)).slice(0, COMPLAINT_LENGTH_MAX);
        },
        exit: (status) => {
          const why = this.#complaint.trim() || `exit code ${exitCodeOfStatus(status)}`;
          this.#fail(new FluxError("EINVAL", why));
        },
      },
    );
  }

  /** Resolves to the answer. Rejects with what the process has complained of where it has ended. */
  tell(happening: JsonObject): Promise<JsonObject> {
    if (this.#end !== null) return Promise.reject(this.#end);
    const answer = Promise.withResolvers<JsonObject>();
    this.#waiting.push(answer);
    this.#child.write("stdin", utf8Encode(`${stringifyJson(happening)}\n`));
    return answer.promise;
  }

  /** Nothing more happens. */
  end(): void {
    this.#child.closeInput("stdin");
  }

  kill(): void {
    this.#child.kill(9, { group: true });
  }

  #read(text: string): void {
    const lines = (this.#line + text).split("\n");
    this.#line = lines.pop()!;
    if (this.#line.length > ANSWER_LENGTH_MAX) this.kill();
    for (const line of lines) if (line.startsWith(RC_LINE_MARK)) this.#answer(line.slice(RC_LINE_MARK.length));
  }

  /** Files of users have a part in what is answered. */
  #answer(text: string): void {
    try {
      const answer = parseJson(text);
      if (!isJsonObject(answer)) throw new FluxError("EPROTO", "the rc file's process gave no report");
      this.#waiting.shift()?.resolve(answer);
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      this.#fail(error);
      this.kill();
    }
  }

  #fail(error: FluxError): void {
    this.#end ??= error;
    for (const { reject } of this.#waiting.splice(0)) reject(this.#end);
  }
}
