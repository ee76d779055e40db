/**
 * Why a job waits, or how it ended, in plain words: what `flux job explain` prints. Pure: facts in, lines out.
 */
import {
  EXIT_NOT_EXECUTABLE,
  EXIT_NOT_FOUND,
  exitCodeOfStatus,
  signalOfStatus,
  signalSentence,
} from "../../base/signals.ts";
import { isJsonObject, stringifyJson, type JsonObject, type JsonValue } from "../../base/json.ts";
import { formatFsd } from "../../formats/duration.ts";
import type { JobspecCounts } from "../../formats/jobspec-counts.ts";
import { JobResult, JobState } from "../../sdk/job-protocol.ts";
import { TaskEnds, TASKS_FAILED } from "../../sdk/task-ends.ts";
import type { QueueStatus } from "../queues/listing.ts";
import { strftime } from "../output/strftime.ts";
import { jobIdText } from "./client.ts";
import type { JobRecord } from "./record.ts";

/** An event of a log, as far as it is needed here. */
export interface LoggedEvent {
  readonly name: string;
  readonly timestamp: number;
  readonly context?: JsonObject | undefined;
}

export interface JobFacts {
  readonly job: JobRecord;
  readonly eventlog: readonly LoggedEvent[];
  /** `guest.exec.eventlog`; empty where the job never started. */
  readonly execLog: readonly LoggedEvent[];
  /** The last lines that its tasks wrote to standard error, as far as it can be read here. */
  readonly stderrTail: readonly string[];
  /** The file that has their standard error; null where it is kept with the job. */
  readonly stderrPath: string | null;
  /** The jobs that its dependencies name, by id as text; null where there is none. */
  readonly antecedents: ReadonlyMap<string, JobRecord | null>;
  /** Waiting jobs that come before it. */
  readonly aheadCount: number;
  /** Of the job's queue; null where it cannot be asked for. */
  readonly queue: QueueStatus | null;
  readonly request: JobspecCounts | null;
  /** What nodes must have (RFC 31); null for nothing. */
  readonly constraint: JsonValue | null;
  /** Where the scheduler is; null where there is none. */
  readonly resources: ResourceCounts | null;
}

export interface ResourceCounts {
  readonly all: Counts;
  readonly up: Counts;
  readonly free: Counts;
}
export interface Counts {
  readonly nnodes: number;
  readonly ncores: number;
}

const SIGNAL_BASE = 128;
const SIGKILL = 9;
/** Tasks that are named one by one. */
const TASKS_NAMED_MAX = 8;

/** The first line says what is with the job; the others why, and what can be done. */
export function explainJob(given: JobFacts): string[] {
  const { job } = given;
  const facts = { ...given, execLog: lastAttempt(given.execLog) };
  const name = job.text("name");
  const title = `${jobIdText(job.id)}${name === "" ? "" : ` (${name})`}`;
  const [head, ...rest] = bodyOf(facts);
  return [`${title} ${head}`, ...rest.map((line) => `  ${line}`)];
}

/** What a job's last attempt had to tell; `init` begins one. */
function lastAttempt(execLog: JobFacts["execLog"]): JobFacts["execLog"] {
  const begin = execLog.findLastIndex(({ name }) => name === "init");
  return begin < 0 ? execLog : execLog.slice(begin);
}

function bodyOf(facts: JobFacts): string[] {
  switch (facts.job.state) {
    case JobState.New:
      return ["is being taken in."];
    case JobState.Depend:
      return ["waits for its dependencies:", ...facts.job.dependencies.flatMap((each) => dependencyLines(facts, each))];
    case JobState.Priority:
      return ["waits for its priority to be assigned."];
    case JobState.Sched:
      return waitingForResources(facts);
    case JobState.Run:
      return running(facts);
    case JobState.Cleanup:
      return ["is ending.", ...exceptionLines(facts)];
    default: {
      const [head, ...rest] = ended(facts);
      return [head!, ...attemptLine(facts), ...rest];
    }
  }
}

function attemptLine({ eventlog }: JobFacts): string[] {
  const retries = eventlog.filter(({ name }) => name === "retry").length;
  return retries === 0 ? [] : [`This was its attempt number ${retries + 1}; what follows is about it.`];
}

function ago(seconds: number): string {
  return `${formatFsd(Math.max(0, seconds))} ago`;
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}

// ---- Waiting

/** One that has several alternatives is told with what is known of each. */
function dependencyLines(facts: JobFacts, description: string): string[] {
  const alternatives = alternativesIn(description);
  if (alternatives.length < 2) return [dependencyLine(facts, alternatives[0] ?? description)];
  return ["any of:", ...alternatives.map((each) => `  ${dependencyLine(facts, each)}`)];
}

/** What a dependency's description names: one, or of `any=…|…` all. */
export function alternativesIn(description: string): string[] {
  return description.replace(/^any=/, "").split("|");
}

