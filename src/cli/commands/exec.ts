/** `flux exec`: runs a program on brokers, outside of any job (flux-exec(1), RFC 42). */
import { base64Decode, utf8Encode } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject } from "../../base/json.ts";
import {
  EXIT_NOT_EXECUTABLE,
  EXIT_NOT_FOUND,
  exitCodeOfStatus,
  signalOfStatus,
  SIGNALS,
  signalSentence,
} from "../../base/signals.ts";
import { Idset } from "../../formats/idset.ts";
import { encodeStreamData } from "../../formats/stream-data.ts";
import type { Handle } from "../../sdk/handle.ts";
import { execTargets, type ExecTargets } from "./exec/targets.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";
import { processName } from "./sproc.ts";
import { LineLabeler } from "../output/line-labeler.ts";

const FLAG_STDOUT = 1;
const FLAG_STDERR = 2;
const FLAG_CREDIT = 8;
const FLAG_WAITABLE = 16;
/** Of standard input in one message, where nobody says how much is taken. */
const INPUT_PIECE_BYTES = 64 * 1024;
/** Output is acknowledged this many bytes at a time. */
const ACKNOWLEDGED_BYTES = 256 * 1024;
const EXIT_FAILED = 1;
const EXIT_NO_HOST = 68;
/** A further Ctrl-C within this time after the second ends the command itself. */
const IMPATIENCE_MS = 1000;

export const command: Command = defineCommand({
  name: "exec",
  dialect: "getopt",
  summary: "execute processes across brokers",
  usage: "[OPTIONS]...",
  stopAtOperand: true,
  options: [
    { names: ["rank"], short: "r", argument: "IDSET", help: 'Specify target ranks.  Default is "all"' },
    { names: ["exclude"], short: "x", argument: "IDSET", help: "Exclude ranks from target." },
    { names: ["bg"], help: "Run process in background and exit" },
    { names: ["waitable"], help: "Process remains a zombie until exit status is collected" },
    { names: ["attach"], help: "Attach to a running background process (arg is pid or label)" },
    { names: ["label"], argument: "LABEL", help: "Set a remote process label." },
    { names: ["setopt"], argument: "NAME=VALUE", repeatable: true, hidden: true, help: "Set a subprocess option" },
    { names: ["dir"], short: "d", argument: "PATH", help: "Set the working directory to PATH" },
    { names: ["label-io"], short: "l", help: "Label lines of output with the source RANK" },
    { names: ["noinput"], short: "n", help: "Redirect stdin from /dev/null" },
    { names: ["verbose"], short: "v", repeatable: true, help: "Run with more verbosity." },
    { names: ["quiet"], short: "q", help: "Suppress extraneous output." },
    { names: ["with-imp"], help: "Run args under 'flux-imp run'" },
    {
      names: ["jobid"],
      short: "j",
      argument: "JOBID",
      help: "Set target ranks to nodes assigned to JOBID and service name to job shell exec service",
    },
    {
      names: ["stdin-flow"],
      argument: "on|off",
      hidden: true,
      help: "Whether standard input is sent only as it is taken (default on)",
    },
    { names: ["service"], argument: "NAME", hidden: true, help: "Specify service to use. Default rexec." },
  ],
  operands: [{ name: "COMMAND", arity: "..." }],
  run: async (context) => {
    const { options, operands } = context;
    if (options.has("attach")) checkAttach(context);
    else if (operands.length === 0) context.failUsage();
    if (options.has("waitable") && !options.has("bg")) context.fail("--waitable can only be used with --bg");
    if (!["on", "off"].includes(options.text("stdin-flow") ?? "on")) context.fail("Set --stdin-flow to on or off");
    if (options.text("label") === "") context.fail("failed to set label: Invalid argument");
    const handle = await context.open();
    const targets = await execTargets(context, handle);
    if (options.has("attach") && targets.ranks.length > 1 && processName(operands[0]!).label === undefined)
      context.fail("--attach by pid requires a single target rank (use --rank)");
    const imp = options.has("with-imp") ? [await impPath(context, handle), "run"] : [];
    return new Execution(context, handle, targets, [...imp, ...operands]).run();
  },
});

