/** The blob database in its thread: order, errors, locks, and when there is a file at all. */
import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { concatBytes, hexEncode, utf8Decode, utf8Encode } from "../base/bytes.ts";
import { FluxError, type ErrnoName } from "../base/errors.ts";
import type { BlobDatabase, BlobDatabaseEvents, BlobDatabaseOptions } from "../base/ports.ts";
import { wideDirectoryText } from "../formats/wide-directory.ts";
import { encodeBlobs } from "../sdk/blob-batch.ts";
import { openBlobDatabase } from "./blob-database.ts";
import { nodeCodec } from "./codec.ts";

const codec = nodeCodec();
const directory = mkdtempSync(join(tmpdir(), "flux-thread-"));
const at = (name: string): string => join(directory, name);
after(() => rmSync(directory, { recursive: true, force: true }));

const EVENTS: BlobDatabaseEvents = {
  forget: async () => {},
  checkpointWanted: () => assert.fail("nothing is adopted"),
  trouble: (error) => assert.fail(error),
  fatal: (error) => assert.fail(String(error)),
};
const open = (name: string, options: Partial<BlobDatabaseOptions> = {}, events = EVENTS): BlobDatabase =>
  openBlobDatabase(at(name), { hash: "sha1", checkpointsKept: 2, sizeLimitBytes: null, ...options }, events);
const digest = (text: string): Uint8Array => codec.digest("sha1", utf8Encode(text));
const batch = (...texts: string[]): Uint8Array => encodeBlobs(texts.map(utf8Encode));
const fails = (errno: ErrnoName, text: RegExp) => (error: unknown) =>
  error instanceof FluxError && error.is(errno) && text.test(error.message);

test("calls are done in their order, without waiting in between", async () => {
  const database = open("order");
  const stored = database.store(batch("one", "two"), true);
  const loaded = database.load(digest("two"), false);
  const missing = database.keep(concatBytes([digest("one"), digest("three")]), "lease");
  assert.equal(hexEncode(await stored), hexEncode(concatBytes([digest("one"), digest("two")])));
  assert.equal(utf8Decode((await loaded)!), "two");
  assert.equal(hexEncode(await missing), hexEncode(digest("three")));
  for (const rootref of ["a", "b", "c"]) await database.putCheckpoint(`{"rootref":"${rootref}"}`);
  const last = database.checkpoints();
  await database.close();
  assert.deepEqual(
    (await last).map(({ id, text }) => [id, text]),
    [
      [3, '{"rootref":"c"}'],
      [2, '{"rootref":"b"}'],
    ],
  );
  await assert.rejects(database.load(digest("one"), false), fails("EBADF", /is closed/));
});

test("until something is stored there is no file, and it is empty", async () => {
  const database = open("lazy");
  assert.equal(await database.load(digest("one"), true), null);
  assert.deepEqual(await database.checkpoints(), []);
  assert.equal((await database.stats()).objectCount, 0);
  assert.equal(existsSync(at("lazy")), false);
  await database.store(batch("one"), true);
  assert.equal(existsSync(at("lazy")), true);
  assert.equal((await database.stats()).objectCount, 1);
  await database.close();
});

test("a directory in pieces is loaded as one", async () => {
  const database = open("pieces");
  const piece = (name: string): string =>
    `{"data":{"${name}":{"data":"YQ==","type":"val","ver":1}},"type":"dir","ver":1}`;
  const refs = ["a", "b"].map((name) => `{"first":"${name}","ref":"sha1-${hexEncode(digest(piece(name)))}"}`);
  const root = wideDirectoryText(refs, 2);
  await database.store(batch(piece("a"), piece("b"), root), false);
  assert.deepEqual(Object.keys(JSON.parse(utf8Decode((await database.load(digest(root), true))!)).data), ["a", "b"]);
  assert.equal(utf8Decode((await database.load(digest(root), false))!), root);
  await database.close();
});

