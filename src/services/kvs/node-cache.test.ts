/** What is kept of the tree in memory: the latest, directories and values each in their share of the room. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Directory } from "./directory.ts";
import { NODE_OVERHEAD_BYTES, SharedCache } from "./node-cache.ts";

test("values drive no directories out, and the latest stay", () => {
  const cache = new SharedCache(40 * NODE_OVERHEAD_BYTES);
  for (let count = 0; count < 30; count++) cache.add(`directory ${count}`, new Directory());
  for (let count = 0; count < 1000; count++) cache.add(`value ${count}`, new Uint8Array(0));
  assert.ok(cache.get("directory 0") instanceof Directory);
  assert.equal(cache.size, 40);
  assert.equal(cache.get("value 989"), undefined);
  assert.ok(cache.get("value 990"));
  // What was asked for is among the latest.
  cache.add("directory 30", new Directory());
  assert.ok(cache.get("directory 0"));
  assert.equal(cache.get("directory 1"), undefined);
});
