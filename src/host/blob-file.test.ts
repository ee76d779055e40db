import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { hexEncode, utf8Encode } from "../base/bytes.ts";
import { isFluxError } from "../base/errors.ts";
import type { BlobRecord } from "../base/ports.ts";
import { blobDatabaseOn, openBlobDatabase } from "./blob-database.ts";
import { nodeCodec } from "./codec.ts";

const codec = nodeCodec();
const directory = mkdtempSync(join(tmpdir(), "flux-blobs-"));
const at = (name: string): string => join(directory, name);
after(() => rmSync(directory, { recursive: true, force: true }));

const blob = (data: Uint8Array): BlobRecord => ({ hash: codec.digest("sha1", data), data });

/** Bytes that do not compress, the same for the same seed (xorshift). */
function noise(length: number, seed: number): Uint8Array {
  let state = seed + 0x9e37_79b9;
  return new Uint8Array(length).map(() => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state & 0xff;
  });
}

test("blobs come back by hash: empty, short, compressible and not", () => {
  const blobs = [0, 1, 100, 5000].flatMap((length) => [blob(noise(length, 1)), blob(new Uint8Array(length).fill(65))]);
  const database = openBlobDatabase(at("blobs"));
  database.store(blobs);
  database.store(blobs);
  for (const { hash, data } of blobs) {
    assert.deepEqual(Buffer.from(database.load(hash)!), Buffer.from(data));
    assert.equal(database.has(hash), true);
  }
  assert.equal(database.load(codec.digest("sha1", utf8Encode("never stored"))), null);
  const hashes: string[] = [];
  database.forEachHash((hash) => hashes.push(hexEncode(hash)));
  const distinct = new Set(blobs.map(({ hash }) => hexEncode(hash)));
  assert.deepEqual(new Set(hashes), distinct);
  assert.equal(database.stats().objectCount, distinct.size);
  database.remove([blobs[7]!.hash]);
  assert.equal(database.load(blobs[7]!.hash), null);
  assert.equal(database.stats().objectCount, distinct.size - 1);
  database.close();
  database.close();
});

test("the tables are the ones that tools know", () => {
  const database = openBlobDatabase(at("tables"));
  const text = new Uint8Array(10_000).fill(97);
  database.store([blob(text), blob(utf8Encode("plain"))]);
  database.putCheckpoint('{"version":1}', 5);
  const raw = new DatabaseSync(at("tables"), { readOnly: true });
  const columns = (table: string): unknown[] =>
    raw
      .prepare(`PRAGMA table_info(${table})`)
      .all()
      .map((row) => [row["name"], row["type"]]);
  assert.deepEqual(columns("objects"), [
    ["hash", "BLOB"],
    ["size", "INT"],
    ["object", "BLOB"],
    ["epoch", "INT"],
  ]);
  assert.deepEqual(columns("checkpt_v2"), [
    ["id", "INTEGER"],
    ["value", "TEXT"],
  ]);
  const rows = raw
    .prepare(
      "SELECT size, typeof(hash) AS hash, typeof(object) AS object, length(object) AS length FROM objects ORDER BY size",
    )
    .all();
  assert.deepEqual({ ...rows[0] }, { size: 5, hash: "blob", object: "blob", length: 5 });
  assert.equal(rows[1]!["size"], 10_000);
  assert.ok(Number(rows[1]!["length"]) < 200, "size is the blob's length, the object is compressed");
  assert.equal(raw.prepare("PRAGMA auto_vacuum").get()!["auto_vacuum"], 2);
  assert.equal(raw.prepare("PRAGMA journal_mode").get()!["journal_mode"], "wal");
  raw.close();
  database.close();
});

test("checkpoints: newest first, and only as many as are kept", () => {
  const database = openBlobDatabase(at("checkpoints"));
  assert.deepEqual(database.checkpoints(), []);
  for (const text of ["one", "two", "three", "four"]) database.putCheckpoint(text, 3);
  assert.deepEqual(database.checkpoints(), ["four", "three", "two"]);
  database.close();
  const again = openBlobDatabase(at("checkpoints"));
  assert.deepEqual(again.checkpoints(), ["four", "three", "two"]);
  again.close();
  const emptied = openBlobDatabase(at("checkpoints"), { truncate: true });
  assert.deepEqual(emptied.checkpoints(), []);
  emptied.close();
});

test("the checkpoint of a database of before there were several is taken over, once", () => {
  const path = at("old");
  const old = new DatabaseSync(path);
  old.exec("CREATE TABLE checkpt(key TEXT, value TEXT)");
  old.exec("INSERT INTO checkpt VALUES ('other', 'no'), ('kvs-primary', 'yes')");
  old.close();
  const first = openBlobDatabase(path);
  assert.deepEqual(first.checkpoints(), ["yes"]);
  first.putCheckpoint("newer", 5);
  first.close();
  const second = openBlobDatabase(path);
  assert.deepEqual(second.checkpoints(), ["newer", "yes"]);
  second.close();
});

test("removed blobs give their space back, a bounded amount at a time", () => {
  const database = openBlobDatabase(at("shrink"));
  const blobs = Array.from({ length: 200 }, (_, seed) => blob(noise(20_000, seed)));
  database.store(blobs);
  database.shrink(Number.MAX_SAFE_INTEGER);
  const full = database.stats().fileBytes;
  database.remove(blobs.slice(1).map(({ hash }) => hash));
  const { freeBytes } = database.stats();
  assert.ok(freeBytes > 3_000_000);
  database.shrink(1_000_000);
  assert.ok(freeBytes - database.stats().freeBytes <= 1_000_000);
  for (let round = 0; round < 10; round++) database.shrink(1_000_000);
  assert.equal(database.stats().freeBytes, 0);
  assert.ok(database.stats().fileBytes < full / 10);
  assert.deepEqual(Buffer.from(database.load(blobs[0]!.hash)!), Buffer.from(blobs[0]!.data));
  database.close();
});

test("a full database refuses with ENOSPC, keeps what it has, and takes more when there is room", () => {
  const connection = new DatabaseSync(at("full"));
  const database = blobDatabaseOn(at("full"), connection);
  const kept = blob(utf8Encode("kept"));
  const large = Array.from({ length: 40 }, (_, seed) => blob(noise(10_000, seed)));
  database.store([kept]);
  connection.exec("PRAGMA max_page_count=16");
  assert.throws(
    () => database.store(large),
    (error) => isFluxError(error, "ENOSPC"),
  );
  assert.equal(database.has(large[0]!.hash), false, "all or nothing");
  assert.deepEqual(Buffer.from(database.load(kept.hash)!), Buffer.from(kept.data));
  connection.exec("PRAGMA max_page_count=100000");
  database.store(large);
  assert.equal(database.stats().objectCount, 41);
  database.close();
});

test("a file that is no database, a directory that is not there, a mode that is none", () => {
  writeFileSync(at("other"), "this is a text file, and quite long enough to be looked at".repeat(100));
  assert.throws(
    () => openBlobDatabase(at("other")),
    (error) => {
      assert.ok(isFluxError(error, "EIO") && error.message.includes(at("other")));
      return true;
    },
  );
  assert.throws(
    () => openBlobDatabase(at("none/db")),
    (error) => isFluxError(error, "ENOENT"),
  );
  assert.throws(
    () => openBlobDatabase(at("mode"), { journalMode: "x" }),
    (error) => isFluxError(error, "EINVAL"),
  );
});
