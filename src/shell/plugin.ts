/**
 * What extends a shell: a plugin is made for one job and called at the points of its life. The shell knows plugins by this
 * interface only; most of what a shell does for a job is in one.
 */
import type { FluxError } from "../base/errors.ts";
import type { Clock, InputFile, Ports } from "../base/ports.ts";
import type { JsonObject } from "../base/json.ts";
import type { Handle } from "../sdk/handle.ts";
import type { KvsBatch } from "../sdk/kvs-batch.ts";
import type { Methods } from "../sdk/service.ts";
import type { JobPlan, TaskPlan } from "./plan.ts";
import type { TemporaryDirectories } from "./tmpdir.ts";

/** What all shells of a host share. */
export interface HostFacts {
  readonly ports: Ports;
  readonly handle: Handle;
  readonly batch: KvsBatch;
  /** Where the shells of a job reach each other, on each of their nodes. */
  readonly service: string;
  readonly directories: TemporaryDirectories;
  readonly rank: number;
  readonly rundir: string;
  /** Address of the broker, for the tasks. */
  readonly uri: string;
  readonly instanceLevel: number;
  /** How job ids are written here. */
  readonly idForm: "f58" | "f58plain";
  /** The instance's own job id and path of job ids; null where it is no job. */
  readonly jobId: string | null;
  readonly jobIdPath: string | null;
}

/** Severities of RFC 5424 that shells log with: beyond notice, only with the option `verbose`. */
export const ShellLogLevel = { fatal: 0, error: 3, warning: 4, notice: 5, debug: 6, trace: 7 } as const;

/** A message of the shell (RFC 24). */
export interface ShellLogEntry {
  readonly timestamp: number;
  readonly level: number;
  readonly message: string;
  /** The part of the shell that speaks. */
  readonly component: string | null;
}

/** What a plugin sees of its shell. */
export interface ShellContext {
  readonly plan: JobPlan;
  readonly host: HostFacts;
  readonly clock: Clock;
  /** `job.<dothex>.guest`. */
  readonly guestKey: string;
  /** Directory of the job on this node. */
  readonly tmpdir: string;
  readonly isLeader: boolean;
  /** The name of the job's own service. */
  readonly serviceName: string;
  /** Tags of mustache templates (flux-submit(1)), for this node; "any": only what is the same for all nodes and tasks. */
  render(template: string, task?: TaskPlan | "any"): string;
  /** Whether messages of a level are kept. */
  logs(level: number): boolean;
  log(level: number, message: string, component?: string): void;
  /** Tasks run, or have run. */
  readonly isLaunched: boolean;
  /** Appends to the job's exec.eventlog. */
  event(name: string, context: JsonObject): void;
  /** Raises an exception on the job; with a wait status that is to be the job's. */
  exception(severity: number, type: string, note: string, waitStatus?: number): void;
  /** The job is being ended: how its tasks end now is no news. */
  readonly isTerminating: boolean;
  kill(signum: number): void;
  /** Output cannot be written where it should be: the job fails, once. */
  outputLost(error: FluxError): void;
  /** The shell's exit code is not 0. */
  fail(): void;
  /** Ends the shell with a fatal exception; with a wait status that is to be the job's. */
  die(note: string, component?: string, waitStatus?: number): void;
  /** The running task of a rank on this node. */
  task(rank: number): RunningTask | undefined;
  readonly runningTasks: Iterable<RunningTask>;
}

/** A task's process, as plugins use it. */
export interface RunningTask {
  readonly plan: TaskPlan;
  readonly pid: number;
  /** Its standard streams are a terminal: all it prints is "stdout". */
  readonly isTerminal: boolean;
  /** Writes to "stdin" or a channel. */
  write(stream: string, chunk: Uint8Array): boolean;
  drained(stream: string): Promise<void>;
  closeInput(stream: string): void;
  /** Output is held back for as long as anyone holds it; holders have names. */
  pauseOutput(stream: string, holder: string): void;
  resumeOutput(stream: string, holder: string): void;
  resizePty(rows: number, columns: number): void;
  kill(signum: number): void;
}

/** What a task is about to be started with; plugins complete it. */
export interface TaskLaunch {
  readonly env: Record<string, string>;
  argv: readonly string[];
  cwd: string;
  stdin: "pipe" | "null" | InputFile;
  cpus: readonly number[] | null;
  rlimits: Record<string, number>;
  oomScoreAdjust: number | null;
  /** The task waits for a debugger before its first instruction. */
  stops: boolean;
  channels: string[];
  /** The task leads a process group of its own. */
  ownGroup: boolean;
  /** The task has a terminal of this size in the place of its standard streams. */
  pty: { rows: number; columns: number } | null;
}

export interface ShellPlugin {
  /** What the leader's `shell.init` event says of it. */
  readonly announcement?: JsonObject;
  /** Before the tasks of any node start. */
  init?(): void | Promise<void>;
  prepare?(task: TaskPlan, launch: TaskLaunch): void;
  /** The task's process is there. */
  spawned?(task: RunningTask): void;
  /** The node's tasks run. */
  started?(): void;
  /** What a task writes; null is the end of a stream. True where the plugin has taken it. */
  output?(task: RunningTask, stream: string, chunk: Uint8Array | null): boolean;
  exited?(task: TaskPlan, status: number): void;
  /** The tasks get a signal. */
  killed?(signum: number): void;
  /** A message of the shell. True where the plugin has kept it. */
  log?(entry: ShellLogEntry): boolean;
  /** All tasks of the node have exited. */
  finish?(): void | Promise<void>;
  expiration?(expiration: number): void;
  /** Methods of the job's own service `<uid>-shell-<id>`. */
  methods?(): Methods;
  /** Requests of the job's other shells, by method of the shell host. */
  receive?(method: string, payload: JsonObject): Promise<JsonObject> | null;
  /** The shell is gone: no timer may be left. */
  stop?(): void;
}

export type PluginFactory = (shell: ShellContext) => ShellPlugin | null;
