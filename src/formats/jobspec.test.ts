import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFluxError } from "../base/errors.ts";
import type { JsonObject, JsonValue } from "../base/json.ts";
import { getPath, parseKeyValue, setAttribute, setShellOption, updateJobspec } from "./jobspec-attributes.ts";
import { fromCommand, fromNestCommand, fromPerResource, type PerResourceOptions } from "./jobspec-build.ts";
import { jobspecCounts, taskCount } from "./jobspec-counts.ts";
import { jobName, validateJobspec, type Jobspec } from "./jobspec.ts";

const core = (count: JsonValue) => ({ type: "core", count });
const slot = (count: JsonValue, ...children: JsonObject[]) => ({
  type: "slot",
  count,
  label: "default",
  with: children,
});
const node = (count: JsonValue, child: JsonObject, more: JsonObject = {}) => ({
  type: "node",
  count,
  with: [child],
  ...more,
});

function spec(resource: JsonValue, changes: JsonObject = {}): JsonObject {
  return {
    version: 1,
    resources: [resource],
    tasks: [{ command: ["app"], slot: "default", count: { per_slot: 1 } }],
    attributes: { system: { duration: 3600, cwd: "/home/flux", environment: { HOME: "/home/flux" } } },
    ...changes,
  };
}

test("RFC 25 examples: what they ask for", () => {
  const gpu = { type: "gpu", count: 1 };
  const total = (count: number) => ({ tasks: [{ command: ["hostname"], slot: "default", count: { total: count } }] });
  const table: [string, JsonObject, object][] = [
    ["example", spec(node(4, slot(1, core(2)))), { nnodes: 4, nslots: 4, coresPerSlot: 2, gpusPerSlot: 0, ntasks: 4 }],
    ["1.1", spec(node(4, slot(1, core(1)))), { nnodes: 4, nslots: 4, coresPerSlot: 1, gpusPerSlot: 0, ntasks: 4 }],
    [
      "2.1",
      spec(node(4, slot(1, core(1))), total(5)),
      { nnodes: 4, nslots: 4, coresPerSlot: 1, gpusPerSlot: 0, ntasks: 5 },
    ],
    ["2.2", spec(slot(10, core(2))), { nnodes: 0, nslots: 10, coresPerSlot: 2, gpusPerSlot: 0, ntasks: 10 }],
    ["2.3", spec(slot(10, core(2), gpu)), { nnodes: 0, nslots: 10, coresPerSlot: 2, gpusPerSlot: 1, ntasks: 10 }],
    [
      "2.4",
      spec(node(4, slot(4, core(1), gpu))),
      { nnodes: 4, nslots: 16, coresPerSlot: 1, gpusPerSlot: 1, ntasks: 16 },
    ],
  ];
  for (const [name, value, expected] of table) {
    const { slotsPerNode, exclusive, duration, ...counts } = jobspecCounts(validateJobspec(value));
    assert.deepEqual(counts, expected, name);
    assert.equal(slotsPerNode, counts.nnodes === 0 ? 0 : counts.nslots / counts.nnodes);
    assert.equal(duration, 3600);
    assert.equal(exclusive, false);
  }
});

