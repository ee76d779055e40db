/**
 * Standard input of the tasks: from the job's service (`<uid>-shell-<id>.stdin`, as `flux job attach` writes it), recorded
 * in `guest.input` (RFC 24), or from a file.
 *
 * Invariants: a task gets its input in order and is closed after `eof`; a writer is answered when the tasks have taken
 * what it wrote, so that nothing piles up.
 */
import { base64Decode, utf8Encode } from "../../base/bytes.ts";
import { FluxError, isFluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import { Idset } from "../../formats/idset.ts";
import { SHELL_HOST_SERVICE } from "../../protocol/shell-host.ts";
import { encodeEvent } from "../../sdk/job-protocol.ts";
import { ANY_USER, type Methods } from "../../sdk/service.ts";
import { ShellLogLevel, type PluginFactory, type RunningTask, type ShellContext, type ShellPlugin } from "../plugin.ts";
import type { TaskPlan } from "../plan.ts";

const RECORD_DELAY_MS = 20;
/** Bytes of a file that are written to a task at once. */
const FILE_PIECE_BYTES = 64 * 1024;

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
  readonly name = "input";
  readonly #shell: ShellContext;
  readonly #path: string | null;
  readonly #key: string;
  #hasHeader = false;
  /** Ranks on any node whose input is closed. */
  readonly #closed = new Idset();
  /** What came before the tasks ran. */
  #early: InputData[] | null = [];

  constructor(shell: ShellContext) {
    this.#shell = shell;
    this.#key = `${shell.guestKey}.input`;
    const { options } = shell.plan;
    this.#path = options.text("input.stdin.type") === "file" ? options.text("input.stdin.path") : null;
  }

  started(): void {
    if (this.#path !== null) for (const task of this.#shell.runningTasks) void this.#feedFile(task, this.#path);
    const early = this.#early ?? [];
    this.#early = null;
    for (const input of early) void this.#deliver(input);
  }

  prepare(_task: TaskPlan): void {
    if (this.#path !== null && this.#shell.isLeader && !this.#hasHeader)
      this.#record("redirect", {
        stream: "stdin",
        rank: Idset.upTo(this.#shell.plan.taskCount).format({ brackets: true }),
        path: this.#shell.render(this.#path),
      });
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
    if (this.#path !== null) throw new FluxError("EPIPE", "standard input is a file");
    const { data, encoding, eof } = input;
    this.#record("data", {
      stream: "stdin",
      rank: input.rank,
      ...(data === undefined ? {} : { data }),
      ...(encoding === undefined ? {} : { encoding }),
      ...(eof === true ? { eof } : {}),
    });
    const { plan, host } = this.#shell;
    const others = plan.brokerRanks
      .slice(1)
      .map((nodeid) => host.handle.rpc(`${SHELL_HOST_SERVICE}.stdin`, { id: plan.id, input }, { nodeid }));
    await Promise.all([this.#deliver(input), ...others]);
    return {};
  }

  /** Writes to the tasks of this node that are meant; resolves when they have taken it. */
  async #deliver(input: InputData): Promise<void> {
    if (this.#early !== null) {
      this.#early.push(input);
      return;
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

  async #feedFile(task: RunningTask, template: string): Promise<void> {
    const path = this.#shell.render(template, task.plan);
    try {
      const absolute = path.startsWith("/") ? path : `${this.#shell.plan.cwd}/${path}`;
      const content = this.#shell.host.ports.disk.readFile(absolute);
      for (let start = 0; start < content.byteLength; start += FILE_PIECE_BYTES)
        if (!task.write("stdin", content.subarray(start, start + FILE_PIECE_BYTES))) await task.drained("stdin");
      task.closeInput("stdin");
    } catch (error) {
      if (!isFluxError(error)) throw error;
      const note = `error opening input file '${path}': ${new FluxError(error.errnum).message}`;
      this.#shell.log(ShellLogLevel.fatal, note);
      this.#shell.exception(0, "exec", note);
    }
  }

  #record(name: string, context: JsonObject): void {
    const { host, clock } = this.#shell;
    if (!this.#hasHeader) {
      this.#hasHeader = true;
      const header = { version: 1, encoding: { stdin: "UTF-8" }, count: { stdin: 1 }, options: {} };
      host.batch.append(
        this.#key,
        encodeEvent({ timestamp: clock.now(), name: "header", context: header }),
        RECORD_DELAY_MS,
      );
    }
    host.batch.append(this.#key, encodeEvent({ timestamp: clock.now(), name, context }), RECORD_DELAY_MS);
  }
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

function bytesOf({ data, encoding }: InputData): Uint8Array | null {
  if (data === undefined || data === "") return null;
  return encoding === "base64" ? base64Decode(data) : utf8Encode(data);
}
