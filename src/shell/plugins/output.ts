/**
 * Task output (RFC 24; `output.*` in flux-shell-options(7)): to the job's `guest.output` in the KVS, or to files.
 *
 * Invariants: the header is the first event of guest.output, and each stream that goes to the KVS has one `eof`. What
 * waits to be committed or written elsewhere is bounded: beyond the limit the tasks are not read from.
 */
import { base64Decode, base64Encode, utf8Encode, concatBytes } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import { templateScope } from "../../formats/mustache.ts";
import { Idset } from "../../formats/idset.ts";
import { encodeStreamData } from "../../formats/stream-data.ts";
import { encodeEvent } from "../../sdk/job-protocol.ts";
import {
  ShellLogLevel,
  type PluginFactory,
  type RunningTask,
  type ShellContext,
  type ShellLogEntry,
  type ShellPlugin,
} from "../plugin.ts";
import type { TaskPlan } from "../plan.ts";
import { LineBuffer } from "./line-buffer.ts";
import { OutputFiles } from "./output-files.ts";

/** Bytes of one line that are kept together. */
const LINE_BYTES_MAX = 64 * 1024;
/** Bytes of a job that wait to be committed or written before its tasks are held back. */
const BACKLOG_BYTES_MAX = 1024 * 1024;
/** How long output gathers while what came before it is being committed, in milliseconds. */
const GATHER_DELAY_MS = 10;
/** How long the header of a silent job, and the ends of its streams, wait for company, in milliseconds. */
const QUIET_DELAY_MS = 20;
/** Bytes of a stream that are kept in the KVS, at most and by default. */
const LIMIT_BYTES = 1024 ** 3;
/** How messages of the shell begin in files, by severity. */
const LEVEL_WORDS: Readonly<Record<number, string>> = {
  0: "FATAL: ",
  3: "ERROR: ",
  4: " WARN: ",
  6: "DEBUG: ",
  7: "TRACE: ",
};

type StreamName = "stdout" | "stderr";

/** Where a stream goes: a file by template, or the KVS. */
interface Target {
  readonly path: string | null;
  readonly isLabeled: boolean;
  readonly isLineBuffered: boolean;
}

export const outputPlugin: PluginFactory = (shell) => new OutputPlugin(shell);

class OutputPlugin implements ShellPlugin {
  readonly #shell: ShellContext;
  readonly #targets: Readonly<Record<StreamName, Target>>;
  readonly #files: OutputFiles;
  readonly #buffers = new Map<string, LineBuffer>();
  readonly #written: Record<StreamName, number> = { stdout: 0, stderr: 0 };
  readonly #limitBytes: number;
  readonly #key: string;
  /** How long output waits for company. */
  readonly #delayMs: number;
  /** The limit counts what all tasks write: the leader keeps the log of the whole job then. */
  readonly #isCollected: boolean;
  /** Ends of streams that the leader of a collected log waits for. */
  #awaitedEnds = 0;
  readonly #complete = Promise.withResolvers<void>();
  /** At other shells: what is on its way to the leader. */
  readonly #sending = new Set<Promise<unknown>>();
  #backlogBytes = 0;
  #isHeld = false;

