import assert from "node:assert/strict";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { hexEncode, utf8Decode, utf8Encode } from "../base/bytes.ts";
import { isFluxError } from "../base/errors.ts";
import type { BlobFile, NewBlob } from "../services/blob-engine/blob-file.ts";
import { blobFileOn, openBlobFile } from "./blob-file.ts";
import { nodeCodec } from "./codec.ts";

const codec = nodeCodec();
const directory = mkdtempSync(join(tmpdir(), "flux-blobs-"));
const at = (name: string): string => join(directory, name);
after(() => rmSync(directory, { recursive: true, force: true }));

const blob = (data: Uint8Array): NewBlob => ({ hash: codec.digest("sha1", data), data });

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

const texts = (file: BlobFile): string[] => file.checkpoints().map(({ text }) => text);

test("blobs come back by hash: empty, short, compressible and not", () => {
  const blobs = [0, 1, 100, 5000].flatMap((length) => [blob(noise(length, 1)), blob(new Uint8Array(length).fill(65))]);
  const database = openBlobFile(at("blobs"));
  database.store(blobs, 0);
  database.store(blobs, 0);
  for (const { hash, data } of blobs) {
    assert.deepEqual(Buffer.from(database.load(hash)!), Buffer.from(data));
    assert.equal(database.has(hash), true);
  }
  assert.equal(database.load(codec.digest("sha1", utf8Encode("never stored"))), null);
  const hashes = database.rowsBelow(100, 100).map(({ hash }) => hexEncode(hash));
  const distinct = new Set(blobs.map(({ hash }) => hexEncode(hash)));
  assert.deepEqual(new Set(hashes), distinct);
  assert.equal(database.sizes().objectCount, distinct.size);
  const sizes = database.rowsBelow(100, 100).map(({ size }) => size);
  assert.deepEqual(sizes, [5000, 5000, 100, 100, 1, 1, 0], "the last one first");
  database.removeRows(database.rowsBelow(8, 1).map(({ rowid }) => rowid));
  assert.equal(database.load(blobs[7]!.hash), null);
  database.store([blobs[7]!], 0);
  assert.equal(database.lastRowid, 8, "the number of a removed row is not given again");
  database.removeRows([8]);
  assert.equal(database.sizes().objectCount, distinct.size - 1);
  database.close();
  database.close();
});

test("the tables are the ones that tools know", () => {
  const database = openBlobFile(at("tables"));
  const text = new Uint8Array(10_000).fill(97);
  database.store([blob(text), blob(utf8Encode("plain"))], 0);
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
  const database = openBlobFile(at("checkpoints"));
  assert.deepEqual(texts(database), []);
  for (const text of ["one", "two", "three", "four"]) database.putCheckpoint(text, 3);
  assert.deepEqual(texts(database), ["four", "three", "two"]);
  database.close();
  const again = openBlobFile(at("checkpoints"));
  assert.deepEqual(texts(again), ["four", "three", "two"]);
  again.close();
  const emptied = openBlobFile(at("checkpoints"), { truncate: true });
  assert.deepEqual(texts(emptied), []);
  emptied.close();
});

test("the checkpoint of a database of before there were several is taken over, once", () => {
  const path = at("old");
  const old = new DatabaseSync(path);
  old.exec("CREATE TABLE checkpt(key TEXT, value TEXT)");
  old.exec("INSERT INTO checkpt VALUES ('other', 'no'), ('kvs-primary', 'yes')");
  old.close();
  const first = openBlobFile(path);
  assert.deepEqual(texts(first), ["yes"]);
  first.putCheckpoint("newer", 5);
  first.close();
  const second = openBlobFile(path);
  assert.deepEqual(texts(second), ["newer", "yes"]);
  second.close();
});

test("removed blobs give their space back, a bounded amount at a time", () => {
  const database = openBlobFile(at("shrink"));
  const blobs = Array.from({ length: 200 }, (_, seed) => blob(noise(20_000, seed)));
  database.store(blobs, 0);
  database.shrink(Number.MAX_SAFE_INTEGER);
  const full = database.sizes().fileBytes;
  database.removeRows(database.rowsBelow(201, 199).map(({ rowid }) => rowid));
  const { freeBytes } = database.sizes();
  assert.ok(freeBytes > 3_000_000);
  database.shrink(1_000_000);
  assert.ok(freeBytes - database.sizes().freeBytes <= 1_000_000);
  for (let round = 0; round < 10; round++) database.shrink(1_000_000);
  assert.equal(database.sizes().freeBytes, 0);
  assert.equal(database.shrink(1_000_000), false);
  database.settle();
  assert.ok(database.sizes().fileBytes < full / 10);
  assert.deepEqual(Buffer.from(database.load(blobs[0]!.hash)!), Buffer.from(blobs[0]!.data));
  database.close();
});

