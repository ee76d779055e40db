/** Policies and queues of a configuration, and what is said of slips in them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { JsonObject } from "../base/json.ts";
import { parsePolicyConfig } from "./policy-config.ts";

test("a queue has what its own table says; a virtual one what its parent's says, too", () => {
  const { policy, queues } = parsePolicyConfig({
    policy: {
      jobspec: { defaults: { system: { queue: "batch", duration: "1h" } } },
      limits: { duration: "8h", "job-size": { max: { nnodes: 4, ncores: -1 } } },
    },
    queues: {
      batch: { requires: ["b"], policy: { limits: { duration: "0", "job-size": { min: { ngpus: 1 } } } } },
      quick: { parent: "batch", policy: { limits: { duration: "1m" } } },
    },
  });
  assert.deepEqual(policy.defaults, { queue: "batch", duration: 3600 });
  assert.deepEqual(policy.limits, { duration: 28800, max: { nnodes: 4, ncores: Infinity }, min: {} });
  assert.equal(queues!.get("batch")!.policy.limits.duration, Infinity);
  assert.deepEqual(queues!.get("quick"), {
    requires: ["b"],
    parent: "batch",
    policy: { defaults: {}, limits: { duration: 60, max: {}, min: { ngpus: 1 } } },
  });
  assert.equal(parsePolicyConfig({}).queues, null);
});

test("errors name the table and what is wrong in it", () => {
  const limits = (value: unknown): JsonObject => ({ policy: { limits: value as JsonObject } });
  const queue = (value: unknown): JsonObject => ({ queues: { a: value as JsonObject } });
  const system = (value: JsonObject): JsonObject => ({ policy: { jobspec: { defaults: { system: value } } } });
  const table: readonly (readonly [JsonObject, string])[] = [
    [{ policy: { foo: 1 } }, "[policy] config table: 1 object item(s) left unpacked: foo"],
    [{ policy: { access: 5 } }, "[policy.access] config table: Expected object, got integer"],
    [{ policy: { jobspec: { defaults: 1 } } }, "[policy.jobspec] config table: Expected object, got integer"],
    [system({ duration: 5 }), "[policy.jobspec] config table: 'defaults.system.duration' is not a valid FSD"],
    [system({ queue: 5 }), "[policy.jobspec] config table: 'defaults.system.queue' is not a string"],
    [limits({ duration: "x" }), "[policy.limits] config table: 'duration' is not a valid FSD"],
    [
      limits({ "job-size": { max: { nnodes: "x" } } }),
      "[policy.limits.max] config table: Expected integer, got string",
    ],
    [limits({ "job-size": { max: { nnodes: -2 } } }), "[policy.limits.max] config table: values must be >= -1"],
    [limits({ "job-size": { x: {} } }), "[policy.limits.job-size] config table: 1 object item(s) left unpacked: x"],
    [{ queues: 1 }, "[queues] config table: not a table"],
    [queue(1), "[queues.a] config table: Expected object, got integer"],
    [queue({ requires: ["x y"] }), "[queues.a] config table: 'requires' must be an array of property strings (RFC 20)"],
    [queue({ policy: { foo: 1 } }), "[queues.a.policy] config table: 1 object item(s) left unpacked: foo"],
    [
      queue({ policy: { jobspec: { defaults: { system: { queue: "a" } } } } }),
      "[queues.a] config table: 'policy' must not define a default queue!",
    ],
    [queue({ parent: "b" }), "[queues.a] config table: parent queue 'b' is not configured"],
  ];
  for (const [config, sentence] of table)
    assert.throws(() => parsePolicyConfig(config), { message: `error parsing ${sentence}` });
  assert.throws(
    () => parsePolicyConfig(system({ queue: "foo" })),
    /default queue foo that is not in \[queues\] table$/,
  );
});
