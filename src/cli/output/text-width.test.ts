import assert from "node:assert/strict";
import { test } from "node:test";
import { columnsOf, cutToColumns } from "./text-width.ts";

test("ideographs take two columns, marks that combine none", () => {
  assert.equal(columnsOf("sleep"), 5);
  assert.equal(columnsOf("ƒuzzy"), 5);
  assert.equal(columnsOf("日本語"), 6);
  assert.equal(columnsOf("nai\u0308ve"), 5);
});
test("what is cut is never wider than there is room", () => {
  assert.equal(cutToColumns("日本語", 5), "日本");
  assert.equal(cutToColumns("ab日本", 3), "ab");
  assert.equal(cutToColumns("nai\u0308ve", 3), "nai\u0308");
  assert.equal(cutToColumns("sleep", -1), "");
});
