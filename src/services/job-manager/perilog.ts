/**
 * The plugin `perilog.so`: a prolog before a job's shells start, an epilog after they have ended
 * (flux-config-job-manager(5)), on rank 0 or on each rank of the job.
 *
 * Invariants: a prolog holds the start of the job back, an epilog the release of its resources, until it has ended, or was
 * told to end and given up after `kill-timeout`; nodes on which one failed or did not end take no more jobs.
 *
 * Does not know: what the events that it posts mean for the job's state.
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type Integer, type JsonObject, type JsonValue } from "../../base/json.ts";
import type { Clock, TimerHandle } from "../../base/ports.ts";
import { exitCodeOfStatus, signalOfStatus, SIGNALS } from "../../base/signals.ts";
import { tryParseFsd } from "../../formats/duration.ts";
import { Idset } from "../../formats/idset.ts";
import { configType } from "../../formats/policy-config.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import type { Handle } from "../../sdk/handle.ts";
import { LogLevel } from "../../sdk/module.ts";
import { BulkCommand } from "../../sdk/bulk-command.ts";
import type { Job } from "./job.ts";

type Kind = "prolog" | "epilog";

interface PerilogConfig {
  readonly argv: readonly string[];
  readonly isPerRank: boolean;
  readonly cancelsOnException: boolean;
  /** Seconds; Infinity for none. */
  readonly timeout: number;
  readonly killTimeout: number;
}

export interface PerilogConfigs {
  readonly prolog: PerilogConfig | null;
  readonly epilog: PerilogConfig | null;
  /** Lines of output that are not logged. */
  readonly ignored: readonly RegExp[];
}

export const NO_PERILOG: PerilogConfigs = { prolog: null, epilog: null, ignored: [] };

const DEFAULT_PROLOG_TIMEOUT = 30 * 60;
const DEFAULT_KILL_TIMEOUT = 60;
const KEYS = ["command", "per-rank", "timeout", "kill-timeout", "cancel-on-exception", "exit-on-first-error"];

/** Reads the tables `prolog`, `epilog` and `perilog` of `job-manager`. Throws EINVAL. */
export function perilogConfigsOf(config: JsonObject): PerilogConfigs {
  const table = isJsonObject(config["job-manager"]) ? config["job-manager"] : {};
  const { perilog = {} } = table;
  if (!isJsonObject(perilog))
    throw new FluxError("EINVAL", `perilog: error unpacking config: Expected object, got ${configType(perilog)}`);
  return {
    prolog: perilogConfigOf("prolog", table["prolog"]),
    epilog: perilogConfigOf("epilog", table["epilog"]),
    ignored: ignoredOf(perilog["log-ignore"]),
  };
}

function perilogConfigOf(kind: Kind, table: JsonValue | undefined): PerilogConfig | null {
  if (table === undefined) return null;
  const fail = (reason: string): never => {
    throw new FluxError("EINVAL", `[job-manager.${kind}]: ${reason}`);
  };
  if (!isJsonObject(table)) return fail(`Expected object, got ${configType(table)}`);
  const unknown = Object.keys(table).filter((key) => !KEYS.includes(key));
  if (unknown.length > 0) fail(`${unknown.length} object item(s) left unpacked: ${unknown.join(", ")}`);
  const flag = (key: string, fallback: boolean): boolean => {
    const value = table[key] ?? fallback;
    return typeof value === "boolean" ? value : fail(`Expected true or false, got ${configType(value)}`);
  };
  const { command, timeout, "kill-timeout": killTimeout = DEFAULT_KILL_TIMEOUT } = table;
  if (timeout !== undefined && typeof timeout !== "string") fail(`Expected string, got ${configType(timeout)}`);
  if (typeof killTimeout !== "number") return fail(`Expected real or integer, got ${configType(killTimeout)}`);
  const isPerRank = flag("per-rank", false);
  const cancelsOnException = flag("cancel-on-exception", kind === "prolog");
  if (command === undefined) return fail("no command specified and exec.imp not defined");
  if (!Array.isArray(command)) return fail("command must be an array");
  const argv = command as string[];
  if (argv.length === 0 || argv.some((word) => typeof word !== "string")) fail(`malformed ${kind} command`);
  const fallback = kind === "prolog" ? DEFAULT_PROLOG_TIMEOUT : Infinity;
  const seconds = timeout === undefined ? fallback : tryParseFsd(timeout as string);
  if (seconds === null || seconds < 0) return fail(`invalid ${kind} timeout`);
  if (killTimeout < 0) fail("invalid kill-timeout");
  return { argv, isPerRank, cancelsOnException, timeout: seconds === 0 ? Infinity : seconds, killTimeout };
}

