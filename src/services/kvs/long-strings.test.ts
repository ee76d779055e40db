/** Taking long strings out of a JSON text: nothing else changes, wherever the text is cut. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { FluxError } from "../../base/errors.ts";
import { LONG_STRING_BYTES, LongStrings } from "./long-strings.ts";

interface Taken {
  readonly rest: string;
  readonly strings: string[];
}

function take(text: string, cuts: readonly number[]): Taken {
  const strings: string[] = [];
  const reader = new LongStrings({
    begin: () => void strings.push(""),
    data: (bytes) => (strings[strings.length - 1] += Buffer.from(bytes).toString("latin1")),
    end: () => {},
  });
  const bytes = Buffer.from(text);
  let start = 0;
  for (const cut of [...cuts.map((each) => each % (bytes.byteLength + 1)).sort((a, b) => a - b), bytes.byteLength]) {
    reader.feed(bytes.subarray(start, cut));
    start = cut;
  }
  return { rest: Buffer.from(reader.finish()).toString(), strings };
}

const word = fc.string({ unit: "grapheme", maxLength: 40 });
const base64 = fc
  .integer({ min: 1, max: LONG_STRING_BYTES + 5000 })
  .map((length) => Buffer.alloc(length, "abc/+9").toString("base64"));

test("what is short stays as it was, what is long comes out whole", () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(word, base64, fc.jsonValue())), fc.array(fc.nat()), (values, cuts) => {
      const { rest, strings } = take(JSON.stringify(values), cuts);
      const isLong = (value: unknown): value is string => typeof value === "string" && value.length > LONG_STRING_BYTES;
      let count = 0;
      const wanted = values.map((value) => (isLong(value) ? { long: count++ } : value));
      assert.deepEqual(JSON.parse(rest), JSON.parse(JSON.stringify(wanted)));
      assert.deepEqual(strings, values.filter(isLong));
    }),
    { numRuns: 200 },
  );
});

test("slashes may be escaped, as some writers of JSON do; other escapes are not base64", () => {
  const long = "ab/c".repeat(LONG_STRING_BYTES / 2);
  const escaped = `["${long.replaceAll("/", "\\/")}"]`;
  for (const cuts of [[], [3], [4], [5], Array.from({ length: 100 }, (_, at) => at * 777)])
    assert.deepEqual(take(escaped, cuts), { rest: '[{"long":0}]', strings: [long] });
  for (const bad of ["\\n", '\\"', "\\u0041"])
    for (const text of [`["${bad}${long}"]`, `["${long}${bad}"]`])
      assert.throws(
        () => take(text, []),
        (error) => error instanceof FluxError && error.is("EINVAL"),
      );
});