function dependencyLine({ job, antecedents }: JobFacts, description: string): string {
  const [, scheme = "", value = ""] = /^([^=]+)=(.*)$/s.exec(description) ?? [];
  if (scheme === "begin-time") {
    const time = Number(value);
    return `${description}: it may begin at ${strftime("%F %T", time)}, in ${formatFsd(Math.max(0, time - job.context.now))}`;
  }
  if (value.startsWith("@")) return `${description}: no job named '${value.slice(1)}' was submitted yet`;
  const other = antecedents.get(value);
  if (other === undefined) return description;
  return `${description}: ${other === null ? "there is no such job" : `${jobIdText(other.id)} ${stateWords(other)}`}`;
}

function stateWords(job: JobRecord): string {
  const since = job.context.now - job.number("t_run");
  switch (job.state) {
    case JobState.Run:
      return `has been running for ${formatFsd(Math.max(0, since))}`;
    case JobState.Inactive:
      return `has ended: ${job.status.toLowerCase()}`;
    case JobState.Cleanup:
      return "is ending";
    default:
      return `is waiting itself (${job.status})`;
  }
}

function waitingForResources(facts: JobFacts): string[] {
  const { job, queue, resources, request, aheadCount } = facts;
  const submitted = `It was submitted ${ago(job.context.now - job.number("t_submit"))}.`;
  if (job.number("urgency") === 0)
    return [
      "is held: its urgency is 0.",
      submitted,
      ...holdLine(facts),
      `To let it go: flux job urgency ${jobIdText(job.id)} default`,
    ];
  const lines = [submitted];
  if (queue?.start === false) {
    const name = job.text("queue");
    const reason = queue.stop_reason === undefined ? "" : ` (${queue.stop_reason})`;
    const command = name === "" ? "flux queue start" : `flux queue start ${name}`;
    lines.push(`${name === "" ? "The queue" : `Its queue ${name}`} is stopped${reason}: ${command}`);
  }
  lines.push(...constraintLines(facts));
  if (resources === null) lines.push("No scheduler is there to give it resources.");
  else lines.push(...shortage(request, resources));
  if (aheadCount > 0) lines.push(`Before it: ${count(aheadCount, "waiting job")} of higher priority, or older.`);
  const estimate = job.annotation(["sched", "t_estimate"]);
  if (typeof estimate === "number") {
    const inSeconds = estimate - job.context.now;
    lines.push(`The scheduler expects it to start ${inSeconds <= 0 ? "now" : `in ${formatFsd(inSeconds)}`}.`);
  }
  return ["waits for resources.", ...lines];
}

/** Whose hold it is, and since when. */
function holdLine({ job, eventlog }: JobFacts): string[] {
  const isHold = ({ name, context }: LoggedEvent): boolean =>
    (name === "urgency" || name === "submit") && context?.["urgency"] === 0;
  const hold = eventlog.findLast(isHold);
  const userid = hold?.context?.["userid"];
  if (hold === undefined || typeof userid !== "number") return [];
  const who = job.context.userName(userid);
  if (hold.name === "submit") return [`${who} submitted it held.`];
  return [`${who} put the hold on it ${ago(job.context.now - hold.timestamp)}.`];
}

/** Which nodes could be taken at all. */
function constraintLines({ constraint }: JobFacts): string[] {
  return constraint === null ? [] : [`Only nodes count with ${constraintText(constraint)}.`];
}

/** A constraint (RFC 31) in words. */
function constraintText(value: JsonValue): string {
  if (!isJsonObject(value)) return stringifyJson(value);
  return Object.entries(value)
    .map(([operator, operands]) => {
      const list = Array.isArray(operands) ? (operands as readonly JsonValue[]) : [];
      const texts = list.map((each) => (typeof each === "string" ? each : `(${constraintText(each)})`));
      switch (operator) {
        case "and":
        case "or":
          return texts.join(` ${operator} `);
        case "not":
          return `not ${texts.join(" and ")}`;
        case "properties":
          return texts.map((text) => (text.startsWith("^") ? `not ${text.slice(1)}` : text)).join(" and ");
        default:
          return `${operator} ${texts.join(",")}`;
      }
    })
    .join(" and ");
}

function shortage(request: JobspecCounts | null, { all, up, free }: ResourceCounts): string[] {
  const lines: string[] = [];
  if (request !== null) {
    const cores = `${count(request.nslots * request.coresPerSlot, "core")}`;
    lines.push(`It asks for ${request.nnodes > 0 ? `${count(request.nnodes, "node")} and ` : ""}${cores}.`);
  }
  lines.push(
    `Free now: ${free.ncores} of ${count(all.ncores, "core")}, on ${free.nnodes} of ${count(all.nnodes, "node")}.`,
  );
  if (up.nnodes < all.nnodes)
    lines.push(`${count(all.nnodes - up.nnodes, "node")} cannot be used (flux resource status tells why).`);
  return lines;
}

// ---- Running

function running({ job, execLog }: JobFacts): string[] {
  const lines: string[] = [];
  if (job.remaining > 0) lines.push(`It will be ended in ${formatFsd(job.remaining)}, when its time is up.`);
  const exited = execLog.filter(({ name }) => name === "shell.task-exit");
  if (exited.length > 0) lines.push(`${exited.length} of ${count(job.number("ntasks"), "task")} have exited.`);
  const place = job.text("nodelist");
  return [`has been running for ${formatFsd(job.runtime)}${place === "" ? "" : ` on ${place}`}.`, ...lines];
}

