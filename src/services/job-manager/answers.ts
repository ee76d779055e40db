/**
 * What the answers of the scheduler (RFC 27) and of the execution service (RFC 32) mean for jobs.
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../../base/json.ts";
import { AllocResponseType, JobState } from "../../sdk/job-protocol.ts";
import { mergeAnnotations, withoutScheduler } from "../../sdk/job-annotations.ts";
import type { JobManager } from "./core.ts";
import { wantsDebug } from "./fold.ts";
import { parseExecutionAnswer, type ExecutionAnswer } from "./execution.ts";
import type { Job } from "./job.ts";
import { restrictResources } from "./resources.ts";

function protocolError(): FluxError {
  return new FluxError("EPROTO", "sched.alloc-response: protocol error");
}

/** Takes an answer to a request for resources. Throws EPROTO where it makes no sense. */
export function takeAllocationAnswer(manager: JobManager, payload: JsonObject): void {
  const { id, type } = payload as Record<"id" | "type", JsonValue | undefined>;
  if (typeof id !== "number" && typeof id !== "bigint") throw protocolError();
  const job = manager.jobs.get(id);
  if (job === undefined || (job.allocation !== "pending" && job.allocation !== "canceling"))
    throw new FluxError("EPROTO", `sched.alloc-response: unexpected answer for job ${id}`);
  if (type === AllocResponseType.Success) allocated(manager, job, payload);
  else if (type === AllocResponseType.Annotate) annotated(manager, job, payload);
  else if (type === AllocResponseType.Deny) denied(manager, job, payload);
  else if (type === AllocResponseType.Cancel) unallocated(manager, job);
  else throw protocolError();
  manager.settle();
}

function allocated(manager: JobManager, job: Job, payload: JsonObject): void {
  const { R, annotations } = payload as Record<"R" | "annotations", JsonValue | undefined>;
  if (!isJsonObject(R)) throw protocolError();
  manager.scheduler.settled(job);
  manager.touch(job);
  if (job.state !== JobState.Sched) {
    // The job ended while the scheduler was at it: nothing ran on these resources.
    manager.scheduler.free({ id: job.id, R, final: true });
    return;
  }
  job.R = R;
  const all = isJsonObject(annotations) ? mergeAnnotations(job.annotations, annotations) : job.annotations;
  manager.post(job, "alloc", all === null ? undefined : { annotations: all });
}

function annotated(manager: JobManager, job: Job, payload: JsonObject): void {
  const { annotations } = payload;
  if (!isJsonObject(annotations)) throw protocolError();
  manager.annotate(job, annotations);
}

function denied(manager: JobManager, job: Job, payload: JsonObject): void {
  const { note } = payload;
  unallocated(manager, job);
  if (job.state !== JobState.Sched) return;
  const text = typeof note === "string" ? note : "";
  manager.raise(job, { type: "alloc", severity: 0, note: text, userid: manager.ownerUserid });
}

function unallocated(manager: JobManager, job: Job): void {
  manager.scheduler.settled(job);
  dropSchedulerAnnotations(manager, job);
  manager.touch(job);
}

/** A request that ended without resources leaves no annotations of the scheduler behind. */
export function dropSchedulerAnnotations(manager: JobManager, job: Job): void {
  if (withoutScheduler(job.annotations) !== job.annotations) manager.annotate(job, { sched: null });
}

/** Takes an answer to a start request. Throws EPROTO where it makes no sense. */
export function takeExecutionAnswer(manager: JobManager, payload: JsonObject): void {
  const { id } = payload;
  const job = typeof id === "number" || typeof id === "bigint" ? manager.jobs.get(id) : undefined;
  if (job === undefined || !job.startRequested)
    throw new FluxError("EPROTO", `start-response: unexpected answer for job ${String(id)}`);
  try {
    executed(manager, job, parseExecutionAnswer(payload));
  } catch (error) {
    manager.failed(job, error);
  }
  manager.settle();
}

function executed(manager: JobManager, job: Job, answer: ExecutionAnswer): void {
  switch (answer.type) {
    case "start":
      if (job.state === JobState.Run && !job.started) manager.post(job, "start");
      return;
    case "reattached":
      if (wantsDebug(job)) manager.post(job, "debug.exec-reattach-finish");
      return;
    case "finish":
      if (job.waitStatus === null) manager.post(job, "finish", { status: answer.status });
      return;
    case "exception":
      return failed(manager, job, answer.context);
    case "release":
      return released(manager, job, answer.ranks, answer.final);
  }
}

function failed(manager: JobManager, job: Job, context: JsonObject): void {
  const { severity, type, note, wait_status } = context;
  if (typeof severity !== "number" || typeof type !== "string")
    throw new FluxError("EPROTO", `start-response: malformed exception for job ${job.id}`);
  manager.raise(job, {
    type,
    severity,
    note: typeof note === "string" ? note : "",
    userid: manager.ownerUserid,
    ...(typeof wait_status === "number" ? { wait_status } : {}),
  });
}

function released(manager: JobManager, job: Job, ranks: string, final: boolean): void {
  if (final && job.state === JobState.Run) {
    const note = "the execution service ended the job without a status";
    manager.raise(job, { type: "exec", severity: 0, note, userid: manager.ownerUserid });
  }
  if (final) manager.execution.settled(job);
  if (!job.released) manager.post(job, "release", { ranks, final });
  if (!final && !job.isUnscheduled) manager.scheduler.free({ id: job.id, R: restrictResources(job.R!, ranks) });
  manager.touch(job);
}