function ignoredOf(value: JsonValue | undefined): RegExp[] {
  if (value === undefined) return [];
  const fail = (reason: string): never => {
    throw new FluxError("EINVAL", `[job-manager.perilog]: error parsing log-ignore: ${reason}`);
  };
  if (!Array.isArray(value)) return fail("not an array");
  return (value as JsonValue[]).map((pattern) => {
    if (typeof pattern !== "string") return fail("all entries must be a string value");
    try {
      return new RegExp(pattern);
    } catch {
      return fail(`Failed to compile regex: ${pattern}`);
    }
  });
}

export interface PerilogSurroundings {
  readonly handle: Handle;
  readonly clock: Clock;
  readonly ownerUserid: number;
  log(level: LogLevel, text: string): void;
  /** An id as people are shown it. */
  idText(id: Integer): string;
  post(job: Job, name: string, context: JsonObject): void;
  raise(job: Job, context: JsonObject): void;
  /** Something was posted: whatever follows from it is done now. */
  settle(): void;
}

interface Run {
  readonly kind: Kind;
  readonly job: Job;
  readonly config: PerilogConfig;
  readonly command: BulkCommand;
  readonly resources: ResourceSet | null;
  readonly startTime: number;
  timer: TimerHandle | null;
  /** Why it was told to end: its own time was over, or the job's was. */
  ending: "timed out" | "canceled" | null;
  /** The ranks that were told to end. */
  late: Idset;
  /** They did not, in time. */
  isAbandoned: boolean;
}

export class Perilog {
  readonly #surroundings: PerilogSurroundings;
  readonly #runs = new Map<Integer, Run>();
  #configs: PerilogConfigs = NO_PERILOG;

  constructor(surroundings: PerilogSurroundings) {
    this.#surroundings = surroundings;
  }

  configure(configs: PerilogConfigs): void {
    this.#configs = configs;
  }

  /** An event was posted for a job. */
  follow(job: Job, name: string): void {
    if (name === "alloc") this.#begin(job, "prolog", this.#configs.prolog);
    else if (name === "finish") this.#begin(job, "epilog", this.#configs.epilog);
    else if (name === "exception" && job.exception !== null) this.#excepted(job);
  }

  /** A job that was read back after a restart had one under way: nobody knows how far it got, so it runs again. */
  resume(job: Job): void {
    for (const kind of ["prolog", "epilog"] as const) {
      const open = kind === "prolog" ? job.prologs : job.epilogs;
      if (open?.has(descriptionOf(kind)) !== true) continue;
      const config = this.#configs[kind];
      if (config === null)
        this.#surroundings.post(job, `${kind}-finish`, { description: descriptionOf(kind), status: 0 });
      else this.#run(job, kind, config);
    }
  }

  report(): JsonObject {
    const procs = [...this.#runs.values()].map(({ kind, job, config, command, startTime, ending }) => [
      this.#surroundings.idText(job.id),
      {
        name: kind,
        state: ending === null ? "running" : "cancelled",
        total: command.total,
        active: command.activeRanks.count,
        active_ranks: command.activeRanks.format(),
        ...(config.timeout === Infinity
          ? {}
          : { remaining_time: Math.max(0, startTime + config.timeout - this.#surroundings.clock.now()) }),
      },
    ]);
    const { prolog, epilog } = this.#configs;
    return {
      conf: { prolog: reportOf(prolog), epilog: reportOf(epilog) },
      procs: Object.fromEntries(procs) as JsonObject,
    };
  }

  stop(): void {
    for (const { timer } of this.#runs.values()) timer?.cancel();
    this.#runs.clear();
  }

  #begin(job: Job, kind: Kind, config: PerilogConfig | null): void {
    if (config === null || this.#runs.has(job.id)) return;
    this.#surroundings.post(job, `${kind}-start`, { description: descriptionOf(kind) });
    this.#run(job, kind, config);
  }

  #run(job: Job, kind: Kind, config: PerilogConfig): void {
    const { handle, clock } = this.#surroundings;
    const id = this.#surroundings.idText(job.id);
    const resources = job.R === null ? null : ResourceSet.parse(job.R);
    const ranks = resources?.ranks ?? new Idset();
    const say = (rank: number, level: LogLevel, text: string): void => {
      const where = `${hostOf(resources, rank)} (rank ${rank})`;
      this.#surroundings.log(level, `${id}: ${kind}: ${where}: ${text}`);
    };
    const command = new BulkCommand({
      handle,
      argv: config.argv,
      env: {
        FLUX_JOB_ID: id,
        FLUX_JOB_USERID: String(job.userid),
        FLUX_JOB_RANKS: ranks.format(),
      },
      ranks: config.isPerRank ? ranks : [0],
      output: (rank, stream, line) => {
        if (this.#configs.ignored.some((pattern) => pattern.test(line))) return;
        say(rank, stream === "stderr" ? LogLevel.err : LogLevel.info, `${stream}: ${line}`);
      },
      failed: (rank, reason) => say(rank, LogLevel.err, reason),
      finished: () => this.#finished(run),
    });
    const run: Run = {
      kind,
      job,
      config,
      command,
      resources,
      startTime: clock.now(),
      timer: null,
      ending: null,
      late: new Idset(),
      isAbandoned: false,
    };
    this.#runs.set(job.id, run);
    if (config.timeout !== Infinity)
      run.timer = clock.after(config.timeout * 1000, () => this.#end(run, "timed out"), { background: true });
    command.start();
  }

  /** Told to end; what has not ended after a while is given up, and its nodes are drained. */
  #end(run: Run, why: "timed out" | "canceled"): void {
    if (run.ending !== null) return;
    run.ending = why;
    run.timer?.cancel();
    run.timer = this.#surroundings.clock.after(run.config.killTimeout * 1000, () => this.#abandon(run), {
      background: true,
    });
    run.late = run.command.activeRanks;
    run.command.kill(SIGNALS["SIGTERM"]!);
  }

  #abandon(run: Run): void {
    const { kind, job, command } = run;
    const why = run.ending === "canceled" ? "canceled then timed out" : "timed out";
    const id = this.#surroundings.idText(job.id);
    this.#surroundings.log(LogLevel.err, `${id}: timed out waiting for SIGTERM to terminate ${kind}`);
    this.#drain(run, command.activeRanks, why);
    run.isAbandoned = true;
    this.#complain(run, "canceled then timed out", command.activeRanks);
    run.command.kill(SIGNALS["SIGKILL"]!);
    run.command.giveUp(SIGNALS["SIGKILL"]!);
  }