test("a full database refuses with ENOSPC, keeps what it has, and takes more when there is room", () => {
  const connection = new DatabaseSync(at("full"));
  const database = blobFileOn(at("full"), connection);
  const kept = blob(utf8Encode("kept"));
  const large = Array.from({ length: 40 }, (_, seed) => blob(noise(10_000, seed)));
  database.store([kept], 0);
  connection.exec("PRAGMA max_page_count=16");
  assert.throws(
    () => database.store(large, 0),
    (error) => isFluxError(error, "ENOSPC"),
  );
  assert.equal(database.has(large[0]!.hash), false, "all or nothing");
  assert.deepEqual(Buffer.from(database.load(kept.hash)!), Buffer.from(kept.data));
  connection.exec("PRAGMA max_page_count=100000");
  database.store(large, 0);
  assert.equal(database.sizes().objectCount, 41);
  database.close();
});

test("epochs: stored with one, raised, swept below", () => {
  const database = openBlobFile(at("epochs"));
  const [one, two, three] = ["one", "two", "three"].map((text) => blob(utf8Encode(text)));
  database.store([one!, two!, three!], 1);
  assert.equal(database.mark([one!.hash, codec.digest("sha1", utf8Encode("none"))], 3), 1);
  database.store([two!], 2);
  assert.equal(database.mark([one!.hash], 2), 1, "an epoch never falls");
  assert.deepEqual(
    database.rowsBefore(3, 0, 3, 10).map(({ rowid }) => rowid),
    [2, 3],
  );
  assert.deepEqual(
    database.rowsBefore(2, 0, 3, 10).map(({ rowid }) => rowid),
    [3],
  );
  assert.equal(database.countBefore(3), 2);
  database.close();
});

test("a database that cannot shrink, as flux-core makes them, is rebuilt once and can", () => {
  const path = at("no-vacuum");
  const old = new DatabaseSync(path);
  old.exec("PRAGMA journal_mode=WAL");
  old.exec("CREATE TABLE objects(hash CHAR(20) PRIMARY KEY, size INT, object BLOB, epoch INT)");
  old.exec("CREATE TABLE checkpt_v2(id INTEGER PRIMARY KEY AUTOINCREMENT, value TEXT)");
  const insert = old.prepare("INSERT INTO objects VALUES (?, -1, ?, 0)");
  const blobs = Array.from({ length: 200 }, (_, number) => blob(new Uint8Array(10_000).fill(number)));
  for (const { hash, data } of blobs) insert.run(hash, data);
  old.exec("INSERT INTO checkpt_v2(value) VALUES ('{}')");
  assert.equal(old.prepare("PRAGMA auto_vacuum").get()!["auto_vacuum"], 0);
  old.exec("DELETE FROM objects WHERE rowid <= 150");
  old.close();
  const before = statSync(path).size;
  assert.ok(before > 2_000_000);
  const database = openBlobFile(path);
  assert.equal(database.sizes().objectCount, 50);
  for (const { hash, data } of blobs.slice(150)) assert.deepEqual(Buffer.from(database.load(hash)!), Buffer.from(data));
  assert.deepEqual(texts(database), ["{}"]);
  database.removeRows(database.rowsBelow(Infinity, 40).map(({ rowid }) => rowid));
  while (database.shrink(1_000_000));
  database.settle();
  database.close();
  assert.ok(statSync(path).size < 200_000, `${statSync(path).size} bytes`);
});

test("a large one is rebuilt when enough of it is not needed any more; rows keep their numbers", () => {
  const path = at("large-no-vacuum");
  const old = new DatabaseSync(path);
  old.exec("PRAGMA synchronous=OFF");
  old.exec("CREATE TABLE objects(hash CHAR(20) PRIMARY KEY, size INT, object BLOB, epoch INT)");
  old.exec("CREATE TABLE checkpt_v2(id INTEGER PRIMARY KEY AUTOINCREMENT, value TEXT)");
  old.exec("BEGIN");
  const insert = old.prepare("INSERT INTO objects VALUES (?, -1, zeroblob(1048576), 0)");
  for (let number = 0; number < 130; number++) insert.run(codec.digest("sha1", utf8Encode(String(number))));
  old.exec("COMMIT");
  old.close();
  const database = openBlobFile(path);
  const numbers = (): number[] => database.rowsBelow(Infinity, 1000).map(({ rowid }) => rowid);
  const [before, all] = [statSync(path).size, numbers()];
  database.removeRows(all.slice(0, 1));
  assert.equal(database.shrink(1_000_000), false, "too much is in use");
  database.removeRows(all.slice(1).filter((rowid) => rowid % 10 !== 0));
  const kept = numbers();
  while (database.shrink(64 * 1024 * 1024));
  database.settle();
  assert.deepEqual(numbers(), kept);
  assert.equal(database.load(codec.digest("sha1", utf8Encode("9")))!.byteLength, 1024 * 1024);
  assert.ok(statSync(path).size < before / 8, `${statSync(path).size} bytes of ${before}`);
  database.removeRows(kept.slice(1));
  while (database.shrink(64 * 1024 * 1024));
  database.settle();
  database.close();
  assert.ok(statSync(path).size < 2_000_000, `${statSync(path).size} bytes`);
});

