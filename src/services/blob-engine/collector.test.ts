/**
 * What the collector removes and what it does not: tables of its parts, then any history. The histories store trees, put
 * checkpoints, let clients store and commits adopt, and let the collector work a slice here and there.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import * as fc from "fast-check";
import { hexEncode, utf8Encode } from "../../base/bytes.ts";
import { wideDirectoryText } from "../../formats/wide-directory.ts";
import { MemoryBlobFile } from "../../testkit/blob-file.ts";
import { BlobTables } from "../../testkit/blob-tables.ts";
import { Collector } from "./collector.ts";
import { Fingerprints } from "./fingerprints.ts";
import { LEASE_MAX_MS, LEASE_MS, Leases } from "./leases.ts";
import { referencesOf, rootsOf } from "./references.ts";

const LENGTH = 20;
const digest = (data: Uint8Array | string): Uint8Array => new Uint8Array(createHash("sha1").update(data).digest());
const refOf = (data: string): `sha1-${string}` => `sha1-${hexEncode(digest(data))}`;
const hexes = (digests: Uint8Array): string[] =>
  Array.from({ length: digests.byteLength / LENGTH }, (_, index) =>
    hexEncode(digests.subarray(index * LENGTH, (index + 1) * LENGTH)),
  );

test("fingerprints: what was added is found, what was not is not, whatever comes and goes", () => {
  const key = fc.nat(30).map((number) => digest(String(number)));
  const odd = fc.constantFrom(new Uint8Array(LENGTH), new Uint8Array(LENGTH).fill(255));
  const step = fc.record({ key: fc.oneof(key, odd), salt: fc.constantFrom(0 as const, 1 as const), add: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const set = new Fingerprints();
      const model = new Set<string>();
      for (const each of steps) {
        const name = `${hexEncode(each.key)} ${each.salt}`;
        if (each.add) assert.equal(set.add(each.key, each.salt), !model.has(name));
        else assert.equal(set.delete(each.key, each.salt), model.delete(name));
        if (each.add) model.add(name);
        assert.equal(set.size, model.size);
        assert.equal(set.has(each.key, each.salt), each.add);
      }
    }),
  );
});

test("fingerprints of many blobs take twelve bytes each, and some room", () => {
  const set = new Fingerprints();
  for (let number = 0; number < 20_000; number++) set.add(digest(String(number)));
  assert.equal(set.size, 20_000);
  for (let number = 0; number < 20_000; number++) assert.ok(set.has(digest(String(number))));
  assert.equal(set.has(digest("none")), false);
  assert.ok(set.bytes < 20_000 * 12 * 4);
});

test("what blobs refer to", () => {
  const dirref = (name: string): object => ({ ver: 1, type: "dirref", data: [refOf(name)] });
  const directory = {
    ver: 1,
    type: "dir",
    data: {
      a: dirref("one"),
      b: { ver: 1, type: "valref", data: [refOf("two"), refOf("three")] },
      c: { ver: 1, type: "dir", data: { d: dirref("four"), e: { ver: 1, type: "val", data: "" } } },
      // None of these is a reference.
      [refOf("name")]: { ver: 1, type: "symlink", data: { target: refOf("target") } },
      f: { ver: 1, type: "valref", data: ["sha256-00"] },
      g: 5,
    },
  };
  const found = referencesOf(utf8Encode(JSON.stringify(directory)), LENGTH)!;
  assert.deepEqual(
    hexes(found.directories),
    ["one", "four"].map((text) => hexEncode(digest(text))),
  );
  assert.deepEqual(
    hexes(found.values),
    ["two", "three"].map((text) => hexEncode(digest(text))),
  );
  const wide = wideDirectoryText([`{"first":"a","ref":"${refOf("piece")}"}`, `{"first":"b","ref":"${refOf("b")}"}`], 2);
  assert.deepEqual(
    hexes(referencesOf(utf8Encode(wide), LENGTH)!.directories),
    [digest("piece"), digest("b")].map(hexEncode),
  );
  for (const text of ["", "{", "[]", "null", '{"type":"val","ver":1,"data":""}', JSON.stringify(dirref("x")), "\xff{}"])
    assert.equal(referencesOf(utf8Encode(text), LENGTH), null, text);
});

test("where a checkpoint begins: its root, its namespaces, what readers hold", () => {
  const log = { number: 3, namespaces: refOf("namespaces"), held: [refOf("held"), "x"] };
  const roots = rootsOf(JSON.stringify({ version: 1, rootref: refOf("root"), log }), LENGTH);
  assert.deepEqual(
    hexes(roots!),
    ["root", "namespaces", "held"].map((text) => hexEncode(digest(text))),
  );
  assert.deepEqual(
    hexes(rootsOf(JSON.stringify({ rootref: refOf("root"), log: { namespaces: null } }), LENGTH)!).length,
    1,
  );
  for (const text of ["{}", '{"rootref":"bar"}', "no JSON", "[]"]) assert.equal(rootsOf(text, LENGTH), null);
});

test("a lease lasts a day after the last store of anybody, but not for ever", () => {
  const leases = new Leases();
  const held = (text: string): boolean => leases.isHeld(digest(text));
  const expire = (nowMs: number): void => void leases.expire(nowMs);
  leases.lease(digest("first"), 0);
  leases.lease(digest("last"), 0.9 * LEASE_MS);
  expire(1.5 * LEASE_MS);
  expire(1.9 * LEASE_MS);
  assert.ok(held("first") && held("last"), "at least this long");
  expire(3 * LEASE_MS);
  assert.ok(!held("first") && !held("last"), "at most twice this long");
  // Who stores one blob after the other keeps the first ones, for days.
  let nowMs = 0;
  for (; nowMs < LEASE_MAX_MS; nowMs += LEASE_MS / 2) {
    leases.lease(digest(`blob ${nowMs}`), nowMs);
    expire(nowMs);
  }
  assert.ok(held("blob 0"));
  for (; nowMs < 2.4 * LEASE_MAX_MS; nowMs += LEASE_MS / 2) {
    leases.lease(digest(`blob ${nowMs}`), nowMs);
    expire(nowMs);
  }
  assert.ok(!held("blob 0"));
});

test("what is adopted is held until the second checkpoint after, and its lease is over", () => {
  const leases = new Leases();
  leases.lease(digest("a"), 0);
  leases.lease(digest("other"), 0);
  leases.adopt(digest("a"), LENGTH);
  leases.checkpointPut();
  assert.ok(leases.isHeld(digest("a")), "the first one may have been begun before");
  leases.expire(3 * LEASE_MS);
  assert.ok(leases.isHeld(digest("other")), "what an adopted blob refers to may have nothing but its lease");
  leases.checkpointPut();
  assert.ok(!leases.isHeld(digest("a")));
});

const blobOf = (text: string) => ({ hash: digest(text), data: utf8Encode(text) });

/** A file with blobs in the order given; a directory is named by its text. */
function fileWith(...texts: string[]): MemoryBlobFile {
  const file = new MemoryBlobFile(new BlobTables(), { begin: () => {} });
  file.store(texts.map(blobOf), 0);
  return file;
}

