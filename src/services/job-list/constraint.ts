/**
 * The constraints of job lists (RFC 43): compiled once into a function. Errors are EPROTO with the text that clients of
 * the reference know.
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonValue } from "../../base/json.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { Idset } from "../../formats/idset.ts";
import { parseJobResult, parseJobStates, STATES_ALL } from "../../formats/job-states.ts";
import type { JobRecord } from "./record.ts";

export type JobMatcher = (record: JobRecord) => boolean;

/** How often jobs may be compared with something for one request. */
export class ComparisonBudget {
  #left: number;

  /** 0 for no limit. */
  constructor(limit: number) {
    this.#left = limit === 0 ? Infinity : limit;
  }

  /** Throws FluxError EINVAL where it is used up. */
  spend(): void {
    this.#left -= 1;
    if (this.#left < 0) throw new FluxError("EINVAL", "Excessive comparisons made, limit search via states or since");
  }
}

/** Hosts and ranks in one constraint, so that a request stays within a bounded time. */
const TARGETS_MAX = 1024;
const RESULTS_ALL = 15;

type TimeKey = "tSubmit" | "tDepend" | "tPriority" | "tSched" | "tRun" | "tCleanup" | "tInactive";
const TIME_KEYS: Readonly<Record<string, TimeKey>> = {
  t_submit: "tSubmit",
  t_depend: "tDepend",
  t_priority: "tPriority",
  t_sched: "tSched",
  t_run: "tRun",
  t_cleanup: "tCleanup",
  t_inactive: "tInactive",
};

function invalid(text: string): FluxError {
  return new FluxError("EPROTO", `invalid payload: constraint object invalid: ${text}`);
}

/** Throws EPROTO where the value is no constraint. */
export function compileConstraint(value: JsonValue | undefined, budget: ComparisonBudget): JobMatcher {
  if (!isJsonObject(value)) throw invalid("constraint must be JSON object");
  const entries = Object.entries(value);
  if (entries.length > 1) throw invalid("constraint must only contain 1 element");
  const [entry] = entries;
  if (entry === undefined) return () => true;
  const [operator, values] = entry;
  if (!isOperator(operator)) throw invalid(`unknown constraint operator: ${operator}`);
  if (!Array.isArray(values)) throw invalid(`operator ${operator} values not an array`);
  return compileOperator(operator, values as readonly JsonValue[], budget);
}

const OPERATORS = ["userid", "name", "queue", "states", "results", "hostlist", "ranks", "and", "or", "not"] as const;
type Comparison = Exclude<(typeof OPERATORS)[number], "and" | "or" | "not">;

function isOperator(name: string): boolean {
  return (OPERATORS as readonly string[]).includes(name) || Object.hasOwn(TIME_KEYS, name);
}

function compileOperator(operator: string, values: readonly JsonValue[], budget: ComparisonBudget): JobMatcher {
  const inner = (): JobMatcher[] => values.map((value) => compileConstraint(value, budget));
  switch (operator) {
    case "and":
      return allOf(inner());
    case "or": {
      const matchers = inner();
      return matchers.length === 0 ? () => true : (record) => matchers.some((matches) => matches(record));
    }
    case "not": {
      const matches = allOf(inner());
      return (record) => !matches(record);
    }
    default: {
      const matches = compileComparison(operator as Comparison, values);
      return (record) => {
        budget.spend();
        return matches(record);
      };
    }
  }
}

function compileComparison(operator: Comparison, values: readonly JsonValue[]): JobMatcher {
  const timeKey = TIME_KEYS[operator];
  if (timeKey !== undefined) return compileTime(operator, timeKey, values);
  switch (operator) {
    case "userid":
      return compileUserid(values);
    case "name":
      return compileText("name", values, (record) => record.name);
    case "queue":
      return compileText("queue", values, (record) => record.queue);
    case "states": {
      const mask = maskOf("states", values, parseJobStates, STATES_ALL);
      return (record) => (record.state & mask) !== 0;
    }
    case "results": {
      const mask = maskOf("results", values, parseJobResult, RESULTS_ALL);
      return (record) => (record.result & mask) !== 0;
    }
    case "hostlist":
      return compileHosts(values);
    case "ranks":
      return compileRanks(values);
  }
}

function allOf(matchers: readonly JobMatcher[]): JobMatcher {
  return (record) => matchers.every((matches) => matches(record));
}

function compileUserid(values: readonly JsonValue[]): JobMatcher {
  if (values.some((value) => typeof value !== "number" || !Number.isInteger(value)))
    throw invalid("userid value must be an integer");
  const ids = new Set(values as number[]);
  // -1 stands for everyone.
  return ids.has(-1) ? () => true : (record) => ids.has(record.userid);
}

function strings(operator: string, values: readonly JsonValue[]): string[] {
  if (values.some((value) => typeof value !== "string")) throw invalid(`${operator} value must be a string`);
  return values as string[];
}

function compileText(
  operator: string,
  values: readonly JsonValue[],
  read: (record: JobRecord) => string | null,
): JobMatcher {
  const wanted = new Set<string | null>(strings(operator, values));
  return (record) => wanted.has(read(record));
}

function maskOf(
  operator: string,
  values: readonly JsonValue[],
  parse: (name: string) => number | null,
  all: number,
): number {
  let mask = 0;
  for (const value of values) {
    if (typeof value === "string") {
      const bits = parse(value);
      if (bits === null) throw invalid(`invalid ${operator} value '${value}' specified`);
      mask |= bits;
    } else if (typeof value === "number" && Number.isInteger(value)) {
      if ((value & ~all) !== 0)
        throw invalid(`invalid ${operator} value '${value.toString(16).toUpperCase()}h' specified`);
      mask |= value;
    } else throw invalid(`${operator} value invalid type`);
  }
  return mask;
}

function compileHosts(values: readonly JsonValue[]): JobMatcher {
  const wanted = new Set<string>();
  let count = 0;
  for (const value of values) {
    if (typeof value !== "string") throw invalid("host value must be a string");
    const hosts = parseHosts(value);
    // Before they are counted out: a short text may stand for millions.
    if ((count += hosts.count) > TARGETS_MAX) throw invalid("too many hosts specified");
    for (const host of hosts) wanted.add(host);
  }
  return ({ nodelist }) => {
    if (nodelist === null) return false;
    for (const host of Hostlist.parse(nodelist)) if (wanted.has(host)) return true;
    return false;
  };
}

function parseHosts(value: string): Hostlist {
  try {
    return Hostlist.parse(value);
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
    throw invalid("host value not in valid Hostlist format");
  }
}

function compileRanks(values: readonly JsonValue[]): JobMatcher {
  const wanted = new Idset();
  for (const value of values) {
    if (typeof value !== "string") throw invalid("ranks value must be a string");
    const ids = Idset.tryParse(value);
    if (ids === null) throw invalid(`ranks value '${value}': error parsing range '${value}'`);
    wanted.addAll(ids);
  }
  if (wanted.count > TARGETS_MAX) throw invalid("too many ranks specified");
  return ({ ranks }) => ranks !== null && Idset.parse(ranks).overlaps(wanted);
}

function compileTime(operator: string, key: TimeKey, values: readonly JsonValue[]): JobMatcher {
  const [value] = values;
  if (value === undefined) throw invalid("timestamp value not specified");
  if (typeof value !== "string") throw invalid(`${operator} value must be a string`);
  const match = /^(>=|<=|>|<)(.*)$/.exec(value);
  if (match === null) throw invalid("timestamp comparison operator not specified");
  const [, comparison, digits = ""] = match;
  const limit = digits.trim() === "" ? Number.NaN : Number(digits);
  if (!Number.isFinite(limit) || limit < 0) throw invalid("Invalid timestamp value specified");
  const compare: Record<string, (time: number) => boolean> = {
    ">": (time) => time > limit,
    ">=": (time) => time >= limit,
    "<": (time) => time < limit,
    "<=": (time) => time <= limit,
  };
  const holds = compare[comparison!]!;
  return (record) => record[key] !== 0 && holds(record[key]);
}
