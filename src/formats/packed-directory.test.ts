/** Directories in short form: every text comes out as it went in. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { utf8Encode } from "../base/bytes.ts";
import { isFluxError } from "../base/errors.ts";
import { packDirectory, unpackDirectory } from "./packed-directory.ts";

const hex = (length: number): fc.Arbitrary<string> =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((bytes) => Buffer.from(bytes).toString("hex"));
const ref = fc.oneof(
  hex(20).map((digits) => `sha1-${digits}`),
  hex(32).map((digits) => `sha256-${digits}`),
);
const entry = fc.oneof(
  fc.record({ data: fc.array(ref, { maxLength: 3 }), type: fc.constantFrom("valref", "dirref"), ver: fc.constant(1) }),
  fc.record({ data: fc.base64String(), type: fc.constant("val"), ver: fc.constant(1) }),
  fc.record({
    data: fc.oneof(fc.base64String({ minLength: 60, maxLength: 400 }), fc.constant(`${"A".repeat(58)}B=`)),
    type: fc.constant("val"),
    ver: fc.constant(1),
  }),
  fc.record({
    data: fc.record({ target: fc.oneof(ref, fc.string()) }),
    type: fc.constant("symlink"),
    ver: fc.constant(1),
  }),
);
const directory = fc
  .dictionary(fc.oneof(ref, fc.string({ unit: "grapheme" })), entry, { minKeys: 1 })
  .map((data) => JSON.stringify({ data, type: "dir", ver: 1 }));

test("every directory comes out as it went in, and none gets longer", () => {
  fc.assert(
    fc.property(directory, (text) => {
      const bytes = utf8Encode(text);
      const packed = packDirectory(bytes);
      if (packed === null) return;
      assert.ok(packed.byteLength <= bytes.byteLength);
      assert.equal(Buffer.from(unpackDirectory(packed)).toString(), text);
    }),
  );
});

test("what a job's directory says takes a third of its text", () => {
  const names = ["J", "R", "eventlog", "jobspec"];
  const data = Object.fromEntries(
    names.map((name) => [name, { data: [`sha1-${"0123456789".repeat(4)}`], type: "valref", ver: 1 }]),
  );
  const guest = { data: [`sha1-${"abcdef0123".repeat(4)}`], type: "dirref", ver: 1 };
  const text = utf8Encode(JSON.stringify({ data: { ...data, guest }, type: "dir", ver: 1 }));
  const packed = packDirectory(text)!;
  assert.ok(packed.byteLength < 0.4 * text.byteLength, `${packed.byteLength} of ${text.byteLength}`);
  assert.deepEqual(unpackDirectory(packed), text);
});

test("a longer value stands there without its base64, unless that has another form than ours, or is too long", () => {
  const textOf = (data: string) =>
    utf8Encode(JSON.stringify({ data: { a: { data, type: "val", ver: 1 } }, type: "dir", ver: 1 }));
  const value = Buffer.from('{"timestamp":1.5,"name":"submit"}\n'.repeat(3));
  const packed = Buffer.from(packDirectory(textOf(value.toString("base64")))!);
  assert.ok(packed.includes(value));
  for (const data of [`${"A".repeat(58)}B=`, Buffer.alloc(70_000).toString("base64")]) {
    const text = textOf(data);
    assert.deepEqual(packDirectory(text), text);
  }
});

test("what is no directory, or has bytes that look like codes, is left alone; damage is told", () => {
  for (const text of [
    "",
    "{}",
    '{"data":{},"type":"dir","ver":1}',
    '{"data":{"a":1},"type":"dir","ver":2}',
    '{"data":{"a":\t1},"type":"dir","ver":1}',
  ])
    assert.equal(packDirectory(utf8Encode(text)), null, text);
  for (const damaged of [Uint8Array.of(0x7b, 1, 2, 3), Uint8Array.of(0x7b, 7, 0, 3, 1), Uint8Array.of(0x7b, 7, 0)])
    assert.throws(
      () => unpackDirectory(damaged),
      (error) => isFluxError(error, "EPROTO"),
    );
});
