import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { decodeStreamData, encodeStreamData } from "./stream-data.ts";

test("what is encoded decodes to the same bytes", () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 3000 }),
    fc.uint8Array({ max: 8, minLength: 1000, maxLength: 3000 }),
  );
  fc.assert(
    fc.property(bytes, (given) =>
      assert.deepEqual(decodeStreamData({ ...encodeStreamData(given) }), new Uint8Array(given)),
    ),
  );
});

test("text is text, with its colors, tabs and a NUL here and there; what is no text is base64", () => {
  const isText = (text: string): void =>
    assert.deepEqual(encodeStreamData(new TextEncoder().encode(text)), { data: text });
  isText("a\0b\n");
  isText("\u001b[1mbold\u001b[0m\n".repeat(500));
  isText("\t\r\n".repeat(1000));
  assert.equal(encodeStreamData(new Uint8Array([0xff])).encoding, "base64");
  assert.deepEqual(encodeStreamData(null), { eof: true });
});

test("long runs of control characters are base64: JSON has six characters for each of them", () => {
  const zeros = encodeStreamData(new Uint8Array(65536));
  assert.equal(zeros.encoding, "base64");
  assert.ok(zeros.data!.length < 90_000);
});
