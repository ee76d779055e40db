/** Turns: bounded in number per turn of the loop, first come first served. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "../base/ports.ts";
import { Turns } from "./turns.ts";

test("who waits is called in order, no more than so many in one turn, and who comes back is last", () => {
  const deferred: (() => void)[] = [];
  const turns = new Turns({ defer: (callback: () => void) => void deferred.push(callback) } as unknown as Clock, 2);
  const order: string[] = [];
  const work = (name: string, parts: number): void =>
    turns.wait(() => {
      order.push(name);
      if (parts > 1) work(name, parts - 1);
    });
  work("large", 3);
  work("other", 2);
  work("small", 1);
  assert.deepEqual(order, [], "nothing happens within the call");
  const perTurn: number[] = [];
  while (deferred.length > 0) {
    const before = order.length;
    for (const callback of deferred.splice(0)) callback();
    perTurn.push(order.length - before);
  }
  assert.deepEqual(order, ["large", "other", "small", "large", "other", "large"]);
  assert.deepEqual(perTurn, [2, 2, 2]);
});
