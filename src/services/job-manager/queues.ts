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
  /** A stop that is forgotten at the next restart. */
  isStopTemporary: boolean;
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

  /** Takes the table `queues` of a configuration; queues that stay keep their state. Throws EINVAL. */
  configure(config: JsonObject): void {
    const table = config["queues"];
    const next = new Map<string, Queue>();
    const stopOnRestart = stopOnRestartOf(config["job-manager"]);
    if (table !== undefined && !isJsonObject(table)) throw new FluxError("EINVAL", "queues must be a table");
    for (const [name, value] of Object.entries(table ?? {}).sort(([left], [right]) => (left < right ? -1 : 1))) {
      const parent = parentOf(name, value, table!);
      const requires = parent === null ? requiresOf(name, value) : requiresOf(parent, table![parent]);
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

  /** Throws EINVAL where no such queue is. */
  check(name: string): void {
    this.#find(name);
  }

  /** Whether a queue takes new jobs. Throws EINVAL with the reason where it does not. */
  checkSubmission(name: string): void {
    if (name === "" && this.areNamed) throw new FluxError("EINVAL", "no queue specified");
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
  enable(selection: { name: string | null; all: boolean }, enabled: boolean, reason: string | null): void {
    const queues = this.#select(selection);
    if (!enabled && reason === null) throw new FluxError("EINVAL", "reason is required for disable");
    for (const queue of queues) {
      queue.enabled = enabled;
      queue.disableReason = enabled ? null : reason;
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
    const queues = this.#select(selection);
    for (const queue of queues) {
      queue.started = started;
      queue.stopReason = started ? null : reason;
      queue.isStopTemporary = !started && isTemporary;
    }
    const names = new Set(queues.map(({ name }) => name));
    for (const { name, parent } of this.#queues.values()) if (parent !== null && names.has(parent)) names.add(name);
    return [...names];
  }

  /** What is kept over a restart (key `checkpoint.job-manager`). */
  save(): JsonObject[] {
    return [...this.#queues.values()].map((queue) => ({
      ...(queue.name === "" ? {} : { name: queue.name }),
      enable: queue.enabled,
      start: queue.isStopTemporary ? true : queue.started,
      ...(queue.disableReason === null ? {} : { disable_reason: queue.disableReason }),
      ...(queue.stopReason === null || queue.isStopTemporary ? {} : { stop_reason: queue.stopReason }),
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
      if (!start || !this.#stopOnRestart) continue;
      queue.started = false;
      queue.stopReason = RESTART_REASON;
    }
  }

  #isParentStarted(queue: Queue): boolean {
    return queue.parent === null || (this.#queues.get(queue.parent)?.started ?? false);
  }

  #find(name: string): Queue {
    const queue = this.#queues.get(name);
    if (queue !== undefined) return queue;
    throw new FluxError("EINVAL", name === "" ? "a queue name is required" : `'${name}' is not a valid queue`);
  }

  #select(selection: { name: string | null; all: boolean }): Queue[] {
    if (selection.name !== null) return [this.#find(selection.name)];
    if (this.areNamed && !selection.all)
      throw new FluxError("EINVAL", "Named queues are defined. Specify queues or use --all.");
    return [...this.#queues.values()];
  }
}

function anonymousQueue(): Queue {
  return { ...namedQueue("", []), started: true };
}

function namedQueue(name: string, requires: readonly string[], parent: string | null = null): Queue {
  return {
    name,
    requires,
    parent,
    enabled: true,
    started: false,
    disableReason: null,
    stopReason: null,
    isStopTemporary: false,
  };
}

function requiresOf(name: string, value: JsonValue | undefined): string[] {
  if (!isJsonObject(value)) throw new FluxError("EINVAL", `queues.${name} must be a table`);
  const requires = value["requires"];
  if (requires === undefined) return [];
  if (!Array.isArray(requires) || requires.some((property) => typeof property !== "string"))
    throw new FluxError("EINVAL", `queues.${name}.requires must be an array of strings`);
  return requires as string[];
}

function parentOf(name: string, value: JsonValue | undefined, table: JsonObject): string | null {
  const parent = isJsonObject(value) ? value["parent"] : undefined;
  if (parent === undefined) return null;
  const fail = (reason: string): never => {
    throw new FluxError("EINVAL", `error parsing [queues.${name}] config table: ${reason}`);
  };
  if (typeof parent !== "string") return fail("'parent' must be a string");
  const other = table[parent];
  if (!isJsonObject(other)) return fail(`parent queue '${parent}' is not configured`);
  if ((value as JsonObject)["requires"] !== undefined) return fail("a virtual queue must not set 'requires'");
  if (other["parent"] !== undefined) return fail(`parent queue '${parent}' is itself a virtual queue`);
  return parent;
}

/** `job-manager.stop-queues-on-restart`: queues that were started when the instance ended are stopped in the next one. */
function stopOnRestartOf(table: JsonValue | undefined): boolean {
  const value = isJsonObject(table) ? table["stop-queues-on-restart"] : undefined;
  if (value === undefined || typeof value === "boolean") return value ?? false;
  throw new FluxError("EINVAL", `Expected true or false, got ${typeof value === "number" ? "integer" : typeof value}`);
}
