/** Every pair of state and event: where it leads, or that it means nothing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  isEnding,
  isOffline,
  nextState,
  STATE_EVENTS,
  STATE_NAMES,
  stateNumber,
  type StateName,
} from "./state-machine.ts";

const EXPECTED = `
load-builtins  builtins-success   join
load-builtins  builtins-fail      unload-builtins
join           parent-none        config-sync
join           parent-ready       config-sync
join           parent-fail        shutdown
join           shutdown           shutdown
config-sync    sync-none          init
config-sync    sync-success       init
config-sync    parent-fail        shutdown
config-sync    shutdown           shutdown
init           rc1-none           quorum
init           rc1-success        quorum
init           rc1-ignorefail     quorum
init           rc1-fail           shutdown
quorum         quorum-full        run
quorum         parent-fail        shutdown
quorum         shutdown           shutdown
run            rc2-success        cleanup
run            rc2-fail           cleanup
run            parent-fail        shutdown
run            shutdown           cleanup
cleanup        cleanup-none       shutdown
cleanup        cleanup-success    shutdown
cleanup        cleanup-fail       shutdown
cleanup        cleanup-timeout    shutdown
shutdown       children-none      finalize
shutdown       children-complete  finalize
shutdown       children-timeout   finalize
finalize       rc3-none           goodbye
finalize       rc3-success        goodbye
finalize       rc3-fail           goodbye
goodbye        goodbye            unload-builtins
unload-builtins builtins-done     exit
`;

test("the table, all pairs", () => {
  const expected = new Map<string, string>();
  for (const line of EXPECTED.trim().split("\n")) {
    const [state, event, next] = line.split(/\s+/);
    expected.set(`${state} ${event}`, next!);
  }
  for (const state of STATE_NAMES)
    for (const event of STATE_EVENTS)
      assert.equal(nextState(state, event), expected.get(`${state} ${event}`) ?? null, `${state} ${event}`);
});

test("every state leads to exit, and never back", () => {
  const reachesExit = (state: StateName): boolean =>
    state === "exit" ||
    STATE_EVENTS.map((event) => nextState(state, event)).some((next) => next !== null && reachesExit(next));
  for (const state of STATE_NAMES) {
    assert.ok(reachesExit(state), state);
    for (const event of STATE_EVENTS) {
      const next = nextState(state, event);
      assert.ok(next === null || stateNumber(next) > stateNumber(state));
    }
  }
});

test("clients know the states by these numbers", () => {
  assert.equal(stateNumber("load-builtins"), 0);
  assert.equal(stateNumber("run"), 5);
  assert.equal(stateNumber("exit"), 11);
  assert.deepEqual(STATE_NAMES.filter(isOffline), ["load-builtins", "join", "config-sync"]);
  assert.equal(isEnding("run"), false);
  assert.equal(isEnding("cleanup"), true);
});
