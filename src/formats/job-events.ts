/**
 * Job states and events (RFC 21): the events as a union by name, the states with their bits and letters.
 *
 * `parseJobEvent` checks the context of every event that RFC 21 requires something of; what else a context has is kept.
 * Names that RFC 21 does not know are allowed in a log: they come out as `OtherJobEvent` and mean nothing to job state.
 *
 * Does not know: which event may follow which. That is the job manager's fold.
 */
import { FluxError } from "../base/errors.ts";
import type { JsonObject, JsonValue } from "../base/json.ts";
import type { EventlogEntry } from "./eventlog.ts";

interface Event<Name extends string, Context = undefined> {
  readonly timestamp: number;
  readonly name: Name;
  readonly context: Context;
}
type Description = JsonObject & { readonly description: string };
type Completion = JsonObject & { readonly description: string; readonly status: number };
/** Most events need no context; some have one all the same. */
type Optional = JsonObject | undefined;

export type JobEvent =
  | Event<
      "submit",
      JsonObject & {
        readonly userid: number;
        readonly urgency: number;
        readonly flags: number;
        readonly version?: number;
      }
    >
  | Event<"validate" | "invalidate" | "depend" | "flux-restart" | "free" | "start" | "clean", Optional>
  | Event<"jobspec-update", JsonObject>
  | Event<"resource-update", JsonObject & { readonly expiration: number }>
  | Event<"set-flags", JsonObject & { readonly flags: readonly string[] }>
  | Event<"dependency-add" | "dependency-remove", Description>
  | Event<"priority", JsonObject & { readonly priority: number }>
  | Event<"urgency", JsonObject & { readonly urgency: number; readonly userid: number }>
  | Event<"alloc", (JsonObject & { readonly annotations?: JsonObject }) | undefined>
  | Event<"prolog-start" | "epilog-start", Description>
  | Event<"prolog-finish" | "epilog-finish", Completion>
  | Event<"release", JsonObject & { readonly ranks: string; readonly final: boolean }>
  | Event<"finish", JsonObject & { readonly status: number }>
  | Event<"exception", ExceptionContext>
  | Event<"memo", JsonObject>;

export type JobEventName = JobEvent["name"];

export interface ExceptionContext extends JsonObject {
  readonly type: string;
  /** 0, which ends the job, to 7. */
  readonly severity: number;
  readonly note: string;
  readonly userid?: number;
  /** The wait(2) status of the task that raised it. */
  readonly wait_status?: number;
}

/** An event without a meaning for job state, such as `debug.…`. */
export interface OtherJobEvent {
  readonly timestamp: number;
  readonly name: string;
  readonly context: Optional;
  readonly isOther: true;
}

type Kind = "integer" | "number" | "string" | "boolean" | "strings" | "object";
interface Key {
  readonly kind: Kind;
  readonly max?: number;
  readonly isOptional?: boolean;
}

export const URGENCY_MAX = 31;
export const URGENCY_DEFAULT = 16;
/** The largest priority; a job of urgency 31 has it. */
export const PRIORITY_MAX = 4294967295;
export const SEVERITY_MAX = 7;

const DESCRIPTION: Readonly<Record<string, Key>> = { description: { kind: "string" } };
const COMPLETION: Readonly<Record<string, Key>> = { ...DESCRIPTION, status: { kind: "integer" } };
const NOTHING: Readonly<Record<string, Key>> = {};

/** What RFC 21 requires of the context of each event. */
const CONTEXTS: Readonly<Record<JobEventName, Readonly<Record<string, Key>>>> = {
  submit: {
    userid: { kind: "integer" },
    urgency: { kind: "integer", max: URGENCY_MAX },
    flags: { kind: "integer" },
    version: { kind: "integer", isOptional: true },
  },
  validate: NOTHING,
  invalidate: NOTHING,
  depend: NOTHING,
  "flux-restart": NOTHING,
  free: NOTHING,
  start: NOTHING,
  clean: NOTHING,
  "jobspec-update": NOTHING,
  "resource-update": { expiration: { kind: "number" } },
  "set-flags": { flags: { kind: "strings" } },
  "dependency-add": DESCRIPTION,
  "dependency-remove": DESCRIPTION,
  priority: { priority: { kind: "integer", max: PRIORITY_MAX } },
  urgency: { urgency: { kind: "integer", max: URGENCY_MAX }, userid: { kind: "integer" } },
  alloc: { annotations: { kind: "object", isOptional: true } },
  "prolog-start": DESCRIPTION,
  "prolog-finish": COMPLETION,
  "epilog-start": DESCRIPTION,
  "epilog-finish": COMPLETION,
  release: { ranks: { kind: "string" }, final: { kind: "boolean" } },
  finish: { status: { kind: "integer" } },
  exception: {
    type: { kind: "string" },
    severity: { kind: "integer", max: SEVERITY_MAX },
    note: { kind: "string", isOptional: true },
    userid: { kind: "integer", isOptional: true },
    wait_status: { kind: "integer", isOptional: true },
  },
  memo: NOTHING,
};