/** A subprocess option, `NAME=VALUE`. */
function nameAndValue(context: CommandContext, word: string): [name: string, value: string] {
  const at = word.indexOf("=");
  return at < 0
    ? context.fail(`error handling '${word}' option: Invalid argument`)
    : [word.slice(0, at), word.slice(at + 1)];
}

function checkAttach(context: CommandContext): void {
  const { options, operands } = context;
  if (options.has("bg") || options.has("waitable")) context.fail("--attach cannot be used with --bg or --waitable");
  if (operands.length === 0) context.fail("--attach requires a pid or label argument");
  if (operands.length > 1) context.fail("--attach takes a single pid or label argument");
}

async function impPath(context: CommandContext, handle: Handle): Promise<string> {
  const { exec } = await handle.rpc<JsonObject>("config.get");
  const path = isJsonObject(exec) ? exec["imp"] : undefined;
  return typeof path === "string"
    ? path
    : context.fail("--with-imp: exec.imp path not found in config: No such file or directory");
}

interface Target {
  readonly rank: number;
  matchtag: number;
  pid: number;
  isRunning: boolean;
  credit: number;
  /** Bytes of output that were written, and of which the server does not know yet. */
  taken: number;
  readonly out: Record<string, LineLabeler>;
}

class Execution {
  readonly #context: CommandContext;
  readonly #handle: Handle;
  readonly #targets: readonly Target[];
  readonly #words: readonly string[];
  /** Complaints about how tasks ended, with the ranks they are of. */
  readonly #ends = new Map<string, number[]>();
  readonly #service: string;
  readonly #startMs: number = performance.now();
  #running: number;
  #exitCode = 0;
  #complete: () => void = () => {};
  #wakeInput: () => void = () => {};
  #interrupts = 0;
  #warnedMs = -Infinity;

