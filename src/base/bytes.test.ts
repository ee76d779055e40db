import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import {
  base64Decode,
  base64Encode,
  bytesEqual,
  concatBytes,
  hexDecode,
  hexEncode,
  utf8Decode,
  utf8DecodeStrict,
  utf8Encode,
} from "./bytes.ts";

test("base64, hexadecimal and UTF-8 make round trips", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.string({ unit: "grapheme" }), (bytes, text) => {
      assert.ok(bytesEqual(base64Decode(base64Encode(bytes))!, bytes));
      assert.ok(bytesEqual(hexDecode(hexEncode(bytes))!, bytes));
      assert.equal(utf8Decode(utf8Encode(text)), text);
      assert.equal(utf8DecodeStrict(utf8Encode(text)), text);
    }),
  );
});

test("what is not base64 or hexadecimal is refused, not guessed at", () => {
  for (const text of ["a", "ab=c", "a b=", "äbc=", "====="]) assert.equal(base64Decode(text), null, text);
  for (const text of ["a", "zz", "0x"]) assert.equal(hexDecode(text), null, text);
  assert.equal(utf8DecodeStrict(new Uint8Array([0xff, 0xfe])), null);
});

test("decoded bytes own their memory, so keeping a small value does not keep a pool alive", () => {
  assert.equal(base64Decode("AAAA")!.buffer.byteLength, 3);
  assert.equal(hexDecode("00ff")!.buffer.byteLength, 2);
});

test("chunks join in order; one chunk is not copied", () => {
  const chunk = new Uint8Array([1, 2]);
  assert.equal(concatBytes([chunk]), chunk);
  assert.deepEqual(concatBytes([chunk, new Uint8Array(0), new Uint8Array([3])]), new Uint8Array([1, 2, 3]));
});
