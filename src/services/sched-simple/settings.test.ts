import assert from "node:assert/strict";
import { test } from "node:test";
import { readSettings } from "./settings.ts";

const read = (name: string, ...args: string[]): unknown[] => {
  const { policy, mode } = readSettings(name, {}, args);
  return [policy, mode.mode === "limited" ? mode.limit : Infinity];
};

test("who sees the whole queue backfills; who sees a part of it keeps its order, unless told otherwise", () => {
  assert.deepEqual(read("sched-simple"), ["easy", Infinity]);
  assert.deepEqual(read("sched-simple", "mode=limited=3"), ["fifo", 3]);
  assert.deepEqual(read("sched-simple", "queue-depth=3", "policy=easy"), ["easy", 3]);
  assert.deepEqual(read("sched-simple", "policy=fifo"), ["fifo", 8]);
});

test("names that stand for a policy keep it at any depth", () => {
  assert.deepEqual(read("sched-backfill", "queue-depth=2"), ["easy", 2]);
  assert.deepEqual(read("sched-fifo"), ["fifo", 8]);
  assert.deepEqual(read("sched-fifo", "queue-depth=unlimited"), ["fifo", Infinity]);
});
