import assert from "node:assert/strict";
import { test } from "node:test";
import type { JsonObject } from "../../base/json.ts";
import { slotTotal } from "./choice.ts";
import { SchedulerCore, type Grant, type Policy } from "./core.ts";
import { parseNodeConstraint } from "./node-constraint.ts";
import { ResourcePool } from "./pool.ts";

function jobspec(cores: number, system: JsonObject = {}): JsonObject {
  return {
    version: 1,
    resources: [{ type: "slot", count: 1, label: "task", with: [{ type: "core", count: cores }] }],
    tasks: [{ command: ["true"], slot: "task", count: { per_slot: 1 } }],
    attributes: { system: { duration: 0, ...system } },
  };
}

function scheduler(nodeCount: number, cores: number, policy: Policy = "easy"): SchedulerCore {
  const inventory = Array.from({ length: nodeCount }, (_, rank) => ({
    rank,
    hostname: `n${rank}`,
    cores: [...Array.from({ length: cores }).keys()],
    gpus: [],
    properties: rank === 1 ? ["fast"] : ["slow"],
  }));
  const pool = new ResourcePool(inventory);
  pool.setUp([...inventory.keys()], true);
  return new SchedulerCore(pool, parseNodeConstraint, policy);
}

interface Wanted {
  readonly priority?: number;
  /** Seconds. */
  readonly duration?: number;
  readonly on?: string;
}

function submit(
  core: SchedulerCore,
  id: number,
  cores: number,
  { priority = 16, duration = 0, on }: Wanted = {},
): void {
  const constraint = on === undefined ? {} : { constraints: { properties: [on] } };
  const request = core.check(jobspec(cores, { duration, ...constraint }));
  core.add({ id, userid: 0, priority, submitTime: id, request });
}

const ids = (grants: readonly Grant[]): unknown[] => grants.map(({ job }) => job.id);
const started = (core: SchedulerCore, now = 100): unknown[] => ids(core.pass(now));

test("jobs start in order of priority, then of submission", () => {
  const core = scheduler(1, 3);
  submit(core, 1, 1);
  submit(core, 2, 1);
  submit(core, 3, 1, { priority: 31 });
  assert.deepEqual(started(core), [3, 1, 2]);
});

test("a job that does not fit holds back those behind it, and nothing is tried again in vain", () => {
  for (const policy of ["easy", "fifo"] as const) {
    const core = scheduler(1, 2, policy);
    submit(core, 1, 1);
    submit(core, 2, 2);
    submit(core, 3, 1);
    assert.deepEqual(started(core), [1]);
    assert.equal(core.isPassDue, false);
    core.pool.free(1, null);
    assert.equal(core.isPassDue, true);
    assert.deepEqual(started(core), [2]);
  }
});

test("a job overtakes a blocked one when its priority is raised", () => {
  const core = scheduler(1, 2);
  submit(core, 1, 1);
  submit(core, 2, 2);
  submit(core, 3, 1);
  core.pass(100);
  core.prioritize(3, 31);
  assert.deepEqual(started(core), [3]);
});

test("a canceled job does not start, and holds nobody back", () => {
  const core = scheduler(1, 2);
  submit(core, 1, 1);
  submit(core, 2, 2);
  submit(core, 3, 1);
  assert.deepEqual(started(core), [1]);
  assert.equal(core.remove(2)?.id, 2);
  assert.equal(core.remove(2), undefined);
  assert.deepEqual(started(core), [3]);
});

test("an allocation expires after the job's duration, and never after the instance", () => {
  const core = scheduler(1, 4);
  core.instanceExpiration = 160;
  submit(core, 1, 1, { duration: 30 });
  submit(core, 2, 1, { duration: 90 });
  submit(core, 3, 1);
  assert.deepEqual(
    core.pass(100).map(({ expiration }) => expiration),
    [130, 160, 160],
  );
});