test("a jobspec that is malformed is refused with the place and the reason", () => {
  const good = spec(slot(1, core(1)));
  const task = (changes: JsonObject) => ({
    ...good,
    tasks: [{ command: ["app"], slot: "default", count: { per_slot: 1 }, ...changes }],
  });
  const system = (changes: JsonObject) => ({ ...good, attributes: { system: { duration: 0, ...changes } } });
  const table: [JsonValue, RegExp][] = [
    [null, /jobspec must be an object/],
    [{}, /^Missing key \(resources\)$/],
    [{ ...good, junk: 1 }, /^Extraneous key \(junk\)$/],
    [{ ...good, version: 0 }, /^version must be 1$/],
    [{ ...good, version: 1.5 }, /version must be/],
    [{ ...good, resources: {} }, /resources must be a sequence/],
    [{ ...good, resources: [] }, /^resources must not be empty$/],
    [spec(slot(0, core(1))), /^resources\[0\]: node, slot, or core count must be > 0$/],
    [spec(slot(1, core(-1))), /^resources\[0\]\.with\[0\]: node, slot, or core/],
    [spec(slot("x", core(1))), /count string must be a valid idset or range, not 'x'/],
    [spec(slot(true, core(1))), /count must be an int or mapping/],
    [spec({ type: "slot", count: 1, with: [core(1)] }), /slots must have labels/],
    [spec({ type: "slot", count: 1, label: "default" }), /a slot must have resources/],
    [spec({ ...slot(1, core(1)), with: {} }), /with must be a sequence/],
    [spec({ ...slot(1, core(1)), exclusive: "yes" }), /exclusive must be a boolean/],
    [spec({ type: 1, count: 1 }), /type must be a string/],
    [spec({ count: 1 }), /type is a required key for resources/],
    [spec(slot({}, core(1))), /min must be in range/],
    [spec(slot({ min: 0 }, core(1))), /min must be > 0/],
    [spec(slot({ min: 2, max: 1 }, core(1))), /max must be >= min/],
    [spec(slot({ min: 1, max: 4, operand: 2 }, core(1))), /operand and operator must both be in range if either is/],
    [spec(slot({ min: 1, max: 4, operator: "x", operand: 2 }, core(1))), /operator must be one of/],
    [spec(slot({ min: 1, junk: 2 }, core(1))), /Extraneous key \(junk\)/],
    [{ ...good, tasks: [] }, /^tasks must not be empty$/],
    [task({ command: "app" }), /tasks\[0\]: command must be/],
    [task({ command: [] }), /command array cannot have length of zero/],
    [task({ command: [1] }), /command must be/],
    [task({ slot: 1 }), /slot must be a string/],
    [{ ...good, tasks: [{ slot: "default", count: { per_slot: 1 } }] }, /^tasks\[0\]: Missing key \(command\)$/],
    [task({ attributes: 1 }), /attributes must be a mapping/],
    [task({ count: {} }), /count must have exactly one key set/],
    [task({ count: { total: 1, per_slot: 1 } }), /count must have exactly one key set/],
    [task({ count: { total: 0 } }), /count total must be > 0/],
    [{ ...good, attributes: null }, /attributes must be a mapping/],
    [{ ...good, attributes: { system: { duration: 1 }, x: {} } }, /Extraneous key \(x\)/],
    [{ ...good, attributes: { system: 1 } }, /attributes.system must be a mapping/],
    [system({ duration: -1 }), /duration must be >= 0/],
    [system({ duration: "1h" }), /duration must be/],
    [system({ environment: { A: 1 } }), /the value of A must be a string/],
    [system({ dependencies: {} }), /dependencies must be a list/],
    [system({ dependencies: [{ scheme: "afterok" }] }), /Missing key \(value\)/],
    [system({ constraints: [] }), /constraints must be a mapping/],
    [system({ constraints: { foo: [] } }), /unknown constraint operator 'foo'/],
  ];
  for (const [value, reason] of table) {
    assert.throws(
      () => validateJobspec(value),
      (error) => isFluxError(error, "EINVAL") && reason.test((error as Error).message),
      `${reason}: ${JSON.stringify(value)}`,
    );
  }
});

test("version 1 takes [node >] slot > core [, gpu] only, one task, and a duration", () => {
  const gpu = { type: "gpu", count: 1 };
  assert.ok(validateJobspec(spec(node(1, slot(1, core(1), { type: "gpu", count: 0 })))));
  const table: [JsonObject, RegExp][] = [
    [spec({ type: "smurf", count: 4, with: [slot(1, core(1))] }), /must be a node or a slot, not 'smurf'/],
    [spec(slot(1, gpu)), /one core entry/],
    [spec(slot(1, core(1), gpu, { type: "memory", count: 1 })), /one core entry/],
    [spec(slot(1, node(1, slot(1, core(1))))), /label 'default' is used twice/],
    [spec(node(1, core(1))), /a node must have one slot/],
    [spec(slot(1, { ...core(1), with: [gpu] })), /a core cannot have resources/],
    [spec(slot({ min: 1 }, core(1))), /resource count must be an integer for type 'slot'/],
    [spec(slot(1, { ...core(1), id: "0" })), /unknown key 'id'/],
    [spec(slot(1, core(1)), { resources: [slot(1, core(1)), core(1)] }), /exactly one entry/],
    [spec(slot(1, core(1)), { attributes: { system: {} } }), /: attributes.system.duration is a required key$/],
    [spec(slot(1, core(1)), { attributes: {} }), /: attributes.system is a required key$/],
    [
      spec(slot(1, core(1)), {
        tasks: [{ command: ["a"], slot: "default", count: { per_resource: { type: "core", count: 1 } } }],
      }),
      /per_resource is not supported/,
    ],
  ];
  for (const [value, reason] of table) {
    assert.throws(() => validateJobspec(value), reason, JSON.stringify(value));
  }
  assert.throws(() => validateJobspec({ ...spec(slot(1, core(1))), version: 2 }), /: version must be 1$/);
});

