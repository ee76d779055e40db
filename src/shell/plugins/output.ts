/**
 * Task output (RFC 24; `output.*` in flux-shell-options(7)): to the job's `guest.output` in the KVS, or to files.
 *
 * Invariants: the header is the first event of guest.output, and each stream that goes to the KVS has one `eof`. What
 * waits to be committed or written elsewhere is bounded: beyond the limit the tasks are not read from.
 */
import { base64Encode, utf8DecodeStrict, utf8Encode, concatBytes } from "../../base/bytes.ts";
import type { JsonObject } from "../../base/json.ts";
import { templateScope } from "../../formats/mustache.ts";
import { Idset } from "../../formats/idset.ts";
import { encodeEvent } from "../../sdk/job-protocol.ts";
import { ShellLogLevel, type PluginFactory, type RunningTask, type ShellContext, type ShellPlugin } from "../plugin.ts";
import type { TaskPlan } from "../plan.ts";
import { LineBuffer } from "./line-buffer.ts";
import { OutputFiles } from "./output-files.ts";

/** Bytes of one line that are kept together. */
const LINE_BYTES_MAX = 64 * 1024;
/** Bytes of a job that wait to be committed or written before its tasks are held back. */
const BACKLOG_BYTES_MAX = 1024 * 1024;
/** How long the header of a silent job waits for company, in milliseconds. */
const HEADER_DELAY_MS = 20;
const LIMIT_BYTES = 1024 ** 3;

type StreamName = "stdout" | "stderr";

/** Where a stream goes: a file by template, or the KVS. */
interface Target {
  readonly path: string | null;
  readonly isLabeled: boolean;
  readonly isLineBuffered: boolean;
}

export const outputPlugin: PluginFactory = (shell) => new OutputPlugin(shell);

class OutputPlugin implements ShellPlugin {
  readonly name = "output";
  readonly #shell: ShellContext;
  readonly #targets: Readonly<Record<StreamName, Target>>;
  readonly #files: OutputFiles;
  readonly #buffers = new Map<string, LineBuffer>();
  readonly #written: Record<StreamName, number> = { stdout: 0, stderr: 0 };
  readonly #limitBytes: number;
  readonly #key: string;
  #backlogBytes = 0;
  #isHeld = false;

  constructor(shell: ShellContext) {
    this.#shell = shell;
    this.#key = `${shell.guestKey}.output`;
    const stdout = this.#target("stdout", null);
    this.#targets = { stdout, stderr: this.#target("stderr", stdout) };
    this.#files = new OutputFiles(shell);
    this.#limitBytes = shell.plan.options.bytes("output.limit", LIMIT_BYTES);
  }

  init(): void | Promise<void> {
    const { plan, isLeader, host } = this.#shell;
    for (const stream of ["stdout", "stderr"] as const) {
      const { path } = this.#targets[stream];
      if (path !== null && templateScope(path) === "job" && isLeader) this.#files.open(this.#shell.render(path));
    }
    if (!isLeader) return;
    const count = plan.taskCount;
    this.#append(
      "header",
      {
        version: 1,
        encoding: { stdout: "UTF-8", stderr: "UTF-8" },
        count: { stdout: count, stderr: count },
        options: {},
      },
      HEADER_DELAY_MS,
    );
    this.#redirect();
    // Other nodes write to the same log once the barrier lets them go: the header has to be there.
    if (plan.brokerRanks.length > 1) return host.batch.settle(this.#key);
  }

  output(task: RunningTask, stream: string, chunk: Uint8Array | null): boolean {
    if (stream !== "stdout" && stream !== "stderr") return false;
    const target = this.#targets[stream];
    const data = target.isLineBuffered ? this.#lines(task.plan.rank, stream, chunk) : chunk;
    if (data !== null) this.#emit(task.plan, stream, data);
    if (chunk === null && target.path === null)
      this.#append("data", { stream, rank: String(task.plan.rank), eof: true });
    return true;
  }

  receive(method: string, payload: JsonObject): Promise<JsonObject> | null {
    if (method !== "write") return null;
    return Promise.resolve().then(() => {
      this.#files.receive(payload);
      return {};
    });
  }

  async finish(): Promise<void> {
    await this.#files.settle();
  }

