/** What comes back from the process of a user's start-up file. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { reportOf } from "./initrc.ts";

const WHOLE = { options: {}, environment: { A: "1", B: false }, tasks: {}, log: [], refusal: null, topics: {} };

test("a report is taken as it is", () => {
  assert.deepEqual(reportOf(WHOLE), WHOLE);
});

test("what is no report is refused, whatever the user's file has made of it", () => {
  for (const wrong of [{ log: {} }, { options: 1 }, { tasks: { 0: 1 } }, { environment: [] }, { topics: [] }])
    assert.throws(() => reportOf({ ...WHOLE, ...wrong }), /no report/);
  assert.throws(() => reportOf({}), { name: "FluxError" });
});