test("RFC 14: other versions may have ranges of counts", () => {
  const counts: [JsonValue, boolean][] = [
    ["3-30", true],
    ["3+", true],
    ["1,4,9", true],
    ["[2-16:2:*]", true],
    ["2-16:1:*", false],
    ["5-3", false],
    ["0", false],
    [{ min: 3 }, true],
    [{ min: 3, max: 30 }, true],
    [{ min: 2, max: 64, operator: "^", operand: 2 }, true],
    [{ min: 0 }, false],
    [{ max: 3 }, false],
    [{ min: 3, max: 2 }, false],
    [{ min: 1, operator: "+" }, false],
    [{ min: 1, operator: "^", operand: 2 }, false],
    [{ min: 1, operator: "*", operand: 1 }, false],
    [{ min: 1, operator: "x", operand: 1 }, false],
    [{ min: 1, operator: "+", operand: 0 }, false],
  ];
  for (const [count, valid] of counts) {
    const value = { ...spec(slot(count, core(1))), version: 9999 };
    if (valid) assert.ok(validateJobspec(value, { version: "any" }));
    else
      assert.throws(
        () => validateJobspec(value, { version: "any" }),
        /^FluxError: resources\[0\]: /,
        JSON.stringify(count),
      );
  }
});

test("a command with its numbers, as flux submit has them", () => {
  const build = (options: object) => {
    const jobspec = fromCommand({ command: ["/bin/app", "-x"], ...options });
    validateJobspec(JSON.parse(JSON.stringify(jobspec)) as JsonValue);
    return jobspec;
  };
  const one = build({});
  assert.deepEqual(one.resources, [{ type: "slot", count: 1, with: [{ type: "core", count: 1 }], label: "task" }]);
  assert.deepEqual(one.tasks, [{ command: ["/bin/app", "-x"], slot: "task", count: { per_slot: 1 } }]);
  assert.deepEqual(one.attributes, { system: { duration: 0 } });
  assert.equal(one.version, 1);
  assert.equal(jobName(one), "app");
  assert.equal(jobName(build({ name: "mine" })), "mine");

  const counts = (options: object) => {
    const { nnodes, nslots, coresPerSlot, gpusPerSlot, exclusive, ntasks } = jobspecCounts(build(options));
    return [nnodes, nslots, coresPerSlot, gpusPerSlot, exclusive, ntasks];
  };
  assert.deepEqual(counts({ numTasks: 4, coresPerTask: 2, gpusPerTask: 1 }), [0, 4, 2, 1, false, 4]);
  assert.deepEqual(counts({ numTasks: 8, numNodes: 4 }), [4, 8, 1, 0, false, 8]);
  assert.deepEqual(counts({ numTasks: 5, numNodes: 4 }), [4, 8, 1, 0, false, 5]);
  assert.deepEqual(counts({ numNodes: 2 }), [2, 2, 1, 0, true, 2], "nodes alone are exclusive");
  assert.deepEqual(counts({ numNodes: 2, exclusive: false }), [2, 2, 1, 0, false, 2]);
  assert.deepEqual(build({ gpusPerTask: 2 }).resources[0]!.with![1], { type: "gpu", count: 2 });

  assert.throws(() => build({ numTasks: 1, numNodes: 2 }), /node count must not be greater than task count/);
  assert.throws(() => build({ numTasks: 0 }), /task count must be a integer >= 1$/);
  assert.throws(() => build({ exclusive: true }), /exclusive can only be set with a node count/);
  assert.throws(() => build({ duration: -1 }), /duration/);
  assert.throws(() => fromCommand({ command: [] }), /command/);
});

