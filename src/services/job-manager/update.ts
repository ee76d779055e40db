/**
 * Updates of a job's jobspec after submission (`job-manager.update`): its duration, also of a running job, and its queue.
 */
import { FluxError, isFluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../../base/json.ts";
import type { Jobspec } from "../../formats/jobspec.ts";
import { getPath } from "../../formats/jobspec-attributes.ts";
import { moveConstraints } from "../../sdk/job-constraints.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { JobState, STATES_RUNNING } from "../../sdk/job-protocol.ts";
import { checkOwner } from "./control-methods.ts";
import type { JobManager } from "./core.ts";
import { IMMUTABLE } from "./fold.ts";
import { updateRequest } from "./protocol.ts";
import { queueOf, type Job } from "./job.ts";
import type { ManagerSurroundings } from "./surroundings.ts";

const DURATION = "attributes.system.duration";
const QUEUE = "attributes.system.queue";
/** Where a jobspec may be changed at all (RFC 14). */
const JOBSPEC_KEY = /^(attributes|tasks|resources)(\.|$)/;
const CONSTRAINTS = "attributes.system.constraints";

/** Carries out an update. Throws FluxError; then nothing was changed. */
export async function updateJob(
  manager: JobManager,
  surroundings: ManagerSurroundings,
  request: IncomingRequest,
): Promise<void> {
  const { plugins } = surroundings;
  const { id, updates } = updateRequest(request);
  const known = manager.jobs.get(id);
  const isInactive = known === undefined ? manager.outcome(id) !== null : known.state === JobState.Inactive;
  if (isInactive) throw new FluxError("EINVAL", "job is inactive");
  const job = manager.active(id);
  checkOwner(request, job, "guests may only update their own jobs");
  if (job.immutable && !request.isOwner)
    throw new FluxError("EPERM", "job is immutable due to previous instance owner update");
  if (Object.keys(updates).length === 0) return;
  const context = checkUpdates({ manager, plugins, request, job }, updates);
  const isRunning = (job.state & STATES_RUNNING) !== 0;
  const duration = isRunning ? context[DURATION] : undefined;
  const expiration = duration === undefined ? null : newExpiration(job, duration as number, surroundings.now());
  if (expiration !== null) await adjustExpiration(manager, surroundings, job, expiration);
  if (context[QUEUE] !== undefined) {
    await checkFeasible(surroundings.handle, manager.checkUpdate(job, context));
    checkPending(job);
  }
  if (job.state === JobState.Inactive || job.state === JobState.Cleanup)
    throw new FluxError("EINVAL", "job is inactive");
  if (request.isOwner && request.userid !== job.userid && !job.immutable)
    manager.post(job, "set-flags", { flags: [IMMUTABLE] });
  manager.post(job, "jobspec-update", context);
  if (expiration !== null) manager.post(job, "resource-update", { expiration });
  // A priority may depend on what was changed: it is assigned anew.
  if (job.state === JobState.Sched) manager.post(job, "priority", { priority: job.priority });
}

interface Update {
  readonly manager: JobManager;
  readonly plugins: ManagerSurroundings["plugins"];
  readonly request: IncomingRequest;
  readonly job: Job;
}

/** What the jobspec-update event will say. */
function checkUpdates(update: Update, updates: JsonObject): JsonObject {
  const { manager, plugins, job } = update;
  let context: JsonObject = {};
  for (const [key, value] of Object.entries(updates)) {
    if (!JOBSPEC_KEY.test(key)) throw new FluxError("EINVAL", "one or more jobspec updates are invalid");
    if (key === DURATION && plugins.has(".update-duration"))
      context = { ...context, [key]: checkDuration(update, value) };
    else if (key === QUEUE && plugins.has(".update-queue"))
      context = { ...context, ...checkQueue(manager, job, value) };
    else throw new FluxError("EINVAL", `update of ${key} not supported`);
  }
  return context;
}

function checkDuration({ manager, plugins, request, job }: Update, value: JsonValue | undefined): number {
  // The owner may go beyond limits, unless the plugin was loaded to say otherwise.
  const isFree = request.isOwner && plugins.flag(".update-duration", "owner-allow-any", true);
  if (typeof value !== "number" || value === Infinity) throw new FluxError("EINVAL", "duration must be a number");
  if (value < 0) throw new FluxError("EINVAL", "duration must not be negative");
  if ((job.state & STATES_RUNNING) !== 0 && !isFree)
    throw new FluxError("EPERM", "duration update of running job requires instance owner");
  if (!isFree && plugins.has(".limit-duration")) manager.limits.checkDuration(value, queueOf(job));
  return value;
}

function checkQueue(manager: JobManager, job: Job, value: JsonValue | undefined): JsonObject {
  if (typeof value !== "string") throw new FluxError("EINVAL", "queue must be a string");
  checkPending(job);
  if (!manager.queues.areNamed) throw new FluxError("EINVAL", `'${value}' is not a valid queue`);
  if (value === queueOf(job)) throw new FluxError("EINVAL", `job queue is already set to ${value}`);
  if (!manager.queues.isEnabled(value)) throw new FluxError("EINVAL", `queue ${value} is currently disabled`);
  const current = getPath(job.jobspec!, CONSTRAINTS);
  const constraints = isJsonObject(current) ? current : {};
  return {
    [QUEUE]: value,
    [CONSTRAINTS]: moveConstraints(constraints, manager.queues.requires(queueOf(job)), manager.queues.requires(value)),
  };
}

function checkPending(job: Job): void {
  if ((job.state & STATES_RUNNING) !== 0)
    throw new FluxError("EINVAL", "update of queue for running job not supported");
}

/** Asks the scheduler whether a job could ever run as it would be; without one nobody knows. */
async function checkFeasible(handle: ManagerSurroundings["handle"], jobspec: Jobspec): Promise<void> {
  try {
    await handle.rpc("feasibility.check", { jobspec });
  } catch (error) {
    if (!isFluxError(error, "ENOSYS")) throw error;
  }
}

/** When a running job with another duration (seconds, 0 = unlimited) ends; 0 for never. Throws EINVAL where it would be over. */
function newExpiration(job: Job, duration: number, now: number): number {
  const start = getPath(job.R ?? {}, "execution.starttime");
  if (typeof start !== "number" || start === 0) throw new FluxError("EINVAL", "unable to get job starttime");
  if (duration === 0) return 0;
  const expiration = start + duration;
  if (expiration <= now) throw new FluxError("EINVAL", "requested duration places job expiration in the past");
  return expiration;
}

/** The scheduler must agree, and the execution service must know. */
async function adjustExpiration(
  manager: JobManager,
  surroundings: ManagerSurroundings,
  job: Job,
  expiration: number,
): Promise<void> {
  const { handle } = surroundings;
  const ask = async (topic: string): Promise<void> => {
    try {
      await handle.rpc(topic, { id: job.id, expiration });
    } catch (error) {
      // A service without this method goes on with the expiration it knows (RFC 27).
      if (!isFluxError(error, "ENOSYS")) throw error;
    }
  };
  await ask("sched.expiration");
  const { service } = manager.execution;
  if (service !== null) await ask(`${service}.expiration`);
}
