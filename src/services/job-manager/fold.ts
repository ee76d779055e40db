/**
 * A job's state as a fold over its eventlog (RFC 21): `apply` takes one event, `replay` a whole log.
 *
 * Invariants:
 * 1. An event that is not legal in the job's state is refused and changes nothing.
 * 2. The state is a function of the events alone: replaying a live job's log gives the live job's state.
 * 3. An inactive job takes no event.
 *
 * Does not know: why an event is posted (`plan.ts`), nor any other service.
 */
import { FluxError } from "../../base/errors.ts";
import type { JsonObject, JsonValue } from "../../base/json.ts";
import { Idset } from "../../formats/idset.ts";
import { jobStateName } from "../../formats/job-states.ts";
import {
  JOB_FLAG_NAMES,
  JobFlag,
  JobState,
  PRIORITY_MAX,
  STATES_ACTIVE,
  STATES_RUNNING,
  URGENCY_MAX,
  type JobEvent,
  type JobException,
} from "../../sdk/job-protocol.ts";
import { mergeAnnotations, withoutScheduler } from "../../sdk/job-annotations.ts";
import { newFolded, type Folded } from "./job.ts";

const { New, Depend, Priority, Sched, Run, Cleanup, Inactive } = JobState;
const BEFORE_RUN = New | Depend | Priority | Sched;
const ANY_ACTIVE = New | STATES_ACTIVE;

type Apply = (job: Folded, context: JsonObject, event: JobEvent) => void;

interface Rule {
  /** Mask of the states in which the event is legal. */
  readonly states: number;
  /** Checks first and throws, then changes. */
  readonly apply: Apply;
}

const NOTHING: Apply = () => {};

const RULES: Readonly<Record<string, Rule>> = {
  submit: { states: New, apply: applySubmit },
  validate: { states: New, apply: (job) => void (job.state = Depend) },
  invalidate: { states: New, apply: (job) => void (job.state = Inactive) },
  "jobspec-update": { states: ANY_ACTIVE, apply: applyJobspecUpdate },
  "resource-update": { states: STATES_RUNNING, apply: applyResourceUpdate },
  "set-flags": { states: ANY_ACTIVE, apply: applySetFlags },
  "dependency-add": { states: New | Depend, apply: addDependency },
  "dependency-remove": { states: New | Depend, apply: removeDependency },
  // Logs of releases before 0.41 know no validate event.
  depend: { states: New | Depend, apply: applyDepend },
  priority: { states: Priority | Sched, apply: applyPriority },
  "flux-restart": {
    states: ANY_ACTIVE,
    apply: (job) => {
      // Priorities may be made anew after a restart: a job that waited for resources passes that state again.
      if (job.state === Sched) job.state = Priority;
    },
  },
  requeue: { states: Run, apply: applyRequeue },
  urgency: {
    states: BEFORE_RUN,
    apply: (job, context) => void (job.urgency = integer(context, "urgency", 0, URGENCY_MAX)),
  },
  alloc: { states: Sched, apply: applyAlloc },
  "prolog-start": { states: ANY_ACTIVE, apply: (job, context) => void (job.prologs = begin(job.prologs, context)) },
  "prolog-finish": { states: ANY_ACTIVE, apply: (job, context) => finish(job.prologs, context) },
  start: { states: Run, apply: applyStart },
  finish: { states: STATES_RUNNING, apply: applyFinish },
  release: { states: STATES_RUNNING, apply: applyRelease },
  "epilog-start": { states: STATES_RUNNING, apply: (job, context) => void (job.epilogs = begin(job.epilogs, context)) },
  "epilog-finish": { states: STATES_RUNNING, apply: (job, context) => finish(job.epilogs, context) },
  free: { states: Cleanup, apply: applyFree },
  retry: { states: Cleanup, apply: applyRetry },
  clean: { states: Cleanup, apply: applyClean },
  exception: { states: ANY_ACTIVE, apply: applyException },
  memo: {
    states: ANY_ACTIVE,
    apply: (job, context) => void (job.annotations = mergeAnnotations(job.annotations, { user: context })),
  },
};

/** A flag of the job manager's own: only the instance owner may update the jobspec from now on. */
export const IMMUTABLE = "immutable";

/** A flag of a plugin's: the job's resources will not be the scheduler's; its `alloc` says so, too. */
export const ALLOC_BYPASS = "alloc-bypass";

