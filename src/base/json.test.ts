import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFluxError } from "./errors.ts";
import { canonicalInteger, memberAt, parseJson, stringifyJson } from "./json.ts";

test("integers beyond 2^53 survive both ways, smaller ones are plain numbers", () => {
  const text = '{"id":12345678901234567890,"small":9007199254740991,"list":[9007199254740993,-9007199254740993]}';
  assert.deepEqual(parseJson(text), {
    id: 12345678901234567890n,
    small: 9007199254740991,
    list: [9007199254740993n, -9007199254740993n],
  });
  assert.equal(stringifyJson(parseJson(text)), text);
});

test("a long run of digits that is not an integer stays what it is", () => {
  assert.deepEqual(parseJson('{"precise":2.50000000000000012,"text":"12345678901234567890","huge":1e300}'), {
    precise: 2.5,
    text: "12345678901234567890",
    huge: 1e300,
  });
});

test("any 64-bit integer makes a round trip in canonical form", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (value) => {
      const id = canonicalInteger(value);
      assert.equal(typeof id, value <= BigInt(Number.MAX_SAFE_INTEGER) ? "number" : "bigint");
      assert.deepEqual(parseJson(stringifyJson({ id })), { id });
      assert.equal(stringifyJson({ id }), `{"id":${value}}`);
    }),
  );
});

test("any JSON value makes a round trip", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const text = JSON.stringify(value);
      // The text, not the value: what prints as a long integer is read as one.
      assert.equal(stringifyJson(parseJson(text)), text);
    }),
  );
});

test("text that is not JSON is EPROTO", () => {
  for (const text of ["", "{", "{'a':1}", "nul", "1 2"])
    assert.throws(
      () => parseJson(text),
      (error) => isFluxError(error, "EPROTO"),
    );
});

test("a member is what the object itself has", () => {
  const object = { a: { b: [1], "c.d": 2 }, n: null };
  assert.deepEqual(memberAt(object, ["a", "b"]), [1]);
  assert.equal(memberAt(object, ["a", "c.d"]), 2);
  assert.equal(memberAt(object, ["n"]), null);
  assert.equal(memberAt(object, []), object);
  for (const path of [["x"], ["a", "b", "0"], ["n", "x"], ["constructor"], ["a", "toString", "name"]])
    assert.equal(memberAt(object, path), undefined);
});

test("what is nested deeper than code can follow is refused; what only looks so is not", () => {
  const deep = (open: string, close: string, depth: number): string => open.repeat(depth) + close.repeat(depth);
  for (const text of [deep("[", "]", 1025), deep('{"a":', "}", 1025).replace(":}", ":1}"), deep("[", "]", 200_000)])
    assert.throws(
      () => parseJson(text),
      (error) => isFluxError(error, "EPROTO") && /nested deeper than 1024/.test(error.message),
    );
  assert.equal(stringifyJson(parseJson(deep("[", "]", 1024))), deep("[", "]", 1024));
  const wide = Array.from({ length: 5000 }, (_, index) => [{ [`[\\"{${index}`]: `${"[".repeat(index % 7)}\\` }]);
  assert.deepEqual(parseJson(JSON.stringify(wide)), wide);
  assert.throws(
    () => parseJson(`"${"x".repeat(5000)}`),
    (error) => isFluxError(error, "EPROTO"),
  );
});
