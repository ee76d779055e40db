/** The `[exec]` table of the configuration (flux-config-exec(5)). */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject } from "../../base/json.ts";
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
}

/** Module arguments (`kill-timeout=1s`) come before the configuration. Throws FluxError EINVAL with the key that is wrong. */
export function execSettings(config: JsonObject, args: readonly string[] = []): ExecSettings {
  const exec = { ...(isJsonObject(config["exec"]) ? config["exec"] : {}), ...tableOf(args) };
  const maxKillTimeout = exec["max-kill-timeout"];
  const stopTimer = exec["sdexec-stop-timer-sec"];
  const shellExit = exec["shell-exit-timeout"];
  return {
    killTimeout: seconds(exec, "kill-timeout", 5),
    termSignal: signal(exec, "term-signal", SIGNALS["SIGTERM"]!),
    killSignal: signal(exec, "kill-signal", SIGNALS["SIGKILL"]!),
    maxKillCount: count(exec, "max-kill-count", 8),
    maxKillTimeout: maxKillTimeout === undefined ? null : fsdSeconds(exec, "max-kill-timeout", 0),
    barrierTimeout: fsdSeconds(exec, "barrier-timeout", 1800),
    shellExitTimeout: shellExit === "none" ? null : seconds(exec, "shell-exit-timeout", 30),
    maxStartDelayPercent: percent(exec, "max-start-delay-percent", 25),
    stopTimerSeconds: stopTimer === undefined ? null : count(exec, "sdexec-stop-timer-sec", 1),
  };
}

function tableOf(args: readonly string[]): JsonObject {
  return Object.fromEntries(
    args.map((arg) => {
      const [, key, value] = /^([^=]+)=(.*)$/.exec(arg) ?? [];
      if (key === undefined || value === undefined) throw new FluxError("EINVAL", `invalid option '${arg}'`);
      return [key, key === "max-kill-count" ? Number(value) : value];
    }),
  );
}

/** The settings as `flux module stats job-exec` shows them. */
export function settingsReport(settings: ExecSettings): JsonObject {
  const lastKill = settings.maxKillTimeout ?? effectiveMaxKillTimeout(settings);
  return {
    method: "shell-host",
    "kill-timeout": settings.killTimeout,
    "term-signal": signalName(settings.termSignal),
    "kill-signal": signalName(settings.killSignal),
    "max-kill-count": settings.maxKillCount,
    "max-kill-timeout": settings.maxKillTimeout ?? -1,
    "effective-max-kill-timeout": lastKill,
    config: {
      exec_service: "shell-host",
      default_barrier_timeout: settings.barrierTimeout,
      shell_exit_timeout: settings.shellExitTimeout ?? -1,
      max_start_delay_percent: settings.maxStartDelayPercent,
      sdexec_stop_timer_sec: settings.stopTimerSeconds ?? Math.ceil(lastKill),
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

/** Seconds between two attempts to give up a job's shells, at most. */
export const BACKOFF_MAX = 300;

function seconds(exec: JsonObject, key: string, fallback: number): number {
  const value = exec[key];
  if (value === undefined) return fallback;
  const parsed = typeof value === "number" ? value : typeof value === "string" ? tryParseFsd(value) : null;
  if (parsed === null || parsed < 0) throw new FluxError("EINVAL", `invalid value for exec.${key}`);
  // Signals that follow each other at once would never end.
  if (parsed === 0 && (key === "kill-timeout" || key === "max-kill-timeout"))
    throw new FluxError("EINVAL", `invalid value for exec.${key}`);
  return parsed;
}

/** A duration that has to be given as such, in quotes. */
function fsdSeconds(exec: JsonObject, key: string, fallback: number): number {
  if (typeof exec[key] === "number")
    throw new FluxError("EINVAL", `exec.${key} must be a duration in quotes, like "30m"`);
  return seconds(exec, key, fallback);
}

function percent(exec: JsonObject, key: string, fallback: number): number {
  const value = exec[key] ?? fallback;
  if (typeof value !== "number" || !(value >= 0 && value <= 100))
    throw new FluxError("EINVAL", `invalid value for exec.${key}: a number from 0 to 100 is wanted`);
  return value;
}

function signal(exec: JsonObject, key: string, fallback: number): number {
  const value = exec[key];
  if (value === undefined) return fallback;
  const number = typeof value === "string" ? signalNumber(value) : null;
  if (number === null) throw new FluxError("EINVAL", `invalid exec.${key}`);
  return number;
}

function count(exec: JsonObject, key: string, fallback: number): number {
  const value = exec[key];
  if (value === undefined) return fallback;
  if (typeof value !== "number" || !Number.isInteger(value) || value < 1)
    throw new FluxError("EINVAL", `invalid exec.${key}`);
  return value;
}
