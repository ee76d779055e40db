/** Blobs as databases keep them: whatever is packed comes out again, and what jobs leave behind takes little room. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import * as fc from "fast-check";
import { FluxError } from "../base/errors.ts";
import { DICTIONARY_TEXT } from "./blob-dictionary.ts";
import { packed, unpacked } from "./blob-packing.ts";

function again(data: Uint8Array): Uint8Array {
  const object = packed(data);
  assert.ok(object.byteLength <= data.byteLength);
  return object.byteLength === data.byteLength ? object : unpacked(object, data.byteLength);
}

const LOG = ["submit", "validate", "depend", "priority", "alloc", "start", "finish", "clean"]
  .map((name, index) => `{"timestamp":17950${index}.25,"name":"${name}","context":{"number":${index}}}\n`)
  .join("");

function envelope(payload: string | Uint8Array): string {
  return `dmVyc2lvbgBpMQB1c2VyaWQAaTAA.${Buffer.from(payload).toString("base64")}.none`;
}

test("a job's logs and its envelope are kept short", () => {
  const cases: [string, number][] = [
    [LOG, 0.35],
    [envelope(DICTIONARY_TEXT.slice(0, 1500)), 0.2],
  ];
  for (const [text, part] of cases) {
    const data = Buffer.from(text);
    assert.ok(packed(data).byteLength < part * data.byteLength, text.slice(0, 20));
    assert.deepEqual(Buffer.from(again(data)), data);
  }
});

test("what a job's directory holds itself is compressed like the blobs that it would be", () => {
  const val = (text: string) => ({ data: Buffer.from(text).toString("base64"), type: "val", ver: 1 });
  const J = { data: [`sha1-${createHash("sha1").update("J").digest("hex")}`], type: "valref", ver: 1 };
  const entries = { J, R: val(DICTIONARY_TEXT.slice(700, 900)), eventlog: val(LOG) };
  const data = Buffer.from(JSON.stringify({ data: entries, type: "dir", ver: 1 }));
  assert.ok(packed(data).byteLength < 0.3 * data.byteLength, `${packed(data).byteLength} of ${data.byteLength}`);
  assert.deepEqual(Buffer.from(again(data)), data);
});

test("whatever looks like a log or an envelope comes out as it went in", () => {
  const part = fc.oneof(fc.base64String({ maxLength: 600 }), fc.string({ unit: "binary", maxLength: 600 }));
  const text = fc.oneof(
    fc.array(part, { maxLength: 4 }).map((parts) => `dmVyc2lvbg${parts.join(".")}`),
    fc.uint8Array({ maxLength: 3000 }).map(envelope),
    fc.string({ unit: "binary", maxLength: 3000 }).map((rest) => `{"timestamp":${rest}`),
    fc.string({ unit: "binary", maxLength: 5000 }),
  );
  fc.assert(
    fc.property(text, (each) => {
      const data = Buffer.from(each);
      assert.deepEqual(Buffer.from(again(data)), data);
    }),
    { numRuns: 300 },
  );
});

test("what is damaged is refused", () => {
  const data = Buffer.from(envelope("x".repeat(3000)));
  const object = packed(data);
  const isRefused = (error: unknown): boolean => error instanceof FluxError && error.is("EPROTO");
  assert.throws(() => unpacked(object.subarray(0, 20), data.byteLength), isRefused);
  assert.throws(() => unpacked(object, data.byteLength - 1), isRefused);
  assert.throws(() => unpacked(Uint8Array.of(0, 0, 0, 9, 1, 2), 100), isRefused);
});

test("the dictionary is what it was: stores are full of what was compressed with it", () => {
  assert.equal(
    createHash("sha256").update(DICTIONARY_TEXT).digest("hex"),
    "2e14514d1ebee9c1bdfc4416f86dba4e8d48c3deee5714584e6b07ec89f59c56",
  );
});
