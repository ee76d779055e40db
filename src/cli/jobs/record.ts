/**
 * A job as listings show it: what `job-list` tells of it (RFC 43), and what follows from that: status, times, reasons,
 * job ids in all their forms.
 *
 * Pure: the time now and names of users come as arguments.
 */
import {
  EXIT_NOT_EXECUTABLE,
  EXIT_NOT_FOUND,
  exitCodeOfStatus,
  signalOfStatus,
  signalSentence,
} from "../../base/signals.ts";
import { isJsonObject, memberAt, type Integer, type JsonObject, type JsonValue } from "../../base/json.ts";
import { formatFsd } from "../../formats/duration.ts";
import { formatFluid, FLUID_FORMS, type FluidForm } from "../../formats/fluid.ts";
import { jobResultName, jobStateName } from "../../formats/job-states.ts";
import { JobResult, JobState, STATES_PENDING } from "../../sdk/job-protocol.ts";
import { Float, TextList, type FieldValue } from "../output/field-value.ts";
import { strftime } from "../output/strftime.ts";
import { jobIdText } from "./client.ts";

export interface RecordContext {
  /** Seconds since the epoch. */
  readonly now: number;
  userName(userid: number): string;
}

interface FieldSpec {
  readonly heading: string;
  /** Attributes of job-list that the field is made from. */
  readonly attrs: readonly string[];
  value(job: JobRecord): FieldValue;
}

const CANCELED_BEFORE_START = -128;
const SIGNAL_BASE = 128;

/** As wide as an emoji. */
const WIDE_SPACE = "\u3000";
const EMOJI: Readonly<Record<string, string>> = {
  NEW: "🆕",
  DEPEND: "🛑",
  PRIORITY: "🚦",
  SCHED: "📅",
  RUN: "🏃",
  CLEANUP: "🗑",
  INACTIVE: "💀",
  COMPLETED: "😀",
  FAILED: "💩",
  CANCELED: "💥",
  TIMEOUT: "⌛",
};

/** A job of a listing, with everything that can be asked of it. */
export class JobRecord {
  readonly attributes: JsonObject;
  readonly context: RecordContext;
  /** What the instance that the job is tells of itself, by the path of a field after `instance.`; null where nobody asked. */
  instance: ((path: string) => FieldValue) | null = null;

  constructor(attributes: JsonObject, context: RecordContext) {
    this.attributes = attributes;
    this.context = context;
  }

  get id(): Integer {
    return this.attributes["id"] as Integer;
  }
  get state(): number {
    return this.number("state");
  }
  get isInactive(): boolean {
    return this.state === JobState.Inactive;
  }

  /** A number, 0 where it is not set. */
  number(name: string): number {
    const value = this.attributes[name];
    return typeof value === "number" ? value : typeof value === "bigint" ? Number(value) : 0;
  }
  text(name: string): string {
    const value = this.attributes[name];
    return typeof value === "string" ? value : "";
  }
  /** A number as it is, an empty text where it is not set. */
  optional(name: string): FieldValue {
    const value = this.attributes[name];
    return typeof value === "number" || typeof value === "bigint" || typeof value === "boolean" ? value : "";
  }

  get status(): string {
    return this.isInactive ? jobResultName(this.number("result")) : jobStateName(this.state);
  }
  get statusAbbreviated(): string {
    return this.isInactive
      ? jobResultName(this.number("result"), "abbreviated")
      : jobStateName(this.state, "abbreviated");
  }

  /** Seconds that the job ran, or has run so far. */
  get runtime(): number {
    const start = this.number("t_run");
    if (start === 0) return 0;
    const end = this.number("t_cleanup");
    return Math.max(0, (end > 0 ? end : this.context.now) - start);
  }

  get remaining(): number {
    const expiration = this.number("expiration");
    if (this.state !== JobState.Run || expiration === 0) return 0;
    return Math.max(0, expiration - this.context.now);
  }

