import assert from "node:assert/strict";
import { test } from "node:test";
import { illegalStep } from "./checks.ts";
import { sweep } from "./sweep.ts";

test(
  "200 simulated instances keep every promise, and meet every situation they must",
  { timeout: 120_000 },
  async () => {
    const { failures, missing } = await sweep(200, 0);
    assert.deepEqual(failures, []);
    assert.deepEqual(missing, [], "situations that no run met");
  },
);

test("the eventlog check knows a legal path from an illegal one", () => {
  const events = (names: string): { timestamp: number; name: string; context?: { severity: number } }[] =>
    names
      .split(" ")
      .map((name) =>
        name === "exception" ? { timestamp: 0, name, context: { severity: 0 } } : { timestamp: 0, name },
      );
  assert.equal(illegalStep(events("submit validate depend priority alloc start finish release free clean")), null);
  assert.equal(illegalStep(events("submit validate depend exception clean")), null);
  assert.match(illegalStep(events("submit validate depend priority start"))!, /start in state SCHED/);
  assert.match(illegalStep(events("submit validate depend priority alloc free"))!, /free in state RUN/);
  assert.match(illegalStep(events("submit validate depend exception clean alloc"))!, /alloc in state INACTIVE/);
});
