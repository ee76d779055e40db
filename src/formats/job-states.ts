/**
 * Job states and results (RFC 21) with the bits that messages carry, their names and letters; flags and urgencies of a
 * submission (RFC 27).
 *
 * Does not know: how a job gets from state to state. That is the job manager's fold.
 */

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

/** How a job ended; each is one bit. */
export const JobResult = { Completed: 1, Failed: 2, Canceled: 4, Timeout: 8 } as const;
export type JobResult = (typeof JobResult)[keyof typeof JobResult];

/** Flags of a submission. PreSigned is the client's own and never travels. */
export const JobFlag = { PreSigned: 1, Debug: 2, Waitable: 4, NoValidate: 8 } as const;

export const JOB_FLAG_NAMES: Readonly<Record<string, number>> = {
  debug: JobFlag.Debug,
  waitable: JobFlag.Waitable,
  novalidate: JobFlag.NoValidate,
};

/** A job of urgency 0 is held. */
export const URGENCY_HOLD = 0;
export const URGENCY_DEFAULT = 16;
export const URGENCY_EXPEDITE = 31;
export const URGENCY_MAX = 31;
/** The largest priority; an expedited job has it. */
export const PRIORITY_MAX = 4294967295;

interface Term {
  readonly bit: number;
  readonly name: string;
  readonly letters?: string;
}

const STATES: readonly Term[] = [
  { bit: JobState.New, name: "NEW", letters: "N" },
  { bit: JobState.Depend, name: "DEPEND", letters: "D" },
  { bit: JobState.Priority, name: "PRIORITY", letters: "P" },
  { bit: JobState.Sched, name: "SCHED", letters: "S" },
  { bit: JobState.Run, name: "RUN", letters: "R" },
  { bit: JobState.Cleanup, name: "CLEANUP", letters: "C" },
  { bit: JobState.Inactive, name: "INACTIVE", letters: "I" },
];
const VIRTUAL_STATES: readonly Term[] = [
  { bit: STATES_PENDING, name: "PENDING" },
  { bit: STATES_RUNNING, name: "RUNNING" },
  { bit: STATES_ACTIVE, name: "ACTIVE" },
];
const RESULTS: readonly Term[] = [
  { bit: JobResult.Completed, name: "COMPLETED", letters: "CD" },
  { bit: JobResult.Failed, name: "FAILED", letters: "F" },
  { bit: JobResult.Canceled, name: "CANCELED", letters: "CA" },
  { bit: JobResult.Timeout, name: "TIMEOUT", letters: "TO" },
];

/** `RUN` or, with "abbreviated", `R`. */
export function jobStateName(state: number, form: "full" | "abbreviated" = "full"): string {
  return nameOf(STATES, state, form);
}

/** `COMPLETED` or, with "abbreviated", `CD`. */
export function jobResultName(result: number, form: "full" | "abbreviated" = "full"): string {
  return nameOf(RESULTS, result, form);
}

/** The mask of a state, a virtual state (`pending`, `running`, `active`) or a letter, in upper or lower case; null if none. */
export function parseJobStates(name: string): number | null {
  return bitOf([...STATES, ...VIRTUAL_STATES], name);
}

/** The bit of a result by its name or abbreviation, in upper or lower case; null if none. */
export function parseJobResult(name: string): number | null {
  return bitOf(RESULTS, name);
}

function nameOf(terms: readonly Term[], bit: number, form: "full" | "abbreviated"): string {
  const term = terms.find((candidate) => candidate.bit === bit);
  if (form === "full") return term?.name ?? "(unknown)";
  return term?.letters ?? "?";
}

function bitOf(terms: readonly Term[], name: string): number | null {
  const upper = name.toUpperCase();
  return terms.find((term) => term.name === upper || term.letters === upper)?.bit ?? null;
}