  /** The exit code, a signal as a negative number; empty while the job is active. */
  get returncode(): FieldValue {
    const status = this.attributes["waitstatus"];
    if (typeof status === "number") {
      const signum = signalOfStatus(status);
      return signum === 0 ? exitCodeOfStatus(status) : -signum;
    }
    if (!this.isInactive) return "";
    return this.number("result") === JobResult.Canceled ? CANCELED_BEFORE_START : 1;
  }

  get dependencies(): readonly string[] {
    const value = this.attributes["dependencies"];
    return Array.isArray(value) ? (value as string[]) : [];
  }

  /** The same as people read them. */
  get shownDependencies(): string[] {
    return this.dependencies.map((each) => dependencyText(each, this.context.now));
  }

  annotation(path: readonly string[]): JsonValue | undefined {
    return memberAt(this.attributes["annotations"], path);
  }

  /** Where the instance that the job is listens; null where it is none. */
  get uri(): string | null {
    const uri = this.annotation(["user", "uri"]);
    return typeof uri === "string" ? uri : null;
  }

  get contextualTime(): number {
    return (this.state & (STATES_PENDING | JobState.New)) !== 0 ? this.number("duration") : this.runtime;
  }

  /** `2/4` of a job that is tried again. */
  get attempt(): string {
    const attempt = this.annotation(["retry"]);
    return isJsonObject(attempt) ? `${String(attempt["attempt"])}/${String(attempt["of"])}` : "";
  }

  get contextualInfo(): string {
    const info = this.#info;
    if (this.attempt === "" || this.isInactive) return info;
    return `${info === "" ? "" : `${info} `}attempt ${this.attempt}`;
  }

  get #info(): string {
    if (this.state === JobState.Priority) return "priority-wait";
    if (this.state === JobState.Depend) return `depends:${this.shownDependencies.join(",")}`;
    if (this.state !== JobState.Sched) return this.text("nodelist");
    if (this.attributes["priority"] === 0) return this.number("urgency") === 0 ? "held" : "priority-hold";
    const estimate = this.annotation(["sched", "t_estimate"]);
    if (typeof estimate !== "number") return "";
    return estimate <= this.context.now ? "eta:now" : `eta:${formatFsd(estimate - this.context.now)}`;
  }

  /** Why the job is no longer active. */
  get inactiveReason(): string {
    if (!this.isInactive) return "";
    const note = this.text("exception_note");
    const result = this.number("result");
    if (result === JobResult.Canceled) return note === "" ? "Canceled" : `Canceled: ${note}`;
    if (result === JobResult.Timeout) return "Timeout";
    const status = this.attributes["waitstatus"];
    const type = this.text("exception_type");
    if (this.attributes["exception_occurred"] === true && this.number("exception_severity") === 0 && type !== "exec")
      return `Exception: type=${type}${note === "" ? "" : ` note=${note}`}`;
    if (typeof status === "number") return exitText(status);
    return type === "" ? "" : `Exception: type=${type}${note === "" ? "" : ` note=${note}`}`;
  }
}

/** A begin time is shown as the time of day, with the date where that is another day, without seconds that are none. */
function dependencyText(description: string, now: number): string {
  const time = /^begin-time=(\d+(?:\.\d+)?)$/.exec(description)?.[1];
  if (time === undefined) return description;
  const isToday = strftime("%F", Number(time)) === strftime("%F", now);
  return `begin@${strftime(isToday ? "%T" : "%b%d-%T", Number(time)).replace(/:00$/, "")}`;
}

function exitText(status: number): string {
  const signum = signalOfStatus(status);
  const code = exitCodeOfStatus(status);
  if (signum !== 0) return `Exit -${signum}`;
  if (code === EXIT_NOT_FOUND) return "command not found";
  if (code === EXIT_NOT_EXECUTABLE) return "Command invoked cannot execute";
  return code > SIGNAL_BASE ? signalSentence(code - SIGNAL_BASE) : `Exit ${code}`;
}

function textField(heading: string, attr: string): FieldSpec {
  return { heading, attrs: [attr], value: (job) => job.text(attr) };
}
function numberField(heading: string, attr: string): FieldSpec {
  return { heading, attrs: [attr], value: (job) => job.optional(attr) };
}
function timeField(attr: string): FieldSpec {
  return { heading: attr.toUpperCase(), attrs: [attr], value: (job) => new Float(job.number(attr)) };
}

