/**
 * Job queues: one without a name, or those that the configuration names (flux-config-queues(5)). A queue accepts jobs
 * or not (enable), and hands them to the scheduler or not (start).
 *
 * Invariants: named queues begin stopped, the anonymous one started; a reason is kept only while it applies.
 *
 * Does not know: which jobs are in a queue.
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../../base/json.ts";
import { configType, type PolicyConfig } from "../../formats/policy-config.ts";

/** What a queue does, and why not. */
interface QueueState {
  readonly enabled: boolean;
  readonly started: boolean;
  readonly disableReason: string | null;
  readonly stopReason: string | null;
}

interface Queue {
  /** Empty for the anonymous queue. */
  readonly name: string;
  /** Properties that the queue's resources have. */
  readonly requires: readonly string[];
  /** The queue whose resources this one shares under another name (RFC 33); null where it has its own. */
  readonly parent: string | null;
  enabled: boolean;
  started: boolean;
  disableReason: string | null;
  stopReason: string | null;
  /** What a restart finds: changes with `nocheckpoint` are not in it. */
  kept: QueueState;
}

const RESTART_REASON = "Automatically stopped due to restart";

export class Queues {
  #queues = new Map<string, Queue>();
  #stopOnRestart = false;

  constructor() {
    this.#queues.set("", anonymousQueue());
  }

  /** Whether queues have names. */
  get areNamed(): boolean {
    return !this.#queues.has("");
  }

