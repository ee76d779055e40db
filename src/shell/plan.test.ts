import assert from "node:assert/strict";
import { test } from "node:test";
import type { JsonObject } from "../base/json.ts";
import { planJob, type JobPlan } from "./plan.ts";
import { assign, divide } from "./plugins/affinity.ts";
import { LineBuffer } from "./plugins/line-buffer.ts";
import { ShellOptions } from "./options.ts";

interface Case {
  readonly resources: JsonObject;
  readonly count: JsonObject;
  readonly R: readonly { rank: string; core: string }[];
  readonly options?: JsonObject;
  /** Slots, as the scheduler has told them. */
  readonly nslots?: number;
}

function plan({ resources, count, R, options = {}, nslots }: Case, brokerRank: number): JobPlan {
  const jobspec = {
    version: 1,
    resources: [resources],
    tasks: [{ command: ["x"], slot: "task", count }],
    attributes: { system: { duration: 0, cwd: "/tmp", shell: { options } } },
  };
  const execution = {
    R_lite: R.map(({ rank, core }) => ({ rank, children: { core } })),
    nodelist: [`n[0-${R.length - 1}]`],
    starttime: 0,
    expiration: 0,
    ...(nslots !== undefined && { nslots }),
  };
  const readFile = (): Uint8Array => assert.fail("no file is read");
  return planJob(
    { id: 1, userid: 1, jobspec: jobspec as JsonObject, R: { version: 1, execution } },
    { brokerRank, cwd: "/", readFile },
  );
}

const slot = (count: number, cores = 1): JsonObject => ({
  type: "slot",
  count,
  label: "task",
  with: [{ type: "core", count: cores }],
});
const node = (count: number, slots: number, cores = 1): JsonObject => ({
  type: "node",
  count,
  with: [slot(slots, cores)],
});
const ONE_PER_SLOT = { per_slot: 1 };

const cases: readonly [name: string, job: Case, tasksByRank: Readonly<Record<number, number[]>>][] = [
  ["one slot", { resources: slot(1), count: ONE_PER_SLOT, R: [{ rank: "3", core: "1" }] }, { 3: [0] }],
  [
    "slots as they were allocated",
    {
      resources: slot(3),
      count: ONE_PER_SLOT,
      R: [
        { rank: "0", core: "0-1" },
        { rank: "5", core: "7" },
      ],
    },
    { 0: [0, 1], 5: [2] },
  ],
  [
    "slots of two cores",
    {
      resources: slot(3, 2),
      count: ONE_PER_SLOT,
      R: [
        { rank: "0", core: "0-3" },
        { rank: "1", core: "0-1" },
      ],
    },
    { 0: [0, 1], 1: [2] },
  ],
  [
    "slots on nodes",
    {
      resources: node(2, 2),
      count: ONE_PER_SLOT,
      R: [
        { rank: "0", core: "0-1" },
        { rank: "1", core: "0-1" },
      ],
    },
    { 0: [0, 1], 1: [2, 3] },
  ],
  [
    "fewer tasks than slots",
    {
      resources: node(2, 2),
      count: { total: 3 },
      R: [
        { rank: "0", core: "0-1" },
        { rank: "1", core: "0-1" },
      ],
    },
    { 0: [0, 1], 1: [2] },
  ],
  [
    "whole nodes shared evenly",
    {
      resources: node(2, 1),
      count: { total: 3 },
      R: [
        { rank: "0", core: "0-15" },
        { rank: "1", core: "0-15" },
      ],
    },
    { 0: [0, 1], 1: [2] },
  ],
  [
    "tasks per core",
    {
      resources: node(2, 1),
      count: ONE_PER_SLOT,
      R: [
        { rank: "0", core: "0-1" },
        { rank: "1", core: "0" },
      ],
      options: { "per-resource": { type: "core", count: 2 } },
    },
    { 0: [0, 1, 2, 3], 1: [4, 5] },
  ],
  [
    "cyclic",
    {
      resources: node(2, 2),
      count: ONE_PER_SLOT,
      R: [
        { rank: "0", core: "0-1" },
        { rank: "1", core: "0-1" },
      ],
      options: { taskmap: { scheme: "cyclic" } },
    },
    { 0: [0, 2], 1: [1, 3] },
  ],
  [
    "a range of slots, by what came of it",
    {
      resources: { ...slot(1, 2), count: "2+" },
      count: ONE_PER_SLOT,
      R: [
        { rank: "0", core: "0-3" },
        { rank: "1", core: "0-1" },
      ],
      nslots: 3,
    },
    { 0: [0, 1], 1: [2] },
  ],
  [
    "slots of whole nodes",
    {
      resources: { type: "slot", count: 2, label: "task", with: [{ type: "node", count: 1, with: [slot(1, 1)] }] },
      count: ONE_PER_SLOT,
      R: [
        { rank: "0", core: "0-1" },
        { rank: "1", core: "0-1" },
      ],
      nslots: 2,
    },
    { 0: [0], 1: [1] },
  ],
];
for (const [name, job, expected] of cases)
  test(`tasks go to nodes: ${name}`, () => {
    for (const [rank, tasks] of Object.entries(expected))
      assert.deepEqual(
        plan(job, Number(rank)).tasks.map((task) => task.rank),
        tasks,
      );
  });

