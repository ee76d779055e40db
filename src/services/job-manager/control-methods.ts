/** Requests that change jobs: exceptions, signals, urgency, updates of the jobspec, memos, events. */
import { FluxError } from "../../base/errors.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { ANY_USER, type Methods } from "../../sdk/service.ts";
import { JobState, STATES_ALL, STATES_RUNNING, URGENCY_DEFAULT, URGENCY_MAX } from "../../sdk/job-protocol.ts";
import type { ManagerSurroundings } from "./surroundings.ts";
import type { JobManager } from "./core.ts";
import type { Job } from "./job.ts";
import {
  batchTimeoutRequest,
  idRequest,
  killAllRequest,
  killRequest,
  memoRequest,
  postEventRequest,
  raiseAllRequest,
  raiseRequest,
  urgencyRequest,
} from "./protocol.ts";
import { updateJob } from "./update.ts";

/** Signals end with SIGRTMAX. */
const SIGNAL_MAX = 64;

export function controlMethods(manager: JobManager, surroundings: ManagerSurroundings): Methods {
  const stored = async (): Promise<null> => {
    manager.settle();
    await surroundings.committed();
    return null;
  };
  return {
    raise: { roles: ANY_USER, handler: async (request) => (await known(request), raise(manager, request), stored()) },
    raiseall: { roles: ANY_USER, handler: (request) => raiseAll(manager, request) },
    kill: {
      roles: ANY_USER,
      handler: async (request) => (await known(request), kill(manager, surroundings, request)),
    },
    killall: { roles: ANY_USER, handler: (request) => killAll(manager, surroundings, request) },
    urgency: {
      roles: ANY_USER,
      handler: async (request) => (await known(request), setUrgency(manager, request, stored)),
    },
    update: {
      roles: ANY_USER,
      handler: async (request) => (await known(request), await updateJob(manager, surroundings, request), stored()),
    },
    memo: { roles: ANY_USER, handler: async (request) => (await known(request), memo(manager, request), stored()) },
    "set-batch-timeout": (request) => {
      const { timeout } = batchTimeoutRequest(request);
      if (timeout < 0) throw new FluxError("EPROTO", "Protocol error: 'timeout' is negative");
      surroundings.waitForCompanyMs(timeout * 1000);
      return null;
    },
    "post-event.post": (request) => {
      surroundings.plugins.checkServed(".post-event", "post-event.post");
      postEvent(manager, request);
      return stored();
    },
  };

  /** Errors say whether a job that is not there was there once. */
  async function known(request: IncomingRequest): Promise<void> {
    const { id } = idRequest(request);
    if (!manager.jobs.has(id)) await surroundings.recall(id);
  }
}

/** Whether a request may change a job: the owner of the instance may change any. */
export function checkOwner(request: IncomingRequest, job: Job, text: string): void {
  if (!request.isOwner && request.userid !== job.userid) throw new FluxError("EPERM", text);
}

function checkSeverity(severity: number): void {
  if (severity < 0 || severity > 7) throw new FluxError("EPROTO", "invalid exception severity");
}

function checkType(type: string): void {
  if (!/^\S+$/.test(type)) throw new FluxError("EPROTO", "invalid exception type");
}

function raise(manager: JobManager, request: IncomingRequest): void {
  const { id, type, severity, note, wait_status: waitStatus } = raiseRequest(request);
  checkSeverity(severity);
  checkType(type);
  const job = manager.active(id);
  checkOwner(request, job, "guests can only raise exceptions on their own jobs");
  manager.raise(job, {
    type,
    severity,
    note: note ?? "",
    userid: request.userid,
    ...(waitStatus === null ? {} : { wait_status: waitStatus }),
  });
}

/** Jobs of a user (-1: of everyone) in any of the states. Guests may name nobody but themselves. */
function select(
  manager: JobManager,
  request: IncomingRequest,
  { userid, states, forbidden }: { userid: number; states: number; forbidden: string },
): Job[] {
  if (!request.isOwner && userid !== request.userid) throw new FluxError("EPERM", forbidden);
  const isSelected = (job: Job): boolean => (job.state & states) !== 0 && (userid === -1 || job.userid === userid);
  return [...manager.jobs.values()].filter(isSelected);
}