const STATUS_ATTRS = ["state", "result"];
const TIME_ATTRS = ["state", "t_run", "t_cleanup", "duration"];
const REASON_ATTRS = [
  "state",
  "result",
  "waitstatus",
  "exception_occurred",
  "exception_severity",
  "exception_type",
  "exception_note",
];

const FIELDS: Readonly<Record<string, FieldSpec>> = {
  id: { heading: "JOBID", attrs: [], value: (job) => jobIdText(job.id) },
  userid: numberField("UID", "userid"),
  username: { heading: "USER", attrs: ["userid"], value: (job) => job.context.userName(job.number("userid")) },
  urgency: numberField("URG", "urgency"),
  priority: numberField("PRI", "priority"),
  dependencies: {
    heading: "DEPENDENCIES",
    attrs: ["dependencies"],
    value: (job) => new TextList(job.shownDependencies),
  },
  status: { heading: "STATUS", attrs: STATUS_ATTRS, value: (job) => job.status },
  status_abbrev: { heading: "ST", attrs: STATUS_ATTRS, value: (job) => job.statusAbbreviated },
  status_emoji: { heading: "STATUS", attrs: STATUS_ATTRS, value: (job) => EMOJI[job.status] ?? "" },
  name: textField("NAME", "name"),
  cwd: textField("CWD", "cwd"),
  queue: textField("QUEUE", "queue"),
  project: textField("PROJECT", "project"),
  bank: textField("BANK", "bank"),
  ntasks: numberField("NTASKS", "ntasks"),
  ncores: numberField("NCORES", "ncores"),
  duration: timeField("duration"),
  nnodes: numberField("NNODES", "nnodes"),
  ranks: textField("RANKS", "ranks"),
  nodelist: textField("NODELIST", "nodelist"),
  state: { heading: "STATE", attrs: ["state"], value: (job) => jobStateName(job.state) },
  state_single: { heading: "S", attrs: ["state"], value: (job) => jobStateName(job.state, "abbreviated") },
  state_emoji: { heading: "STATE", attrs: ["state"], value: (job) => EMOJI[jobStateName(job.state)] ?? "" },
  result: { heading: "RESULT", attrs: STATUS_ATTRS, value: (job) => (job.isInactive ? job.status : "") },
  result_abbrev: { heading: "RS", attrs: STATUS_ATTRS, value: (job) => (job.isInactive ? job.statusAbbreviated : "") },
  result_emoji: {
    heading: "RESULT",
    attrs: STATUS_ATTRS,
    value: (job) => (job.isInactive ? (EMOJI[job.status] ?? "") : WIDE_SPACE),
  },
  success: numberField("SUCCESS", "success"),
  waitstatus: numberField("WSTATUS", "waitstatus"),
  returncode: { heading: "RC", attrs: REASON_ATTRS, value: (job) => job.returncode },
  "exception.occurred": numberField("EXCEPTION-OCCURRED", "exception_occurred"),
  "exception.severity": numberField("EXCEPTION-SEVERITY", "exception_severity"),
  "exception.type": textField("EXCEPTION-TYPE", "exception_type"),
  "exception.note": textField("EXCEPTION-NOTE", "exception_note"),
  t_submit: timeField("t_submit"),
  t_depend: timeField("t_depend"),
  t_priority: timeField("t_priority"),
  t_sched: timeField("t_sched"),
  t_run: timeField("t_run"),
  t_cleanup: timeField("t_cleanup"),
  t_inactive: timeField("t_inactive"),
  expiration: timeField("expiration"),
  runtime: { heading: "RUNTIME", attrs: TIME_ATTRS, value: (job) => new Float(job.runtime) },
  t_remaining: {
    heading: "T_REMAINING",
    attrs: ["state", "expiration"],
    value: (job) => new Float(job.remaining),
  },
  contextual_info: {
    heading: "INFO",
    attrs: ["state", "dependencies", "priority", "urgency", "annotations", "nodelist"],
    value: (job) => job.contextualInfo,
  },
  contextual_time: { heading: "TIME", attrs: TIME_ATTRS, value: (job) => new Float(job.contextualTime) },
  failures: {
    heading: "FAILURES",
    attrs: ["annotations"],
    value: (job) => fieldOfJson(job.annotation(["user", "failures", "total"])),
  },
  uri: { heading: "URI", attrs: ["annotations"], value: (job) => job.uri ?? "" },
  "uri.local": {
    heading: "URI",
    attrs: ["annotations"],
    value: (job) => (job.uri === null ? "" : job.uri.replace(/^ssh:\/\/[^/]*/, "local://")),
  },
  attempt: { heading: "ATTEMPT", attrs: ["annotations"], value: (job) => job.attempt },
  inactive_reason: { heading: "INACTIVE-REASON", attrs: REASON_ATTRS, value: (job) => job.inactiveReason },
};

