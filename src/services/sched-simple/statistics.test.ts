import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "../../base/ports.ts";
import { PassStatistics } from "./statistics.ts";

test("passes are counted, and the jobs that got something in them", () => {
  const statistics = new PassStatistics({ monotonicMs: () => 0 } as Clock);
  statistics.measure(() => ["a", "b"]);
  statistics.measure(() => []);
  const { sched_passes: passes, sched_yields: yields } = statistics.toJSON();
  assert.deepEqual([passes, yields], [2, 2]);
});
