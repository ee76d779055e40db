import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFluxError } from "../base/errors.ts";
import { parseJson, type JsonObject } from "../base/json.ts";
import { decodeEntry, decodeEventlog, encodeEntry, type EventlogEntry } from "./eventlog.ts";
import { jobResultName, jobStateName, parseJobResult, parseJobStates } from "./job-states.ts";

const RFC_EXAMPLE = `{"timestamp":1552593348.073045,"name":"submit","context":{"urgency":16,"userid":5588,"flags":0}}
{"timestamp":1552593547.411336,"name":"urgency","context":{"urgency":0,"userid":5588}}
{"timestamp":1552593348.088391,"name":"alloc","context":{"note":"rank0/core[0-1]"}}
{"timestamp":1552593348.093541,"name":"free"}
{"timestamp":1552593348.089787,"name":"start"}
{"timestamp":1552593348.09283,"name":"release","context":{"ranks":"all","final":true}}
{"timestamp":1552593348.090927,"name":"finish","context":{"status":0}}
{"timestamp":1552593348.104432,"name":"clean"}
`;

test("RFC 18 example is read and is written as it was", () => {
  const entries = decodeEventlog(RFC_EXAMPLE);
  assert.equal(entries.length, 8);
  assert.equal(entries.map(encodeEntry).join(""), RFC_EXAMPLE);
  assert.deepEqual(entries[1], {
    timestamp: 1552593547.411336,
    name: "urgency",
    context: { urgency: 0, userid: 5588 },
  });
});

test("a log that is not exactly of the form is refused", () => {
  const good = '{"timestamp":1,"name":"a"}';
  const bad: [string, RegExp][] = [
    [good, /does not end with a newline/],
    [`${good}\n\n`, /line 2/],
    ["\n", /line 1/],
    [`${good}\nfoo\n`, /invalid JSON.*line 2/],
    ["[]\n", /an entry is an object/],
    ['{"name":"a"}\n', /timestamp must be/],
    ['{"timestamp":0,"name":"a"}\n', /timestamp must be/],
    ['{"timestamp":"1","name":"a"}\n', /timestamp must be/],
    ['{"timestamp":1}\n', /name must be/],
    ['{"timestamp":1,"name":1}\n', /name must be/],
    ['{"timestamp":1,"name":"a","context":[]}\n', /context must be an object/],
    ['{"timestamp":1,"name":"a","extra":1}\n', /unknown key 'extra'/],
  ];
  for (const [text, reason] of bad) {
    assert.throws(
      () => decodeEventlog(text),
      (error) => isFluxError(error, "EINVAL") && reason.test((error as Error).message),
      text,
    );
  }
  assert.deepEqual(decodeEventlog(""), []);
  assert.throws(() => decodeEntry(`${good}\n${good}\n`), /one line/);
  assert.equal(decodeEntry(good).name, "a");
});

const anyEntry = fc.record(
  {
    timestamp: fc.double({ min: 1, max: 4e9, noNaN: true }),
    name: fc.string({ minLength: 1, unit: "binary" }),
    context: fc.dictionary(
      fc.string().filter((key) => key !== "__proto__"),
      fc.jsonValue({ maxDepth: 2, noUnicodeString: false }),
    ) as fc.Arbitrary<JsonObject>,
  },
  { requiredKeys: ["timestamp", "name"] },
);

test("any entry is one line and is read back", () => {
  fc.assert(
    fc.property(fc.array(anyEntry, { maxLength: 5 }), (entries) => {
      const plain = entries.map((entry) => parseJson(JSON.stringify(entry)) as unknown as EventlogEntry);
      const text = plain.map(encodeEntry).join("");
      assert.equal(text.split("\n").length, plain.length + 1);
      assert.deepEqual(decodeEventlog(text), plain);
      if (plain[0] !== undefined) assert.equal(decodeEntry(encodeEntry(plain[0])).name, plain[0].name);
    }),
  );
});

test("states and results have names, letters and bits", () => {
  assert.equal(jobStateName(16), "RUN");
  assert.equal(jobStateName(64, "abbreviated"), "I");
  assert.equal(jobStateName(3), "(unknown)");
  assert.equal(jobResultName(1), "COMPLETED");
  assert.equal(jobResultName(8, "abbreviated"), "TO");
  const states: [string, number | null][] = [
    ["sched", 8],
    ["S", 8],
    ["pending", 14],
    ["running", 48],
    ["active", 62],
    ["INACTIVE", 64],
    ["nope", null],
  ];
  for (const [name, mask] of states) assert.equal(parseJobStates(name), mask, name);
  assert.equal(parseJobResult("ca"), 4);
  assert.equal(parseJobResult("failed"), 2);
  assert.equal(parseJobResult("x"), null);
});
