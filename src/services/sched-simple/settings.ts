/**
 * How the scheduler was asked to behave: by the name it is loaded under, the configuration table of that name, and the
 * arguments of `flux module load`, of which the last one counts.
 *
 * | argument, key          | meaning                                                                                 |
 * |------------------------|-----------------------------------------------------------------------------------------|
 * | `queue-depth=N`, `=unlimited` | how many jobs the scheduler is shown at a time                                    |
 * | `mode=limited=N`, `=unlimited` | the same, as it was once called (argument only)                                  |
 * | `policy=easy`, `=fifo` | whether jobs may start before one that waits, where they do not delay it; `sched-simple` |
 * |                        | that is shown a limited number of jobs only keeps their order unless it is told otherwise |
 * | `log-level=LEVEL`      | the least severity that is logged                                                       |
 * | `pool-class=Rv1Pool`   | the only one there is                                                                   |
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../../base/json.ts";
import { LogLevel } from "../../sdk/module.ts";
import type { Policy } from "./core.ts";
import type { AllocMode } from "./protocol.ts";

/** What a scheduler in strict order is shown where nothing else is said: it starts the first jobs only. */
const FIFO_DEPTH = 8;

export interface Settings {
  readonly mode: AllocMode;
  readonly policy: Policy;
  readonly logLevel: LogLevel;
}

/** The names that stand for a policy. */
const POLICIES: Readonly<Record<string, Policy>> = { "sched-backfill": "easy", "sched-fifo": "fifo" };

/** Throws FluxError EINVAL with what is wrong. */
export function readSettings(name: string, config: JsonObject, args: readonly string[]): Settings {
  const table = config[name];
  const configured = isJsonObject(table) ? Object.entries(table) : [];
  const settings: Draft = { mode: null, policy: POLICIES[name] ?? null, logLevel: LogLevel.info };
  for (const [key, value] of configured) apply(settings, key, text(key, value), `[${name}] ${key}`);
  for (const arg of args) {
    const [key = "", ...rest] = arg.split("=");
    const value = rest.join("=");
    if (key === "mode") settings.mode = parseMode(value, arg);
    else apply(settings, key, value, arg);
  }
  const { mode, logLevel } = settings;
  // A scheduler that sees only the first jobs of the queue cannot tell when the others start.
  const policy = settings.policy ?? (mode?.mode === "limited" ? "fifo" : "easy");
  const standard: AllocMode = policy === "fifo" ? { mode: "limited", limit: FIFO_DEPTH } : { mode: "unlimited" };
  return { mode: mode ?? standard, policy, logLevel };
}

/** A depth as it is logged and given. */
export function depthText(mode: AllocMode): string {
  return mode.mode === "limited" ? String(mode.limit) : "unlimited";
}

export function logLevelName(level: LogLevel): string {
  return Object.entries(LogLevel).find(([, value]) => value === level)![0];
}

interface Draft {
  mode: AllocMode | null;
  policy: Policy | null;
  logLevel: LogLevel;
}

function apply(settings: Draft, key: string, value: string, given: string): void {
  switch (key) {
    case "queue-depth":
      if (value !== "unlimited" && !isDepth(value))
        throw invalid(`queue-depth='${value}' is invalid: expected a positive integer or 'unlimited'`);
      settings.mode = value === "unlimited" ? { mode: "unlimited" } : { mode: "limited", limit: Number(value) };
      return;
    case "policy":
      if (value !== "easy" && value !== "fifo")
        throw invalid(`policy='${value}' is invalid: expected one of easy, fifo`);
      settings.policy = value;
      return;
    case "log-level": {
      if (!Object.hasOwn(LogLevel, value))
        throw invalid(`log-level='${value}' is invalid: expected one of ${Object.keys(LogLevel).join(", ")}`);
      settings.logLevel = LogLevel[value as keyof typeof LogLevel];
      return;
    }
    case "pool-class":
      if (value !== "Rv1Pool") throw invalid(`pool-class='${value}': could not load pool class`);
      return;
    default:
      throw invalid(`unknown argument '${given}': built-in options are queue-depth, log-level, pool-class, policy`);
  }
}

function parseMode(value: string, given: string): AllocMode {
  if (value === "unlimited") return { mode: "unlimited" };
  const limit = /^limited=(.*)$/.exec(value)?.[1];
  if (limit === undefined)
    throw invalid(`unknown argument '${given}': built-in options are queue-depth, log-level, pool-class, policy`);
  if (!isDepth(limit)) throw invalid(`mode=limited= requires a positive integer, got '${limit}'`);
  return { mode: "limited", limit: Number(limit) };
}

function isDepth(text: string): boolean {
  return /^[1-9]\d{0,8}$/.test(text);
}

function text(key: string, value: JsonValue | undefined): string {
  if (typeof value === "string" || typeof value === "number") return String(value);
  throw invalid(`${key} must be a string or a number`);
}

function invalid(reason: string): FluxError {
  return new FluxError("EINVAL", reason);
}