  get names(): string[] {
    return [...this.#queues.keys()].filter((name) => name !== "");
  }

  /** Takes the queues of a configuration; those that stay keep their state. Throws EINVAL. */
  configure(config: JsonObject, { queues }: PolicyConfig): void {
    const next = new Map<string, Queue>();
    const stopOnRestart = stopOnRestartOf(config["job-manager"]);
    for (const [name, { requires, parent }] of queues ?? []) {
      const old = this.#queues.get(name);
      next.set(name, old === undefined ? namedQueue(name, requires, parent) : { ...old, requires, parent });
    }
    this.#stopOnRestart = stopOnRestart;
    if (next.size === 0) next.set("", this.#queues.get("") ?? anonymousQueue());
    this.#queues = next;
  }

  isStarted(name: string): boolean {
    // A job may name a queue that the configuration has lost meanwhile: it waits.
    const queue = this.#queues.get(name);
    return queue !== undefined && queue.started && this.#isParentStarted(queue);
  }

  requires(name: string): readonly string[] {
    return this.#queues.get(name)?.requires ?? [];
  }

  /** Whether a queue takes jobs. Throws EINVAL where no such queue is. */
  isEnabled(name: string): boolean {
    return this.#find(name).enabled;
  }

  /** Whether a queue takes new jobs. Throws EINVAL with the reason where it does not. */
  checkSubmission(name: string): void {
    const queue = this.#find(name);
    if (queue.enabled) return;
    const where = name === "" ? "" : ` to ${name}`;
    throw new FluxError("EINVAL", `job submission${where} is disabled: ${queue.disableReason ?? ""}`);
  }

  /** The answer to `queue-status`. `blocked` says what else keeps jobs from being scheduled. */
  status(name: string, blocked: string | null): JsonObject {
    const queue = this.#find(name);
    const answer: Record<string, JsonValue> = { enable: queue.enabled, start: queue.started };
    if (queue.disableReason !== null) answer["disable_reason"] = queue.disableReason;
    if (queue.stopReason !== null) answer["stop_reason"] = queue.stopReason;
    if (queue.started && blocked !== null) {
      answer["start"] = false;
      answer["stop_reason"] = "Scheduler is offline";
      answer["blocked"] = blocked;
    } else if (queue.started && !this.#isParentStarted(queue)) {
      answer["start"] = false;
      answer["stop_reason"] = `parent queue '${queue.parent}' is stopped`;
      answer["blocked"] = "parent";
    }
    return answer;
  }

  /** Lets queues take new jobs, or not. Throws EINVAL. */
  enable(
    selection: { name: string | null; all: boolean },
    enabled: boolean,
    reason: string | null,
    isTemporary: boolean,
  ): void {
    const queues = this.#select(selection, "Use --all to apply this command to all queues");
    if (!enabled && reason === null) throw new FluxError("EINVAL", "reason is required for disable");
    for (const queue of queues) {
      queue.enabled = enabled;
      queue.disableReason = enabled ? null : reason;
      const { disableReason } = queue;
      if (!isTemporary) queue.kept = { ...queue.kept, enabled, disableReason };
    }
  }

  /**
   * Lets queues hand jobs to the scheduler, or not. Returns the names of the queues that this concerns, virtual queues of
   * a parent included. Throws EINVAL.
   */
  start(
    selection: { name: string | null; all: boolean },
    started: boolean,
    reason: string | null,
    isTemporary: boolean,
  ): string[] {
    const queues = this.#select(selection, "Named queues are defined. Specify queues or use --all.");
    for (const queue of queues) {
      queue.started = started;
      queue.stopReason = started ? null : reason;
      const { stopReason } = queue;
      if (!isTemporary) queue.kept = { ...queue.kept, started, stopReason };
    }
    const names = new Set(queues.map(({ name }) => name));
    for (const { name, parent } of this.#queues.values()) if (parent !== null && names.has(parent)) names.add(name);
    return [...names];
  }

  /** What is kept over a restart (key `checkpoint.job-manager`). */
  save(): JsonObject[] {
    return [...this.#queues.values()].map(({ name, kept }) => ({
      ...(name === "" ? {} : { name }),
      enable: kept.enabled,
      start: kept.started,
      ...(kept.disableReason === null ? {} : { disable_reason: kept.disableReason }),
      ...(kept.stopReason === null ? {} : { stop_reason: kept.stopReason }),
    }));
  }

  /** Takes what was kept; queues that are no more are passed over. */
  restore(saved: JsonValue | undefined): void {
    for (const entry of Array.isArray(saved) ? (saved as JsonValue[]) : []) {
      if (!isJsonObject(entry)) continue;
      const { name = "", enable, start, disable_reason, stop_reason } = entry as Record<string, JsonValue | undefined>;
      const queue = typeof name === "string" ? this.#queues.get(name) : undefined;
      if (queue === undefined || typeof enable !== "boolean" || typeof start !== "boolean") continue;
      queue.enabled = enable;
      queue.started = start;
      queue.disableReason = typeof disable_reason === "string" ? disable_reason : null;
      queue.stopReason = typeof stop_reason === "string" ? stop_reason : null;
      if (start && this.#stopOnRestart) {
        queue.started = false;
        queue.stopReason = RESTART_REASON;
      }
      const { enabled, started, disableReason, stopReason } = queue;
      queue.kept = { enabled, started, disableReason, stopReason };
    }
  }

  #isParentStarted(queue: Queue): boolean {
    return queue.parent === null || (this.#queues.get(queue.parent)?.started ?? false);
  }

  #find(name: string): Queue {
    const queue = this.#queues.get(name);
    if (queue !== undefined) return queue;
    throw new FluxError("EINVAL", name === "" ? "a named queue is required" : `'${name}' is not a valid queue`);
  }

  #select(selection: { name: string | null; all: boolean }, refusal: string): Queue[] {
    if (selection.name !== null) return [this.#find(selection.name)];
    if (this.areNamed && !selection.all) throw new FluxError("EINVAL", refusal);
    return [...this.#queues.values()];
  }
}

function anonymousQueue(): Queue {
  return newQueue("", [], null, true);
}

function namedQueue(name: string, requires: readonly string[], parent: string | null): Queue {
  return newQueue(name, requires, parent, false);
}

function newQueue(name: string, requires: readonly string[], parent: string | null, started: boolean): Queue {
  const state: QueueState = { enabled: true, started, disableReason: null, stopReason: null };
  return { name, requires, parent, ...state, kept: state };
}

/** `job-manager.stop-queues-on-restart`: queues that were started when the instance ended are stopped in the next one. */
function stopOnRestartOf(table: JsonValue | undefined): boolean {
  const value = isJsonObject(table) ? table["stop-queues-on-restart"] : undefined;
  if (value === undefined || typeof value === "boolean") return value ?? false;
  throw new FluxError("EINVAL", `Expected true or false, got ${configType(value)}`);
}
