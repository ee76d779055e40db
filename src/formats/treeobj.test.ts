import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFluxError } from "../base/errors.ts";
import { stringifyJson, type JsonValue } from "../base/json.ts";
import { blobrefDigest, blobrefFromDigest, isBlobref, parseBlobref } from "./blobref.ts";
import {
  checkTreeobj,
  isTreeobj,
  makeDir,
  makeDirref,
  makeSymlink,
  makeVal,
  makeValref,
  parseTreeobj,
  valBytes,
  type Treeobj,
} from "./treeobj.ts";

const SHA1 = "sha1-f1d2d2f924e986ac86fdf7b36c94bcdf32beec15";
const SHA256 = `sha256-${"0a".repeat(32)}`;

test("RFC 10 address example: a blobref is the hash's name and the digest", () => {
  const digest = createHash("sha1").update("foo\n").digest();
  assert.equal(blobrefFromDigest("sha1", digest), SHA1);
  assert.deepEqual(parseBlobref(SHA1), { hash: "sha1", digest: new Uint8Array(digest) });
  assert.deepEqual(blobrefDigest(SHA1), new Uint8Array(digest));
  assert.equal(blobrefDigest(SHA256).byteLength, 32);
  assert.throws(() => blobrefFromDigest("sha256", digest), /32 bytes, not 20/);
  for (const text of [
    "",
    "sha1",
    "sha1-",
    SHA1.toUpperCase(),
    `${SHA1}0`,
    "sha1-xyz",
    SHA1.replace("sha1", "md5"),
    1,
  ]) {
    assert.equal(isBlobref(text), false, String(text));
  }
  assert.throws(
    () => blobrefDigest("sha1-abc"),
    (error) => isFluxError(error, "EINVAL"),
  );
});

test("RFC 11 examples", () => {
  const val = { ver: 1, type: "val", data: "NDIyCg==" } as const;
  assert.deepEqual(makeVal(Buffer.from("422\n")), val);
  assert.equal(Buffer.from(valBytes(checkTreeobj(val) as typeof val)).toString(), "422\n");
  assert.deepEqual(makeValref([SHA1, SHA1]), { ver: 1, type: "valref", data: [SHA1, SHA1] });
  assert.deepEqual(makeDirref(SHA1), { ver: 1, type: "dirref", data: [SHA1] });
  assert.deepEqual(makeSymlink("a.a"), { ver: 1, type: "symlink", data: { target: "a.a" } });
  assert.deepEqual(makeSymlink("b.b", "a"), { ver: 1, type: "symlink", data: { namespace: "a", target: "b.b" } });
  const dir = makeDir({ a: makeDirref(SHA1), b: val, c: makeValref([SHA1]), d: makeDir(), e: makeSymlink("x") });
  assert.deepEqual(parseTreeobj(stringifyJson(dir)), dir);
});

test("what is no tree object is refused with EPROTO", () => {
  const tree = (type: JsonValue, data: JsonValue, ver: JsonValue = 1) => ({ ver, type, data });
  const table: [JsonValue, RegExp][] = [
    [null, /not an object/],
    [{}, /version undefined/],
    [tree("val", "", 2), /version 2/],
    [{ ...tree("val", ""), more: 1 }, /other members/],
    [tree("dir", { a: { ...tree("val", ""), more: 1 } }), /other members/],
    [tree("hdir", {}), /type "hdir" is unknown/],
    [{ ver: 1, type: "val" }, /base64/],
    [tree("val", "x"), /base64/],
    [tree("val", 1), /base64/],
    [tree("valref", []), /non-empty array of blobrefs/],
    [tree("valref", SHA1), /array of blobrefs/],
    [tree("valref", ["sha1-aaa"]), /array of blobrefs/],
    [tree("dirref", [SHA1, SHA1]), /one blobref/],
    [tree("dir", []), /must be an object/],
    [tree("dir", { a: tree("dir", { b: 1 }) }), /not an object/],
    [tree("symlink", "a"), /target/],
    [tree("symlink", { target: "a", namespace: 1 }), /namespace/],
  ];
  for (const [value, reason] of table) {
    assert.throws(
      () => checkTreeobj(value),
      (error) => isFluxError(error, "EPROTO") && reason.test((error as Error).message),
      JSON.stringify(value),
    );
    assert.throws(
      () => checkTreeobj(value, "EINVAL"),
      (error) => isFluxError(error, "EINVAL"),
    );
    assert.equal(isTreeobj(value), false);
  }
  let deep: Treeobj = makeDir();
  for (let level = 0; level < 1000; level++) deep = makeDir({ d: deep });
  assert.throws(() => checkTreeobj(deep), /too deep/);
});

test("a value has the bytes it was made of", () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      assert.deepEqual(new Uint8Array(valBytes(makeVal(bytes))), bytes);
      const digest = createHash("sha256").update(bytes).digest();
      assert.deepEqual(blobrefDigest(blobrefFromDigest("sha256", digest)), new Uint8Array(digest));
    }),
  );
});
