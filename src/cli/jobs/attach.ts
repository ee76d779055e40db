/**
 * Attaching to a job: its output as it comes, standard input on its way to the tasks, signals passed on, and in the end
 * its exit code. What `flux job attach` and `flux run` do.
 *
 * All logs of the job are opened at once; each ends by itself when the job is done.
 */
import { utf8Decode } from "../../base/bytes.ts";
import { FluxError, isFluxError } from "../../base/errors.ts";
import { stringifyJson, type Integer, type JsonObject, type JsonValue } from "../../base/json.ts";
import { SIGNALS } from "../../base/signals.ts";
import { parseEvent, type JobEvent } from "../../sdk/job-protocol.ts";
import type { Handle, OpenStream } from "../../sdk/handle.ts";
import type { CommandContext } from "../framework/command.ts";
import { JobOutputFormatter, type OutputPiece } from "../output/job-stream.ts";
import { StatusLine } from "../output/status-line.ts";
import { jobIdText, readEventlog, watchEventlog } from "./client.ts";
import { JobOutcome } from "./outcome.ts";
import { OutputGate } from "./output-gate.ts";
import { forwardInput, type InputEnd, type InputService, type InputTarget } from "./stdin.ts";

export interface AttachOptions {
  readonly label: boolean;
  readonly quiet: boolean;
  /** Neither standard input nor signals are passed on. */
  readonly readOnly: boolean;
  readonly showEvents: boolean;
  readonly showExec: boolean;
  /** The event after which the job's own log is no longer followed. */
  readonly waitEvent: string;
  /** The tasks that get standard input: "all" or an idset. */
  readonly stdinRanks: string;
  /** Show only so many lines of what was written before. */
  readonly tailLines: number | null;
  readonly showStatus: boolean;
  /** Tell every step of the job until it has started, in any case. */
  readonly forceStatus: boolean;
  /** How often it is asked whether the job's queue is stopped, in seconds. */
  readonly queueCheckSeconds: number;
}

export const ATTACH_DEFAULTS: AttachOptions = {
  label: false,
  quiet: false,
  readOnly: false,
  showEvents: false,
  showExec: false,
  waitEvent: "clean",
  stdinRanks: "all",
  tailLines: null,
  showStatus: false,
  forceStatus: false,
  queueCheckSeconds: 2,
};