test("more than there is, is refused at once", () => {
  const core = scheduler(2, 2);
  assert.throws(() => core.check(jobspec(3)), {
    message: "unsatisfiable request: need 1 slot(s) of 3 core(s), only 0 such slot(s) available (total cores: 4)",
    errnum: 75,
  });
  assert.throws(() => core.check(jobspec(1, { constraints: { properties: ["no"] } })), /total cores: 0/);
});

test("backfill: short jobs run before a blocked one that they do not delay", () => {
  const core = scheduler(1, 4);
  submit(core, 1, 3, { duration: 60 });
  submit(core, 2, 4, { duration: 60 });
  submit(core, 3, 1, { duration: 61 });
  submit(core, 4, 1);
  submit(core, 5, 1, { duration: 60 });
  const grants = core.pass(100);
  assert.deepEqual(ids(grants), [1, 5]);
  assert.equal(grants[1]!.overtaken?.id, 2, "it says before whom it started");
  core.pool.free(1, null);
  core.pool.free(5, null);
  assert.deepEqual(started(core, 110), [2]);
});

test("backfill: a long job runs where the blocked one will not need the place", () => {
  const core = scheduler(3, 2);
  submit(core, 1, 2, { duration: 60 });
  submit(core, 2, 2, { duration: 600 });
  submit(core, 3, 1);
  submit(core, 4, 2, { duration: 60 });
  submit(core, 5, 1);
  assert.deepEqual(started(core), [1, 2, 3, 5], "cores of node 2 are not what job 4 gets when job 1 ends");
});

test("in strict order nothing overtakes", () => {
  const core = scheduler(1, 4, "fifo");
  submit(core, 1, 3, { duration: 60 });
  submit(core, 2, 4, { duration: 60 });
  submit(core, 3, 1, { duration: 1 });
  assert.deepEqual(started(core), [1]);
  core.policy = "easy";
  assert.deepEqual(started(core), [3]);
});

test("who waits for some nodes does not hold back jobs for others", () => {
  for (const policy of ["easy", "fifo"] as const) {
    const core = scheduler(3, 2, policy);
    submit(core, 1, 2, { on: "fast" });
    submit(core, 2, 1, { on: "fast" });
    submit(core, 3, 1, { on: "slow" });
    submit(core, 4, 1, { on: "fast" });
    assert.deepEqual(started(core), [1, 3], policy);
    submit(core, 5, 1, { on: "slow" });
    assert.deepEqual(started(core), [5], policy);
    submit(core, 6, 1);
    assert.deepEqual(started(core), policy === "easy" ? [6] : [], policy);
  }
});

test("without an idea of when a blocked job starts, nothing is placed where it could", () => {
  const core = scheduler(1, 4);
  submit(core, 1, 3);
  submit(core, 2, 4);
  submit(core, 3, 1, { duration: 1 });
  assert.deepEqual(started(core), [1]);
  core.pool.setEnd(1, 200);
  assert.deepEqual(started(core), [3]);
});

test("estimates: jobs start in order as those before them end", () => {
  const core = scheduler(1, 4);
  submit(core, 1, 4, { duration: 60 });
  core.pass(100);
  submit(core, 2, 4, { duration: 60 });
  submit(core, 3, 2, { duration: 120 });
  submit(core, 4, 2);
  submit(core, 5, 4, { duration: 1 });
  core.pass(100);
  const held = JSON.stringify([...core.pool.held]);
  assert.deepEqual(core.forecast(10, 100), [
    { id: 2, time: 160 },
    { id: 3, time: 220 },
    { id: 4, time: 220 },
  ]);
  assert.deepEqual(core.forecast(1, 100), [{ id: 2, time: 160 }]);
  assert.deepEqual(core.forecast(1, 200), [{ id: 2, time: 200 }], "what is overdue may end now");
  assert.equal(JSON.stringify([...core.pool.held]), held);
  assert.equal(core.pool.table.freeCores, 0);
});

