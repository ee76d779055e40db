/**
 * What every party that speaks of jobs agrees on: states, flags and results by number, urgencies, and the events of a
 * job's eventlog (RFC 18, RFC 21).
 *
 * Pure data: it knows neither how a job gets from state to state nor where its eventlog is kept.
 */
import type { Integer } from "../base/json.ts";
import { decodeEntry, decodeEventlog, encodeEntry, type EventlogEntry } from "../formats/eventlog.ts";
import { exitCodeOfStatus, signalOfStatus, signalSentence } from "../base/signals.ts";

/** Job states; each is one bit, so that a set of states is a mask. */
export const JobState = {
  New: 1,
  Depend: 2,
  Priority: 4,
  Sched: 8,
  Run: 16,
  Cleanup: 32,
  Inactive: 64,
} as const;
export type JobState = (typeof JobState)[keyof typeof JobState];

/** Virtual states, as masks. */
export const STATES_PENDING: number = JobState.Depend | JobState.Priority | JobState.Sched;
export const STATES_RUNNING: number = JobState.Run | JobState.Cleanup;
export const STATES_ACTIVE: number = STATES_PENDING | STATES_RUNNING;
export const STATES_ALL: number = STATES_ACTIVE | JobState.New | JobState.Inactive;

/** Names of states and virtual states in lower case, as constraints and eventlogs have them. */
export const STATE_NAMES: Readonly<Record<string, number>> = {
  new: JobState.New,
  depend: JobState.Depend,
  priority: JobState.Priority,
  sched: JobState.Sched,
  run: JobState.Run,
  cleanup: JobState.Cleanup,
  inactive: JobState.Inactive,
  pending: STATES_PENDING,
  running: STATES_RUNNING,
  active: STATES_ACTIVE,
};

/** How a job ended; each is one bit. */
export const JobResult = { Completed: 1, Failed: 2, Canceled: 4, Timeout: 8 } as const;
export type JobResult = (typeof JobResult)[keyof typeof JobResult];

export const RESULT_NAMES: Readonly<Record<string, number>> = {
  completed: JobResult.Completed,
  failed: JobResult.Failed,
  canceled: JobResult.Canceled,
  cancelled: JobResult.Canceled,
  timeout: JobResult.Timeout,
};

/** Flags of a submission. PreSigned is the client's own and never travels. */
export const JobFlag = { PreSigned: 1, Debug: 2, Waitable: 4, NoValidate: 8 } as const;

export const JOB_FLAG_NAMES: Readonly<Record<string, number>> = {
  debug: JobFlag.Debug,
  waitable: JobFlag.Waitable,
  novalidate: JobFlag.NoValidate,
};

export const URGENCY_HOLD = 0;
export const URGENCY_DEFAULT = 16;
export const URGENCY_EXPEDITE = 31;
export const URGENCY_MAX = 31;
export const PRIORITY_MAX = 4294967295;

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
  if (signum !== 0) return `task(s) ${signalSentence(signum)}`;
  return code > 128 ? `task(s) ${signalSentence(code - 128)}` : `task(s) exited with exit code ${code}`;
}

/** Whether two job ids order as they were made: earlier first. Works for numbers and bigints alike. */
export function compareIds(left: Integer, right: Integer): number {
  return left < right ? -1 : left > right ? 1 : 0;
}
