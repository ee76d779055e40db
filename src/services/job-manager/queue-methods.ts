/**
 * Requests about queues, and those that wait until there is nothing to do.
 *
 * `queue-list` {} → {queues}; `queue-status` {name?} → {enable, start, …}; `queue-enable` {enable, all, name?, reason?,
 * nocheckpoint?}; `queue-start` {start, all, name?, reason?, nocheckpoint?}; `drain` answers when no job is active, `idle` when none has
 * resources or a request for them, with the number of pending ones.
 */
import { FluxError, isFluxError } from "../../base/errors.ts";
import { isJsonObject, parseJson, stringifyJson } from "../../base/json.ts";
import type { Handle } from "../../sdk/handle.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { ANY_USER, type Methods } from "../../sdk/service.ts";
import { QUEUE_LOG_KEY } from "../../sdk/events.ts";
import { encodeEvent, JobState, STATES_PENDING, STATES_RUNNING } from "../../sdk/job-protocol.ts";
import { makeTextVal } from "../../formats/treeobj.ts";
import { OPERATION_APPEND } from "../../sdk/kvs-protocol.ts";
import { lookupText } from "../../sdk/kvs-text.ts";
import type { JobManager } from "./core.ts";
import { queueEnableRequest, queueStartRequest, queueStatusRequest } from "./protocol.ts";
import type { ManagerSurroundings } from "./surroundings.ts";

export const CHECKPOINT_KEY = "checkpoint.job-manager";

/** What is kept over a restart besides the jobs themselves. */
export function saveCheckpoint(manager: JobManager, surroundings: ManagerSurroundings): void {
  const checkpoint = { version: 1, max_jobid: manager.maxJobId, queue: manager.queues.save() };
  const dirent = makeTextVal(stringifyJson(checkpoint));
  surroundings.addOperation({ key: CHECKPOINT_KEY, flags: 0, dirent });
}

/** Takes up what was kept; false where there is nothing. Throws FluxError where it cannot be read. */
export async function restoreCheckpoint(manager: JobManager, handle: Handle): Promise<boolean> {
  try {
    const checkpoint = parseJson(await lookupText(handle, CHECKPOINT_KEY));
    if (!isJsonObject(checkpoint)) return false;
    const { max_jobid, queue } = checkpoint;
    if (typeof max_jobid === "number" || typeof max_jobid === "bigint") manager.maxJobId = max_jobid;
    manager.queues.restore(queue);
    return true;
  } catch (error) {
    if (isFluxError(error, "ENOENT")) return false;
    throw error;
  }
}

/** Notes what was done to a queue, or to all of them, for those who follow what happens. */
function note(surroundings: ManagerSurroundings, name: string, queue: string | null, reason: string | null): void {
  const context = { ...(queue !== null && { queue }), ...(reason !== null && { reason }) };
  const line = encodeEvent({ timestamp: surroundings.now(), name, context });
  surroundings.addOperation({ key: QUEUE_LOG_KEY, flags: OPERATION_APPEND, dirent: makeTextVal(line) });
}

export function queueMethods(manager: JobManager, surroundings: ManagerSurroundings): Methods {
  const saved = async (isTemporary: boolean): Promise<null> => {
    manager.settle();
    if (isTemporary) return null;
    saveCheckpoint(manager, surroundings);
    await surroundings.committed();
    return null;
  };
  return {
    "queue-list": { roles: ANY_USER, handler: () => ({ queues: manager.queues.names }) },
    "queue-status": {
      roles: ANY_USER,
      handler: (request) =>
        manager.queues.status(queueStatusRequest(request).name ?? "", manager.scheduler.isReady ? null : "scheduler"),
    },
    "queue-enable": (request) => {
      const { enable, name, all, reason, nocheckpoint } = queueEnableRequest(request);
      manager.queues.enable({ name, all }, enable, reason, nocheckpoint === true);
      if (nocheckpoint !== true) note(surroundings, enable ? "enable" : "disable", name, reason);
      return saved(nocheckpoint === true);
    },
    "queue-start": (request) => {
      const { start, name, all, reason, nocheckpoint } = queueStartRequest(request);
      const names = manager.queues.start({ name, all }, start, reason, nocheckpoint === true);
      for (const stopped of start ? [] : names) manager.scheduler.stopped(stopped);
      if (nocheckpoint !== true) note(surroundings, start ? "start" : "stop", name, reason);
      return saved(nocheckpoint === true);
    },
  };
}

/** Requests that wait until there is nothing to do. */
export class Quiet {
  readonly #manager: JobManager;
  readonly #drains = new Set<IncomingRequest>();
  readonly #idles = new Set<IncomingRequest>();

  constructor(manager: JobManager) {
    this.#manager = manager;
  }

  methods(): Methods {
    return {
      drain: (request) => this.#wait(this.#drains, request),
      idle: (request) => this.#wait(this.#idles, request),
    };
  }

  /** Answers those whose wait is over. */
  review(): void {
    if (this.#drains.size > 0 && this.#manager.jobs.size === 0) {
      for (const request of this.#drains) request.respond();
      this.#drains.clear();
    }
    if (this.#idles.size === 0 || !this.#isIdle()) return;
    const pending = this.#manager.count(STATES_PENDING);
    for (const request of this.#idles) request.respond({ pending });
    this.#idles.clear();
  }

  disconnect(disconnect: IncomingRequest): void {
    for (const requests of [this.#drains, this.#idles])
      for (const request of requests) if (request.sender === disconnect.sender) requests.delete(request);
  }

  stop(): void {
    for (const request of [...this.#drains, ...this.#idles])
      request.respondError(new FluxError("ENOSYS", "job-manager is unloading"));
    this.#drains.clear();
    this.#idles.clear();
  }

  #isIdle(): boolean {
    return this.#manager.count(STATES_RUNNING | JobState.Inactive) === 0 && this.#manager.scheduler.pendingCount === 0;
  }

  #wait(requests: Set<IncomingRequest>, request: IncomingRequest): undefined {
    requests.add(request);
    this.review();
  }
}