test("an unknown scheme, or a map of another number of tasks, is refused", () => {
  const base = { resources: slot(2), count: ONE_PER_SLOT, R: [{ rank: "0", core: "0-1" }] };
  assert.throws(() => plan({ ...base, options: { taskmap: { scheme: "spiral" } } }, 0), /scheme=spiral/);
  const manual = { taskmap: { scheme: "manual", value: "[[0,1,3,1]]" } };
  assert.throws(() => plan({ ...base, options: manual }, 0), /got 3 total tasks, expected 2/);
  const wide = { taskmap: { scheme: "manual", value: "[[0,2,1,1]]" } };
  assert.throws(() => plan({ ...base, options: wide }, 0), /got 2 nodes, expected 1/);
  for (const value of ["0", "-1", "far"])
    assert.throws(
      () => plan({ ...base, options: { taskmap: { scheme: "cyclic", value } } }, 0),
      new RegExp(`invalid cyclic stride: ${value}`),
    );
});

test("cores are divided evenly among tasks, and shared where they are too few", () => {
  assert.deepEqual(divide([0, 1, 2, 3], 2), [
    [0, 1],
    [2, 3],
  ]);
  assert.deepEqual(divide([4, 5, 6], 2), [[4], [5, 6]]);
  assert.deepEqual(divide([1, 2], 4), [[1], [1], [2], [2]]);
});

test("affinity modes", () => {
  assert.deepEqual(assign("cpu-affinity", "on", [1, 2], 2), [
    [1, 2],
    [1, 2],
  ]);
  assert.equal(assign("cpu-affinity", "off", [1, 2], 2), null);
  assert.deepEqual(assign("cpu-affinity", "map:0-1;0xc", [], 3), [
    [0, 1],
    [2, 3],
    [0, 1],
  ]);
  assert.equal(assign("cpu-affinity", "sideways", [1], 1), undefined);
  assert.throws(() => assign("cpu-affinity", "map:zz", [1], 1), /cpuset zz contains no cores or is invalid/);
});

test("lines are kept whole; what is left comes at the end; a long line comes in pieces", () => {
  const text = (bytes: Uint8Array | null): string | null => (bytes === null ? null : new TextDecoder().decode(bytes));
  const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);
  const buffer = new LineBuffer(8);
  assert.equal(text(buffer.push(bytes("one\ntw"))), "one\n");
  assert.equal(text(buffer.push(bytes("o"))), null);
  assert.equal(text(buffer.push(bytes("\nthree"))), "two\n");
  assert.equal(text(buffer.push(bytes("and more"))), "threeand more");
  assert.equal(text(buffer.push(bytes("x"))), null);
  assert.equal(text(buffer.rest()), "x");
  assert.equal(buffer.rest(), null);
});

test("shell options read as switches, durations and sizes", () => {
  const options = new ShellOptions({ a: 1, b: { c: "5m", d: "none" }, size: "10M", off: false });
  assert.equal(options.isOn("a"), true);
  assert.equal(options.isOn("off"), false);
  assert.equal(options.isOn("missing"), false);
  assert.equal(options.seconds("b.c", 1), 300);
  assert.equal(options.seconds("b.d", 1), Infinity);
  assert.equal(options.bytes("size", 1), 10 * 1024 * 1024);
  assert.equal(options.bytes("b.c", 1), null, "5m is no size");
});

test("what no node could hold is refused before it is counted out", () => {
  const R = [{ rank: "0", core: "0-1" }];
  const refused = (count: JsonObject, options: JsonObject = {}): void =>
    assert.throws(() => plan({ resources: slot(1), count, R, options }, 0), /^FluxError: .* more than /);
  refused({ total: 1e9 });
  refused({ total: 2 ** 20 });
  refused(ONE_PER_SLOT, { "per-resource": { type: "core", count: 1e9 } });
  refused(ONE_PER_SLOT, { taskmap: { scheme: "manual", value: "0-2147483646" } });
  assert.throws(
    () => assign("cpu-affinity", "map:0-2147483646", [0], 1),
    /cpuset 0-2147483646 contains no cores or is invalid/,
  );
  assert.throws(() => assign("cpu-affinity", `map:0x${"f".repeat(3000)}`, [0], 1), /more than 8192 bits/);
});