test("a state directory is one broker's at a time", async () => {
  const first = open("locked", { isExclusive: true });
  await first.ready();
  const second = open("locked", { isExclusive: true });
  await assert.rejects(second.ready(), fails("EBUSY", /state directory .* is in use by another broker/));
  await first.close();
  await second.ready();
  await second.close();
});

test("what cannot be opened says why, and can be opened when the reason has passed", async () => {
  writeFileSync(at("other"), "this is a text file, and quite long enough to be looked at".repeat(100));
  const database = open("other");
  await assert.rejects(database.ready(), fails("EIO", /database .*other: file is not a database/));
  rmSync(at("other"));
  await database.store(batch("one"), true);
  await database.close();
});

test("a state directory that cannot be written to is refused", { skip: process.getuid?.() === 0 }, async () => {
  mkdirSync(at("readonly"));
  chmodSync(at("readonly"), 0o500);
  const database = open("readonly/content.sqlite", { isExclusive: true });
  await assert.rejects(database.ready(), fails("EACCES", /cannot write to state directory .*: Permission denied/));
  await database.close();
});

test("a database that cannot be written to is refused", { skip: process.getuid?.() === 0 }, async () => {
  const first = open("protected");
  await first.store(batch("one"), true);
  await first.close();
  chmodSync(at("protected"), 0o400);
  const database = open("protected");
  await assert.rejects(database.ready(), fails("EACCES", /cannot write to database .*protected: Permission denied/));
  await database.close();
});

test("at its size limit it takes no more, and gives what it has", async () => {
  const wanted = Promise.withResolvers<void>();
  const database = open("limit", { sizeLimitBytes: 200_000 }, { ...EVENTS, checkpointWanted: () => wanted.resolve() });
  const large = hexEncode(codec.digest("sha256", utf8Encode("x"))).repeat(2000);
  await database.store(batch("kept"), true);
  await assert.rejects(
    database.store(batch(large + large), true),
    fails("ENOSPC", /has reached its size limit of 195.3K/),
  );
  await wanted.promise;
  assert.equal(utf8Decode((await database.load(digest("kept"), false))!), "kept");
  await database.limit(null);
  await database.store(batch(large + large), true);
  await database.close();
});

test("what is removed has been announced before, and the file becomes short", async () => {
  const told: string[] = [];
  const database = open(
    "collected",
    {},
    {
      ...EVENTS,
      forget: async (digests) => void told.push(hexEncode(digests)),
    },
  );
  const seeds = Array.from({ length: 400 }, (_, seed) => seed);
  const noise = (seed: number): Uint8Array =>
    concatBytes(Array.from({ length: 1000 }, (_, part) => codec.digest("sha1", utf8Encode(`${seed} ${part}`))));
  const blobs = seeds.map(noise);
  const refs = blobs.map((data) => `sha1-${hexEncode(codec.digest("sha1", data))}`);
  const root = JSON.stringify({ ver: 1, type: "dir", data: { kept: { ver: 1, type: "valref", data: [refs[0]] } } });
  await database.store(encodeBlobs([...blobs, utf8Encode(root)]), false);
  assert.ok((await database.stats()).fileBytes > 7_000_000);
  const rootref = `sha1-${hexEncode(digest(root))}`;
  await database.putCheckpoint(JSON.stringify({ version: 1, rootref }));
  let { collector } = await database.stats();
  while (collector.cycleCount === 0) ({ collector } = await database.stats());
  assert.equal(collector.removedCount, 399);
  assert.equal(told.join("").length, 399 * 40);
  assert.ok(statSync(at("collected")).size < 2_000_000);
  assert.equal(hexEncode((await database.load(codec.digest("sha1", blobs[0]!), false))!), hexEncode(blobs[0]!));
  assert.equal(await database.has(codec.digest("sha1", blobs[1]!)), false);
  await database.close();
});