const FORWARDED_SIGNALS = ["SIGTERM", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2"];
const INTERRUPT_WINDOW_MS = 2000;
/** How long input for a job that is over is waited for, to say that nobody takes it. */
const LATE_INPUT_MS = 100;
const PROGRAM = "flux-job";

/** Attaches; resolves with the job's exit code. Throws FluxError ENOENT where there is no such job. */
export function attachJob(
  context: CommandContext,
  handle: Handle,
  id: Integer,
  options: AttachOptions = ATTACH_DEFAULTS,
): Promise<number> {
  return new Attachment(context, handle, id, options).run();
}

class Attachment {
  readonly #context: CommandContext;
  readonly #handle: Handle;
  readonly #id: Integer;
  readonly #options: AttachOptions;
  readonly #outcome = new JobOutcome();
  readonly #formatter: JobOutputFormatter;
  readonly #status: StatusLine;
  readonly #cleanups: (() => void)[] = [];
  readonly #streams = new Set<OpenStream>();
  readonly #finished = Promise.withResolvers<void>();
  /** Logs that are still open. */
  #open = 0;
  #origin = 0;
  #detached = false;
  /** Nobody knows how the job will end: that is success only where its terminal was left. */
  #detachedCode = 1;
  #waitedFor = false;
  /** Wall-clock time in seconds. */
  readonly #startedAt = Date.now() / 1000;
  #wasOver = false;
  #input: Promise<InputEnd> | null = null;
  #inputFailure: string | null = null;
  /** The service of the job's shells, and the rank of the leading one. */
  #shell: InputService | null = null;
  /** The job's terminal, until its end. */
  #terminal: Promise<void> | null = null;
  /** Our terminal passes on everything as it is: it is the job's. */
  #isRaw = false;
  readonly #output: OutputGate;

  constructor(context: CommandContext, handle: Handle, id: Integer, options: AttachOptions) {
    this.#context = context;
    this.#handle = handle;
    this.#id = id;
    this.#options = options;
    this.#formatter = new JobOutputFormatter({ label: options.label, quiet: options.quiet });
    this.#status = new StatusLine(context, {
      job: jobIdText(id),
      wanted: options.showStatus && !options.showEvents,
      forced: options.forceStatus,
      queueCheckSeconds: options.queueCheckSeconds,
      stoppedQueue: () => stoppedQueueOf(handle, id),
    });
    this.#output = new OutputGate((entry) => {
      for (const piece of this.#formatter.format(entry)) this.#write(piece);
    });
  }

  async run(): Promise<number> {
    const skip = this.#options.tailLines === null ? 0 : await this.#showTail(this.#options.tailLines);
    this.#followJob();
    this.#followExec();
    this.#followOutput(skip);
    if (!this.#options.readOnly) this.#catchSignals();
    try {
      await this.#finished.promise;
      if (!this.#detached) await this.#terminal;
      this.#output.open();
    } finally {
      this.#status.clear();
      for (const cleanup of this.#cleanups) cleanup();
    }
    if (this.#wasOver) await this.#judgeLateInput();
    if (this.#inputFailure !== null) {
      this.#say(this.#inputFailure);
      return 1;
    }
    if (this.#detached) return this.#detachedCode;
    const text = this.#outcome.taskText();
    if (text !== "" && !this.#options.quiet) this.#say(text);
    // Nobody saw how the job ended: this is not success.
    return this.#outcome.waitStatus === null ? 1 : this.#outcome.exitCode();
  }

  /** Input for a job that was over before anyone attached is a mistake that the user should hear of. */
  async #judgeLateInput(): Promise<void> {
    if (this.#input === null) return;
    const timer = Promise.withResolvers<"sent">();
    const timeout = setTimeout(() => timer.resolve("sent"), LATE_INPUT_MS);
    if ((await Promise.race([this.#input, timer.promise])) === "unwanted")
      this.#inputFailure = "stdin not accepted by job";
    clearTimeout(timeout);
  }

  #forward(shell: InputService, target: InputTarget): void {
    this.#input = forwardInput(this.#context, this.#handle, shell, target);
    void this.#input.then((end) => {
      if (end !== "closed" || this.#outcome.finished) return;
      this.#inputFailure = "attach_send_shell: Broken pipe";
      this.#finished.resolve();
    });
  }

  #refuse(message: string): void {
    this.#inputFailure = message;
    this.#finished.resolve();
  }

  #say(message: string): void {
    this.#status.hide();
    this.#context.err(`${PROGRAM}: ${message}\n`);
  }

  #watch(path: string, event: (entry: JobEvent) => void, end: (error: FluxError | null) => void): OpenStream {
    this.#open++;
    const stream = watchEventlog(
      this.#handle,
      this.#id,
      path,
      {
        event: (entry) => event(entry),
        end: (error) => {
          if (!this.#streams.delete(stream)) return;
          end(error);
          this.#closeOne();
        },
      },
      { waitcreate: path !== "eventlog" },
    );
    this.#streams.add(stream);
    return stream;
  }

  /** No longer waits for a log. */
  #leave(stream: OpenStream): void {
    if (!this.#streams.delete(stream)) return;
    stream.cancel();
    this.#closeOne();
  }

  #closeOne(): void {
    if (--this.#open === 0) this.#finished.resolve();
  }

  #followJob(): void {
    const stream = this.#watch(
      "eventlog",
      (entry) => {
        if (this.#waitedFor) return;
        this.#jobEvent(entry);
        if (entry.name === this.#options.waitEvent || entry.name === "clean") this.#concludeJob(stream);
      },
      (error) => {
        if (error !== null) this.#finished.reject(error);
        // A job that never ran has no other logs to wait for.
        else if (!this.#outcome.started) this.#leaveAll();
      },
    );
  }

  #concludeJob(stream: OpenStream): void {
    this.#waitedFor = true;
    this.#leave(stream);
    // What a job that runs already has to say is shown to its end.
    if (!this.#outcome.started) this.#leaveAll();
  }

  #leaveAll(): void {
    for (const stream of Array.from(this.#streams)) this.#leave(stream);
  }

  #jobEvent(entry: JobEvent): void {
    this.#outcome.apply(entry);
    if (this.#origin === 0) this.#origin = entry.timestamp;
    this.#formatter.setOrigin(this.#origin);
    this.#status.hide();
    if (entry.name === "finish") this.#wasOver = entry.timestamp < this.#startedAt;
    if (entry.name === "exception") {
      const { type, severity, note } = entry.context ?? {};
      const about = `type=${String(type)} severity=${String(severity)} ${String(note ?? "")}`;
      this.#context.err(`${this.#since(entry)}: job.exception ${jobIdText(this.#id)} ${about}\n`);
    } else if (this.#options.showEvents) this.#showEvent("job", entry);
    this.#status.event(entry.name, Number(entry.context?.["severity"] ?? 0));
  }

  #showEvent(log: string, entry: JobEvent): void {
    this.#status.hide();
    const context = entry.context === undefined ? "" : ` ${stringifyJson(entry.context)}`;
    this.#context.err(`${this.#since(entry)}: ${log}.${entry.name}${context}\n`);
  }

  /** What a job shell of one's own has printed itself. */
  #showShellText(entry: JobEvent): void {
    this.#status.hide();
    const { component, stream, rank, data } = entry.context ?? {};
    const text = String(data ?? "").replace(/\n$/, "");
    this.#context.err(`${this.#since(entry)}: ${String(component)}[${String(rank)}]: ${String(stream)}: ${text}\n`);
  }

  #since(entry: JobEvent): string {
    return `${(entry.timestamp - (this.#origin || entry.timestamp)).toFixed(3)}s`;
  }

  #followExec(): void {
    this.#watch(
      "guest.exec.eventlog",
      (entry) => {
        const hasTerminal = entry.name === "shell.init" && typeof entry.context?.["pty"] === "string";
        if (entry.name === "shell.init" && (this.#options.readOnly || !hasTerminal)) this.#output.open();
        if (hasTerminal && this.#options.readOnly && !this.#outcome.finished)
          this.#refuse("Cannot connect to pty in readonly mode");
        if (entry.name === "log") this.#showShellText(entry);
        else if (this.#options.showExec) this.#showEvent("exec", entry);
        if (entry.name === "shell.start" && !this.#options.forceStatus) this.#status.clear();
        if (!this.#options.readOnly) this.#connectInput(entry);
      },
      (error) => {
        if (this.#terminal === null) this.#output.open();
        this.#guestEnd(error);
      },
    );
  }

  /** Input for all tasks flows as soon as there is a shell; for some of them, once it is known which others there are. */
  #connectInput({ name, context = {} }: JobEvent): void {
    if (name === "shell.init") {
      this.#shell = { service: String(context["service"]), rank: Number(context["leader-rank"]) };
      if (typeof context["pty"] === "string") this.#terminal = this.#connectTerminal(this.#shell, context["pty"]);
    }
    if (this.#shell === null || this.#terminal !== null) return;
    const tasks = this.#options.stdinRanks;
    if (tasks === "all" && name === "shell.init") this.#forward(this.#shell, { tasks });
    if (tasks === "all" || name !== "shell.start") return;
    void this.#inputForSome(this.#shell, tasks, context["taskmap"]);
  }

  /** The terminal of the job takes the place of standard input; its output comes by the same way. */
  async #connectTerminal({ service, rank }: InputService, session: string): Promise<void> {
    const { PtyClient } = await import("../terminal/pty-client.ts");
    this.#status.clear();
    const target = { topic: `${service}.${session}`, where: { nodeid: rank } };
    const client = new PtyClient(this.#context, this.#handle, target, { clears: false, endsInput: true });
    void client.attached.then((isAttached) => {
      this.#isRaw = isAttached && this.#context.stdoutIsTerminal;
      this.#output.open(isAttached);
    });
    try {
      const { isLeft } = await client.run();
      this.#isRaw = false;
      if (!isLeft) return;
      this.#detached = true;
      this.#detachedCode = 0;
      this.#finished.resolve();
    } catch (error) {
      if (!isFluxError(error)) throw error;
      // Of a job that is over there is no terminal any more, and nothing to be said.
      if (isFluxError(error, "ECONNRESET")) this.#refuse(error.message);
    }
  }

  async #inputForSome(shell: InputService, tasks: string, taskmap: JsonValue | undefined): Promise<void> {
    const [{ Idset }, { Taskmap }] = await Promise.all([
      import("../../formats/idset.ts"),
      import("../../formats/taskmap.ts"),
    ]);
    const all = Idset.upTo(Taskmap.fromJson(taskmap).ntasks);
    const asked = Idset.parse(tasks);
    const others = all.subtract(asked);
    const wanted = all.subtract(others);
    if (wanted.count < asked.count) this.#say(`warning: adjusting --stdin-ranks from ${asked} to ${wanted}`);
    const without = others.isEmpty ? {} : { closed: others.toString() };
    this.#forward(shell, { tasks: wanted.toString(), ...without });
  }

  #followOutput(skip: number): void {
    let seen = 0;
    this.#watch(
      "guest.output",
      (entry) => {
        if (seen++ >= skip) this.#output.take(entry);
        else this.#formatter.format(entry);
      },
      (error) => this.#guestEnd(error),
    );
  }

  /** A job that never ran has no logs below `guest`; other failures are worth a word. */
  #guestEnd(error: FluxError | null): void {
    if (error === null || error.is("ENOENT") || error.is("ENODATA")) return;
    if (!this.#outcome.finished) this.#finished.reject(error);
  }

  #write(piece: OutputPiece): void {
    this.#status.hide();
    const text = this.#isRaw ? withReturns(piece.text) : piece.text;
    if (piece.stream === "stdout") this.#context.out(text);
    else this.#context.err(text);
  }

  /** Prints the last lines of what there is; returns how many entries of the log that covers. */
  async #showTail(lines: number): Promise<number> {
    let entries = 0;
    let tail: OutputPiece[] = [];
    const see = (line: string): void => {
      entries++;
      tail.push(...this.#formatter.format(parseEvent(line)).flatMap(linesOf));
      if (tail.length > 2 * lines) tail = tail.slice(tail.length - lines);
    };
    try {
      await readEventlog(this.#handle, this.#id, "guest.output", see);
    } catch (error) {
      if (!isFluxError(error, "ENOENT")) throw error;
    }
    for (const piece of tail.slice(Math.max(0, tail.length - lines))) this.#write(piece);
    return entries;
  }

  #catchSignals(): void {
    for (const name of FORWARDED_SIGNALS)
      this.#onSignal(name, () => this.#request("job-manager.kill", { id: this.#id, signum: SIGNALS[name] }, "kill"));
    let interrupted = -Infinity;
    const recent = (): boolean => performance.now() - interrupted < INTERRUPT_WINDOW_MS;
    this.#onSignal("SIGINT", () => {
      if (recent()) {
        const exception = { id: this.#id, type: "cancel", severity: 0, note: "interrupted by ctrl-C" };
        this.#request("job-manager.raise", exception, "raise");
        return;
      }
      interrupted = performance.now();
      this.#say("one more ctrl-C within 2s to cancel or ctrl-Z to detach");
    });
    this.#onSignal("SIGTSTP", () => {
      if (!recent()) {
        process.kill(process.pid, "SIGSTOP");
        return;
      }
      this.#say("detaching...");
      this.#detached = true;
      this.#finished.resolve();
    });
  }

  #onSignal(name: string, listener: () => void): void {
    const { cancel } = this.#context.onSignal(name, listener);
    this.#cleanups.push(cancel);
  }

  #request(topic: string, payload: JsonObject, what: string): void {
    this.#handle.rpc(topic, payload).catch((error: unknown) => {
      this.#say(`${what}: ${error instanceof Error ? error.message : String(error)}`);
    });
  }
}

/** The name of a job's queue where that is stopped, and jobs in it get no resources. */
async function stoppedQueueOf(handle: Handle, id: Integer): Promise<string | null> {
  try {
    const { job } = await handle.rpc<{ job: JsonObject }>("job-list.list-id", { id, attrs: ["queue"] });
    const name = typeof job["queue"] === "string" && job["queue"] !== "" ? job["queue"] : null;
    const { start } = await handle.rpc<{ start: boolean }>("job-manager.queue-status", name === null ? {} : { name });
    return start ? null : (name ?? "default");
  } catch (error) {
    // What cannot be asked is not told.
    if (isFluxError(error)) return null;
    throw error;
  }
}

/** A piece for each line; bytes that are no text are one. */
function linesOf(piece: OutputPiece): OutputPiece[] {
  if (typeof piece.text !== "string") return [piece];
  return piece.text.split(/(?<=\n)/).map((text) => ({ ...piece, text }));
}

/** Lines for a terminal that does not go back to its first column by itself. */
function withReturns(text: string | Uint8Array): string {
  return (typeof text === "string" ? text : utf8Decode(text)).replaceAll("\n", "\r\n");
}