export function isJobEventName(name: string): name is JobEventName {
  return Object.hasOwn(CONTEXTS, name);
}

/**
 * Gives an entry its meaning. Throws FluxError EINVAL where RFC 21 requires something of the context that is not there.
 * An exception without a note has the empty one.
 */
export function parseJobEvent(entry: EventlogEntry): JobEvent | OtherJobEvent {
  const { timestamp, name, context } = entry;
  if (!isJobEventName(name)) return { timestamp, name, context, isOther: true };
  for (const [key, rule] of Object.entries(CONTEXTS[name])) checkKey(name, key, rule, context?.[key]);
  if ((name === "memo" || name === "jobspec-update") && Object.keys(context ?? {}).length === 0) {
    throw invalid(name, "the context is empty");
  }
  const full = name === "exception" && context?.["note"] === undefined ? { ...context, note: "" } : context;
  return { timestamp, name, context: full } as JobEvent;
}

function checkKey(name: string, key: string, rule: Key, value: JsonValue | undefined): void {
  if (value === undefined) {
    if (rule.isOptional === true) return;
    throw invalid(name, `${key} is missing`);
  }
  if (!hasKind(value, rule.kind)) throw invalid(name, `${key} must be of type ${rule.kind}`);
  if (rule.max !== undefined && ((value as number) < 0 || (value as number) > rule.max)) {
    throw invalid(name, `${key} must be in the range 0-${rule.max}`);
  }
}

function hasKind(value: JsonValue, kind: Kind): boolean {
  switch (kind) {
    case "integer":
      return typeof value === "number" && Number.isInteger(value);
    case "strings":
      return Array.isArray(value) && value.every((item) => typeof item === "string");
    case "object":
      return typeof value === "object" && value !== null && !Array.isArray(value);
    default:
      return typeof value === kind;
  }
}

function invalid(name: string, reason: string): FluxError {
  return new FluxError("EINVAL", `event ${name}: ${reason}`);
}

/** Job states with their bits, as messages carry them in masks. */
export const JobState = {
  NEW: 1,
  DEPEND: 2,
  PRIORITY: 4,
  SCHED: 8,
  RUN: 16,
  CLEANUP: 32,
  INACTIVE: 64,
} as const;
export type JobStateName = keyof typeof JobState;
export type JobStateBit = (typeof JobState)[JobStateName];

/** Unions of states that have a name. */
export const JobStateMask = { PENDING: 14, RUNNING: 48, ACTIVE: 62 } as const;

/** How a job ended, with the bits that messages carry. */
export const JobResult = { COMPLETED: 1, FAILED: 2, CANCELED: 4, TIMEOUT: 8 } as const;
export type JobResultName = keyof typeof JobResult;

const STATE_LETTERS: Readonly<Record<JobStateName, string>> = {
  NEW: "N",
  DEPEND: "D",
  PRIORITY: "P",
  SCHED: "S",
  RUN: "R",
  CLEANUP: "C",
  INACTIVE: "I",
};
const RESULT_LETTERS: Readonly<Record<JobResultName, string>> = {
  COMPLETED: "CD",
  FAILED: "F",
  CANCELED: "CA",
  TIMEOUT: "TO",
};

/** `RUN` or, with "abbreviated", `R`. */
export function jobStateName(state: number, form: "full" | "abbreviated" = "full"): string {
  const name = (Object.keys(JobState) as JobStateName[]).find((name) => JobState[name] === state);
  if (name === undefined) return form === "full" ? "(unknown)" : "?";
  return form === "full" ? name : STATE_LETTERS[name];
}

/** `COMPLETED` or, with "abbreviated", `CD`. */
export function jobResultName(result: number, form: "full" | "abbreviated" = "full"): string {
  const name = (Object.keys(JobResult) as JobResultName[]).find((name) => JobResult[name] === result);
  if (name === undefined) return form === "full" ? "(unknown)" : "?";
  return form === "full" ? name : RESULT_LETTERS[name];
}

/** The mask of a state, a virtual state (`pending`, `running`, `active`) or a letter, in upper or lower case; null if none. */
export function parseJobStates(name: string): number | null {
  const upper = name.toUpperCase();
  if (Object.hasOwn(JobState, upper)) return JobState[upper as JobStateName];
  if (Object.hasOwn(JobStateMask, upper)) return JobStateMask[upper as keyof typeof JobStateMask];
  const letter = (Object.keys(JobState) as JobStateName[]).find((state) => STATE_LETTERS[state] === upper);
  return letter === undefined ? null : JobState[letter];
}

/** The bit of a result by its name or abbreviation, in upper or lower case; null if none. */
export function parseJobResult(name: string): number | null {
  const upper = name.toUpperCase();
  const names = Object.keys(JobResult) as JobResultName[];
  const found = names.find((result) => result === upper || RESULT_LETTERS[result] === upper);
  return found === undefined ? null : JobResult[found];
}