test("shell options and attributes have their places", () => {
  const jobspec = fromCommand({
    command: ["app"],
    cwd: "/tmp",
    environment: { A: "1" },
    queue: "batch",
    dependencies: [{ scheme: "afterok", value: "f1" }],
    constraints: { properties: ["ssd"] },
    shellOptions: { "output.stdout.path": "out.{{id}}", verbose: 2, "bar.baz": 42 },
    attributes: { "user.meep": false, foo: 1, ".test": "a" },
  });
  assert.deepEqual(jobspec.attributes.system, {
    duration: 0,
    environment: { A: "1" },
    cwd: "/tmp",
    queue: "batch",
    dependencies: [{ scheme: "afterok", value: "f1" }],
    constraints: { properties: ["ssd"] },
    shell: {
      options: {
        output: { stdout: { path: "out.{{id}}" } },
        verbose: 2,
        bar: { baz: 42 },
      },
    },
    foo: 1,
  });
  assert.deepEqual(jobspec.attributes.user, { meep: false });
  assert.equal(jobspec.attributes["test"], "a");
});

test("per-resource options: what is asked for, and what cannot be", () => {
  const build = (options: Omit<PerResourceOptions, "command">) =>
    fromPerResource({ command: ["hostname"], ...options });
  const table: [Omit<PerResourceOptions, "command">, number, number, number, number, boolean][] = [
    [{ numNodes: 2, numCores: 2 }, 2, 2, 1, 0, false],
    [{ numNodes: 2, numCores: 4, perResource: { type: "node", count: 1 }, gpusPerNode: 1 }, 2, 2, 2, 1, false],
    [{ numCores: 16 }, 0, 16, 1, 0, false],
    [{ numCores: 5, perResource: { type: "core", count: 2 } }, 0, 5, 1, 0, false],
    [{ numNodes: 2, perResource: { type: "node", count: 2 } }, 2, 2, 1, 0, true],
    [{ numNodes: 1, gpusPerNode: 2 }, 1, 1, 1, 2, true],
  ];
  for (const [options, ...expected] of table) {
    const jobspec = build(options);
    validateJobspec(jobspec);
    const { nnodes, nslots, coresPerSlot, gpusPerSlot, exclusive } = jobspecCounts(jobspec);
    assert.deepEqual([nnodes, nslots, coresPerSlot, gpusPerSlot, exclusive], expected, JSON.stringify(options));
    assert.deepEqual(jobspec.attributes.system!.shell?.options?.["per-resource"], options.perResource);
  }
  const bad: [Omit<PerResourceOptions, "command">, string][] = [
    [{ numCores: -4 }, "ncores must be an integer >= 1"],
    [{ numNodes: 1, gpusPerNode: -1 }, "gpus_per_node must be an integer >= 0"],
    [{ gpusPerNode: 1 }, "gpus-per-node requires --nodes"],
    [{ numCores: 4, exclusive: true }, "exclusive can only be set with a node count"],
    [{ numNodes: 4, numCores: 2 }, "number of cores cannot be less than nnodes"],
    [{ numNodes: 5, numCores: 9 }, "number of cores must be evenly divisible by node count"],
    [{ perResource: { type: "core", count: 1 } }, "must specify node or core count with per_resource"],
    [{ numNodes: 1, perResource: { type: "node", count: 0 } }, "--tasks-per-node must be >= 1"],
  ];
  for (const [options, text] of bad) assert.throws(() => build(options), { message: text });
});

