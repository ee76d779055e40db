/** What the shapes of messages accept, and what they say of the rest. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Errno, FluxError } from "../base/errors.ts";
import type { JsonObject } from "../base/json.ts";
import { dictionary, flag, integer, jobId, list, optional, real, record, shape, text } from "./schema.ts";

const read = shape<{
  id: number | bigint;
  name: string;
  count: number;
  force: boolean;
  note: string | null;
  jobs: { rank: number; t: number }[];
  memo: JsonObject;
}>({
  id: jobId,
  name: text,
  count: integer,
  force: flag,
  note: optional(text),
  jobs: list(record({ rank: integer, t: real })),
  memo: dictionary,
});

const GOOD = { id: 5n, name: "x", count: 3, force: 1, note: null, jobs: [{ rank: 0, t: 1.5 }], memo: {}, more: 1 };

test("a message with all its members is read; others are passed over", () => {
  assert.deepEqual(read({ json: GOOD }), {
    id: 5n,
    name: "x",
    count: 3,
    force: true,
    note: null,
    jobs: [{ rank: 0, t: 1.5 }],
    memo: {},
  });
});

test("what is missing or of another type is named", () => {
  const table: readonly (readonly [JsonObject, RegExp])[] = [
    [{ id: "5" }, /'id' is missing or not a job id$/],
    [{ id: 1.5 }, /'id'/],
    [{ name: undefined }, /'name' is missing or not a string$/],
    [{ count: 1.5 }, /'count' is missing or not an integer$/],
    [{ force: 2 }, /'force' is missing or not true or false$/],
    [{ note: 7 }, /'note'/],
    [{ jobs: {} }, /'jobs' is missing or not an array$/],
    [{ jobs: [{ rank: 0, t: 0 }, { rank: 1 }] }, /'jobs\[1\]\.t' is missing or not a number$/],
    [{ jobs: [null] }, /'jobs\[0\]' is missing or not an object$/],
    [{ memo: [] }, /'memo' is missing or not an object$/],
  ];
  for (const [change, sentence] of table)
    assert.throws(
      () => read({ json: { ...GOOD, ...change } }),
      (error) => error instanceof FluxError && error.errnum === Errno.EPROTO && sentence.test(error.message),
      JSON.stringify(change, (_key, value) => (typeof value === "bigint" ? String(value) : value)),
    );
});

test("what every object has is no member of a message", () => {
  const odd = shape<{ constructor: string | null }>({ constructor: optional(text) });
  assert.deepEqual(odd({ json: {} }).constructor, null);
});
