/**
 * Standard input of the tasks: from the job's service (`<uid>-shell-<id>.stdin`, as `flux job attach` writes it), recorded
 * in `guest.input` (RFC 24), or from a file.
 *
 * Invariants: the header is the first event of guest.input; a task gets its input in order and is closed after `eof`; a
 * writer is answered when the tasks have taken what it wrote, so that nothing piles up. There may be any amount of input:
 * what is recorded of it is bounded. Only a limit that a job sets itself is a limit for its writers.
 */
import { errnoSentence, FluxError, isFluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import { Idset } from "../../formats/idset.ts";
import { decodeStreamData } from "../../formats/stream-data.ts";
import { encodeEvent } from "../../sdk/job-protocol.ts";
import { ANY_USER, type Methods } from "../../sdk/service.ts";
import type { ShellOptions } from "../options.ts";
import { ShellLogLevel, type PluginFactory, type ShellContext, type ShellPlugin, type TaskLaunch } from "../plugin.ts";
import type { TaskPlan } from "../plan.ts";

/** Seconds that input waits for company before it is recorded. */
const BATCH_TIMEOUT_SECONDS = 0.5;
/** Bytes of input that are recorded, by default and at most. */
const LIMIT_BYTES = 10 * 1024 ** 2;
/** Bytes that may come before the tasks run without their writer having to wait. */
const EARLY_BYTES_MAX = 1024 ** 2;
const LIMIT_BYTES_MAX = 32 * 1024 ** 2;
const COMPONENT = "input.util";
const HEADER: JsonObject = { version: 1, encoding: { stdin: "UTF-8" }, count: { stdin: 1 }, options: {} };

export const inputPlugin: PluginFactory = (shell) => new InputPlugin(shell);

/** An input event, as clients send it. */
interface InputData {
  readonly stream: string;
  readonly rank: string;
  readonly data?: string;
  readonly encoding?: string;
  readonly eof?: boolean;
}

class InputPlugin implements ShellPlugin {
  readonly #shell: ShellContext;
  readonly #path: string | null;
  readonly #key: string;
  readonly #limitBytes: number;
  /** The job has set the limit: more input than that is a failure. */
  readonly #isStrict: boolean;
  readonly #delayMs: number;
  #inputBytes = 0;
  #isRedirected = false;
  /** Ranks of this node whose input is closed. */
  readonly #closed = new Idset();
  /** At the leader: ranks on any node for which the end has come. */
  readonly #ended = new Idset();
  /** What came before the tasks ran. */
  #early: InputData[] | null = [];
  #earlyBytes = 0;
  readonly #begun = Promise.withResolvers<void>();

  /** Throws FluxError EINVAL. */
  constructor(shell: ShellContext) {
    this.#shell = shell;
    this.#key = `${shell.guestKey}.input`;
    this.#path = inputPath(shell.plan.options);
    this.#limitBytes = inputLimit(shell.plan.options);
    this.#isStrict = shell.plan.options.value("input.limit") !== undefined;
    this.#delayMs = batchTimeout(shell.plan.options) * 1000;
    if (shell.isLeader) this.#append("header", HEADER, this.#delayMs);
    const seconds = (this.#delayMs / 1000).toFixed(3);
    if (this.#path === null) shell.log(ShellLogLevel.debug, `input batch timeout = ${seconds}s`, COMPONENT);
  }

  /** Throws FluxError where a file is not there. */
  init(): void {
    if (this.#path === null) return;
    for (const task of this.#shell.plan.tasks) {
      const path = this.#shell.render(this.#path, task);
      if (this.#shell.host.ports.disk.info(this.#absolute(path, this.#shell.plan.cwd)) === null)
        throw new FluxError("ENOENT", `error opening input file '${path}': ${errnoSentence(2)}`);
    }
  }

  #absolute(path: string, cwd: string): string {
    return path.startsWith("/") ? path : `${cwd}/${path}`;
  }

  started(): void {
    const early = this.#early ?? [];
    this.#early = null;
    for (const input of early) void this.#deliver(input);
    this.#begun.resolve();
  }

  stop(): void {
    this.#begun.resolve();
  }

  prepare(task: TaskPlan, launch: TaskLaunch): void {
    if (this.#path === null) return;
    launch.stdin = { path: this.#absolute(this.#shell.render(this.#path, task), launch.cwd) };
    if (!this.#shell.isLeader || this.#isRedirected) return;
    this.#isRedirected = true;
    this.#append("redirect", { stream: "stdin", rank: "all", path: this.#shell.render(this.#path) }, this.#delayMs);
  }

  methods(): Methods {
    return { stdin: { roles: ANY_USER, handler: (request) => this.#write(request.json) } };
  }

  receive(method: string, payload: JsonObject): Promise<JsonObject> | null {
    if (method !== "stdin") return null;
    return this.#deliver(payload["input"] as object as InputData).then(() => ({}));
  }

  /** At the leader: a piece of input from a client. */
  async #write(payload: JsonObject): Promise<object> {
    const input = checkInput(payload);
    if (this.#path !== null) throw new FluxError("EPIPE");
    const { eof } = input;
    const { plan, host } = this.#shell;
    const wanted = input.rank === "all" ? Idset.upTo(plan.taskCount) : Idset.parse(input.rank);
    if (wanted.subtract(this.#ended).isEmpty) throw new FluxError("EPIPE");
    if (!this.#keep(input)) return this.#refuse();
    if (eof === true) for (const rank of wanted) this.#ended.add(rank);
    const others = plan.brokerRanks
      .slice(1)
      .map((nodeid) => host.handle.rpc(`${host.service}.stdin`, { id: plan.id, input }, { nodeid }).catch(isOver));
    await Promise.all([this.#deliver(input), ...others]);
    return {};
  }

  /** Records a piece of input, as long as there is room. Returns false where the job wants no more than it has set. */
  #keep(input: InputData): boolean {
    const { rank, data, encoding, eof } = input;
    const length = bytesOf(input)?.byteLength ?? 0;
    const isFull = this.#inputBytes + length > this.#limitBytes;
    if (isFull && this.#isStrict) return false;
    if (isFull && this.#inputBytes <= this.#limitBytes)
      this.#append("log", { rank: 0, level: ShellLogLevel.warning, message: "input is not recorded from here on" }, 0);
    this.#inputBytes += length;
    if (isFull && eof !== true) return true;
    const record: JsonObject = {
      stream: "stdin",
      rank,
      ...(data === undefined || isFull ? {} : { data }),
      ...(encoding === undefined || isFull ? {} : { encoding }),
      ...(eof === true ? { eof } : {}),
    };
    this.#append("data", record, eof === true ? 0 : this.#delayMs);
    return true;
  }

  /** Writes to the tasks of this node that are meant; resolves when they have taken it. */
  async #deliver(input: InputData): Promise<void> {
    if (this.#early !== null) {
      this.#early.push(input);
      this.#earlyBytes += input.data?.length ?? 0;
      return this.#earlyBytes > EARLY_BYTES_MAX ? this.#begun.promise : undefined;
    }
    const bytes = bytesOf(input);
    const wanted = input.rank === "all" ? null : Idset.parse(input.rank);
    const tasks = [...this.#shell.runningTasks].filter(
      ({ plan: { rank } }) => (wanted === null || wanted.has(rank)) && !this.#closed.has(rank),
    );
    const full = tasks.filter((task) => bytes !== null && !task.write("stdin", bytes));
    if (input.eof === true)
      for (const task of tasks) {
        this.#closed.add(task.plan.rank);
        task.closeInput("stdin");
      }
    await Promise.all(full.map((task) => task.drained("stdin")));
  }

  /** Too much: the job fails. Its writer learns that from the job's logs. */
  #refuse(): object {
    const limit = String(this.#shell.plan.options.value("input.limit"));
    const text = `stdin exceeds ${limit} limit. Try file input with the --input option`;
    this.#shell.die(text, COMPONENT);
    return {};
  }

  #append(name: string, context: JsonObject, delayMs: number): void {
    const { host, clock } = this.#shell;
    host.batch.append(this.#key, encodeEvent({ timestamp: clock.now(), name, context }), delayMs);
  }
}

/** A node whose tasks are over takes no input, and keeps none from the others. */
function isOver(error: unknown): void {
  if (!isFluxError(error, "ENOENT")) throw error;
}

/** Throws FluxError EINVAL. */
function inputPath(options: ShellOptions): string | null {
  const type = options.value("input.stdin.type") ?? "service";
  if (type === "service") return null;
  if (type !== "file") throw new FluxError("EINVAL", `input.stdin.type=${String(type)} invalid`);
  const path = options.text("input.stdin.path");
  if (path === null) throw new FluxError("EINVAL", "path for stdin file input not specified");
  return path;
}

/** Throws FluxError EINVAL. */
function inputLimit(options: ShellOptions): number {
  const limit = options.bytes("input.limit", LIMIT_BYTES);
  if (limit === null || limit <= 0 || limit > LIMIT_BYTES_MAX)
    throw new FluxError("EINVAL", `Invalid KVS input.limit=${String(options.value("input.limit"))}`);
  return limit;
}

/** Seconds. Throws FluxError EINVAL. */
function batchTimeout(options: ShellOptions): number {
  const seconds = options.seconds("input.batch-timeout", BATCH_TIMEOUT_SECONDS);
  if (seconds === null || seconds === Infinity) throw new FluxError("EINVAL", "invalid input.batch-timeout option");
  return seconds;
}

/** Throws FluxError EPROTO. */
function checkInput(payload: JsonObject): InputData {
  const { stream, rank, data, encoding, eof } = payload;
  if (stream !== "stdin" || typeof rank !== "string") throw new FluxError("EPROTO", "not standard input");
  if ((data !== undefined && typeof data !== "string") || (encoding !== undefined && typeof encoding !== "string"))
    throw new FluxError("EPROTO", "data and encoding must be text");
  return {
    stream,
    rank,
    ...(data === undefined ? {} : { data }),
    ...(encoding === undefined ? {} : { encoding }),
    eof: eof === true,
  };
}

function bytesOf(input: InputData): Uint8Array | null {
  return input.data === "" ? null : decodeStreamData({ ...input });
}
