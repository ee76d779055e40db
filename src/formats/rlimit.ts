/**
 * Process resource limits: their names, and the rules of `--rlimit` (flux-submit(1)) that choose which limits of the
 * submitter a job has.
 *
 * In jobspec (shell option `rlimit`) a limit is a number; "unlimited" is -1.
 */
import { FluxError } from "../base/errors.ts";
import type { Integer } from "../base/json.ts";
import { globExpression } from "./glob.ts";

/** The limits of Linux by name, with their numbers. `ofile` is BSD's name of `nofile`. */
export const RLIMITS: Readonly<Record<string, number>> = {
  cpu: 0,
  fsize: 1,
  data: 2,
  stack: 3,
  core: 4,
  rss: 5,
  nproc: 6,
  nofile: 7,
  ofile: 7,
  memlock: 8,
  as: 9,
  sigpending: 11,
  msgqueue: 12,
  nice: 13,
  rtprio: 14,
  rttime: 15,
};

export const RLIM_INFINITY = -1;

const NOT_BY_DEFAULT: ReadonlySet<string> = new Set([
  "memlock",
  "ofile",
  "msgqueue",
  "nice",
  "rtprio",
  "rttime",
  "sigpending",
]);

/**
 * The limits a job has, given the submitter's soft limits and the rules in order; a rule may hold several, with commas.
 * Throws FluxError EINVAL for a name or value that is none.
 */
export function applyRlimitRules(
  rules: readonly string[],
  current: Readonly<Record<string, Integer>>,
): Record<string, Integer> {
  const limits = new Map<string, Integer>();
  const propagate = (name: string) => {
    const value = current[name] ?? (name === "ofile" ? current["nofile"] : undefined);
    if (value !== undefined) limits.set(name, value);
  };
  for (const name of Object.keys(RLIMITS)) if (!NOT_BY_DEFAULT.has(name)) propagate(name);
  for (const rule of rules.flatMap((item) => item.split(","))) {
    const at = rule.indexOf("=");
    if (rule.startsWith("-")) {
      for (const name of matching(rule.slice(1), false)) limits.delete(name);
    } else if (at >= 0) {
      const name = plainName(rule.slice(0, at));
      if (!Object.hasOwn(RLIMITS, name)) throw new FluxError("EINVAL", `Invalid rlimit "${rule.slice(0, at)}"`);
      limits.set(name, limitValue(name, rule.slice(at + 1)));
    } else {
      for (const name of matching(rule)) propagate(name);
    }
  }
  return Object.fromEntries(limits);
}

/**
 * The names that a pattern with `*`, `?` and `[…]` matches, in upper or lower case, with or without `RLIMIT_`. One that
 * matches none is an error where limits are asked for, and nothing where they are removed.
 */
function matching(pattern: string, required = true): string[] {
  const expression = globExpression(plainName(pattern));
  const names = Object.keys(RLIMITS).filter((candidate) => expression.test(candidate));
  if (names.length === 0 && required) throw new FluxError("EINVAL", `No corresponding rlimit matching "${pattern}"`);
  return names;
}

function plainName(name: string): string {
  return name.toLowerCase().replace(/^rlimit_/, "");
}

function limitValue(name: string, text: string): Integer {
  if (["unlimited", "infinity", "inf", "-1"].includes(text.toLowerCase())) return RLIM_INFINITY;
  if (!/^\d+$/.test(text)) throw new FluxError("EINVAL", `Invalid value in ${name}=${text}`);
  const value = BigInt(text);
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}

/** The rows of /proc/PID/limits, by the names of RLIMITS. */
const PROC_ROWS: Readonly<Record<string, string>> = {
  "Max cpu time": "cpu",
  "Max file size": "fsize",
  "Max data size": "data",
  "Max stack size": "stack",
  "Max core file size": "core",
  "Max resident set": "rss",
  "Max processes": "nproc",
  "Max open files": "nofile",
  "Max locked memory": "memlock",
  "Max address space": "as",
  "Max pending signals": "sigpending",
  "Max msgqueue size": "msgqueue",
  "Max nice priority": "nice",
  "Max realtime priority": "rtprio",
  "Max realtime timeout": "rttime",
};

export interface ProcLimit {
  readonly soft: number;
  readonly hard: number;
}

/** The limits of a process by name, from the text of its /proc/PID/limits (proc(5)); Infinity where there is none. */
export function parseProcLimits(text: string): Record<string, ProcLimit> {
  const limits: Record<string, ProcLimit> = {};
  for (const line of text.split("\n")) {
    const [, row = "", soft = "", hard = ""] = /^(.*?)\s{2,}(\S+)\s+(\S+)/.exec(line) ?? [];
    const name = PROC_ROWS[row];
    if (name !== undefined) limits[name] = { soft: procNumber(soft), hard: procNumber(hard) };
  }
  return limits;
}

function procNumber(text: string): number {
  return text === "unlimited" ? Infinity : Number(text);
}
