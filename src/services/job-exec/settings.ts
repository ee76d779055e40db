/** The `[exec]` table of the configuration (flux-config-exec(5)). */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../../base/json.ts";
import { SIGNALS, signalName, signalNumber } from "../../base/signals.ts";
import { tryParseFsd } from "../../formats/duration.ts";

export interface ExecSettings {
  /** Seconds between the signals that end a job. */
  readonly killTimeout: number;
  readonly termSignal: number;
  readonly killSignal: number;
  /** How often a job's shells are given up before its nodes are drained. */
  readonly maxKillCount: number;
  /** Seconds from the first signal until nodes are drained; null = by count. */
  readonly maxKillTimeout: number | null;
  /** Seconds; 0 = no limit. */
  readonly barrierTimeout: number;
  /** Seconds that shells may outlive the leader's; null = any. */
  readonly shellExitTimeout: number | null;
  /** A job that starts later than so many percent of its duration after its allocation gets the time back. */
  readonly maxStartDelayPercent: number;
  /** What is kept for readers of the settings: units of systemd are not used. */
  readonly stopTimerSeconds: number | null;
  readonly stopTimerSignal: number;
  readonly isConstraining: boolean;
  /** What would run the jobs of other users; null = nothing. */
  readonly impPath: string | null;
  /** The subprocess service. */
  readonly service: string;
  /** What is kept for readers of the settings: there is one way to run shells. */
  readonly method: string;
  /** A program in the place of the shell hosts; null = these. */
  readonly jobShell: string | null;
}

/** Names of `exec.method`. */
const METHODS: readonly string[] = ["bulk-exec", "bgexec"];
/** Module arguments that are numbers. */
const NUMBERS: ReadonlySet<string> = new Set(["max-kill-count", "sdexec-stop-timer-sec", "max-start-delay-percent"]);

/** Module arguments (`kill-timeout=1s`) come before the configuration. Throws FluxError EINVAL with the key that is wrong. */
export function execSettings(config: JsonObject, args: readonly string[] = []): ExecSettings {
  const table = config["exec"] ?? {};
  if (!isJsonObject(table)) throw unreadable("object", table);
  const exec = { ...table, ...tableOf(args) };
  checkOthers(exec);
  return {
    killTimeout: killSeconds(exec, "kill-timeout") ?? 5,
    termSignal: signal(exec, "term-signal", SIGNALS["SIGTERM"]!),
    killSignal: signal(exec, "kill-signal", SIGNALS["SIGKILL"]!),
    maxKillCount: killCount(exec),
    maxKillTimeout: killSeconds(exec, "max-kill-timeout"),
    barrierTimeout: barrierSeconds(exec),
    shellExitTimeout: shellExitSeconds(exec),
    maxStartDelayPercent: percent(exec, "max-start-delay-percent", 25),
    stopTimerSeconds: stopTimer(exec, "sdexec-stop-timer-sec"),
    stopTimerSignal: stopTimer(exec, "sdexec-stop-timer-signal") ?? SIGNALS["SIGUSR1"]!,
    isConstraining: exec["sdexec-constrain-resources"] === true,
    impPath: text(exec, "imp"),
    service: text(exec, "service") ?? "rexec",
    method: text(exec, "method") ?? METHODS[0]!,
    jobShell: text(exec, "job-shell"),
  };
}

/** What is there for other ways to execute jobs is looked at, too, so that mistakes are found. */
function checkOthers(exec: JsonObject): void {
  for (const key of ["service", "job-shell", "imp", "method", "barrier-timeout", "shell-exit-timeout"])
    expect(exec, key, "string");
  expect(exec, "sdexec-constrain-resources", "true or false");
  const { method, testexec, "sdexec-properties": properties } = exec;
  if (method !== undefined && !METHODS.includes(String(method)))
    throw invalid(`unknown exec.method '${String(method)}'`);
  if (testexec !== undefined && !isJsonObject(testexec)) throw invalid(`Expected object, got ${kindOf(testexec)}`);
  const allowGuests = testexec?.["allow-guests"];
  if (allowGuests !== undefined && typeof allowGuests !== "boolean")
    throw invalid(`Expected true or false, got ${kindOf(allowGuests)}`);
  if (properties === undefined) return;
  if (!isJsonObject(properties)) throw invalid("exec.sdexec-properties is not a table");
  for (const [name, value] of Object.entries(properties))
    if (typeof value !== "string") throw invalid(`exec.sdexec-properties.${name} is not a string`);
}

function expect(exec: JsonObject, key: string, wanted: "string" | "true or false"): void {
  const value = exec[key];
  if (value === undefined || typeof value === (wanted === "string" ? "string" : "boolean")) return;
  throw invalid(`error reading config value exec.${key}: Expected ${wanted}, got ${kindOf(value)}`);
}

function tableOf(args: readonly string[]): JsonObject {
  return Object.fromEntries(
    args.map((arg) => {
      const [, key, value] = /^([^=]+)=(.*)$/.exec(arg) ?? [];
      if (key === undefined || value === undefined) throw new FluxError("EINVAL", `invalid option '${arg}'`);
      return [key, NUMBERS.has(key) ? Number(value) : value];
    }),
  );
}

