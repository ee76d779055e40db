/**
 * What to do next for a job: an idempotent function of its state. Asking twice without acting in between gives the same
 * answer; carrying out an action changes the state so that the next answer differs.
 *
 * Rules that keep a job's record true after a crash at any moment (RFC 21): the execution service is asked for shells only
 * once the allocation is on its way to the KVS, so that the note which that service writes there, and waits for, comes after
 * it; a job is clean only when nothing is under way for it with the scheduler or the execution service.
 */
import type { JsonObject } from "../../base/json.ts";
import { JobState, PRIORITY_MAX, URGENCY_EXPEDITE } from "../../sdk/job-protocol.ts";
import type { Job } from "./job.ts";
import { nextAttempt } from "./retry.ts";

export type Action =
  /** Append an event to the eventlog. */
  | { readonly kind: "post"; readonly name: string; readonly context?: JsonObject }
  /** Ask the scheduler for resources, when it is this job's turn. */
  | { readonly kind: "enqueue" }
  /** Give up the request for resources. */
  | { readonly kind: "withdraw" }
  /** Have the execution service start (or find again) the job's shells. */
  | { readonly kind: "start" }
  /** Give the resources back to the scheduler. */
  | { readonly kind: "free" };

/** The priority that an urgency means by itself: held jobs have none, expedited ones the highest. */
function priorityOf(urgency: number): number {
  return urgency === URGENCY_EXPEDITE ? PRIORITY_MAX : urgency;
}

/** The next action, or null where the job waits for something. */
export function plan(job: Job): Action | null {
  switch (job.state) {
    case JobState.New:
    case JobState.Inactive:
      return null;
    case JobState.Depend:
      return (job.dependencies?.size ?? 0) === 0 ? { kind: "post", name: "depend" } : null;
    case JobState.Priority:
      return postPriority(job);
    case JobState.Sched:
      return planSched(job);
    case JobState.Run:
      return planRun(job);
    case JobState.Cleanup:
      return planCleanup(job);
  }
}

function postPriority(job: Job): Action {
  return { kind: "post", name: "priority", context: { priority: priorityOf(job.urgency) } };
}

function planSched(job: Job): Action | null {
  if (job.priority !== priorityOf(job.urgency)) return postPriority(job);
  if (job.priority === 0) return canWithdraw(job) ? { kind: "withdraw" } : null;
  return job.allocation === "none" ? { kind: "enqueue" } : null;
}

function canWithdraw(job: Job): boolean {
  return job.allocation === "queued" || job.allocation === "pending";
}

function planRun(job: Job): Action | null {
  if (job.startRequested || (job.prologs?.size ?? 0) > 0 || job.R === null) return null;
  return job.sentCount === job.events.length ? { kind: "start" } : null;
}

function planCleanup(job: Job): Action | null {
  if (canWithdraw(job)) return { kind: "withdraw" };
  if (job.allocation !== "none" || job.startRequested) return null;
  // Shells that an earlier service started must be found and ended before their resources go back.
  if (job.reattach && job.hasResources && !job.released && job.R !== null) return { kind: "start" };
  if ((job.prologs?.size ?? 0) > 0 || (job.epilogs?.size ?? 0) > 0) return null;
  if (job.hasResources) return { kind: "free" };
  const context = nextAttempt(job);
  if (context === null) return { kind: "post", name: "clean" };
  // The scheduler knows one allocation of a job at a time.
  return job.isTidying ? null : { kind: "post", name: "retry", context };
}
