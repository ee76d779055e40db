/**
 * A crew of worker programs for plugins that are not built in: `flux job-validator` or `flux job-frobnicator`. A job goes to
 * one of them as a line of JSON, and a line comes back: `{errnum, errstr?, data?}`.
 *
 * Invariants: lines are answered in the order in which a worker got them; a worker that ends fails what it had, and only
 * that; the crew is started when there is work, and goes home when there was none for a while.
 */
import { utf8Encode } from "../../base/bytes.ts";
import { errorText, FluxError } from "../../base/errors.ts";
import { isJsonObject, parseJson, stringifyJson, type JsonObject, type JsonValue } from "../../base/json.ts";
import type { ChildProcess, TimerHandle, WaitStatus } from "../../base/ports.ts";
import { exitCodeOfStatus, signalOfStatus, signalSentence, SIGNALS } from "../../base/signals.ts";
import { LogLevel, type ModuleContext } from "../../sdk/module.ts";

const WORKERS_MAX = 4;
/** How long a worker without work stays, in milliseconds. */
const IDLE_MS = 5000;

interface Waiting {
  readonly resolve: (answer: JsonObject) => void;
  readonly reject: (error: FluxError) => void;
  readonly sizeBytes: number;
}

export interface CrewOptions {
  /** The sub-command of flux. */
  readonly program: string;
  readonly args: readonly string[];
  readonly bufferSizeBytes: number;
}

export class WorkCrew {
  readonly #context: ModuleContext;
  readonly #options: CrewOptions;
  readonly #workers: (Worker | null)[] = Array.from({ length: WORKERS_MAX }, () => null);
  readonly counts: { requests: number; errors: number } = { requests: 0, errors: 0 };

  constructor(context: ModuleContext, options: CrewOptions) {
    this.#context = context;
    this.#options = options;
  }

  /** Has a job looked at. Resolves with what the worker says in `data`; throws what it says against the job. */
  async run(job: JsonObject): Promise<JsonValue> {
    this.counts.requests += 1;
    try {
      const { errnum, errstr, data } = await this.#worker().ask(stringifyJson(job));
      if (errnum === 0) return data ?? null;
      throw new FluxError("EINVAL", typeof errstr === "string" ? errstr : `refused by ${this.#options.program}`);
    } catch (error) {
      this.counts.errors += 1;
      throw error;
    }
  }

  report(): JsonObject {
    const pids = this.#workers.map((worker) => worker?.pid ?? 0);
    const backlog = this.#workers.reduce((sum, worker) => sum + (worker?.backlog ?? 0), 0);
    return { running: pids.filter((pid) => pid !== 0).length, ...this.counts, trash: 0, backlog, pids };
  }

  stop(): void {
    for (const worker of this.#workers) worker?.dismiss();
  }

  /** One that has nothing to do, a new one, or the one with the least to do. */
  #worker(): Worker {
    const idle = this.#workers.find((worker) => worker?.backlog === 0);
    if (idle !== undefined && idle !== null) return idle;
    const place = this.#workers.indexOf(null);
    if (place < 0) return this.#workers.reduce((best, worker) => (worker!.backlog < best!.backlog ? worker : best))!;
    const name = `${this.#options.program}[${place}]`;
    const worker = new Worker(this.#context, this.#options, name, () => (this.#workers[place] = null));
    this.#workers[place] = worker;
    return worker;
  }
}

class Worker {
  readonly #context: ModuleContext;
  readonly #name: string;
  readonly #limitBytes: number;
  readonly #process: ChildProcess;
  readonly #waiting: Waiting[] = [];
  readonly #ended: () => void;
  readonly #decoders = { stdout: new LineReader(), stderr: new LineReader() };
  #waitingBytes = 0;
  #idleTimer: TimerHandle | null = null;

  constructor(
    context: ModuleContext,
    { program, args, bufferSizeBytes }: CrewOptions,
    name: string,
    ended: () => void,
  ) {
    const { host, exec } = context.ports;
    const uri = context.attribute("local-uri");
    this.#context = context;
    this.#name = name;
    this.#limitBytes = bufferSizeBytes;
    this.#ended = ended;
    this.#process = exec.spawn(
      {
        argv: [host.fluxPath, program, ...args],
        env: { ...host.env, ...(uri === null ? {} : { FLUX_URI: uri }) },
        cwd: context.attribute("rundir") ?? host.cwd,
        stdin: "pipe",
        stdout: "pipe",
        stderr: "pipe",
      },
      { output: (stream, chunk) => this.#output(stream, chunk), exit: (status) => this.#exited(status) },
    );
  }

  get pid(): number {
    return this.#process.pid;
  }
  get backlog(): number {
    return this.#waiting.length;
  }

  ask(line: string): Promise<JsonObject> {
    const bytes = utf8Encode(`${line}\n`);
    const sizeBytes = bytes.length;
    if (this.#waitingBytes + sizeBytes > this.#limitBytes)
      throw new FluxError("EFBIG", `jobspec is too large for ${this.#name}: ingest.buffer-size is ${this.#limitBytes}`);
    this.#idleTimer?.cancel();
    this.#waitingBytes += sizeBytes;
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject, sizeBytes });
      this.#process.write("stdin", bytes);
    });
  }

  dismiss(): void {
    this.#idleTimer?.cancel();
    this.#process.closeInput("stdin");
    this.#process.kill(SIGNALS["SIGTERM"]!);
  }

  #output(stream: string, chunk: Uint8Array | null): void {
    const lines = this.#decoders[stream === "stdout" ? "stdout" : "stderr"].take(chunk);
    for (const line of lines)
      if (stream === "stdout") this.#answered(line);
      else this.#context.log(LogLevel.debug, `${this.#name}: ${line}`);
  }

  #answered(line: string): void {
    const waiting = this.#waiting.shift();
    if (waiting === undefined) return this.#context.log(LogLevel.err, `${this.#name}: unexpected output`);
    this.#waitingBytes -= waiting.sizeBytes;
    if (this.#waiting.length === 0)
      this.#idleTimer = this.#context.ports.clock.after(IDLE_MS, () => this.#process.closeInput("stdin"), {
        background: true,
      });
    try {
      const answer = parseJson(line);
      if (!isJsonObject(answer) || typeof answer["errnum"] !== "number")
        throw new FluxError("EPROTO", "no object with errnum");
      waiting.resolve(answer);
    } catch (error) {
      waiting.reject(new FluxError("EPROTO", `${this.#name}: malformed answer: ${errorText(error)}`));
    }
  }

  #exited(status: WaitStatus): void {
    this.#idleTimer?.cancel();
    this.#ended();
    if (this.#waiting.length === 0) return;
    const signum = signalOfStatus(status);
    const how = signum === 0 ? `exited with rc=${exitCodeOfStatus(status)}` : `killed by ${signalSentence(signum)}`;
    this.#context.log(LogLevel.err, `${this.#name}: ${how}`);
    for (const { reject } of this.#waiting)
      reject(new FluxError("EPROTO", "Unrecoverable error: worker unexpectedly exited"));
    this.#waiting.length = 0;
  }
}

/** Lines of a stream of bytes. */
class LineReader {
  readonly #decoder = new TextDecoder();
  #rest = "";

  take(chunk: Uint8Array | null): string[] {
    const text = this.#rest + (chunk === null ? this.#decoder.decode() : this.#decoder.decode(chunk, { stream: true }));
    const lines = text.split("\n");
    this.#rest = lines.pop()!;
    if (chunk === null && this.#rest !== "") {
      lines.push(this.#rest);
      this.#rest = "";
    }
    return lines;
  }
}
