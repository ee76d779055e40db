/** When the collector works: a table of what has happened, and when the next cycle is due. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { CycleReport } from "./collector.ts";
import { CollectorPace } from "./pace.ts";

const REPORT: CycleReport = { liveBytes: 1, olderBytes: 0, heldBytes: 0, removedCount: 2, removedBytes: 30 };

/** After a cycle that ended at 100 s and worked for 2 s. */
function rested(): CollectorPace {
  const pace = new CollectorPace();
  pace.changed(90_000);
  pace.began(true);
  pace.worked(1500);
  pace.worked(500);
  pace.ended(100_000, REPORT);
  return pace;
}

test("without a change there is nothing to do until a lease ends", () => {
  assert.equal(rested().dueAtMs("grown", null), null);
  assert.equal(rested().dueAtMs("none", 500_000), 500_000);
  assert.equal(new CollectorPace().dueAtMs("tight", null), null);
});

test("after a change: at once near the limit, soon where it is quiet, later while changes go on", () => {
  const pace = rested();
  pace.changed(100_100);
  assert.equal(pace.dueAtMs("tight", null), 100_500);
  assert.equal(pace.dueAtMs("none", null), 110_000, "five times the work");
  pace.changed(109_000);
  assert.equal(pace.dueAtMs("grown", null), 110_000, "five times the work");
  assert.equal(pace.dueAtMs("none", null), 112_000, "three quiet seconds");
  pace.changed(250_000);
  assert.equal(pace.dueAtMs("none", null), 200_000, "fifty times the work");
});

test("a cycle that failed is tried again, not at once", () => {
  const pace = rested();
  pace.changed(150_000);
  pace.began(true);
  pace.failed(160_000);
  assert.equal(pace.isInCycle, false);
  assert.equal(pace.dueAtMs("grown", null), 190_000);
  assert.equal(pace.dueAtMs("none", null), 190_000);
});

test("what it has done is counted", () => {
  const pace = rested();
  assert.deepEqual(
    [pace.cycleCount, pace.removedCount, pace.removedBytes, pace.lastCycleMs, pace.isInCycle],
    [1, 2, 30, 2000, false],
  );
  assert.deepEqual([pace.restMs("tight"), pace.restMs("none")], [0, 4]);
});

test("a cycle that looks at what is new only puts off no whole one", () => {
  const pace = rested();
  assert.equal(pace.newsDueAtMs(), null);
  pace.changed(100_100);
  assert.equal(pace.newsDueAtMs(), 110_000);
  pace.began(false);
  pace.worked(200);
  assert.equal(pace.restMs("none"), 1);
  pace.ended(120_000, REPORT);
  assert.equal(pace.newsDueAtMs(), null, "nothing has changed since");
  assert.equal(pace.dueAtMs("grown", null), 110_000);
  pace.changed(120_100);
  assert.equal(pace.newsDueAtMs(), 121_000, "five times its own work");
});