const directoryOf = (entries: Record<string, object>): string => JSON.stringify({ ver: 1, type: "dir", data: entries });
const valueIn = (text: string): object => ({ ver: 1, type: "valref", data: [refOf(text)] });
const directoryIn = (text: string): object => ({ ver: 1, type: "dirref", data: [refOf(text)] });

/** Runs a cycle to its end. Returns what it said would go, in its order. */
function collect(
  file: MemoryBlobFile,
  leases = new Leases(),
  whileTold: (collector: Collector) => void = () => {},
): string[] {
  const told: string[] = [];
  const collector = new Collector(file, leases, LENGTH, { forget: (digests) => void told.push(...hexes(digests)) });
  if (!collector.start(file.lastRowid)) return ["not started"];
  while (collector.isRunning) {
    collector.step(() => true);
    if (!collector.isWaiting) continue;
    whileTold(collector);
    collector.forgotten();
  }
  return told;
}

test("a cycle leaves what checkpoints reach, and removes directories before what they refer to", () => {
  const garbage = directoryOf({ v: valueIn("old value"), k: valueIn("kept") });
  const root = directoryOf({ k: valueIn("kept") });
  const file = fileWith("old value", "kept", garbage, root);
  file.putCheckpoint(JSON.stringify({ rootref: refOf(root) }), 5);
  assert.deepEqual(
    collect(file),
    [garbage, "old value"].map((text) => hexEncode(digest(text))),
  );
  assert.deepEqual(
    [root, "kept", garbage, "old value"].map((text) => file.has(digest(text))),
    [true, true, false, false],
  );
});

