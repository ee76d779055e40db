import assert from "node:assert/strict";
import { test } from "node:test";
import { latin1Encode, utf8Decode, utf8Encode } from "../../base/bytes.ts";
import { argumentBytes } from "./argument-bytes.ts";

test("a word that is no UTF-8 is found again in what the kernel keeps of the command line", () => {
  const given = latin1Encode("key=\xff\xfea");
  const commandLine = latin1Encode("node\0kvs\0put\0other=\xff\0key=\xff\xfea\0");
  assert.deepEqual([...argumentBytes(utf8Decode(given), () => commandLine)], [...given]);
});

test("UTF-8 is taken as it is, and nobody is asked", () => {
  const nobody = (): Uint8Array => assert.fail("asked");
  assert.deepEqual(argumentBytes("key=grün", nobody), utf8Encode("key=grün"));
});

test("where nobody knows, the replacement stays", () => {
  assert.deepEqual(
    argumentBytes("a=\uFFFD", () => new Uint8Array(0)),
    utf8Encode("a=\uFFFD"),
  );
});