/** Events that this version does not know are kept and change nothing. */
const OTHER: Rule = { states: ANY_ACTIVE, apply: NOTHING };

/** Takes one event. Throws EINVAL, with the job unchanged, where it is not legal now. */
export function apply(job: Folded, event: JobEvent): void {
  const isFirst = job.userid === -1;
  if (isFirst !== (event.name === "submit")) throw illegal(event, isFirst ? "before submit" : "a second time");
  const rule = Object.hasOwn(RULES, event.name) ? RULES[event.name]! : OTHER;
  if ((rule.states & job.state) === 0) throw illegal(event, `in state ${jobStateName(job.state)}`);
  rule.apply(job, event.context ?? {}, event);
}

/** The state that a whole eventlog leads to. Throws EINVAL at the first event that is not legal. */
export function replay(events: Iterable<JobEvent>): Folded {
  const folded = newFolded();
  for (const event of events) apply(folded, event);
  return folded;
}

function illegal(event: JobEvent, when: string): FluxError {
  return new FluxError("EINVAL", `event ${event.name} is not legal ${when}`);
}

function malformed(key: string): FluxError {
  return new FluxError("EINVAL", `event context: missing or invalid '${key}'`);
}

function integer(context: JsonObject, key: string, min: number, max: number): number {
  const value = context[key];
  if (typeof value !== "number" || !Number.isInteger(value) || value < min || value > max) throw malformed(key);
  return value;
}

function text(context: JsonObject, key: string): string {
  const value: JsonValue | undefined = context[key];
  if (typeof value !== "string") throw malformed(key);
  return value;
}

function applySubmit(job: Folded, context: JsonObject, event: JobEvent): void {
  const userid = integer(context, "userid", 0, 0xffffffff);
  const urgency = integer(context, "urgency", 0, URGENCY_MAX);
  const flags = integer(context, "flags", 0, 0xffff);
  job.userid = userid;
  job.urgency = urgency;
  job.flags = flags;
  job.tSubmit = event.timestamp;
}

function applyJobspecUpdate(job: Folded, context: JsonObject): void {
  job.updates = { ...job.updates, ...context };
}

function applyResourceUpdate(job: Folded, context: JsonObject): void {
  const { expiration } = context;
  if (typeof expiration !== "number" || expiration < 0) throw malformed("expiration");
  if (!job.hasResources) throw new FluxError("EINVAL", "event resource-update is not legal without resources");
  job.expiration = expiration;
}

function applySetFlags(job: Folded, context: JsonObject): void {
  const { flags } = context;
  if (!Array.isArray(flags)) throw malformed("flags");
  const bits = (flags as JsonValue[]).map((name) => (typeof name === "string" ? flagBit(name) : undefined));
  if (bits.includes(undefined)) throw malformed("flags");
  for (const bit of bits) job.flags |= bit!;
  if ((flags as JsonValue[]).includes(IMMUTABLE)) job.immutable = true;
}

function flagBit(name: string): number | undefined {
  if (name === IMMUTABLE || name === ALLOC_BYPASS) return 0;
  return Object.hasOwn(JOB_FLAG_NAMES, name) ? JOB_FLAG_NAMES[name] : undefined;
}

function addDependency(job: Folded, context: JsonObject): void {
  const description = text(context, "description");
  if (job.dependencies?.has(description) === true)
    throw new FluxError("EEXIST", `dependency ${description} is open already`);
  if (job.satisfied?.has(description) === true)
    throw new FluxError("EEXIST", `dependency ${description} is satisfied already`);
  (job.dependencies ??= new Set()).add(description);
}

function removeDependency(job: Folded, context: JsonObject): void {
  const description = text(context, "description");
  if (job.dependencies?.delete(description) !== true)
    throw new FluxError("ENOENT", `no dependency ${description} to remove`);
  (job.satisfied ??= new Set()).add(description);
}

function applyDepend(job: Folded): void {
  if (job.dependencies !== null && job.dependencies.size > 0)
    throw new FluxError("EINVAL", "event depend is not legal with open dependencies");
  job.state = Priority;
}

function applyPriority(job: Folded, context: JsonObject): void {
  job.priority = integer(context, "priority", 0, PRIORITY_MAX);
  job.state = Sched;
}