  constructor(shell: ShellContext) {
    this.#shell = shell;
    const { plan, isLeader } = shell;
    this.#key = `${shell.guestKey}.output`;
    if (isLeader) this.#header(plan.taskCount);
    const stdout = this.#target("stdout", null);
    this.#targets = { stdout, stderr: this.#target("stderr", stdout) };
    this.#files = new OutputFiles(shell);
    this.#limitBytes = outputLimit(shell);
    this.#delayMs = batchDelayMs(shell);
    checkCredits(shell);
    this.#isCollected = plan.options.value("output.limit") !== undefined && plan.brokerRanks.length > 1;
    if (this.#isCollected)
      for (const { path } of Object.values(this.#targets)) if (path === null) this.#awaitedEnds += plan.taskCount;
  }

  #header(count: number): void {
    const context = {
      version: 1,
      encoding: { stdout: "UTF-8", stderr: "UTF-8" },
      count: { stdout: count, stderr: count },
      options: {},
    };
    this.#append("header", context, QUIET_DELAY_MS);
  }

  init(): void | Promise<void> {
    const { plan, isLeader, host } = this.#shell;
    for (const stream of ["stdout", "stderr"] as const) {
      const { path } = this.#targets[stream];
      if (path !== null) this.#openFiles(path);
    }
    if (!isLeader) return;
    this.#redirect();
    // Other nodes write to the same log once the barrier lets them go: the header has to be there.
    if (plan.brokerRanks.length > 1) return host.batch.settle(this.#key);
  }

  output(task: RunningTask, stream: string, chunk: Uint8Array | null): boolean {
    if (stream !== "stdout" && stream !== "stderr") return false;
    const target = this.#targets[stream];
    const data = target.isLineBuffered ? this.#lines(task.plan.rank, stream, chunk) : chunk;
    if (data !== null) this.#emit(task.plan, stream, data);
    if (chunk !== null) return true;
    if (target.path === null) this.#keep(task.plan.rank, stream, null);
    // A terminal has one stream; the log has the ends of both.
    if (task.isTerminal && stream === "stdout") return this.output(task, "stderr", null);
    return true;
  }

  log({ timestamp, level, message, component }: ShellLogEntry): boolean {
    const { isLaunched, plan } = this.#shell;
    const { path } = this.#targets.stderr;
    if (isLaunched && path !== null && templateScope(path) !== "task") {
      const part = component === null ? "" : `${component}: `;
      const text = `flux-shell[${plan.shellRank}]: ${LEVEL_WORDS[level] ?? ""}${part}${message}\n`;
      if (this.#tryWriteFile(path, text)) return true;
    }
    const context = { rank: plan.shellRank, level, message, ...(component === null ? {} : { component }) };
    this.#shell.host.batch.append(this.#key, encodeEvent({ timestamp, name: "log", context }));
    return true;
  }

  /** Returns false where the file takes no more: then the KVS is where a message goes. */
  #tryWriteFile(path: string, text: string): boolean {
    try {
      this.#writeFile(null, path, utf8Encode(text));
      return true;
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      return false;
    }
  }

  receive(method: string, payload: JsonObject): Promise<JsonObject> | null {
    if (method !== "write" || payload["part"] !== undefined) return null;
    return Promise.resolve().then(() => {
      const { stream, rank, data } = payload;
      if (typeof payload["path"] === "string") this.#receivePiece(payload);
      else if ((stream === "stdout" || stream === "stderr") && typeof rank === "number")
        this.#keep(rank, stream, typeof data === "string" ? base64Decode(data) : null);
      return {};
    });
  }

  /** At the leader: a piece of a shared file. Throws FluxError. */
  #receivePiece(payload: JsonObject): void {
    try {
      this.#files.receive(payload);
    } catch (error) {
      // The shell that sent it does not wait for each of its pieces: this one must tell.
      if (error instanceof FluxError) this.#shell.outputLost(error);
      throw error;
    }
  }

  finish(): void | Promise<void> {
    if (this.#isCollected && this.#shell.isLeader) return this.#finishCollected();
    this.#logTruncated();
    if (this.#sending.size === 0 && this.#files.isSettled) return;
    return Promise.allSettled(this.#sending).then(() => this.#files.settle());
  }

  /** The log is complete when the other shells' tasks have ended, too. */
  async #finishCollected(): Promise<void> {
    if (this.#awaitedEnds > 0) await this.#complete.promise;
    this.#logTruncated();
  }

  #logTruncated(): void {
    for (const stream of ["stdout", "stderr"] as const) {
      const total = this.#written[stream];
      if (total > this.#limitBytes) this.#warn(`${stream}: ${total - this.#limitBytes} of ${total} bytes truncated`);
    }
  }

  #warn(message: string): void {
    this.#shell.log(ShellLogLevel.warning, message, "output.kvs");
  }

  stop(): void {
    this.#complete.resolve();
    this.#files.close();
  }

  #target(stream: StreamName, fallback: Target | null): Target {
    const { options } = this.#shell.plan;
    const type = options.text(`output.${stream}.type`);
    const path = options.text(`output.${stream}.path`);
    const usual = stream === "stdout" ? "line" : "none";
    let buffer = options.text(`output.${stream}.buffer.type`) ?? usual;
    if (buffer !== "line" && buffer !== "none") {
      this.#shell.log(ShellLogLevel.error, `invalid buffer type specified: ${buffer}`, "output.config");
      buffer = usual;
    }
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
      if (path !== null) this.#append("redirect", { stream, rank, path: this.#shell.render(path, "any") });
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
    if (path !== null) this.#writeFile(task, path, isLabeled ? labeled(task.rank, data) : data);
    else this.#keep(task.rank, stream, data);
  }

  /** Puts a piece of output (null = its end) in the log, at the shell that keeps it. */
  #keep(rank: number, stream: StreamName, data: Uint8Array | null): void {
    if (this.#isCollected && !this.#shell.isLeader) return this.#send(rank, stream, data);
    if (data !== null) return this.#record(rank, stream, data);
    this.#append("data", { stream, rank: String(rank), eof: true }, QUIET_DELAY_MS);
    if (this.#isCollected && --this.#awaitedEnds === 0) this.#complete.resolve();
  }

  #send(rank: number, stream: StreamName, data: Uint8Array | null): void {
    const { host, plan } = this.#shell;
    const payload = { id: plan.id, stream, rank, ...(data === null ? {} : { data: base64Encode(data) }) };
    const sent = host.handle.rpc(`${host.service}.write`, payload, { nodeid: plan.brokerRanks[0]! });
    this.#sending.add(sent);
    const forget = (): void => void this.#sending.delete(sent);
    sent.then(forget, forget);
    if (data !== null) this.#backlog(data.byteLength, () => sent.then(forget));
  }

  #record(rank: number, stream: StreamName, data: Uint8Array): void {
    const room = this.#limitBytes - this.#written[stream];
    this.#written[stream] += data.byteLength;
    if (data.byteLength > room && room >= 0) {
      const limit = String(this.#shell.plan.options.value("output.limit") ?? "1G");
      this.#warn(`${stream} will be truncated, ${limit} limit exceeded`);
    }
    if (room <= 0) return;
    const kept = data.byteLength > room ? data.subarray(0, room) : data;
    // Few large commits cost all who read along less than many small ones.
    const gathers = this.#shell.host.batch.isUnderWay(this.#key, Infinity);
    const delayMs = gathers ? Math.max(this.#delayMs, GATHER_DELAY_MS) : this.#delayMs;
    this.#append("data", { stream, rank: String(rank), ...encodeStreamData(kept) }, delayMs);
    this.#backlog(kept.byteLength, () => this.#shell.host.batch.settle(this.#key));
  }

  #openFiles(path: string): void {
    const { plan, isLeader } = this.#shell;
    const scope = templateScope(path);
    if (scope === "task") for (const task of plan.tasks) this.#files.open(this.#shell.render(path, task));
    else if (scope === "node" || isLeader) this.#files.open(this.#shell.render(path));
  }

  /** Writes for a task, or for the shell itself. */
  #writeFile(task: TaskPlan | null, path: string, data: Uint8Array): void {
    const rendered = task === null ? this.#shell.render(path) : this.#shell.render(path, task);
    if (templateScope(path) !== "job" || this.#shell.isLeader) return this.#files.write(rendered, data);
    const sent = this.#files.send(rendered, data);
    this.#backlog(data.byteLength, () => sent);
  }

  /** Counts bytes until they are settled; with too many the tasks are held back. */
  #backlog(bytes: number, settled: () => Promise<void>): void {
    this.#backlogBytes += bytes;
    if (this.#backlogBytes < BACKLOG_BYTES_MAX || this.#isHeld) return;
    this.#isHeld = true;
    for (const task of this.#shell.runningTasks)
      for (const stream of ["stdout", "stderr"]) task.pauseOutput(stream, "output");
    const resume = (): void => {
      this.#isHeld = false;
      this.#backlogBytes = 0;
      for (const task of this.#shell.runningTasks)
        for (const stream of ["stdout", "stderr"]) task.resumeOutput(stream, "output");
    };
    settled().then(resume, resume);
  }

  #append(name: string, context: JsonObject, delayMs = 0): void {
    const { host, clock } = this.#shell;
    host.batch.append(this.#key, encodeEvent({ timestamp: clock.now(), name, context }), delayMs);
  }
}

/** Throws FluxError EINVAL. */
function outputLimit({ plan }: ShellContext): number {
  const limit = plan.options.bytes("output.limit", LIMIT_BYTES);
  if (limit === null || limit <= 0 || limit > LIMIT_BYTES)
    throw new FluxError("EINVAL", `Invalid KVS output.limit=${String(plan.options.value("output.limit"))}`);
  return limit;
}

/** Output goes as soon as it is there, unless the job wants it gathered. Throws FluxError EINVAL. */
function batchDelayMs(shell: ShellContext): number {
  const seconds = shell.plan.options.seconds("output.batch-timeout", 0);
  if (seconds === null || seconds === Infinity)
    throw new FluxError("EINVAL", "output.kvs: invalid output.batch-timeout option");
  shell.log(ShellLogLevel.debug, `batch timeout = ${seconds.toFixed(3)}s`, "output.kvs");
  return seconds * 1000;
}

/** Bounds by bytes take the place of credits per message; wishes that contradict themselves are refused. Throws FluxError EINVAL. */
function checkCredits({ plan }: ShellContext): void {
  const low = plan.options.value("output.client.lwm") ?? 100;
  const high = plan.options.value("output.client.hwm") ?? 1000;
  if (typeof low !== "number" || typeof high !== "number" || low < 0 || low >= high)
    throw new FluxError("EINVAL", "output.config: invalid client.lwm and/or client.hwm specified");
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