/** Annotations that schedulers make have headings of their own. */
const ANNOTATION_HEADINGS: Readonly<Record<string, string>> = {
  "sched.t_estimate": "T_ESTIMATE",
  "sched.reason_pending": "REASON",
  "sched.resource_summary": "RESOURCES",
};

const INSTANCE_HEADINGS: Readonly<Record<string, string>> = {
  stats: "STATS",
  "stats.total": "NJOBS",
  utilization: "CORE%",
  gpu_utilization: "GPU%",
  progress: "PROG",
  "resources.all.ncores": "CORES",
  "resources.all.ngpus": "GPUS",
  "resources.all.nnodes": "NODES",
};

/** The description of a field; null where there is none. */
function fieldSpec(name: string): FieldSpec | null {
  if (Object.hasOwn(FIELDS, name)) return FIELDS[name]!;
  const idForm = /^id\.(\w+)$/.exec(name)?.[1];
  if (idForm !== undefined && (FLUID_FORMS as readonly string[]).includes(idForm))
    return {
      heading: "JOBID",
      attrs: [],
      value: (job) => (idForm === "f58" ? jobIdText(job.id) : formatFluid(job.id, idForm as FluidForm)),
    };
  if (name.startsWith("instance.")) return instanceField(name.slice("instance.".length));
  const path = name.split(".");
  if (!["annotations", "sched", "user"].includes(path[0]!)) return null;
  const inside = path[0] === "annotations" ? path.slice(1) : path;
  const key = inside.join(".");
  return {
    heading: key === "" ? "ANNOTATIONS" : (ANNOTATION_HEADINGS[key] ?? key.toUpperCase()),
    attrs: ["annotations"],
    value: (job) => fieldOfJson(job.annotation(inside)),
  };
}

/** The fields of jobs that are instances: what their brokers tell. */
function instanceField(path: string): FieldSpec {
  const resource = /^resources\.(up|down|allocated|free)\.n(?:cores|gpus|nodes)$/
    .exec(path)?.[1]
    ?.replace("allocated", "used");
  const heading = path.replace(/^resources\.(?=.)/, "").toUpperCase();
  return {
    heading: INSTANCE_HEADINGS[path] ?? resource?.toUpperCase() ?? heading,
    attrs: ["state", "annotations"],
    value: (job) => job.instance?.(path) ?? "",
  };
}

function fieldOfJson(value: JsonValue | undefined): FieldValue {
  if (value === undefined || value === null) return "";
  if (typeof value === "number" && !Number.isInteger(value)) return new Float(value);
  return value as FieldValue;
}

/** The heading of a field's column; null where there is no such field. */
export function jobFieldHeading(name: string): string | null {
  return fieldSpec(name)?.heading ?? null;
}

/** The attributes of job-list that fields are made from. */
export function attributesOfFields(fields: readonly string[]): string[] {
  return [...new Set(fields.flatMap((name) => fieldSpec(name)?.attrs ?? []))];
}

/** A field of a job; undefined where there is no such field. */
export function jobField(job: JobRecord, name: string): FieldValue | undefined {
  return fieldSpec(name)?.value(job);
}
