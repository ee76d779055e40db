import assert from "node:assert/strict";
import { test } from "node:test";
import { Hostlist } from "../../formats/hostlist.ts";
import { Idset } from "../../formats/idset.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import { ResourceState, type ResourceEvent } from "./core.ts";
import type { DrainMode } from "./protocol.ts";

function stateOf(count: number): ResourceState {
  const hosts = Array.from({ length: count }, (_, rank) => `foo${rank}`);
  const state = new ResourceState(count, hosts);
  state.resources = ResourceSet.of({ ranks: Idset.upTo(count), cores: Idset.upTo(2), hosts: Hostlist.from(hosts) });
  for (const event of state.planOnline(Idset.upTo(count), 1)) state.apply(event);
  return state;
}

function drain(
  state: ResourceState,
  targets: string,
  reason: string | null,
  mode: DrainMode = "default",
  time = 10,
): void {
  state.apply(state.planDrain(targets, reason, mode, time));
}

function undrain(state: ResourceState, targets: string, mode: DrainMode = "default"): void {
  state.apply(state.planUndrain(targets, null, mode, 20));
}

test("who comes and goes is told in events, and only who is online is up", () => {
  const state = stateOf(4);
  const events = state.planOnline(Idset.parse("0-1,3"), 5);
  assert.deepEqual(events, [{ timestamp: 5, name: "offline", context: { idset: "2" } }]);
  for (const event of events) state.apply(event);
  assert.equal(state.up.toString(), "0-1,3");
  assert.deepEqual(state.planOnline(Idset.parse("0-1,3"), 6), []);
});

test("a drained node is not up until it is undrained", () => {
  const state = stateOf(4);
  drain(state, "1-2", "bad disk");
  assert.equal(state.up.toString(), "0,3");
  assert.deepEqual(state.drainTable(), { "1-2": { timestamp: 10, reason: "bad disk" } });
  undrain(state, "foo1");
  assert.equal(state.up.toString(), "0-1,3");
});

test("a reason that is overwritten without a new one is gone; a node drained without reason may be given one", () => {
  const state = stateOf(2);
  drain(state, "1", "bad disk");
  drain(state, "1", null, "overwrite", 11);
  assert.deepEqual(state.drainTable(), { "1": { timestamp: 10, reason: "" } });
  drain(state, "1", "loud fan", "update", 12);
  assert.deepEqual(state.drainTable(), { "1": { timestamp: 10, reason: "loud fan" } });
});

test("a drain event names ranks, hosts and reason", () => {
  assert.deepEqual(stateOf(4).planDrain("foo[1-2]", "why", "default", 7), {
    timestamp: 7,
    name: "drain",
    context: { idset: "1-2", nodelist: "foo[1-2]", reason: "why", overwrite: 0 },
  });
});

const refusals: readonly [targets: string, mode: DrainMode, text: string, errnum: number][] = [
  ["1", "default", "rank 1 already drained", 17],
  ["0-3", "default", "ranks 1,3 already drained or excluded", 17],
  ["3", "default", "rank 3 excluded", 22],
  ["3", "force-overwrite", "rank 3 excluded", 22],
  ["9", "default", "idset is out of range", 22],
  ["nohost", "default", "invalid targets: invalid hosts: nohost", 22],
];
for (const [targets, mode, text, errnum] of refusals)
  test(`drain ${targets} (${mode}) is refused: ${text}`, () => {
    const state = stateOf(4);
    state.setExclude(Idset.of(3));
    drain(state, "1", "why");
    assert.throws(() => state.planDrain(targets, null, mode, 1), { message: text, errnum });
  });

test("what is drained for no reason may get one", () => {
  const state = stateOf(2);
  drain(state, "0", null);
  drain(state, "0", "why", "default", 11);
  assert.deepEqual(state.drainTable(), { 0: { timestamp: 10, reason: "why" } });
});

test("draining again: update fills in, overwrite replaces the reason, force-overwrite the time too", () => {
  const state = stateOf(2);
  drain(state, "0", null);
  drain(state, "0", "first", "update", 11);
  assert.deepEqual(state.drainTable(), { 0: { timestamp: 10, reason: "first" } });
  drain(state, "0", "second", "update", 12);
  assert.deepEqual(state.drainTable(), { 0: { timestamp: 10, reason: "first" } });
  drain(state, "0", "third", "overwrite", 13);
  assert.deepEqual(state.drainTable(), { 0: { timestamp: 10, reason: "third" } });
  drain(state, "0", "fourth", "force-overwrite", 14);
  assert.deepEqual(state.drainTable(), { 0: { timestamp: 14, reason: "fourth" } });
});

test("undrain refuses what is not drained unless forced", () => {
  const state = stateOf(4);
  drain(state, "1", null);
  assert.throws(() => undrain(state, "1-2"), { message: "rank 2 not drained", errnum: 17 });
  undrain(state, "1-2", "overwrite");
  assert.equal(state.drained.count, 0);
});

test("an excluded node is withheld from the scheduler, and drained no more", () => {
  const state = stateOf(3);
  drain(state, "1", null);
  state.setExclude(Idset.of(1));
  assert.equal(state.drained.count, 0);
  assert.equal(state.schedulable.ranks.toString(), "0,2");
  assert.equal(state.up.toString(), "0,2");
});

test("drains of an earlier run follow their hosts to other ranks", () => {
  const state = stateOf(4);
  const event = (idset: string, nodelist: string): ResourceEvent => ({
    timestamp: 3,
    name: "drain",
    context: { idset, nodelist, reason: "why", overwrite: 0 },
  });
  state.replay(event("0-1", "foo[2-3]"));
  assert.equal(state.drained.toString(), "2-3");
  state.replay(event("2-3", "gone[1-2]"));
  assert.equal(state.drained.toString(), "2-3");
  state.replay({ timestamp: 4, name: "undrain", context: { idset: "3" } });
  assert.equal(state.drained.toString(), "2");
  const message = "drain event: missing or invalid 'idset'";
  assert.throws(() => state.replay({ timestamp: 5, name: "drain", context: {} }), { message, errnum: 22 });
});

test("an undrain that is forced names all its targets, drained or not", () => {
  const state = stateOf(4);
  drain(state, "1", "why");
  assert.deepEqual(state.planUndrain("0-1", "because", "overwrite", 7), {
    timestamp: 7,
    name: "undrain",
    context: { idset: "0-1", nodelist: "foo[0-1]", overwrite: 1, reason: "because" },
  });
  undrain(state, "0-1", "update");
  assert.equal(state.drained.toString(), "");
});
