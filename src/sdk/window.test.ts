/** Some at a time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { inOrder, Window } from "./window.ts";

test("results come in the order of the items; never more are awaited than the window is wide", async () => {
  let underWay = 0;
  let most = 0;
  const results: number[] = [];
  const action = async (item: number): Promise<number> => {
    most = Math.max(most, ++underWay);
    for (let turn = 0; turn < (item * 7) % 5; turn++) await Promise.resolve();
    underWay -= 1;
    return item * 2;
  };
  for await (const result of inOrder([1, 2, 3, 4, 5, 6, 7], 3, action)) results.push(result);
  assert.deepEqual(results, [2, 4, 6, 8, 10, 12, 14]);
  assert.equal(most, 3);
});

test("a failure comes at its place", async () => {
  const seen: number[] = [];
  await assert.rejects(async () => {
    for await (const item of inOrder([1, 2, 3], 2, (item) =>
      item === 2 ? Promise.reject(new Error("two")) : Promise.resolve(item),
    ))
      seen.push(item);
  }, /two/);
  assert.deepEqual(seen, [1]);
});

test("a window holds back who adds, and tells the first failure", async () => {
  const window = new Window(2);
  let release = (): void => {};
  const first = new Promise<void>((resolve) => (release = resolve));
  await window.add(first);
  let hasRoom = false;
  const second = window.add(new Promise<void>(() => {})).then(() => (hasRoom = true));
  await Promise.resolve();
  assert.equal(hasRoom, false);
  release();
  await second;
  assert.equal(hasRoom, true);
  const failing = new Window(5);
  await failing.add(Promise.reject(new Error("lost")));
  await assert.rejects(failing.finish(), /lost/);
  await assert.rejects(failing.add(Promise.resolve()), /lost/);
});
