/** Requests that change jobs: exceptions, signals, urgency, updates of the jobspec, memos, events. */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type Integer, type JsonObject, type JsonValue } from "../../base/json.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import {
  ANY_USER,
  requireInteger,
  requireJobId,
  requireObject,
  requireString,
  type Methods,
} from "../../sdk/service.ts";
import { JobState, STATES_ALL, STATES_RUNNING, URGENCY_DEFAULT, URGENCY_MAX } from "../../sdk/job-protocol.ts";
import type { ManagerSurroundings } from "./surroundings.ts";
import type { JobManager } from "./core.ts";
import type { Job } from "./job.ts";
import { optional, requireFlag } from "./protocol.ts";
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
      handler: async (request) => (await known(request, true), kill(manager, surroundings, request)),
    },
    killall: { roles: ANY_USER, handler: (request) => killAll(manager, surroundings, request) },
    urgency: {
      roles: ANY_USER,
      handler: async (request) => (await known(request, true), setUrgency(manager, request, stored)),
    },
    update: {
      roles: ANY_USER,
      handler: async (request) => (await known(request), await updateJob(manager, surroundings, request), stored()),
    },
    memo: { roles: ANY_USER, handler: async (request) => (await known(request), memo(manager, request), stored()) },
    "post-event.post": (request) => (postEvent(manager, request), stored()),
  };

  /** Errors say whether a job that is not there was there once. */
  async function known(request: IncomingRequest, isLenient = false): Promise<void> {
    const { id } = request.json;
    const isId = typeof id === "number" || typeof id === "bigint";
    if (isId && !manager.jobs.has(id)) await surroundings.recall(id);
    else if (!isId && !isLenient) throw new FluxError("EPROTO");
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
  const id = requireJobIdQuietly(request);
  const { type, severity } = request.json;
  if (typeof type !== "string" || typeof severity !== "number") throw new FluxError("EPROTO");
  checkSeverity(severity);
  checkType(type);
  const waitStatus = optional(request, "wait_status", "number");
  const job = manager.active(id);
  checkOwner(request, job, "guests can only raise exceptions on their own jobs");
  manager.raise(job, {
    type,
    severity,
    note: optional(request, "note", "string") ?? "",
    userid: request.userid,
    ...(waitStatus === null ? {} : { wait_status: waitStatus }),
  });
}

function requireJobIdQuietly(request: IncomingRequest): Integer {
  const { id } = request.json;
  if (typeof id !== "number" && typeof id !== "bigint") throw new FluxError("EPROTO");
  return id;
}

/** Jobs of a user (-1: of everyone) in any of the states. Guests may name nobody but themselves. */
function select(manager: JobManager, request: IncomingRequest, states: number, forbidden: string): Job[] {
  const userid = requireInteger(request.json, "userid");
  if (!request.isOwner && userid !== request.userid) throw new FluxError("EPERM", forbidden);
  const isSelected = (job: Job): boolean => (job.state & states) !== 0 && (userid === -1 || job.userid === userid);
  return [...manager.jobs.values()].filter(isSelected);
}

function raiseAll(manager: JobManager, request: IncomingRequest): object {
  const dryRun = requireFlag(request.json, "dry_run");
  const states = requireInteger(request.json, "states");
  const severity = requireInteger(request.json, "severity");
  const type = requireString(request.json, "type");
  if ((states & ~STATES_ALL) !== 0) throw new FluxError("EINVAL", "invalid state mask");
  checkSeverity(severity);
  checkType(type);
  const note = optional(request, "note", "string") ?? "";
  const jobs = select(
    manager,
    request,
    states & ~JobState.Inactive,
    "guests can only raise exceptions on their own jobs",
  );
  let errors = 0;
  for (const job of dryRun ? [] : jobs) {
    try {
      manager.raise(job, { type, severity, note, userid: request.userid });
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
  const id = requireJobId(request.json, "id");
  const signum = requireInteger(request.json, "signum");
  checkSignal(signum);
  const job = manager.active(id, "EINVAL");
  checkOwner(request, job, "guests may only send signals to their own jobs");
  if (job.state !== JobState.Run) throw new FluxError("EINVAL", "job is not running");
  surroundings.publish(`shell-${id}.kill`, { signum });
  return null;
}

function killAll(manager: JobManager, surroundings: ManagerSurroundings, request: IncomingRequest): object {
  const dryRun = requireFlag(request.json, "dry_run");
  const signum = requireInteger(request.json, "signum");
  checkSignal(signum);
  const jobs = select(manager, request, JobState.Run, "guests can only kill their own jobs");
  for (const job of dryRun ? [] : jobs) surroundings.publish(`shell-${job.id}.kill`, { signum });
  return { count: jobs.length, errors: 0 };
}

async function setUrgency(manager: JobManager, request: IncomingRequest, stored: () => Promise<null>): Promise<object> {
  const id = requireJobId(request.json, "id");
  const urgency = requireInteger(request.json, "urgency");
  if (urgency < 0 || urgency > URGENCY_MAX) throw new FluxError("EINVAL", "urgency value is out of range");
  const job = manager.active(id, "EINVAL", "unknown job");
  checkOwner(request, job, "guests can only reprioritize their own jobs");
  if (!request.isOwner && urgency > Math.max(job.urgency, URGENCY_DEFAULT))
    throw new FluxError("EPERM", "guests can only adjust urgency <= default");
  if ((job.state & STATES_RUNNING) !== 0)
    throw new FluxError("EINVAL", "urgency cannot be changed once resources are allocated");
  const answer = { old_urgency: job.urgency };
  if (urgency !== job.urgency) manager.post(job, "urgency", { userid: request.userid, urgency });
  await stored();
  return answer;
}

function memo(manager: JobManager, request: IncomingRequest): void {
  const id = requireJobIdQuietly(request);
  const entries: JsonValue | undefined = request.json["memo"];
  if (!isJsonObject(entries)) throw new FluxError("EPROTO");
  const isVolatile = optional(request, "volatile", "boolean") === true;
  const job = manager.active(id);
  checkOwner(request, job, "guests can only add a memo to their own jobs");
  if (isVolatile) manager.annotate(job, { user: entries });
  else manager.post(job, "memo", entries);
}

function postEvent(manager: JobManager, request: IncomingRequest): void {
  const id = requireJobId(request.json, "id");
  const name = requireString(request.json, "name");
  const context: JsonObject | undefined =
    request.json["context"] === undefined ? undefined : requireObject(request.json, "context");
  const job = manager.jobs.get(id);
  if (job === undefined || job.state === JobState.Inactive) throw new FluxError("ENOENT");
  if (name === "exception") {
    if (context === undefined) throw new FluxError("EPROTO");
    manager.raise(job, context);
  } else manager.post(job, name, context);
}
