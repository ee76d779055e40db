/** What others may ask about a job after it has ended, in a few words: dependencies, waits and error texts need it. */
import { JobFlag, jobErrorText, jobResult, JobResult, JobState, type JobException } from "../../sdk/job-protocol.ts";
import type { Folded } from "./job.ts";

export interface Outcome {
  readonly userid: number;
  readonly isInactive: boolean;
  readonly started: boolean;
  readonly success: boolean;
  /** Whether an exception of severity 0 ended it. */
  readonly excepted: boolean;
  /** Whether somebody may wait for it (`flux job wait`). */
  readonly waitable: boolean;
}

export function outcomeOf(job: Folded): Outcome {
  return {
    userid: job.userid,
    isInactive: job.state === JobState.Inactive,
    started: job.started,
    success: jobResult(job.waitStatus, job.exception) === JobResult.Completed,
    excepted: job.exception !== null,
    waitable: (job.flags & JobFlag.Waitable) !== 0,
  };
}

/** What went wrong, in words; empty for a successful job. */
export function errorTextOf(job: Folded): string {
  const exception: JobException | null = job.exception;
  return jobErrorText(job.waitStatus, exception);
}