/** The settings as `flux module stats job-exec` shows them. */
export function settingsReport(settings: ExecSettings): JsonObject {
  const lastKill = settings.maxKillTimeout ?? effectiveMaxKillTimeout(settings);
  return {
    method: settings.method,
    "kill-timeout": settings.killTimeout,
    "term-signal": signalName(settings.termSignal),
    "kill-signal": signalName(settings.killSignal),
    "max-kill-count": settings.maxKillCount,
    "max-kill-timeout": settings.maxKillTimeout ?? -1,
    "effective-max-kill-timeout": lastKill,
    config: {
      default_cwd: "/tmp",
      default_job_shell: settings.jobShell ?? "flux shell-host",
      ...(settings.impPath === null ? {} : { flux_imp_path: settings.impPath }),
      exec_service: settings.service,
      default_barrier_timeout: settings.barrierTimeout,
      shell_exit_timeout: settings.shellExitTimeout ?? 0,
      max_start_delay_percent: settings.maxStartDelayPercent,
      sdexec_stop_timer_sec: settings.stopTimerSeconds ?? Math.ceil(lastKill),
      sdexec_stop_timer_signal: settings.stopTimerSignal,
      sdexec_constrain_resources: settings.isConstraining ? 1 : 0,
    },
  };
}

/** Seconds from the first signal to the last attempt, where attempts are counted. */
function effectiveMaxKillTimeout({ killTimeout, maxKillCount }: ExecSettings): number {
  let total = 5 * killTimeout;
  let wait = killTimeout;
  for (let attempt = 1; attempt < maxKillCount; attempt++) {
    total += wait;
    wait = Math.min(2 * wait, BACKOFF_MAX);
  }
  return total;
}

/** Seconds that a job lost while it waited to be started, where that is much of its time: it gets them back. */
export function startDelay(
  { expiration, starttime }: { expiration: number; starttime: number },
  now: number,
  { maxStartDelayPercent }: ExecSettings,
): number {
  const duration = expiration - starttime;
  if (expiration <= 0 || starttime <= 0 || duration <= 0) return 0;
  const delay = now - starttime;
  return delay > (duration * maxStartDelayPercent) / 100 ? delay : 0;
}

/** Seconds between two attempts to give up a job's shells, at most. */
export const BACKOFF_MAX = 300;

const invalid = (what: string): FluxError => new FluxError("EINVAL", what);

function unreadable(wanted: string, value: JsonValue | undefined): FluxError {
  return invalid(`Error reading [exec] table: Expected ${wanted}, got ${kindOf(value)}`);
}

function kindOf(value: JsonValue | undefined): string {
  if (typeof value === "boolean" || value === null) return String(value);
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "real";
  return Array.isArray(value) ? "array" : typeof value === "bigint" ? "integer" : typeof value;
}

function text(exec: JsonObject, key: string): string | null {
  const value = exec[key];
  if (value === undefined) return null;
  if (typeof value !== "string") throw unreadable("string", value);
  return value;
}

/** Signals that follow each other at once would never end. */
function killSeconds(exec: JsonObject, key: string): number | null {
  const value = text(exec, key);
  if (value === null) return null;
  const parsed = tryParseFsd(value);
  if (parsed === null || parsed <= 0) throw invalid(`invalid ${key}: ${value}`);
  return parsed;
}

function shellExitSeconds(exec: JsonObject): number | null {
  const value = text(exec, "shell-exit-timeout") ?? "30s";
  if (value === "none") return null;
  const parsed = tryParseFsd(value);
  if (parsed === null) throw invalid(`invalid shell-exit-timeout: ${value}`);
  return parsed;
}

function barrierSeconds(exec: JsonObject): number {
  const value = text(exec, "barrier-timeout") ?? "30m";
  const parsed = tryParseFsd(value);
  if (parsed === null) throw invalid(`invalid duration '${value}' specified for exec.barrier-timeout`);
  return parsed;
}

function percent(exec: JsonObject, key: string, fallback: number): number {
  const value = exec[key] ?? fallback;
  if (typeof value !== "number") throw unreadable("real or integer", value);
  if (!(value >= 0 && value <= 100)) throw invalid(`invalid ${key}=${value}: a number from 0 to 100 is wanted`);
  return value;
}

function signal(exec: JsonObject, key: string, fallback: number): number {
  const value = text(exec, key);
  const number = value === null ? fallback : signalNumber(value);
  if (number === null) throw invalid(`invalid ${key}: ${value}`);
  return number;
}

function killCount(exec: JsonObject): number {
  const value = exec["max-kill-count"] ?? 8;
  if (typeof value !== "number" || (!Number.isInteger(value) && !Number.isNaN(value)))
    throw unreadable("integer", value);
  if (!(value >= 1)) throw invalid(`invalid max-kill-count=${value}`);
  return value;
}

function stopTimer(exec: JsonObject, key: string): number | null {
  const value = exec[key];
  if (value === undefined) return null;
  if (typeof value !== "number" || !Number.isInteger(value))
    throw invalid(`error reading config value exec.${key}: Expected integer, got ${kindOf(value)}`);
  if (value <= 0) throw invalid(`invalid ${key}=${value}`);
  return value;
}
