/** Reading a commit a part at a time gives what the parser gives for the whole. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFluxError } from "../../base/errors.ts";
import { parseJson } from "../../base/json.ts";
import { readCommitText, TEXT_SLICE_BYTES } from "./commit-text.ts";

/** What is read, and how often it rested. */
function read(text: string): { value: unknown; rests: number } {
  const reading = readCommitText(Buffer.from(`${text}\0`));
  for (let rests = 0; ; rests++) {
    const step = reading.next();
    if (step.done === true) return { value: step.value, rests };
  }
}

const operation = fc.record({
  key: fc.string({ unit: "grapheme", maxLength: 30 }),
  flags: fc.nat(),
  dirent: fc.oneof(fc.constant(null), fc.jsonValue()),
});

test("every commit comes out as it went in, with any members around its operations", () => {
  const commit = fc.record(
    { namespace: fc.string(), ops: fc.array(operation), flags: fc.nat(), more: fc.jsonValue() },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(commit, fc.constantFrom(0, 1), (value, indent) => {
      const text = JSON.stringify(value, null, indent);
      assert.deepEqual(read(text).value, parseJson(text));
    }),
    { numRuns: 300 },
  );
});

test("many operations are read in parts, each short", () => {
  const ops = Array.from({ length: 20_000 }, (_, index) => ({ key: `a.b${index}],"ops":[`, flags: 0, dirent: null }));
  const text = JSON.stringify({ namespace: 'n"ops":[', flags: 0, ops });
  const { value, rests } = read(text);
  assert.deepEqual(value, parseJson(text));
  assert.ok(rests >= (2 * text.length) / TEXT_SLICE_BYTES - 2, `${rests} rests`);
});

test("what is no commit is read, or refused, as the parser does", () => {
  for (const text of [
    "{}",
    '{"ops":3}',
    '{"ops":[]}',
    '{"ops":[ ]}',
    '{"x":{"ops":[1]}}',
    '{"ops":[1],"ops":[2]}',
    '{"ops":[[1,2],[3]]}',
  ])
    assert.deepEqual(read(text).value, parseJson(text));
  for (const text of [
    "",
    "[]",
    "3",
    '{"ops":[1,]}',
    '{"ops":[,1]}',
    '{"ops":[1',
    '{"ops":[1]',
    '{"ops":[1]}]',
    '{"ops":[1}',
    '{"ops":[1 2]}',
    '{"ops":["\\',
  ]) {
    assert.throws(
      () => read(text),
      (error) => isFluxError(error),
      text,
    );
  }
  assert.throws(
    () => readCommitText(Buffer.from("{}")).next(),
    (error) => isFluxError(error, "EPROTO"),
  );
  assert.throws(
    () => readCommitText(Buffer.from([0x22, 0xff, 0x22, 0])).next(),
    (error) => isFluxError(error, "EPROTO"),
  );
});
