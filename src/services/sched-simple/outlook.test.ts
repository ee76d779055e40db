import assert from "node:assert/strict";
import { test } from "node:test";
import type { Integer, JsonObject } from "../../base/json.ts";
import type { Clock } from "../../base/ports.ts";
import { SchedulerCore } from "./core.ts";
import { Outlook } from "./outlook.ts";
import { ResourcePool } from "./pool.ts";

const node = { rank: 0, hostname: "n0", cores: [0, 1], gpus: [], properties: [] };

function scheduler(): SchedulerCore {
  const pool = new ResourcePool([node]);
  pool.setUp([0], true);
  return new SchedulerCore(pool, () => assert.fail());
}

function submit(core: SchedulerCore, id: number, slots: number, duration: number): void {
  const perSlot = { coresPerSlot: 1, gpusPerSlot: 0 };
  const request = { nodes: 0, slots, ...perSlot, exclusive: false, constraint: null, duration, shape: `${slots}` };
  core.add({ id, userid: 0, priority: 16, submitTime: id, request });
}

/** A clock that stands still; its timers run when they are told to. */
function stoppedClock(): { clock: Clock; timers: (() => void)[]; delaysMs: number[] } {
  const timers: (() => void)[] = [];
  const delaysMs: number[] = [];
  const after = (delayMs: number, callback: () => void): { cancel(): void } => {
    delaysMs.push(delayMs);
    timers.push(callback);
    return { cancel() {} };
  };
  return {
    clock: { now: () => 100, monotonicMs: () => 0, busyMs: () => 0, after, defer: () => assert.fail() },
    timers,
    delaysMs,
  };
}

test("waiting jobs are told when they start, once, and again when that changes", () => {
  const core = scheduler();
  const told: [Integer, JsonObject][] = [];
  const { clock, timers, delaysMs } = stoppedClock();
  const outlook = new Outlook(clock, (id, sched) => told.push([id, sched]));
  const look = (explainsAll = false): [Integer, JsonObject][] => {
    outlook.changed(() => ({ core, explainsAll }));
    timers.pop()!();
    return told.splice(0);
  };
  submit(core, 1, 2, 60);
  submit(core, 2, 2, 0);
  submit(core, 3, 1, 60);
  core.pass(100);
  assert.deepEqual(look(), [[2, { t_estimate: 160 }]], "nobody knows when what has no limit ends");
  assert.deepEqual(look(), []);
  core.pool.setEnd(1, 130);
  assert.deepEqual(look(), [[2, { t_estimate: 130 }]]);
  assert.deepEqual(look(true), [
    [2, { reason_pending: "insufficient resources", jobs_ahead: 0 }],
    [3, { reason_pending: "insufficient resources", jobs_ahead: 1 }],
  ]);
  assert.deepEqual(outlook.takeBack(2), { t_estimate: null, reason_pending: null, jobs_ahead: null });
  assert.deepEqual(outlook.takeBack(2), {}, "what was told is taken back once");
  outlook.forget();
  assert.deepEqual(look(), [[2, { t_estimate: 130 }]], "a job manager that was loaded anew is told again");
  look(true);
  core.pool.setEnd(1, 0);
  assert.deepEqual(look(), [
    [2, { reason_pending: null, jobs_ahead: null, t_estimate: null }],
    [3, { reason_pending: null, jobs_ahead: null }],
  ]);
  assert.ok(delaysMs.at(-1)! >= 500, "not more often than anybody could read");
});

test("where jobs keep their order nobody is told when", () => {
  const core = scheduler();
  core.policy = "fifo";
  const told: unknown[] = [];
  const { clock, timers } = stoppedClock();
  const outlook = new Outlook(clock, (id, sched) => told.push([id, sched]));
  submit(core, 1, 2, 60);
  submit(core, 2, 2, 60);
  core.pass(100);
  outlook.changed(() => ({ core, explainsAll: false }));
  timers.shift()!();
  assert.deepEqual(told, []);
});
