/** The option --retry and the attribute that it stands for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { JsonValue } from "../base/json.ts";
import type { Jobspec } from "./jobspec.ts";
import { parseRetry, retryPolicyOf, RETRY_CAUSES } from "./retry.ts";

const policyOf = (retry: JsonValue | undefined): unknown =>
  retryPolicyOf({ version: 1, resources: [], tasks: [], attributes: { system: { retry } } } as Jobspec);

test("the option becomes the attribute", () => {
  assert.deepEqual(parseRetry("3"), { count: 3 });
  assert.deepEqual(parseRetry("2,delay=1.5m,on=signal,exception"), {
    count: 2,
    delay: 90,
    on: ["signal", "exception"],
  });
  assert.deepEqual(parseRetry("1,on=exit,delay=5s"), { count: 1, delay: 5, on: ["exit"] });
  for (const text of [
    "",
    "x",
    "-1",
    "1.5",
    "9999999",
    "1,delay=x",
    "1,delay=inf",
    "1,on=foo",
    "1,on=",
    "1,exit",
    "1,a=b",
  ])
    assert.throws(() => parseRetry(text), /^FluxError: --retry: .*; expected N\[,delay=FSD\]/, text);
});

test("the attribute is read with what it leaves out", () => {
  assert.equal(policyOf(undefined), null);
  assert.equal(policyOf({ count: 0 }), null);
  assert.deepEqual(policyOf(2), { count: 2, delay: 0, on: RETRY_CAUSES });
  assert.deepEqual(policyOf({ count: 2, delay: 3, on: ["exit"] }), { count: 2, delay: 3, on: ["exit"] });
  for (const value of [
    "x",
    {},
    { count: -1 },
    { count: 1.5 },
    { count: 1, delay: "1s" },
    { count: 1, on: ["foo"] },
    [],
  ])
    assert.throws(() => policyOf(value as JsonValue), /^FluxError: attributes\.system\.retry: /, JSON.stringify(value));
});
