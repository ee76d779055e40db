/** Requests that look at jobs and at the job manager itself. */
import { FluxError } from "../../base/errors.ts";
import type { JsonObject, JsonValue } from "../../base/json.ts";
import { FLUID_ANY } from "../../formats/fluid.ts";
import { Idset } from "../../formats/idset.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { ANY_USER, ANYONE, type Methods } from "../../sdk/service.ts";
import { withoutEnvironment } from "../../sdk/job-environment.ts";
import { compareIds, JobState, STATES_RUNNING } from "../../sdk/job-protocol.ts";
import { checkOwner } from "./control-methods.ts";
import type { JobManager } from "./core.ts";
import type { Job } from "./job.ts";
import type { Housekeeping } from "./housekeeping.ts";
import type { Journal } from "./journal.ts";
import type { Plugins } from "./plugins.ts";
import {
  getAttributesRequest,
  historyRequest,
  jobtapQueryRequest,
  jobtapRequest,
  killHousekeepingRequest,
  listRequest,
} from "./protocol.ts";

export interface QueryParts {
  readonly journal: Journal;
  readonly plugins: Plugins;
  readonly housekeeping: Housekeeping;
}

export function queryMethods(manager: JobManager, { journal, plugins, housekeeping }: QueryParts): Methods {
  return {
    list: (request) => listJobs(manager, listRequest(request).max_entries),
    getattr: { roles: ANY_USER, handler: (request) => getAttributes(manager, request) },
    getinfo: { roles: ANY_USER, handler: () => ({ max_jobid: manager.maxJobId }) },
    "alloc-query": { roles: ANY_USER, handler: () => allocationCounts(manager) },
    "stats-get": { roles: ANYONE, handler: () => statistics(manager, journal, housekeeping) },
    "resource-status": () => ({ allocated: allocatedResources(manager, housekeeping) }),
    "history.get": {
      roles: ANY_USER,
      handler: (request) => {
        plugins.checkServed(".history", "history.get");
        return { jobs: manager.history.slice(request.userid, historyRequest(request).slice) };
      },
    },
    jobtap: (request) => jobtap(plugins, request),
    "jobtap-query": (request) => jobtapQuery(manager, plugins, jobtapQueryRequest(request).name),
    "housekeeping-kill": (request) => {
      const { signum, jobid, ranks } = killHousekeepingRequest(request);
      if (signum < 1 || signum > 64) throw new FluxError("EINVAL", "Invalid signal number");
      const isAll = jobid === null || jobid === -1 || jobid === FLUID_ANY;
      housekeeping.kill(signum, isAll ? null : jobid, ranks === null ? null : Idset.parse(ranks));
      return null;
    },
  };
}

/** Running jobs, then pending ones by priority (those without one first), then waitable ones that nobody waited for. */
function listJobs(manager: JobManager, maxEntries: number): object {
  if (maxEntries < 0) throw new FluxError("EPROTO", "max_entries must not be negative");
  const active = [...manager.jobs.values()].filter(({ state }) => state !== JobState.Inactive);
  const rank = (job: Job): number =>
    (job.state & STATES_RUNNING) !== 0 ? Infinity : job.priority < 0 ? Number.MAX_SAFE_INTEGER : job.priority;
  active.sort((left, right) => compareRanks(rank(left), rank(right)) || compareIds(left.id, right.id));
  const jobs: JsonObject[] = active.map(describeJob);
  for (const zombie of manager.waits.zombies)
    jobs.push(describeJob({ ...zombie, state: JobState.Inactive, dependencies: null }));
  return { jobs: maxEntries === 0 ? jobs : jobs.slice(0, maxEntries) };
}

function compareRanks(left: number, right: number): number {
  return left > right ? -1 : left < right ? 1 : 0;
}

type Described = Pick<
  Job,
  "id" | "userid" | "urgency" | "priority" | "tSubmit" | "state" | "annotations" | "dependencies"
>;

function describeJob(job: Described): JsonObject {
  const { id, userid, urgency, priority, tSubmit, state, annotations, dependencies } = job;
  return {
    id,
    userid,
    urgency,
    priority,
    t_submit: tSubmit,
    state,
    ...(annotations === null ? {} : { annotations }),
    ...(dependencies === null || dependencies.size === 0 ? {} : { dependencies: [...dependencies] }),
  };
}

function getAttributes(manager: JobManager, request: IncomingRequest): object {
  const { id, attrs } = getAttributesRequest(request);
  const job = manager.jobs.get(id);
  if (job === undefined) throw new FluxError("EINVAL", "unknown job");
  checkOwner(request, job, "guests can only access their own jobs");
  const answer: Record<string, JsonValue> = {};
  for (const name of attrs) {
    if (name === "jobspec" && job.jobspec !== null) answer["jobspec"] = withoutEnvironment(job.jobspec);
    else if (name === "R" && job.R !== null) answer["R"] = job.R;
    else if (name === "R") throw new FluxError("ENOENT", "R is NULL");
    else if (name === "eventlog") answer["eventlog"] = job.events as unknown as JsonValue;
    else throw new FluxError("ENOENT", `unknown attr ${name}`);
  }
  return answer;
}

function allocationCounts(manager: JobManager): object {
  const { scheduler } = manager;
  return {
    queue_length: scheduler.queuedCount,
    alloc_pending: scheduler.pendingCount,
    running: manager.count(STATES_RUNNING),
  };
}

function statistics(manager: JobManager, journal: Journal, housekeeping: Housekeeping): object {
  return {
    journal: { listeners: journal.listenerCount, events: journal.eventCount },
    active_jobs: manager.jobs.size,
    inactive_jobs: manager.inactive.count,
    max_jobid: manager.maxJobId,
    housekeeping: housekeeping.report(),
  };
}

function allocatedResources(manager: JobManager, housekeeping: Housekeeping): JsonObject {
  let allocated = ResourceSet.EMPTY;
  for (const { hasResources, R } of manager.jobs.values())
    if (hasResources && R !== null) allocated = allocated.union(ResourceSet.parse(R));
  for (const held of housekeeping.allocated) allocated = allocated.union(held);
  return allocated.toJSON();
}

function jobtap(plugins: Plugins, request: IncomingRequest): object | null {
  const { query_only: queryOnly, load, remove, conf } = jobtapRequest(request);
  if (queryOnly !== null) return { plugins: plugins.names };
  if (load === null && remove === null)
    throw new FluxError("EPROTO", "Protocol error: neither query_only, load nor remove");
  if (remove !== null) plugins.remove(remove);
  if (load !== null) plugins.load(load, conf ?? {});
  return null;
}

function jobtapQuery(manager: JobManager, plugins: Plugins, name: string): object {
  const answer = plugins.query(name);
  if (name === ".dependency-singleton") return { ...answer, ...manager.dependencies.singletons() };
  if (name !== ".dependency-after") return answer;
  return { ...answer, dependencies: manager.dependencies.links() };
}
