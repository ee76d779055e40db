import assert from "node:assert/strict";
import { test } from "node:test";
import type { JsonObject } from "../../base/json.ts";
import { parsePolicyConfig } from "../../formats/policy-config.ts";
import { Queues } from "./queues.ts";

const VIRTUAL = { queues: { batch: { requires: ["big"] }, express: { parent: "batch" } } };
const ALL = { name: null, all: true };

function configure(queues: Queues, config: JsonObject): void {
  queues.configure(config, parsePolicyConfig(config));
}

function named(config: Record<string, object>): Queues {
  const queues = new Queues();
  configure(queues, config as JsonObject);
  return queues;
}

test("a virtual queue schedules only while it and its parent are started", () => {
  const queues = named(VIRTUAL);
  queues.start({ name: "express", all: false }, true, null, false);
  assert.equal(queues.isStarted("express"), false);
  assert.deepEqual(queues.status("express", null), {
    enable: true,
    start: false,
    stop_reason: "parent queue 'batch' is stopped",
    blocked: "parent",
  });
  queues.start({ name: "batch", all: false }, true, null, false);
  assert.equal(queues.isStarted("express"), true);
  assert.deepEqual(queues.requires("express"), ["big"]);
});

test("stopping a parent concerns its virtual queues too; they keep their own state", () => {
  const queues = named(VIRTUAL);
  queues.start(ALL, true, null, false);
  assert.deepEqual(queues.start({ name: "batch", all: false }, false, null, false).sort(), ["batch", "express"]);
  assert.equal(queues.isStarted("express"), false);
  queues.start({ name: "batch", all: false }, true, null, false);
  assert.equal(queues.isStarted("express"), true);
});

test("a wrong virtual queue is refused with what is wrong, and nothing changes", () => {
  const queues = named(VIRTUAL);
  const refuse = (tables: object, reason: RegExp): void =>
    assert.throws(() => configure(queues, { queues: tables } as JsonObject), reason);
  refuse({ a: { parent: "b" } }, /parent queue 'b' is not configured/);
  refuse({ a: { parent: "b", requires: ["x"] }, b: {} }, /must not set 'requires'/);
  refuse({ a: { parent: "b" }, b: { parent: "c" }, c: {} }, /is itself a virtual queue/);
  assert.deepEqual([...queues.names].sort(), ["batch", "express"]);
});

test("stop-queues-on-restart stops what was started, and says why", () => {
  const before = named({ queues: { a: {}, b: {} } });
  before.start({ name: "a", all: false }, true, null, false);
  before.start({ name: "b", all: false }, false, "maintenance", false);
  const after = named({ queues: { a: {}, b: {} }, "job-manager": { "stop-queues-on-restart": true } });
  after.restore(before.save());
  assert.equal(after.status("a", null)["stop_reason"], "Automatically stopped due to restart");
  assert.equal(after.status("b", null)["stop_reason"], "maintenance");
  assert.throws(
    () => configure(after, { "job-manager": { "stop-queues-on-restart": "notabool" } }),
    /Expected true or false, got string/,
  );
});

test("what was said not to be kept leaves what is kept as it is", () => {
  const before = named({ queues: { a: {}, b: {} } });
  before.start({ name: "a", all: false }, true, null, false);
  before.enable({ name: "b", all: false }, false, "closed", false);
  before.start(ALL, false, "shutting down", true);
  before.enable(ALL, false, "shutting down", true);
  const after = named({ queues: { a: {}, b: {} } });
  after.restore(before.save());
  assert.deepEqual(after.status("a", null), { enable: true, start: true });
  assert.deepEqual(after.status("b", null), { enable: false, disable_reason: "closed", start: false });
});