test("without a checkpoint whose root is there nothing is removed", () => {
  const file = fileWith("a", "b");
  assert.deepEqual(collect(file), ["not started"]);
  for (const rootref of ["bar", refOf("none"), refOf("a")]) {
    file.putCheckpoint(JSON.stringify({ rootref }), 5);
    assert.deepEqual(collect(file), ["not started"]);
  }
});

test("what becomes needed between the announcement and the removal stays, with all it refers to", () => {
  const graft = directoryOf({ v: valueIn("below") });
  const root = directoryOf({});
  const file = fileWith("below", "again", graft, "gone", root);
  file.putCheckpoint(JSON.stringify({ rootref: refOf(root) }), 5);
  const told = collect(file, new Leases(), (collector) => {
    collector.adopted(digest(graft));
    collector.stored(digest("again"));
  });
  assert.equal(told.length, 4, "all were announced");
  const left = ["below", "again", graft, "gone"].map((text) => file.has(digest(text)));
  assert.deepEqual(left, [true, true, true, false]);
});

test("a checkpoint that is put during a cycle is kept whole", () => {
  const next = directoryOf({ v: valueIn("value"), d: directoryIn(directoryOf({ w: valueIn("deep") })) });
  const root = directoryOf({});
  const file = fileWith("deep", directoryOf({ w: valueIn("deep") }), "value", next, "gone", root);
  file.putCheckpoint(JSON.stringify({ rootref: refOf(root) }), 5);
  collect(file, new Leases(), (collector) => {
    const text = JSON.stringify({ rootref: refOf(next) });
    file.putCheckpoint(text, 5);
    collector.checkpointPut(text);
  });
  assert.equal(file.sizes().objectCount, 5);
  assert.equal(file.has(digest("gone")), false);
});

test("older checkpoints are kept, unless they keep the file large", () => {
  const large = "x".repeat(10_000_000);
  for (const [value, count] of [
    ["small", 2],
    [large, 1],
  ] as const) {
    const old = directoryOf({ v: valueIn(value) });
    const root = directoryOf({});
    const file = fileWith(value, old, root);
    for (const text of [old, root]) file.putCheckpoint(JSON.stringify({ rootref: refOf(text) }), 5);
    collect(file);
    assert.equal(file.checkpoints().length, count);
    assert.equal(file.has(digest(value)), count === 2);
  }
});

test("near the size limit older checkpoints are not kept, however little they take", () => {
  const old = directoryOf({ v: valueIn("old value") });
  const root = directoryOf({});
  const file = fileWith("old value", old, root);
  for (const text of [old, root]) file.putCheckpoint(JSON.stringify({ rootref: refOf(text) }), 5);
  const collector: Collector = new Collector(file, new Leases(), LENGTH, { forget: () => collector.forgotten() });
  collector.start(file.lastRowid, true);
  while (collector.isRunning) collector.step(() => true);
  assert.deepEqual([file.checkpoints().length, file.sizes().objectCount], [1, 1]);
});

