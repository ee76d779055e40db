import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFluxError } from "../base/errors.ts";
import { decodeLz4 } from "./lz4.ts";

const bytesOf = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex.replaceAll(" ", ""), "hex"));
const textOf = (hex: string, size: number): string => Buffer.from(decodeLz4(bytesOf(hex), size)).toString();

test("literals, matches that overlap, lengths that go on", () => {
  assert.equal(textOf("30 616263", 3), "abc");
  // "abc", then six bytes from three back, then the last literal.
  assert.equal(textOf("32 616263 0300 10 64", 10), "abcabcabcd");
  // 15 + 255 + 4 + 4 bytes from one back.
  assert.equal(textOf("1f 61 0100 ff 04 10 62", 280), `${"a".repeat(279)}b`);
  assert.equal(textOf(`f0 05 ${"61".repeat(20)}`, 20), "a".repeat(20));
  assert.equal(textOf("00", 0), "");
});

test("what is damaged is refused, whatever it is", () => {
  for (const [hex, size] of [
    ["30 6162", 3],
    ["30 616263", 4],
    ["30 616263", 2],
    ["12 61 0000 00", 9],
    ["12 61 0200 00", 9],
    ["f0 ff", 900],
  ] as const)
    assert.throws(() => decodeLz4(bytesOf(hex), size), /LZ4 block is damaged/);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat(300), (block, size) => {
      try {
        assert.equal(decodeLz4(block, size).byteLength, size);
      } catch (error) {
        assert.ok(isFluxError(error, "EPROTO"));
      }
    }),
  );
});
