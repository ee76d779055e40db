import assert from "node:assert/strict";
import { test } from "node:test";
import { nodeClock } from "./clock.ts";

const clock = nodeClock();

test("now() is wall-clock time in seconds with parts finer than a millisecond, and does not go back", () => {
  const seen: number[] = [];
  for (let count = 0; count < 2000; count++) seen.push(clock.now());
  assert.ok(Math.abs(seen[0]! - Date.now() / 1000) < 0.5);
  assert.ok(seen.every((value, index) => index === 0 || value >= seen[index - 1]!));
  assert.ok(seen.some((value) => Math.abs(value * 1000 - Math.round(value * 1000)) > 0.01));
});

test("after() calls back once, in order of delay; a cancelled timer does not", async () => {
  const order: string[] = [];
  await new Promise<void>((resolve) => {
    clock.after(12, () => (order.push("late"), resolve()));
    clock.after(1, () => order.push("early"));
    clock.after(2, () => order.push("cancelled")).cancel();
    order.push("now");
  });
  assert.deepEqual(order, ["now", "early", "late"]);
});

test("a delay longer than 24 days does not fire at once", async () => {
  let fired = false;
  const timer = clock.after(2 ** 31 + 1000, () => (fired = true));
  await new Promise<void>((resolve) => void clock.after(5, resolve));
  timer.cancel();
  assert.equal(fired, false);
});

test("defer() calls back after what is already under way in this turn", async () => {
  const order: string[] = [];
  await new Promise<void>((resolve) => {
    clock.defer(() => (order.push("deferred"), resolve()));
    queueMicrotask(() => order.push("microtask"));
    process.nextTick(() => order.push("tick"));
  });
  assert.equal(order.at(-1), "deferred");
});

test("monotonicMs() advances", async () => {
  const before = clock.monotonicMs();
  await new Promise<void>((resolve) => void clock.after(3, resolve));
  assert.ok(clock.monotonicMs() - before >= 2);
});
