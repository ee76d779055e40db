/**
 * Retries: whether an attempt of a job that has ended is followed by another one, and what the event `retry` says.
 *
 * An attempt that fails gives its resources back as any job; then `retry {attempt, of, reason, delay?}` takes the job back to
 * DEPEND instead of `clean` to INACTIVE. So others see the outcome of the last attempt only. A job that was canceled is not retried.
 */
import { FluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import { exitCodeOfStatus, signalOfStatus } from "../../base/signals.ts";
import { retryPolicyOf, type RetryCause, type RetryPolicy } from "../../formats/retry.ts";
import type { Job } from "./job.ts";

interface Failure {
  readonly cause: RetryCause;
  readonly reason: string;
}

/** The context of the event that begins the next attempt; null where there is none. */
export function nextAttempt(job: Job): JsonObject | null {
  // Most jobs have no such attribute: nothing is parsed for them.
  if (!job.wasAllocated || job.jobspec?.attributes.system?.["retry"] === undefined) return null;
  const policy = policyOf(job);
  const failure = failureOf(job);
  if (policy === null || failure === null) return null;
  if (job.attempt > policy.count || !policy.on.includes(failure.cause)) return null;
  return {
    attempt: job.attempt + 1,
    of: policy.count + 1,
    reason: failure.reason,
    ...(policy.delay === 0 ? {} : { delay: policy.delay }),
  };
}

function policyOf({ jobspec }: Job): RetryPolicy | null {
  try {
    return retryPolicyOf(jobspec!);
  } catch (error) {
    // An update may have left something else: such a job is not retried.
    if (error instanceof FluxError) return null;
    throw error;
  }
}

function failureOf({ exception, waitStatus }: Job): Failure | null {
  if (exception === null) return waitStatus === null || waitStatus === 0 ? null : failureOfStatus(waitStatus);
  if (exception.type === "cancel") return null;
  if (exception.wait_status !== undefined && exception.wait_status !== 0) return failureOfStatus(exception.wait_status);
  return { cause: "exception", reason: `exception ${exception.type}` };
}

/** A shell says of a task that a signal ended what shells say: 128 and the signal. */
function failureOfStatus(status: number): Failure {
  const code = exitCodeOfStatus(status);
  const signum = signalOfStatus(status) !== 0 ? signalOfStatus(status) : code > 128 ? code - 128 : 0;
  return signum === 0
    ? { cause: "exit", reason: `exit code ${code}` }
    : { cause: "signal", reason: `signal ${signum}` };
}
