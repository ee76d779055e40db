/**
 * What every party that speaks of jobs agrees on: states, flags and results by number, urgencies (`formats/job-states.ts`),
 * the events of a job's eventlog (RFC 18, RFC 21), and how a job ended.
 *
 * Pure data: it knows neither how a job gets from state to state nor where its eventlog is kept.
 */
import { FluxError } from "../base/errors.ts";
import type { Integer, JsonObject } from "../base/json.ts";
import { exitCodeOfStatus, signalOfStatus, signalSentence } from "../base/signals.ts";
import { decodeEntry, decodeEventlog, encodeEntry, type EventlogEntry } from "../formats/eventlog.ts";
import { JobResult } from "../formats/job-states.ts";
import type { Jobspec } from "../formats/jobspec.ts";

export {
  JOB_FLAG_NAMES,
  JobFlag,
  JobResult,
  JobState,
  PRIORITY_MAX,
  STATES_ACTIVE,
  STATES_ALL,
  STATES_PENDING,
  STATES_RUNNING,
  URGENCY_DEFAULT,
  URGENCY_EXPEDITE,
  URGENCY_HOLD,
  URGENCY_MAX,
} from "../formats/job-states.ts";
import type { Payload } from "../protocol/message.ts";

/** One event of an eventlog (RFC 18). */
export type JobEvent = EventlogEntry;

/** A fatal or other exception of a job (RFC 21). */
export interface JobException {
  readonly type: string;
  /** 0 (ends the job) to 7. */
  readonly severity: number;
  readonly note: string;
  readonly userid?: number;
  readonly wait_status?: number;
}

/** Types of a scheduler's responses to `sched.alloc` (RFC 27). */
export const AllocResponseType = { Success: 0, Annotate: 1, Deny: 2, Cancel: 3 } as const;

/** One message of `job-manager.events-journal`. With id -1, all that happened before the listener came has been told. */
export interface JournalEntry {
  readonly id: Integer;
  readonly events: readonly JobEvent[];
  /** With the submit event: the jobspec without its environment. */
  readonly jobspec?: JsonObject;
  /** With the alloc event: the allocated resource set. */
  readonly R?: JsonObject;
  /** With id -1: the jobs that the listener said to know, and that do not exist any more, or differ. */
  readonly gone?: readonly Integer[];
}

/** Reads a message of the journal. Throws EPROTO. */
export function readJournalEntry(payload: Payload | null): JournalEntry {
  const { id, events } = payload?.value ?? {};
  if ((typeof id !== "number" && typeof id !== "bigint") || !Array.isArray(events))
    throw new FluxError("EPROTO", "Protocol error: malformed entry of the job manager's journal");
  return payload!.value as unknown as JournalEntry;
}

/** A job that the ingest service has validated and stored, as it hands it to the job manager. */
export interface SubmittedJob {
  readonly id: Integer;
  readonly userid: number;
  readonly urgency: number;
  /** JobFlag bits. */
  readonly flags: number;
  /** The timestamp of its submit event, seconds since the epoch. */
  readonly t_submit: number;
  readonly jobspec: Jobspec;
}

/** One line of an eventlog, with its newline. */
export function encodeEvent(event: JobEvent): string {
  return encodeEntry(event);
}

/** Reads one line. Throws EINVAL where it is no event. */
export function parseEvent(line: string): JobEvent {
  return decodeEntry(line);
}

/** Reads an eventlog. A last line without its newline is not there yet. Throws EINVAL. */
export function parseEventlog(text: string): JobEvent[] {
  return decodeEventlog(text.slice(0, text.lastIndexOf("\n") + 1));
}

/** How a job ended, from its wait status (null where none is known) and its first fatal exception. */
export function jobResult(waitStatus: number | null, exception: JobException | null): JobResult {
  if (exception !== null && exception.severity === 0) {
    if (exception.type === "cancel") return JobResult.Canceled;
    return exception.type === "timeout" ? JobResult.Timeout : JobResult.Failed;
  }
  return waitStatus === 0 ? JobResult.Completed : JobResult.Failed;
}

/** What went wrong with a job, in words; empty where nothing did. */
export function jobErrorText(waitStatus: number | null, exception: JobException | null): string {
  if (exception !== null && exception.severity === 0) {
    return `Fatal exception type=${exception.type}${exception.note === "" ? "" : ` ${exception.note}`}`;
  }
  if (waitStatus === 0) return "";
  if (waitStatus === null) return "unknown";
  const signum = signalOfStatus(waitStatus);
  const code = exitCodeOfStatus(waitStatus);
  if (signum !== 0) return `job shell ${signalSentence(signum)}`;
  return code > 128 ? `task(s) ${signalSentence(code - 128)}` : `task(s) exited with exit code ${code}`;
}

/** Whether two job ids order as they were made: earlier first. Works for numbers and bigints alike. */
export function compareIds(left: Integer, right: Integer): number {
  return left < right ? -1 : left > right ? 1 : 0;
}