function applyAlloc(job: Folded, context: JsonObject): void {
  const { annotations } = context;
  if (
    annotations !== undefined &&
    (typeof annotations !== "object" || annotations === null || Array.isArray(annotations))
  )
    throw malformed("annotations");
  // The event holds a copy of everything that was known at that moment.
  if (annotations !== undefined) job.annotations = annotations as JsonObject;
  job.isUnscheduled = context["bypass"] === true;
  job.hasResources = true;
  job.wasAllocated = true;
  job.state = Run;
}

/** The instance stopped while the job ran, and goes on elsewhere: the job waits for resources again. */
function applyRequeue(job: Folded): void {
  if (!job.hasResources || job.waitStatus !== null) throw new FluxError("EINVAL", "event requeue is not legal now");
  job.hasResources = false;
  job.started = false;
  job.releasedRanks = null;
  job.released = false;
  job.prologs = null;
  job.epilogs = null;
  job.expiration = null;
  job.state = Priority;
}

function begin(open: Set<string> | null, context: JsonObject): Set<string> {
  const description = text(context, "description");
  if (open?.has(description) === true) throw new FluxError("EEXIST", `${description} has begun already`);
  return (open ?? new Set<string>()).add(description);
}

function finish(open: Set<string> | null, context: JsonObject): void {
  const description = text(context, "description");
  if (open?.delete(description) !== true) throw new FluxError("ENOENT", `${description} has not begun`);
}

function applyStart(job: Folded): void {
  if (job.started || (job.prologs?.size ?? 0) > 0) throw new FluxError("EINVAL", "event start is not legal now");
  job.started = true;
}

function applyFinish(job: Folded, context: JsonObject): void {
  const status = integer(context, "status", 0, 0xffffffff);
  if (!job.hasResources || job.waitStatus !== null) throw new FluxError("EINVAL", "event finish is not legal now");
  job.waitStatus = status;
  job.state = Cleanup;
}

function applyRelease(job: Folded, context: JsonObject): void {
  const ranks = text(context, "ranks");
  if (ranks !== "all") Idset.parse(ranks);
  if (typeof context["final"] !== "boolean") throw malformed("final");
  if (!job.hasResources || job.released) throw new FluxError("EINVAL", "event release is not legal without resources");
  (job.releasedRanks ??= []).push(ranks);
  job.released = context["final"];
}

function applyFree(job: Folded): void {
  if (!job.hasResources || (job.epilogs?.size ?? 0) > 0) throw new FluxError("EINVAL", "event free is not legal now");
  job.hasResources = false;
}

function applyClean(job: Folded): void {
  if (job.hasResources || (job.epilogs?.size ?? 0) > 0) throw new FluxError("EINVAL", "event clean is not legal now");
  job.state = Inactive;
}

/** The next attempt begins where a valid job does; what the last one had and did is forgotten. */
function applyRetry(job: Folded, context: JsonObject): void {
  const attempt = integer(context, "attempt", 2, 0x7fffffff);
  const isBusy = job.hasResources || (job.prologs?.size ?? 0) > 0 || (job.epilogs?.size ?? 0) > 0;
  if (isBusy) throw new FluxError("EINVAL", "event retry is not legal now");
  job.attempt = attempt;
  job.wasAllocated = false;
  job.started = false;
  job.waitStatus = null;
  job.releasedRanks = null;
  job.released = false;
  job.exception = null;
  const { of, reason } = context;
  job.annotations = mergeAnnotations(withoutScheduler(job.annotations), { retry: { attempt, of, reason } });
  job.expiration = null;
  job.isUnscheduled = false;
  job.state = Depend;
}

function applyException(job: Folded, context: JsonObject): void {
  const exception = exceptionOf(context);
  if (exception.severity > 0) return;
  job.exception ??= exception;
  job.state = Cleanup;
}

/** Reads the context of an exception event. Throws EINVAL. */
function exceptionOf(context: JsonObject): JobException {
  const type = text(context, "type");
  const severity = integer(context, "severity", 0, 7);
  const { note, userid, wait_status } = context;
  return {
    type,
    severity,
    note: typeof note === "string" ? note : "",
    ...(typeof userid === "number" ? { userid } : {}),
    ...(typeof wait_status === "number" ? { wait_status } : {}),
  };
}

/** Whether a job asks for debug events in its eventlog. */
export function wantsDebug(job: Folded): boolean {
  return (job.flags & JobFlag.Debug) !== 0;
}