  stop(): void {
    this.#files.close();
  }

  #target(stream: StreamName, fallback: Target | null): Target {
    const { options } = this.#shell.plan;
    const type = options.text(`output.${stream}.type`);
    const path = options.text(`output.${stream}.path`);
    const buffer = options.text(`output.${stream}.buffer.type`) ?? (stream === "stdout" ? "line" : "none");
    const isFile = type === "file" || (type === null && path !== null);
    const inherits = type === null && path === null && fallback !== null;
    return {
      path: isFile ? path : inherits ? fallback.path : null,
      isLabeled: options.isOn(`output.${stream}.label`) || (inherits && fallback.isLabeled),
      isLineBuffered: buffer === "line",
    };
  }

  /** Says in the log which streams are not in it. */
  #redirect(): void {
    const rank = Idset.upTo(this.#shell.plan.taskCount).format({ brackets: true });
    for (const stream of ["stdout", "stderr"] as const) {
      const { path } = this.#targets[stream];
      if (path !== null) this.#append("redirect", { stream, rank, path: this.#shell.render(path) });
    }
  }

  #lines(rank: number, stream: StreamName, chunk: Uint8Array | null): Uint8Array | null {
    const key = `${stream}${rank}`;
    let buffer = this.#buffers.get(key);
    if (chunk === null) {
      this.#buffers.delete(key);
      return buffer?.rest() ?? null;
    }
    if (buffer === undefined) this.#buffers.set(key, (buffer = new LineBuffer(LINE_BYTES_MAX)));
    return buffer.push(chunk);
  }

  #emit(task: TaskPlan, stream: StreamName, data: Uint8Array): void {
    const { path, isLabeled } = this.#targets[stream];
    if (path !== null) return this.#writeFile(task, path, isLabeled ? labeled(task.rank, data) : data);
    const room = this.#limitBytes - this.#written[stream];
    this.#written[stream] += data.byteLength;
    if (room <= 0) return;
    if (data.byteLength > room)
      this.#shell.log(
        ShellLogLevel.warning,
        `${stream}: output limit of ${this.#limitBytes} bytes exceeded, truncating`,
      );
    const kept = data.byteLength > room ? data.subarray(0, room) : data;
    const text = utf8DecodeStrict(kept);
    const content = text === null ? { data: base64Encode(kept), encoding: "base64" } : { data: text };
    this.#append("data", { stream, rank: String(task.rank), ...content });
    this.#backlog(kept.byteLength, () => this.#shell.host.batch.settle(this.#key));
  }

  #writeFile(task: TaskPlan, path: string, data: Uint8Array): void {
    const rendered = this.#shell.render(path, task);
    if (templateScope(path) !== "job" || this.#shell.isLeader) return this.#files.write(rendered, data);
    const sent = this.#files.send(rendered, data);
    this.#backlog(data.byteLength, () => sent);
  }

  /** Counts bytes until they are settled; with too many the tasks are held back. */
  #backlog(bytes: number, settled: () => Promise<void>): void {
    this.#backlogBytes += bytes;
    if (this.#backlogBytes < BACKLOG_BYTES_MAX || this.#isHeld) return;
    this.#isHeld = true;
    for (const task of this.#shell.runningTasks) for (const stream of ["stdout", "stderr"]) task.pauseOutput(stream);
    const resume = (): void => {
      this.#isHeld = false;
      this.#backlogBytes = 0;
      for (const task of this.#shell.runningTasks) for (const stream of ["stdout", "stderr"]) task.resumeOutput(stream);
    };
    settled().then(resume, resume);
  }

  #append(name: string, context: JsonObject, delayMs = 0): void {
    const { host, clock } = this.#shell;
    host.batch.append(this.#key, encodeEvent({ timestamp: clock.now(), name, context }), delayMs);
  }
}

/** Puts the task's rank before each line. */
function labeled(rank: number, data: Uint8Array): Uint8Array {
  const label = utf8Encode(`${rank}: `);
  const pieces: Uint8Array[] = [];
  for (let start = 0; start < data.byteLength;) {
    const newline = data.indexOf(10, start);
    const end = newline < 0 ? data.byteLength : newline + 1;
    pieces.push(label, data.subarray(start, end));
    start = end;
  }
  return concatBytes(pieces);
}
