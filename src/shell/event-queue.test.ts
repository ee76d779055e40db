/** Nothing that a shell host has to tell is missed where the way to the execution service breaks. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { HostEvent } from "../protocol/shell-host.ts";
import { EventQueue } from "./event-queue.ts";

const exit = (id: number): HostEvent => ({ type: "exit", id, status: 0 });
const log = (id: number): HostEvent => ({ type: "log", id, event: { timestamp: 1, name: "shell.init" } });
const ids = (queue: EventQueue): unknown[] => queue.take().events.map(({ id }) => id);

test("what was told and did not arrive is told again, in order and before what is new", () => {
  const queue = new EventQueue();
  for (const id of [1, 2]) queue.push(exit(id));
  assert.equal(queue.take().through, 2);
  queue.push(exit(3));
  queue.take();
  queue.push(exit(4));
  queue.again(1);
  assert.deepEqual(queue.jobs, [2, 3, 4]);
  const { events, through } = queue.take();
  assert.deepEqual(
    events.map(({ id }) => id),
    [2, 3, 4],
  );
  assert.equal(through, 4);
});

test("what was confirmed is forgotten", () => {
  const queue = new EventQueue();
  for (const id of [1, 2, 3]) queue.push(exit(id));
  queue.take();
  queue.confirm(2);
  queue.again(null);
  assert.deepEqual(ids(queue), [3]);
});

test("who does not know what others heard is not told entries of logs twice", () => {
  const queue = new EventQueue();
  queue.push(log(1));
  queue.push(exit(1));
  queue.take();
  queue.again(null);
  assert.deepEqual(ids(queue), [1]);
});
