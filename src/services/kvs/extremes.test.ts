/** Keys that are deep, wide or odd, values that are empty or binary, many namespaces: what users may expect of each. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "../../base/ports.ts";
import { blobrefDigest } from "../../formats/blobref.ts";
import { makeDirref, parseTreeobj } from "../../formats/treeobj.ts";
import { PLAIN_ENTRIES_MAX } from "../../formats/wide-directory.ts";
import { nodeClock } from "../../host/clock.ts";
import { Kvs, KvsTransaction } from "../../sdk/kvs.ts";
import { HELD_GRACE_MS } from "./protocol.ts";
import { fails, MemoryDisk, startKvs, startStorage, stopStorage, sync } from "./world.fixture.ts";

test("a key of 60 parts, on the leader and on a follower, in memory and from the store", async (t) => {
  const { kvs } = await startKvs(t, 2);
  const key = Array.from({ length: 60 }, (_, depth) => `part${depth}`).join(".");
  const { rootseq } = await kvs[0]!.put(key, "deep");
  await kvs[1]!.waitVersion(rootseq);
  assert.equal(await kvs[1]!.get(key), "deep");
  await sync(kvs[0]!);
  for (const each of kvs) {
    await each.handle.rpc("kvs.dropcache");
    await each.handle.rpc("content.dropcache");
    assert.equal(await each.get(key), "deep");
  }
  await assert.rejects(kvs[0]!.put(`x${".x".repeat(5000)}`, 1), fails("EINVAL"));
  assert.equal(await kvs[0]!.get(key), "deep");
});

test("links may follow each other ten times, in lookups and in commits; loops are ELOOP", async (t) => {
  const { kvs } = await startKvs(t);
  const chain = new KvsTransaction().mkdir("dir0");
  for (let number = 1; number <= 12; number++) chain.symlink(`dir${number}`, `dir${number - 1}`);
  await kvs[0]!.commit(chain.symlink("a", "b").symlink("b", "a"));
  await kvs[0]!.put("dir10.key", "through ten links");
  assert.equal(await kvs[0]!.get("dir10.key"), "through ten links");
  await assert.rejects(kvs[0]!.get("dir11.key"), fails("ELOOP"));
  await assert.rejects(kvs[0]!.put("dir11.key", 1), fails("ELOOP"));
  await assert.rejects(kvs[0]!.put("a.key", 1), fails("ELOOP"));
  await assert.rejects(kvs[0]!.get("a"), fails("ELOOP"));
});

test("values of no bytes and of every byte, keys in any script", async (t) => {
  const { kvs } = await startKvs(t, 2);
  const every = Uint8Array.from({ length: 256 }, (_, byte) => byte);
  const keys = ["plain", "größe", "鍵.値", "😀.ﷺ", " space ", 'quo"te', "back\\slash", "tab\t", "~", "__proto__"];
  const transaction = new KvsTransaction();
  for (const key of keys) transaction.putBytes(`${key}.empty`, new Uint8Array()).putBytes(`${key}.every`, every);
  const { rootseq } = await kvs[1]!.commit(transaction);
  await kvs[0]!.waitVersion(rootseq);
  await sync(kvs[0]!);
  for (const each of kvs) {
    await each.handle.rpc("kvs.dropcache");
    for (const key of keys) {
      assert.equal((await each.getBytes(`${key}.empty`)).byteLength, 0, key);
      assert.deepEqual(Buffer.from(await each.getBytes(`${key}.every`)), Buffer.from(every), key);
    }
  }
});

test("a wide directory is one directory to everybody: listed, loaded by its blobref, and after a restart", async (t) => {
  const disk = new MemoryDisk();
  const first = await startStorage({ size: 2, disk });
  const [leader, follower] = first.map((broker) => new Kvs(broker.connect()));
  const size = 3 * PLAIN_ENTRIES_MAX;
  const transaction = new KvsTransaction();
  for (let number = 0; number < size; number++) transaction.put(`wide.key${number}`, number);
  const { rootseq } = await leader!.commit(transaction);
  await follower!.waitVersion(rootseq);
  for (const kvs of [leader!, follower!]) {
    assert.equal(Object.keys(await kvs.getDirectory("wide")).length, size);
    const object = await kvs.getTreeObject("wide");
    assert.equal(object.type, "dirref");
    const blob = await kvs.handle.call("content.load", blobrefDigest(object.data[0] as string));
    const loaded = parseTreeobj(Buffer.from(blob!.bytes).toString());
    assert.equal(loaded.type === "dir" && Object.keys(loaded.data).length, size);
  }
  assert.equal(await follower!.get("wide.key777"), 777);
  await leader!.commit(new KvsTransaction().put("wide.key777", "changed").unlink("wide.key0"));
  const { rootref } = await leader!.getRoot();
  await stopStorage(first);
  const { kvs } = await startKvs(t, 1, disk);
  assert.equal((await kvs[0]!.getRoot()).rootref, rootref);
  assert.equal(await kvs[0]!.get("wide.key777"), "changed");
  assert.equal(Object.keys(await kvs[0]!.getDirectory("wide")).length, size - 1);
});

test("what needs more directories than the cache holds is done all the same: listing, lookups, one large commit", async (t) => {
  const { kvs } = await startKvs(t, 2);
  // Directories with long names: more than the memory for what can be had again.
  const filler = "n".repeat(400);
  const size = 45_000;
  for (let from = 0; from < size; from += 5000) {
    const transaction = new KvsTransaction();
    for (let number = from; number < from + 5000; number++) transaction.put(`wide.${filler}${number}`, number);
    await kvs[0]!.commit(transaction);
  }
  await sync(kvs[0]!);
  await kvs[0]!.handle.rpc("kvs.dropcache");
  const every = new KvsTransaction();
  for (let number = 0; number < size; number += 100) every.put(`wide.${filler}${number}`, -1);
  const { rootseq } = await kvs[0]!.commit(every);
  await kvs[1]!.waitVersion(rootseq);
  assert.equal(Object.keys(await kvs[1]!.getDirectory("wide")).length, size);
  assert.equal(await kvs[1]!.get(`wide.${filler}100`), -1);
});

test("many namespaces come and go; a restart finds those that are there, with owner, version and content", async (t) => {
  const disk = new MemoryDisk();
  const first = await startStorage({ disk });
  const kvs = new Kvs(first[0]!.connect());
  const names = Array.from({ length: 1500 }, (_, number) => `ns-${number}`);
  await Promise.all(names.map((name, number) => kvs.createNamespace(name, { owner: 2000 + number })));
  await Promise.all(names.map((name, number) => kvs.in(name).put("number", number)));
  await sync(kvs);
  await Promise.all(names.filter((_, number) => number % 3 !== 0).map((name) => kvs.removeNamespace(name)));
  await sync(kvs);
  await kvs.createNamespace("late");
  disk.crash();
  const { kvs: again } = await startKvs(t, 1, disk);
  const left = names.filter((_, number) => number % 3 === 0);
  const listed = (await again[0]!.listNamespaces()).map(({ namespace }) => namespace);
  assert.deepEqual(new Set(listed), new Set(["primary", "late", ...left]));
  for (const name of left) assert.equal(`ns-${String(await again[0]!.in(name).get("number"))}`, name);
  const { owner, rootseq } = await again[0]!.in("ns-300").getRoot();
  assert.deepEqual([owner, rootseq], [2300, 1]);
});

test("a namespace begins with the root that is asked for", async (t) => {
  const { kvs } = await startKvs(t);
  const { rootref } = await kvs[0]!.put("dir.key", "value");
  await kvs[0]!.createNamespace("copy", { rootref });
  await kvs[0]!.commit(new KvsTransaction().unlink("dir"));
  assert.equal(await kvs[0]!.in("copy").get("dir.key"), "value");
  await kvs[0]!.in("copy").put("dir.key", "other");
  await assert.rejects(kvs[0]!.get("dir.key"), fails("ENOENT"));
});

test("who asked for the root reads that version, whatever was committed and stored since, on every rank", async (t) => {
  const { kvs } = await startKvs(t, 2);
  await kvs[0]!.put("dir.long", "x".repeat(200));
  for (const [rank, reader] of kvs.entries()) {
    await reader.waitVersion(await kvs[0]!.version());
    const { rootref } = await reader.getRoot();
    const expected = await reader.get("dir.long");
    for (let number = 0; number < 3; number++) {
      await kvs[0]!.put("dir.long", `${rank} ${number} `.repeat(50));
      await sync(kvs[0]!);
    }
    for (const each of kvs) await each.handle.rpc("kvs.dropcache");
    const { value } = await reader.handle.rpc<{ value: { log: { held: string[] } }[] }>("content.checkpoint-get");
    assert.ok(value[0]!.log.held.includes(rootref), "the collector is told of it");
    assert.equal(await reader.get("dir.long", { at: makeDirref(rootref) }), expected);
  }
});

test("what nobody holds any more leaves the checkpoint although nothing else changes, at a restart too", async (t) => {
  const real = nodeClock();
  const late: (() => void)[] = [];
  let passedMs = 0;
  const clock: Clock = {
    now: () => real.now(),
    monotonicMs: () => real.monotonicMs() + passedMs,
    busyMs: () => 0,
    defer: (callback) => real.defer(callback),
    after: (delayMs, callback, options) => {
      if (delayMs <= HELD_GRACE_MS / 2) return real.after(delayMs, callback, options);
      late.push(callback);
      return { cancel: () => void late.splice(late.indexOf(callback), 1) };
    },
  };
  const disk = new MemoryDisk();
  let brokers = await startStorage({ disk, clock });
  const kvs = new Kvs(brokers[0]!.connect());
  const heldNow = async (each: Kvs): Promise<string[]> => {
    const { value } = await each.handle.rpc<{ value: { log: { held: string[] } }[] }>("content.checkpoint-get");
    return value[0]!.log.held;
  };
  const hold = async (): Promise<{ reader: Kvs; rootref: string }> => {
    const reader = new Kvs(brokers[0]!.connect());
    const { rootref } = await reader.getRoot();
    await kvs.commit(new KvsTransaction().put("key", rootref), { sync: true });
    assert.deepEqual(await heldNow(kvs), [rootref]);
    return { reader, rootref };
  };
  const { reader } = await hold();
  assert.equal(late.length, 0, "it is held as long as its holder is there");
  reader.handle.close();
  while (late.length === 0) await kvs.version();
  assert.equal((await heldNow(kvs)).length, 1, "and a little longer");
  passedMs += HELD_GRACE_MS;
  late.shift()!();
  while ((await heldNow(kvs)).length > 0) await kvs.version();
  await hold();
  disk.crash();
  brokers = await startStorage({ disk, clock });
  t.after(() => stopStorage(brokers));
  const again = new Kvs(brokers[0]!.connect());
  while ((await heldNow(again)).length > 0) await again.version();
});

test("a blob that is nowhere is an error that names it, and the rest can be read", async (t) => {
  const { kvs } = await startKvs(t);
  const missing = `sha1-${"ab".repeat(20)}`;
  await kvs[0]!.commit(
    new KvsTransaction()
      .putTreeObject("dir", makeDirref(missing))
      .putTreeObject("value", { ver: 1, type: "valref", data: [missing] })
      .put("whole", 1),
  );
  for (const key of ["dir.key", "value"])
    await assert.rejects(kvs[0]!.get(key), (error) => fails("EIO")(error) && String(error).includes(missing));
  await assert.rejects(kvs[0]!.put("dir.key", 1), fails("EIO"));
  assert.equal(await kvs[0]!.get("whole"), 1);
  await assert.rejects(kvs[0]!.get("whole", { at: makeDirref(missing) }), fails("EIO"));
});