test("a database of before there were epochs gets them; one with other tables is refused", () => {
  const old = new DatabaseSync(at("no-epoch"));
  old.exec("CREATE TABLE objects(hash BLOB PRIMARY KEY, size INT, object BLOB)");
  old.prepare("INSERT INTO objects VALUES (?, 3, ?)").run(codec.digest("sha1", utf8Encode("old")), utf8Encode("old"));
  old.close();
  const database = openBlobFile(at("no-epoch"));
  assert.equal(database.countBefore(1), 1);
  assert.equal(utf8Decode(database.load(codec.digest("sha1", utf8Encode("old")))!), "old");
  database.close();
  const foreign = new DatabaseSync(at("foreign"));
  foreign.exec("CREATE TABLE objects(id INT, content BLOB)");
  foreign.close();
  assert.throws(() => openBlobFile(at("foreign")), /another version: its table objects has no column hash/);
});

test("a database of flux-core is read and gone on with: hashes as text, objects as LZ4 blocks", () => {
  const data = new Uint8Array(Buffer.from(`${"a".repeat(279)}b`));
  const [hash, other] = [codec.digest("sha1", data), codec.digest("sha1", utf8Encode("other"))];
  const old = new DatabaseSync(at("core"));
  old.exec("CREATE TABLE objects(hash BLOB PRIMARY KEY, size INT, object BLOB, epoch INT DEFAULT 0)");
  old.exec("CREATE TABLE checkpt_v2(id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, value TEXT)");
  const insert = old.prepare("INSERT INTO objects VALUES (CAST(? AS TEXT), ?, ?, 0)");
  insert.run(hash, data.byteLength, Buffer.from("1f610100ff041062", "hex"));
  insert.run(other, -1, utf8Encode("other"));
  old.close();
  const database = openBlobFile(at("core"));
  assert.deepEqual(Buffer.from(database.load(hash)!), Buffer.from(data));
  assert.equal(utf8Decode(database.load(other)!), "other");
  assert.deepEqual(database.store([{ hash, data }, blob(utf8Encode("new"))], 3), [false, true]);
  assert.equal(database.mark([other], 2), 1);
  assert.equal(database.loadObject(other), null);
  assert.deepEqual(
    database.rowsBelow(9, 9).map((row) => hexEncode(row.hash)),
    [codec.digest("sha1", utf8Encode("new")), other, hash].map(hexEncode),
  );
  assert.deepEqual(
    database.rowsBefore(3, 0, 9, 9).map((row) => hexEncode(row.hash)),
    [hexEncode(other)],
  );
  database.close();
});

test("an object that nobody can read is an error of the file, and says where", () => {
  const database = openBlobFile(at("damaged"));
  const whole = blob(new Uint8Array(5000).fill(65));
  database.store([whole], 0);
  const raw = new DatabaseSync(at("damaged"));
  raw.exec("UPDATE objects SET object = x'0102'");
  raw.close();
  assert.throws(
    () => database.load(whole.hash),
    (error) => isFluxError(error, "EIO") && error.message.includes(at("damaged")),
  );
  database.close();
});

test("a file that is no database, a directory that is not there, a mode that is none", () => {
  writeFileSync(at("other"), "this is a text file, and quite long enough to be looked at".repeat(100));
  assert.throws(
    () => openBlobFile(at("other")),
    (error) => {
      assert.ok(isFluxError(error, "EIO") && error.message.includes(at("other")));
      return true;
    },
  );
  assert.throws(
    () => openBlobFile(at("none/db")),
    (error) => isFluxError(error, "ENOENT"),
  );
  assert.throws(
    () => openBlobFile(at("mode"), { journalMode: "x" }),
    (error) => isFluxError(error, "EINVAL"),
  );
});

test("a safe mark writes, even where nothing is to be marked: SQLite synchronises nothing without", () => {
  const database = openBlobFile(at("safe"));
  const { hash, data } = blob(noise(100, 3));
  database.store([{ hash, data }], 0);
  const written = (): number => statSync(`${at("safe")}-wal`).size;
  const before = written();
  database.mark([hash], 0);
  assert.equal(written(), before);
  database.mark([hash], 0, true);
  assert.ok(written() > before);
  database.close();
});
