/**
 * The life of a broker as a table: states, the events that lead from one to the next, and the numbers by which clients
 * know the states (`state-machine.monitor`). Pure.
 *
 * Invariant: states are entered in ascending order only; every broker that enters `join` ends in `exit`.
 */
import { assert } from "../base/assert.ts";

/** In the order of their numbers. */
export const STATE_NAMES = [
  "load-builtins",
  "join",
  "config-sync",
  "init",
  "quorum",
  "run",
  "cleanup",
  "shutdown",
  "finalize",
  "goodbye",
  "unload-builtins",
  "exit",
] as const;

export type StateName = (typeof STATE_NAMES)[number];

export function stateNumber(state: StateName): number {
  return STATE_NAMES.indexOf(state);
}

/**
 * What happened. `shutdown` is the wish to end (a signal, `flux shutdown`, the parent shutting down); `parent-fail` the
 * loss of the parent.
 */
export const STATE_EVENTS = [
  "builtins-success",
  "builtins-fail",
  "parent-none",
  "parent-ready",
  "parent-fail",
  "sync-none",
  "sync-success",
  "rc1-none",
  "rc1-success",
  "rc1-fail",
  "rc1-ignorefail",
  "quorum-full",
  "rc2-none",
  "rc2-success",
  "rc2-fail",
  "shutdown",
  "cleanup-none",
  "cleanup-success",
  "cleanup-fail",
  "cleanup-timeout",
  "children-none",
  "children-complete",
  "children-timeout",
  "rc3-none",
  "rc3-success",
  "rc3-fail",
  "goodbye",
  "builtins-done",
] as const;

export type StateEvent = (typeof STATE_EVENTS)[number];

const TABLE: Readonly<Record<StateName, Partial<Readonly<Record<StateEvent, StateName>>>>> = {
  "load-builtins": { "builtins-success": "join", "builtins-fail": "unload-builtins" },
  join: {
    "parent-none": "config-sync",
    "parent-ready": "config-sync",
    "parent-fail": "shutdown",
    shutdown: "shutdown",
  },
  "config-sync": {
    "sync-none": "init",
    "sync-success": "init",
    "parent-fail": "shutdown",
    shutdown: "shutdown",
  },
  // A start that is under way is finished before it is undone: `shutdown` and `parent-fail` wait for its end.
  init: { "rc1-none": "quorum", "rc1-success": "quorum", "rc1-ignorefail": "quorum", "rc1-fail": "shutdown" },
  quorum: { "quorum-full": "run", "parent-fail": "shutdown", shutdown: "shutdown" },
  run: {
    "rc2-success": "cleanup",
    "rc2-fail": "cleanup",
    "parent-fail": "shutdown",
    shutdown: "cleanup",
  },
  cleanup: {
    "cleanup-none": "shutdown",
    "cleanup-success": "shutdown",
    "cleanup-fail": "shutdown",
    "cleanup-timeout": "shutdown",
  },
  shutdown: { "children-none": "finalize", "children-complete": "finalize", "children-timeout": "finalize" },
  finalize: { "rc3-none": "goodbye", "rc3-success": "goodbye", "rc3-fail": "goodbye" },
  goodbye: { goodbye: "unload-builtins" },
  "unload-builtins": { "builtins-done": "exit" },
  exit: {},
};

/** The state that an event leads to, or null where the event means nothing in the present state. */
export function nextState(state: StateName, event: StateEvent): StateName | null {
  const next = TABLE[state][event] ?? null;
  assert(next === null || stateNumber(next) > stateNumber(state), "states ascend");
  return next;
}

/** Whether the state comes before the instance accepts requests of clients. */
export function isOffline(state: StateName): boolean {
  return stateNumber(state) < stateNumber("init");
}

/** Whether the broker is on its way out. */
export function isEnding(state: StateName): boolean {
  return stateNumber(state) > stateNumber("run");
}