// ---- Over

function ended(facts: JobFacts): string[] {
  const { job } = facts;
  switch (job.number("result")) {
    case JobResult.Completed:
      return [
        `succeeded, ${ago(job.context.now - job.number("t_inactive"))}.`,
        `It ran for ${formatFsd(job.runtime)}.`,
        ...failureLines(facts),
      ];
    case JobResult.Canceled:
      return ["was canceled.", ...startedLine(facts), ...exceptionLines(facts), ...failureLines(facts)];
    case JobResult.Timeout:
      return [
        `was ended at its time limit of ${formatFsd(job.number("duration"))}.`,
        "More time: flux run -t DURATION",
        ...failureLines(facts),
        ...stderrLines(facts),
      ];
    default:
      return [
        "failed.",
        ...startedLine(facts),
        ...exceptionLines(facts),
        ...constraintLines(facts),
        ...taskLines(facts),
        ...failureLines(facts),
        ...stderrLines(facts),
      ];
  }
}

/** What an instance told of its own jobs. */
function failureLines({ job }: JobFacts): string[] {
  const failures = job.annotation(["user", "failures"]);
  if (!isJsonObject(failures) || typeof failures["total"] !== "number") return [];
  const { total, nested, first } = failures;
  const below = typeof nested === "number" && nested > 0 ? `, ${nested} of them in nested instances` : "";
  const told = (Array.isArray(first) ? first : []).filter((each) => isJsonObject(each));
  const lines = told.map(({ id, name, reason }) => `  ${text(id)} (${text(name)}): ${text(reason)}`);
  return [`Inside, ${count(total, "job")} failed${below}${lines.length > 0 ? "; the first:" : "."}`, ...lines];
}

function startedLine({ job }: JobFacts): string[] {
  return [
    job.number("t_run") === 0
      ? "It never started."
      : `It ran for ${formatFsd(job.runtime)} on ${job.text("nodelist")}.`,
  ];
}

function text(value: JsonValue | undefined): string {
  return typeof value === "string" ? value : "";
}

function exceptionLines({ eventlog, job }: JobFacts): string[] {
  return eventlog.flatMap(({ name, context = {}, timestamp }) => {
    if (name !== "exception") return [];
    const type = text(context["type"]);
    const note = text(context["note"]);
    const by = typeof context["userid"] === "number" ? ` by ${job.context.userName(context["userid"])}` : "";
    const what = type === "cancel" ? `Canceled${by}` : `Exception ${type}${by}`;
    return [`${what} at ${strftime("%F %T", timestamp)}${note === "" ? "" : `: ${note}`}`];
  });
}

/** How its tasks ended, those with the same end together. */
function taskLines({ job, execLog }: JobFacts): string[] {
  const ends = new TaskEnds();
  for (const { name, context = {} } of execLog) {
    const { wait_status: status, rank } = context;
    if (name === TASKS_FAILED) ends.addContext(context);
    else if (name === "shell.task-exit" && typeof status === "number" && typeof rank === "number")
      ends.add(status, [rank]);
  }
  const lines = Array.from(ends.entries(), ([status, ranks]) => `${taskNames([...ranks])} ${endWords(status)}`);
  if (lines.length > 0) return lines;
  const status = job.attributes["waitstatus"];
  return typeof status === "number" && status !== 0 ? [`Its tasks ${endWords(status)}`] : [];
}

function taskNames(ranks: readonly number[]): string {
  if (ranks.length === 1) return `Task ${ranks[0]}`;
  const named = ranks.toSorted((left, right) => left - right).slice(0, TASKS_NAMED_MAX);
  return `Tasks ${named.join(", ")}${ranks.length > named.length ? ` and ${ranks.length - named.length} more` : ""}`;
}

function endWords(status: number): string {
  const signum = signalOfStatus(status);
  const code = exitCodeOfStatus(status);
  if (signum === SIGKILL) return `ended by SIGKILL: often the kernel does this when memory runs out.`;
  if (signum !== 0) return `ended by a signal: ${signalSentence(signum)}.`;
  if (code === EXIT_NOT_FOUND) return `exited with ${code}: the program, or one that it started, was not found.`;
  if (code === EXIT_NOT_EXECUTABLE)
    return `exited with ${code}: the program, or one that it started, cannot be executed.`;
  if (code > SIGNAL_BASE)
    return `exited with ${code}: what it started was ended by a signal (${signalSentence(code - SIGNAL_BASE)}).`;
  return `exited with ${code}.`;
}

function stderrLines({ stderrTail, stderrPath }: JobFacts): string[] {
  const where = stderrPath === null ? [] : [`Its standard error is in ${stderrPath}`];
  if (stderrTail.length === 0) return where;
  return [...where, "The end of its standard error:", ...stderrTail.map((line) => `  ${line}`)];
}