test("blobs in the order of their digests, many of them, take one cycle", () => {
  const texts = Array.from({ length: 3000 }, (_, index) => `blob ${index}`);
  const root = directoryOf(Object.fromEntries(texts.slice(0, 300).map((text, index) => [`k${index}`, valueIn(text)])));
  const file = fileWith(...texts, root);
  file.putCheckpoint(JSON.stringify({ rootref: refOf(root) }), 5);
  assert.equal(collect(file).length, 2700);
  assert.equal(file.sizes().objectCount, 301);
  assert.equal(file.store([blobOf("blob 2999")], 0)[0], true);
});

test("a cycle that goes on from the last one looks at what is new, and leaves older garbage to the next whole one", () => {
  const loads: string[] = [];
  const first = directoryOf({ v: valueIn("first") });
  const other = directoryOf({ v: valueIn("other") });
  const root = directoryOf({ first: directoryIn(first), other: directoryIn(other) });
  const file = fileWith("first", "other", first, other, root);
  const loadObject = file.loadObject.bind(file);
  file.loadObject = (hash) => (loads.push(hexEncode(hash)), loadObject(hash));
  const collector: Collector = new Collector(file, new Leases(), LENGTH, { forget: () => collector.forgotten() });
  const cycle = (newest: string, isWhole: boolean): boolean => {
    file.putCheckpoint(JSON.stringify({ rootref: refOf(newest) }), 1);
    collector.start(file.lastRowid, false, isWhole);
    loads.length = 0;
    while (collector.isRunning) collector.step(() => true);
    return collector.isWhole;
  };
  assert.equal(cycle(root, false), true, "there is nothing yet that it could go on from");
  const liveBytes = collector.report.liveBytes;
  const added = directoryOf({ v: valueIn("added") });
  const next = directoryOf({ first: directoryIn(first), added: directoryIn(added) });
  file.store([blobOf("never referred to"), blobOf("added"), blobOf(added), blobOf(next)], 0);
  assert.equal(cycle(next, false), false);
  assert.ok(!loads.includes(hexEncode(digest(first))), "what was looked at is not looked at again");
  const there = (): boolean[] => ["first", "added", "never referred to", other].map((text) => file.has(digest(text)));
  assert.deepEqual(there(), [true, true, false, true]);
  assert.ok(collector.report.liveBytes > liveBytes);
  assert.equal(cycle(next, true), true);
  assert.deepEqual(there(), [true, true, false, false]);
});

test("what only an older checkpoint reaches is looked at until it goes", () => {
  const old = directoryOf({ v: valueIn("old value") });
  const root = directoryOf({});
  const file = fileWith(root);
  const collector: Collector = new Collector(file, new Leases(), LENGTH, { forget: () => collector.forgotten() });
  const cycle = (newest: string): boolean => {
    file.putCheckpoint(JSON.stringify({ rootref: refOf(newest) }), 2);
    collector.start(file.lastRowid, false, false);
    while (collector.isRunning) collector.step(() => true);
    return collector.isWhole;
  };
  cycle(root);
  file.store(["old value", old].map(blobOf), 0);
  file.putCheckpoint(JSON.stringify({ rootref: refOf(old) }), 2);
  const found = [1, 2].map(() => [cycle(root), file.has(digest("old value"))]);
  assert.deepEqual(found, [
    [false, true],
    [false, false],
  ]);
});

test("after a directory that could not be read the next cycle is whole: it may have come since", () => {
  const late = directoryOf({ v: valueIn("late value") });
  const root = directoryOf({ late: directoryIn(late) });
  const file = fileWith(root);
  file.putCheckpoint(JSON.stringify({ rootref: refOf(root) }), 5);
  const collector: Collector = new Collector(file, new Leases(), LENGTH, { forget: () => collector.forgotten() });
  for (const texts of [[], ["late value", late], []]) {
    file.store(texts.map(blobOf), 0);
    collector.start(file.lastRowid, false, false);
    while (collector.isRunning) collector.step(() => true);
    assert.equal(file.has(digest("late value")), file.has(digest(late)));
  }
  assert.ok(file.has(digest("late value")));
  assert.equal(collector.isWhole, false, "now that all could be read");
});
