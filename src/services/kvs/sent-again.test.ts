import assert from "node:assert/strict";
import { test } from "node:test";
import { FluxError } from "../../base/errors.ts";
import { SentAgain } from "./sent-again.ts";

const again = { message: "Resource temporarily unavailable" };
const commit = (number: number, answered: number) => ({ sender: "shell", number, answered });
const answerOf = (rootseq: number) => ({ rootref: `sha1-${rootseq}`, rootseq });

test("a commit that comes again has the answer of the first time, once there is one", () => {
  const known = new SentAgain();
  assert.equal(known.begin(commit(1, 0)), null);
  assert.throws(() => known.begin(commit(1, 0)), again);
  known.end(commit(1, 0), answerOf(7));
  assert.deepEqual(known.begin(commit(1, 0)), answerOf(7));
  assert.equal(known.begin({ ...commit(1, 0), sender: "other" }), null, "numbers are each sender's own");
});

test("a commit waits for those before it, unless they were answered; one that failed may come again", () => {
  const known = new SentAgain();
  assert.throws(() => known.begin(commit(2, 0)), again);
  assert.equal(known.begin(commit(1, 0)), null);
  assert.equal(known.begin(commit(2, 0)), null);
  known.end(commit(1, 0), new FluxError("ENOSPC"));
  assert.throws(() => known.begin(commit(3, 0)), again);
  assert.equal(known.begin(commit(1, 0)), null);
  assert.equal(known.begin(commit(4, 3)), null);
});

test("what comes late, when it has been sent again and answered, is not carried out", () => {
  const known = new SentAgain();
  assert.equal(known.begin(commit(1, 0)), null);
  known.end(commit(1, 0), answerOf(1));
  assert.equal(known.begin(commit(2, 1)), null);
  assert.throws(() => known.begin(commit(1, 0)), again);
});
