import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFluxError } from "../base/errors.ts";
import type { JsonValue } from "../base/json.ts";
import {
  decodeArchive,
  decodeEntry,
  encodeEntry,
  encodeFile,
  encodeJsonFile,
  encodeTextFile,
  isSafePath,
} from "./archive.ts";

const BLOB = "sha1-d4a09c5dd5a0d2d570066b6f13e465c73c3f9944";
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();

test("RFC 37 examples", () => {
  const entries = decodeArchive([
    { path: "appdata/phase1", mode: 16893, mtime: 1677604007, ctime: 1677604007 },
    { path: "src", mode: 41471, data: "/users/fred/work/project" },
    { path: "data/empty", mode: 33204, size: 0 },
    { path: "config.json", mode: 33204, data: { resource: { exclude: "node42" } } },
    { path: "data.csv", mode: 33204, encoding: "utf-8", data: "iteration,density\n1,35435.555\n", size: 30 },
    { path: "vectors.dat", mode: 33204, encoding: "base64", data: "MzU0MzUuNTU1Cg==" },
    {
      path: "kernel8.img",
      mode: 33261,
      size: 8194604,
      encoding: "blobvec",
      data: [
        [0, 1048576, BLOB],
        [2097152, 10, BLOB],
      ],
    },
  ]);
  const [directory, link, empty, json, csv, vectors, kernel] = entries;
  assert.equal(directory?.kind, "directory");
  assert.ok(link?.kind === "symlink" && link.target === "/users/fred/work/project");
  assert.ok(empty?.kind === "empty" && empty.size === 0);
  assert.ok(json?.kind === "bytes" && text(json.bytes) === '{"resource":{"exclude":"node42"}}');
  assert.ok(csv?.kind === "bytes" && text(csv.bytes).startsWith("iteration,density\n"));
  assert.ok(vectors?.kind === "bytes" && text(vectors.bytes) === "35435.555\n");
  assert.ok(kernel?.kind === "blobs" && kernel.regions.length === 2);
  for (const entry of entries) {
    const again = decodeEntry(encodeEntry(entry));
    assert.deepEqual(JSON.stringify(again), JSON.stringify(entry));
  }
});

test("jobspec carries files by name", () => {
  const [script, conf] = decodeArchive({
    script: encodeTextFile("#!/bin/sh\nflux run app\n", { permissions: 0o700 }),
    "conf.json": encodeJsonFile({ resource: { noverify: true } }),
  });
  assert.ok(script?.kind === "bytes" && script.path === "script" && script.mode === 0o100700);
  assert.equal(text(script.bytes), "#!/bin/sh\nflux run app\n");
  assert.ok(conf?.kind === "bytes" && text(conf.bytes) === '{"resource":{"noverify":true}}');
  assert.equal(decodeEntry(encodeTextFile(""), "e").kind, "empty");
});

test("an archive that is malformed, or that would leave its directory, is refused", () => {
  const file = { mode: 33204, encoding: "utf-8", data: "x" };
  const table: [JsonValue, RegExp][] = [
    [1, /array or an object/],
    [[1], /not an object/],
    [[file], /path is missing/],
    [{ "../x": file }, /not safe/],
    [{ "/etc/passwd": file }, /not safe/],
    [{ "a/./b": file }, /not safe/],
    [{ a: { data: "x" } }, /mode/],
    [{ a: { mode: 0o010644 } }, /mode 10644/],
    [{ a: { ...file, size: 2 } }, /data has 1 bytes, but size is 2/],
    [{ a: { ...file, encoding: "rot13" } }, /encoding "rot13"/],
    [{ a: { ...file, encoding: "base64" } }, /encoding "base64"/],
    [{ a: { ...file, data: 1 } }, /data must be a string/],
    [{ a: { ...file, size: -1 } }, /size/],
    [{ a: { mode: 41471 } }, /must have a target/],
    [{ a: { mode: 16893, data: "x" } }, /a directory has no data/],
    [{ a: { mode: 33204, encoding: "blobvec", size: 1, data: [[0, 2, BLOB]] } }, /exceed the size/],
    [
      {
        a: {
          mode: 33204,
          encoding: "blobvec",
          size: 9,
          data: [
            [1, 2, BLOB],
            [0, 1, BLOB],
          ],
        },
      },
      /overlap/,
    ],
    [{ a: { mode: 33204, encoding: "blobvec", size: 9, data: [[0, 1, "x"]] } }, /blobref/],
  ];
  for (const [value, reason] of table) {
    assert.throws(
      () => decodeArchive(value),
      (error) => isFluxError(error, "EINVAL") && reason.test((error as Error).message),
      JSON.stringify(value),
    );
  }
  assert.ok(isSafePath("a/b..c/.d"));
});

test("any content comes out as it went in", () => {
  const content = fc.oneof(
    fc.uint8Array(),
    fc.string({ unit: "binary" }).map((value) => new Uint8Array(Buffer.from(value))),
  );
  fc.assert(
    fc.property(content, (bytes) => {
      const entry = decodeEntry(JSON.parse(JSON.stringify(encodeFile(bytes))) as JsonValue, "f");
      const back = entry.kind === "bytes" ? entry.bytes : new Uint8Array(0);
      assert.deepEqual(new Uint8Array(back), bytes);
    }),
  );
});
