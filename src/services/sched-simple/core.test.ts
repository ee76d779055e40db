import assert from "node:assert/strict";
import { test } from "node:test";
import type { JsonObject } from "../../base/json.ts";
import { SchedulerCore } from "./core.ts";
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

function scheduler(nodeCount: number, cores: number): SchedulerCore {
  const inventory = Array.from({ length: nodeCount }, (_, rank) => ({
    rank,
    hostname: `n${rank}`,
    cores: [...Array.from({ length: cores }).keys()],
    gpus: [],
    properties: rank === 1 ? ["fast"] : [],
  }));
  const pool = new ResourcePool(inventory);
  pool.setUp([...inventory.keys()], true);
  return new SchedulerCore(pool, parseNodeConstraint);
}

function submit(
  core: SchedulerCore,
  id: number,
  cores: number,
  options: { priority?: number; system?: JsonObject } = {},
) {
  const request = core.check(jobspec(cores, options.system));
  core.queue.add({ id, userid: 0, priority: options.priority ?? 16, submitTime: id, request });
}

const ids = (core: SchedulerCore): unknown[] => core.pass(100).grants.map(({ job }) => job.id);

test("jobs start in order of priority, then of submission", () => {
  const core = scheduler(1, 3);
  submit(core, 1, 1);
  submit(core, 2, 1);
  submit(core, 3, 1, { priority: 31 });
  assert.deepEqual(ids(core), [3, 1, 2]);
});

test("a job that does not fit holds back those behind it, is reported once, and is not tried again in vain", () => {
  const core = scheduler(1, 2);
  submit(core, 1, 1);
  submit(core, 2, 2);
  submit(core, 3, 1);
  const pass = core.pass(100);
  assert.deepEqual(
    pass.grants.map(({ job }) => job.id),
    [1],
  );
  assert.equal(pass.blocked?.id, 2);
  assert.equal(core.isPassDue, false);
  core.pool.free(1, null);
  assert.equal(core.isPassDue, true);
  assert.deepEqual(ids(core), [2]);
});

test("a job overtakes a blocked one when its priority is raised", () => {
  const core = scheduler(1, 2);
  submit(core, 1, 1);
  submit(core, 2, 2);
  submit(core, 3, 1);
  core.pass(100);
  core.queue.prioritize(3, 31);
  assert.deepEqual(ids(core), [3]);
});

test("waiting jobs are listed in the order in which they come, whatever order they came in", () => {
  const core = scheduler(1, 1);
  for (const id of [5, 3, 9, 1]) submit(core, id, 1);
  core.queue.prioritize(9, 31);
  assert.deepEqual(
    core.queue.inOrder().map(({ id }) => id),
    [9, 1, 3, 5],
  );
});

test("a canceled job does not start", () => {
  const core = scheduler(1, 1);
  submit(core, 1, 1);
  submit(core, 2, 1);
  assert.equal(core.queue.remove(1)?.id, 1);
  assert.equal(core.queue.remove(1), undefined);
  assert.deepEqual(ids(core), [2]);
});

test("an allocation expires after the job's duration, and never after the instance", () => {
  const core = scheduler(1, 4);
  core.instanceExpiration = 160;
  submit(core, 1, 1, { system: { duration: 30 } });
  submit(core, 2, 1, { system: { duration: 90 } });
  submit(core, 3, 1);
  assert.deepEqual(
    core.pass(100).grants.map(({ expiration }) => expiration),
    [130, 160, 160],
  );
});

test("more than there is, is refused at once", () => {
  const core = scheduler(2, 2);
  assert.throws(() => core.check(jobspec(3)), {
    message: /^unsatisfiable request: it needs 1 slot\(s\) with 3 core\(s\), there are 0$/,
    errnum: 22,
  });
  const constraints = { properties: ["slow"] };
  assert.throws(() => core.check(jobspec(1, { constraints })), {
    message: /^unsatisfiable request: .* its constraints leave 0$/,
  });
  submit(core, 1, 2, { system: { constraints: { properties: ["fast"] } } });
  assert.deepEqual(core.pass(1).grants[0]?.shares, [{ rank: 1, cores: [0, 1], gpus: [] }]);
});
