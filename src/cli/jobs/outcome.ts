/**
 * How a job ends, followed event by event: the exit code that commands give, and the sentence they say.
 *
 * Pure: a fold over the events of a job's eventlog (RFC 21).
 */
import { exitCodeOfStatus, signalOfStatus } from "../../base/signals.ts";
import { jobErrorText, type JobEvent, type JobException } from "../../sdk/job-protocol.ts";

export class JobOutcome {
  /** Wait status of the job as a whole; null until it is known. */
  waitStatus: number | null = null;
  /** The first exception that ended the job. */
  exception: JobException | null = null;
  started = false;
  finished = false;

  /** Takes the next event of the job. */
  apply(event: Pick<JobEvent, "name" | "context">): void {
    const context = event.context ?? {};
    if (event.name === "start") this.started = true;
    // An attempt that failed counts for nothing once there is another.
    if (event.name === "retry") {
      this.finished = false;
      this.waitStatus = null;
      this.exception = null;
    }
    if (event.name === "finish") {
      this.finished = true;
      this.waitStatus = Number(context["status"]);
    }
    if (event.name === "exception" && context["severity"] === 0 && this.exception === null)
      this.exception = {
        type: String(context["type"]),
        severity: 0,
        note: String(context["note"] ?? ""),
      };
  }

  /** The exit code of a command that waited for the job; `exceptionCode` is for jobs that never ran. */
  exitCode(exceptionCode = 1): number {
    if (this.waitStatus === null) return this.exception === null ? 0 : exceptionCode;
    // Tasks that were stopped by an exception may have ended well: the job has not.
    if (this.waitStatus === 0 && this.exception !== null) return 1;
    const signum = signalOfStatus(this.waitStatus);
    return signum === 0 ? exitCodeOfStatus(this.waitStatus) : 128 + signum;
  }

  /** What is wrong with the tasks, in words; empty where nothing is, or no task ran. */
  taskText(): string {
    return this.waitStatus === null || this.waitStatus === 0 ? "" : jobErrorText(this.waitStatus, null);
  }
}