function raiseAll(manager: JobManager, request: IncomingRequest): object {
  const { dry_run: dryRun, userid, states, severity, type, note } = raiseAllRequest(request);
  if ((states & ~STATES_ALL) !== 0) throw new FluxError("EINVAL", "invalid state mask");
  checkSeverity(severity);
  checkType(type);
  const forbidden = "guests can only raise exceptions on their own jobs";
  const jobs = select(manager, request, { userid, states: states & ~JobState.Inactive, forbidden });
  let errors = 0;
  for (const job of dryRun ? [] : jobs) {
    try {
      manager.raise(job, { type, severity, note: note ?? "", userid: request.userid });
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      errors += 1;
    }
  }
  manager.settle();
  return { count: jobs.length, errors };
}

function checkSignal(signum: number): void {
  if (signum < 1 || signum > SIGNAL_MAX) throw new FluxError("EINVAL", "Invalid signal number");
}

function kill(manager: JobManager, surroundings: ManagerSurroundings, request: IncomingRequest): null {
  const { id, signum } = killRequest(request);
  checkSignal(signum);
  const job = manager.active(id, "EINVAL");
  checkOwner(request, job, "guests may only send signals to their own jobs");
  // Also one that is to end: its tasks may not have heard of it.
  const isRunning = job.state === JobState.Run || (job.started && job.waitStatus === null);
  if (!isRunning) throw new FluxError("EINVAL", "job is not running");
  surroundings.publish(`shell-${id}.kill`, { signum });
  return null;
}

function killAll(manager: JobManager, surroundings: ManagerSurroundings, request: IncomingRequest): object {
  const { dry_run: dryRun, userid, signum } = killAllRequest(request);
  checkSignal(signum);
  const jobs = select(manager, request, {
    userid,
    states: JobState.Run,
    forbidden: "guests can only kill their own jobs",
  });
  for (const job of dryRun ? [] : jobs) surroundings.publish(`shell-${job.id}.kill`, { signum });
  return { count: jobs.length, errors: 0 };
}

async function setUrgency(manager: JobManager, request: IncomingRequest, stored: () => Promise<null>): Promise<object> {
  const { id, urgency } = urgencyRequest(request);
  if (urgency < 0 || urgency > URGENCY_MAX) throw new FluxError("EINVAL", "urgency value is out of range");
  const job = manager.active(id, "EINVAL", "unknown job");
  checkOwner(request, job, "guests can only reprioritize their own jobs");
  if (!request.isOwner && urgency > Math.max(job.urgency, URGENCY_DEFAULT))
    throw new FluxError("EPERM", "guests can only adjust urgency <= default");
  if ((job.state & STATES_RUNNING) !== 0)
    throw new FluxError("EINVAL", "urgency cannot be changed once resources are allocated");
  const answer = { old_urgency: job.urgency };
  const isSame = urgency === job.urgency;
  manager.post(job, "urgency", { userid: request.userid, urgency });
  // A requester waits for a priority event, even if the priority stays the same.
  if (isSame && job.state === JobState.Sched) manager.post(job, "priority", { priority: job.priority });
  await stored();
  return answer;
}

function memo(manager: JobManager, request: IncomingRequest): void {
  const { id, volatile: isVolatile, memo: entries } = memoRequest(request);
  const job = manager.active(id);
  checkOwner(request, job, "guests can only add a memo to their own jobs");
  if (isVolatile === true) manager.annotate(job, { user: entries });
  else manager.post(job, "memo", entries);
}

function postEvent(manager: JobManager, request: IncomingRequest): void {
  const { id, name, context } = postEventRequest(request);
  if (name === "") throw new FluxError("EINVAL", "the event has no name");
  const job = manager.jobs.get(id);
  if (job === undefined || job.state === JobState.Inactive) throw new FluxError("ENOENT");
  if (name === "exception") {
    if (context === null) throw new FluxError("EPROTO", "Protocol error: an exception needs a context");
    manager.raise(job, context);
  } else manager.post(job, name, context ?? undefined);
}