  constructor(context: CommandContext, handle: Handle, { ranks, service }: ExecTargets, words: readonly string[]) {
    this.#words = words;
    this.#context = context;
    this.#handle = handle;
    this.#service = service;
    this.#running = ranks.length;
    this.#targets = ranks.map((rank) => {
      const label = context.options.has("label-io") ? `${rank}: ` : null;
      const out: Record<string, LineLabeler> = {};
      if (label !== null) {
        out["stdout"] = new LineLabeler(label, (text) => context.out(text));
        out["stderr"] = new LineLabeler(label, (text) => context.err(text));
      }
      return { rank, matchtag: 0, pid: 0, isRunning: true, credit: 0, taken: 0, out };
    });
  }

  async run(): Promise<number> {
    if (this.#context.options.has("bg")) return this.#runInBackground();
    this.#forwardSignals();
    const finished = new Promise<void>((resolve) => (this.#complete = resolve));
    this.#tell(`Starting ${this.#name} on ${this.#rankText()}`);
    for (const target of this.#targets) this.#start(target);
    this.#tell("Sent all requests");
    if (!this.#isAttaching) void this.#sendInput();
    await finished;
    const isOver = this.#running === 0;
    if (isOver) this.#tell(`${this.#targets.length} tasks complete with code ${this.#exitCode}`);
    else if (!this.#isAttaching) this.#showRunning();
    this.#showEnds();
    return this.#exitCode;
  }

  /** What complaints call it. */
  get #name(): string {
    const [word = ""] = this.#words;
    if (!this.#isAttaching) return word;
    return processName(word).label === undefined ? `pid ${word}` : `label ${word}`;
  }

  #showRunning(): void {
    const running = this.#targets.filter(({ isRunning }) => isRunning).map(({ rank }) => rank);
    for (const _ of running.slice(0, 1)) this.#ends.set("command still running at exit", running);
    this.#exitCode = Math.max(this.#exitCode, EXIT_FAILED);
  }

  get #isAttaching(): boolean {
    return this.#context.options.has("attach");
  }

  #showEnds(): void {
    if (this.#context.options.has("quiet")) return;
    for (const [text, ranks] of this.#ends) {
      const set = Idset.from(ranks).format();
      this.#context.err(`${ranks.length === 1 ? set : `[${set}]`}: ${text}\n`);
    }
  }

  #rankText(): string {
    return Idset.from(this.#targets.map(({ rank }) => rank)).format();
  }

  #tell(text: string): void {
    if (this.#context.options.has("verbose"))
      this.#context.err(`${(performance.now() - this.#startMs).toFixed(6)}ms: ${text}\n`);
  }

  #request(flags: number): JsonObject {
    const { options, host } = this.#context;
    const directory = options.text("dir") ?? host.cwd;
    const label = options.text("label");
    const env: Record<string, string> = {};
    for (const [name, value] of Object.entries(host.env)) if (!name.startsWith("FLUX_PROXY")) env[name] = value;
    return {
      cmd: {
        // The broker's own directory, where none is wanted.
        ...(directory === "none" ? {} : { cwd: directory }),
        cmdline: this.#words,
        env,
        opts: Object.fromEntries(options.list("setopt").map((word) => nameAndValue(this.#context, word))),
        channels: [],
        msgchan: [],
        ...(label === null ? {} : { label }),
      },
      flags,
      local_flags: 0,
    };
  }

  async #runInBackground(): Promise<number> {
    const flags = FLAG_STDOUT | FLAG_STDERR | (this.#context.options.has("waitable") ? FLAG_WAITABLE : 0);
    for (const { rank } of this.#targets) {
      try {
        const answer = await this.#handle.rpc<{ pid: number }>(`${this.#service}.exec`, this.#request(flags), {
          nodeid: rank,
        });
        this.#context.out(`${rank}: ${answer.pid}\n`);
      } catch (error) {
        if (!(error instanceof FluxError)) throw error;
        this.#failed(rank, error);
      }
    }
    return this.#exitCode;
  }

  #start(target: Target): void {
    const flags = FLAG_STDOUT | FLAG_STDERR | FLAG_CREDIT;
    const stream = this.#handle.open(
      `${this.#service}.${this.#isAttaching ? "attach" : "exec"}`,
      this.#isAttaching ? { ...processName(this.#words[0]!), flags } : this.#request(flags),
      {
        item: (payload) => payload !== null && this.#receive(target, payload.value),
        end: (error) => this.#ended(target, error),
      },
      { nodeid: target.rank },
    );
    target.matchtag = stream.matchtag;
  }

  #receive(target: Target, answer: JsonObject): void {
    switch (answer["type"]) {
      case "started":
      case "attached":
        target.pid = Number(answer["pid"]);
        return this.#acknowledge(target);
      case "add-credit":
        target.credit += Number((answer["channels"] as JsonObject)["stdin"] ?? 0);
        return this.#wakeInput();
      case "output":
        return this.#output(target, answer["io"] as JsonObject);
      case "finished":
        return this.#finished(target, Number(answer["status"]));
    }
  }

  #output(target: Target, io: JsonObject): void {
    const { stream, data, encoding } = io;
    if (typeof data !== "string" || typeof stream !== "string") return;
    const bytes = encoding === "base64" ? (base64Decode(data) ?? new Uint8Array(0)) : utf8Encode(data);
    const labeler = target.out[stream];
    if (labeler !== undefined) labeler.feed(bytes);
    else if (stream === "stderr") this.#context.err(bytes);
    else this.#context.out(bytes);
    target.taken += bytes.byteLength;
    if (target.taken >= ACKNOWLEDGED_BYTES) this.#acknowledge(target);
  }

  /** A slow reader of our output holds back the process, not the brokers in between. Brokers of flux-core ignore this. */
  #acknowledge(target: Target): void {
    const request = { matchtag: target.matchtag, bytes: target.taken };
    target.taken = 0;
    void this.#context
      .flush()
      .then(() => this.#handle.send(`${this.#service}.taken`, request, { nodeid: target.rank }));
  }

  #finished(target: Target, status: number): void {
    const exitCode = exitCodeOfStatus(status);
    this.#exitCode = Math.max(this.#exitCode, exitCode);
    for (const labeler of Object.values(target.out)) labeler.finish();
    if (status === 0) return;
    const signum = signalOfStatus(status);
    const text = signum === 0 ? `Exit ${exitCode}` : signalSentence(signum);
    this.#ends.set(text, [...(this.#ends.get(text) ?? []), target.rank]);
  }

  #ended(target: Target, error: FluxError | null): void {
    target.isRunning = false;
    if (error !== null) this.#failed(target.rank, error);
    this.#wakeInput();
    if (--this.#running === 0) this.#complete();
  }

  #failed(rank: number, error: FluxError): void {
    const isLost = error.is("EHOSTUNREACH");
    this.#context.complain(`Error: rank ${rank}: ${this.#name}: ${isLost ? "No route to host" : error.message}`);
    this.#exitCode = Math.max(this.#exitCode, isLost ? EXIT_NO_HOST : this.#failureCode(error));
  }

  /** As a shell would have it; in the background it is only said that something failed. */
  #failureCode(error: FluxError): number {
    if (this.#context.options.has("bg")) return EXIT_FAILED;
    if (error.is("ENOENT") || error.is("ESRCH")) return EXIT_NOT_FOUND;
    return error.is("EACCES") || error.is("ENOEXEC") ? EXIT_NOT_EXECUTABLE : EXIT_FAILED;
  }

  // ---- Input

  async #sendInput(): Promise<void> {
    if (!this.#context.options.has("noinput")) {
      for await (const chunk of this.#context.inputChunks()) {
        for (let offset = 0; offset < chunk.byteLength;) {
          const room = await this.#room();
          if (room === 0) return;
          const piece = chunk.subarray(offset, offset + room);
          this.#write({ ...encodeStreamData(piece) }, piece.byteLength);
          offset += piece.byteLength;
        }
      }
    }
    this.#write({ eof: true }, 0);
  }

  /** How much every running process can take; 0 when none runs any more. */
  async #room(): Promise<number> {
    for (;;) {
      const running = this.#targets.filter((target) => target.isRunning);
      if (running.length === 0) return 0;
      if (this.#context.options.text("stdin-flow") === "off") return INPUT_PIECE_BYTES;
      const room = Math.min(...running.map((target) => target.credit));
      if (room > 0) return room;
      await new Promise<void>((resolve) => (this.#wakeInput = resolve));
    }
  }

  #write(data: object, length: number): void {
    for (const target of this.#targets) {
      if (!target.isRunning) continue;
      target.credit -= length;
      const io = { stream: "stdin", rank: String(target.rank), ...data };
      this.#handle.send(`${this.#service}.write`, { matchtag: target.matchtag, io }, { nodeid: target.rank });
    }
  }

  // ---- Signals

  #forwardSignals(): void {
    for (const name of ["SIGINT", "SIGTERM"])
      this.#context.onSignal(name, () => {
        if (name === "SIGINT" && this.#isAttaching) return this.#detach();
        if (name === "SIGINT" && performance.now() - this.#warnedMs < IMPATIENCE_MS) return this.#complete();
        this.#kill(SIGNALS[name]!);
        if (name === "SIGINT" && this.#interrupts++ > 0) this.#warn();
      });
  }

  /** A user who interrupts a second time may want to leave. */
  #warn(): void {
    this.#warnedMs = performance.now();
    const seconds = (IMPATIENCE_MS / 1000).toFixed(2);
    this.#context.err(`interrupt (Ctrl+C) one more time within ${seconds} sec to exit\n`);
  }

  /** The process goes on without us. */
  #detach(): void {
    const [word] = this.#words;
    this.#context.err(`detached; use 'flux sproc kill ${word}' to signal it\n`);
    this.#complete();
  }

  #kill(signum: number): void {
    const targets = this.#targets.filter(({ pid, isRunning }) => isRunning && pid !== 0);
    if (this.#context.options.has("verbose"))
      this.#context.err(`sending signal ${signum} to ${targets.length} running processes\n`);
    for (const { rank, pid } of targets) {
      // It may have ended in the meantime.
      this.#handle.rpc(`${this.#service}.kill`, { pid, signum }, { nodeid: rank }).catch(() => undefined);
    }
  }
}