test("tasks per resource are counted on what was allocated", () => {
  const allocated = { nnodes: 3, ncores: 12 };
  const build = (type: "node" | "core", count: number) =>
    fromPerResource({ command: ["a"], numNodes: 2, perResource: { type, count } });
  assert.equal(taskCount(build("node", 2), allocated), 6);
  assert.equal(taskCount(build("core", 2), allocated), 24);
  assert.equal(taskCount(fromCommand({ command: ["a"], numTasks: 5 }), allocated), 5);
  assert.throws(
    () => taskCount(setShellOption(build("node", 1), "per-resource.type", "disk"), allocated),
    /per-resource/,
  );
});

test("a nested instance is one broker a node", () => {
  const jobspec = fromNestCommand({ command: ["myapp", "--foo"], numSlots: 4, numNodes: 2, brokerOptions: ["-v"] });
  validateJobspec(jobspec);
  assert.deepEqual(jobspec.tasks[0]!.command, ["flux", "broker", "-v", "myapp", "--foo"]);
  assert.deepEqual(jobspec.attributes.system!.shell!.options, {
    "per-resource": { type: "node" },
    "exit-timeout": "none",
    mpi: "none",
  });
  assert.equal(taskCount(jobspec, { nnodes: 2, ncores: 4 }), 2);
  const alone = fromNestCommand({ command: [], numNodes: 2, shellOptions: { "exit-timeout": "20s" } });
  assert.equal(jobspecCounts(alone).exclusive, true);
  assert.equal(alone.attributes.system!.shell!.options!["exit-timeout"], "20s");
  assert.throws(() => fromNestCommand({ command: [] }), /Number of slots to allocate must be specified/);
  assert.throws(
    () => fromNestCommand({ command: [], numSlots: 1, numNodes: 2 }),
    /node count must not be greater than task count/,
  );
});

test("KEY=VAL is JSON where it can be, else text, and 1 where there is no VAL", () => {
  const table: [string, string, JsonValue][] = [
    ["user.meep=false", "user.meep", false],
    ['foo="xxx"', "foo", "xxx"],
    ["foo=yyy", "foo", "yyy"],
    ["foo", "foo", 1],
    ["foo=", "foo", ""],
    ["a=b=c", "a", "b=c"],
    ['conf={"a":[1]}', "conf", { a: [1] }],
  ];
  for (const [text, key, value] of table) assert.deepEqual(parseKeyValue(text), { key, value });
  assert.throws(() => parseKeyValue("=1"), /key is missing/);
});

test("setting an attribute leaves the old jobspec as it was, and does not go through values", () => {
  const before = fromCommand({ command: ["a"] });
  const after = setAttribute(before, "x.y.z", 1);
  assert.equal(getPath(before, "attributes.x.y.z"), undefined);
  assert.equal(getPath(after, "attributes.system.x.y.z"), 1);
  assert.equal(after.resources, before.resources);
  assert.throws(() => setShellOption(setShellOption(before, "foo", 1), "foo.bar", "hi"), {
    message: "failed to set attributes.system.shell.options.foo.bar to hi",
  });
  assert.throws(() => setAttribute(before, "a..b", 1), /failed to set/);
  assert.throws(() => setAttribute(before, "__proto__.x", 1), /failed to set/);
  const updated = updateJobspec(before, { "attributes.system.duration": 3600, "attributes.system.queue": "q" });
  assert.equal(updated.attributes.system!.duration, 3600);
  assert.equal(updated.attributes.system!.queue, "q");
});

test("every jobspec that the builder makes is valid and has the tasks asked for", () => {
  fc.assert(
    fc.property(
      fc.record({
        numTasks: fc.integer({ min: 1, max: 50 }),
        coresPerTask: fc.integer({ min: 1, max: 8 }),
        gpusPerTask: fc.nat({ max: 4 }),
        numNodes: fc.option(fc.integer({ min: 1, max: 50 }), { nil: undefined }),
      }),
      (options) => {
        fc.pre(options.numNodes === undefined || options.numNodes <= options.numTasks);
        const jobspec: Jobspec = validateJobspec(fromCommand({ command: ["a"], ...options }), { version: 1 });
        const counts = jobspecCounts(jobspec);
        assert.equal(counts.ntasks, options.numTasks);
        assert.ok(counts.nslots >= options.numTasks);
        assert.equal(counts.nnodes, options.numNodes ?? 0);
      },
    ),
  );
});