test("a pass starts a bounded number of jobs, and the next one goes on in order", () => {
  const core = scheduler(10, 100);
  const count = 600;
  for (let id = 1; id <= count; id++) submit(core, id, 1);
  const passes: unknown[][] = [];
  while (core.isPassDue) passes.push(started(core));
  assert.ok(passes.length > 1 && passes.every((pass) => pass.length <= 256), "no pass takes long");
  assert.deepEqual(
    passes.flat(),
    Array.from({ length: count }, (_, index) => index + 1),
  );
});

test("a pass that stopped short leaves a blocked job its turn", () => {
  const core = scheduler(1, 300);
  submit(core, 1, 300);
  assert.deepEqual(started(core), [1]);
  submit(core, 2, 299);
  for (let id = 3; id < 600; id++) submit(core, id, 1);
  core.pool.free(1, null);
  const all: unknown[] = [];
  while (core.isPassDue) all.push(...started(core));
  assert.deepEqual(all, [2, 3]);
});

test("what there is, is counted anew when nodes go for good and when one comes back", () => {
  const core = scheduler(3, 4);
  core.check(jobspec(4));
  const wide = {
    ...jobspec(4),
    resources: [{ type: "slot", count: 3, label: "t", with: [{ type: "core", count: 4 }] }],
  };
  core.check(wide);
  core.pool.remove([2]);
  assert.throws(() => core.check(wide), /unsatisfiable request: need 3 slot\(s\) of 4 core\(s\), only 2 /);
  core.pool.setUp([2], true);
  core.check(wide);
});

function ranged(resources: JsonObject[]): JsonObject {
  return { ...jobspec(1), resources };
}

const core1 = [{ type: "core", count: 1 }];

const ranges: readonly [what: string, resources: JsonObject, nodes: number, cores: number][] = [
  ["slots, as many as there are", { type: "slot", count: "2+", with: core1 }, 4, 8],
  ["slots, up to a number", { type: "slot", count: { min: 2, max: 3 }, with: [{ type: "core", count: "1-2" }] }, 2, 3],
  ["nodes, up to a number", { type: "node", count: "2-3", with: [{ type: "slot", count: 1, with: core1 }] }, 3, 3],
  ["all nodes", { type: "node", count: { min: 1 }, with: [{ type: "slot", count: 1, with: core1 }] }, 4, 4],
  ["slots per node", { type: "node", count: 2, with: [{ type: "slot", count: "1-5", with: core1 }] }, 2, 4],
];

for (const [what, resource, nodes, cores] of ranges)
  test(`a range of ${what}: a job gets what there is, and starts with the least`, () => {
    const core = scheduler(4, 2);
    core.add({ id: 1, userid: 0, priority: 16, submitTime: 1, request: core.check(ranged([resource])) });
    const [grant] = core.pass(100);
    assert.equal(grant!.shares.length, nodes);
    assert.equal(grant!.shares.flatMap((share) => share.cores).length, cores);
    assert.equal(slotTotal(grant!.job.request, grant!.shares), cores);
  });

test("a range starts with the least where there is no more, and does not start with less", () => {
  const core = scheduler(2, 2);
  submit(core, 1, 1);
  assert.deepEqual(started(core), [1]);
  const request = core.check(ranged([{ type: "slot", count: "3-4", with: core1 }]));
  core.add({ id: 2, userid: 0, priority: 16, submitTime: 2, request });
  assert.equal(core.pass(100)[0]!.shares.flatMap((share) => share.cores).length, 3);
  core.add({ id: 3, userid: 0, priority: 16, submitTime: 3, request });
  assert.deepEqual(started(core), []);
});

test("counts that are no plain range are refused with what to do", () => {
  const core = scheduler(2, 2);
  for (const count of ["1,3", "2-8:2:*", { min: 1, max: 4, operator: "*", operand: 2 }])
    assert.throws(
      () => core.check(ranged([{ type: "slot", count, with: core1 }])),
      /use a simple min-max range instead/,
    );
  for (const count of ["x", -1, 1.5, null, { min: 3, max: 2 }])
    assert.throws(() => core.check(ranged([{ type: "slot", count, with: core1 }])), /slot/);
});