  #excepted(job: Job): void {
    const run = this.#runs.get(job.id);
    if (run?.config.cancelsOnException === true) this.#end(run, "canceled");
  }

  #finished(run: Run): void {
    const { kind, job, config, command } = run;
    const { status } = command;
    run.timer?.cancel();
    this.#runs.delete(job.id);
    const { epilog } = this.#configs;
    const wantsEpilog = kind === "prolog" && (status !== 0 || run.ending !== null) && epilog !== null;
    if (wantsEpilog) this.#surroundings.post(job, "epilog-start", { description: descriptionOf("epilog") });
    if (run.ending === null && status !== 0) {
      this.#complain(run, howOf(status), command.failedRanks);
      if (config.isPerRank) this.#drain(run, command.failedRanks, "failed");
    } else if (run.ending === "timed out" && !run.isAbandoned) {
      this.#complain(run, "timed out", run.late);
      if (config.isPerRank) this.#drain(run, command.failedRanks, "timed out");
    }
    this.#surroundings.post(job, `${kind}-finish`, { description: descriptionOf(kind), status });
    if (wantsEpilog) this.#run(job, "epilog", epilog);
    this.#surroundings.settle();
  }

  #complain(run: Run, how: string, ranks: Idset): void {
    const { kind, job, resources } = run;
    const hosts = [...ranks].map((rank) => hostOf(resources, rank)).join(",");
    const note = `${kind} ${how} on ${hosts} (rank ${ranks.format()})`;
    const severity = kind === "prolog" ? 0 : 2;
    this.#surroundings.raise(job, { type: kind, severity, note, userid: this.#surroundings.ownerUserid });
    this.#surroundings.settle();
  }

  #drain(run: Run, ranks: Idset, why: string): void {
    if (ranks.isEmpty) return;
    const reason = `${run.kind} ${why} for job ${this.#surroundings.idText(run.job.id)}`;
    const failed = (error: unknown): void =>
      this.#surroundings.log(LogLevel.err, `draining ${ranks.format()}: ${String(error)}`);
    this.#surroundings.handle
      .rpc("resource.drain", { targets: ranks.format(), reason, mode: "update" }, { nodeid: 0 })
      .catch(failed);
  }
}

function descriptionOf(kind: Kind): string {
  return `job-manager.${kind}`;
}

function howOf(status: number): string {
  const signum = signalOfStatus(status);
  return signum === 0 ? `exited with code=${exitCodeOfStatus(status)}` : `killed by signal ${signum}`;
}

function hostOf(resources: ResourceSet | null, rank: number): string {
  return resources?.node(rank)?.host ?? "unknown";
}

function reportOf(config: PerilogConfig | null): JsonObject {
  if (config === null) return {};
  const { argv, isPerRank, cancelsOnException, timeout, killTimeout } = config;
  return {
    command: [...argv],
    per_rank: isPerRank,
    cancel_on_exception: cancelsOnException,
    timeout: timeout === Infinity ? 0 : timeout,
    "kill-timeout": killTimeout,
  };
}
