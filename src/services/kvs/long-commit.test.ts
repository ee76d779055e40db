/** Commits of very many operations: they happen whole or not at all, and others do not wait for them that write elsewhere. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8Encode } from "../../base/bytes.ts";
import { Kvs, KvsTransaction } from "../../sdk/kvs.ts";
import { LONG_COMMIT_OPERATIONS, LONG_COMMIT_SLICE } from "./protocol.ts";
import { fails, MemoryDisk, startKvs, startStorage, stopStorage, sync } from "./world.fixture.ts";

const MANY: number = LONG_COMMIT_OPERATIONS + 3 * LONG_COMMIT_SLICE;
function many(
  value: string,
  key: (index: number) => string = (index) => `many.k${index}`,
  count = MANY,
): KvsTransaction {
  const transaction = new KvsTransaction();
  for (let index = 0; index < count; index++) transaction.put(key(index), value);
  return transaction;
}

test("beside it lookups, other namespaces and readers on other ranks go on, and see all of it or nothing", async (t) => {
  const { kvs } = await startKvs(t, 2);
  const [leader, follower] = kvs;
  await leader!.createNamespace("other");
  const other = new Kvs(leader!.handle, "other");
  await leader!.commit(many("old"));
  const done: string[] = [];
  const note = (what: string) => (): void => void done.push(what);
  const long = leader!.commit(many("new")).then(note("long"));
  const behind = leader!.put("behind", 1).then(note("behind"));
  for (let round = 0; round < 3; round++) {
    await leader!.handle.rpc("kvs.ping", { seq: round });
    await other.put("k", round);
    // One lookup is of one version.
    const values = Object.values(await leader!.getDirectory("many")).map((object) => JSON.stringify(object));
    assert.equal(new Set(values).size, 1);
    done.push("round");
  }
  await Promise.all([long, behind]);
  assert.deepEqual(done, ["round", "round", "round", "long", "behind"]);
  await follower!.waitVersion(await leader!.version());
  for (const key of ["many.k0", `many.k${MANY - 1}`]) assert.equal(await follower!.get(key), "new");
});

test("commits of others to the same namespace pass it on every rank; those of its sender come after it", async (t) => {
  const brokers = await startStorage({ size: 2 });
  t.after(() => stopStorage(brokers));
  const [first, second, third, fourth] = [0, 0, 1, 1].map((rank) => new Kvs(brokers[rank]!.connect()));
  for (const [kvs, others] of [
    [first!, [second!, third!]],
    [third!, [first!, fourth!]],
  ] as const) {
    const done: string[] = [];
    const note = (what: string) => (): void => void done.push(what);
    const long = kvs.commit(many("new", undefined, 5 * MANY)).then(note("long"));
    const behind = kvs.put("a.b", "after").then(note("behind"));
    await Promise.all(others.map((other, index) => other.put(`a.k${index}`, "new")));
    done.push("others");
    await Promise.all([long, behind]);
    assert.deepEqual(done, ["others", "long", "behind"]);
    for (const key of [`many.k${MANY - 1}`, "a.k0", "a.k1"]) await kvs.get(key);
  }
});

test("a mistake in its last operation leaves nothing of it, and what is behind it goes on", async (t) => {
  const { kvs } = await startKvs(t);
  await kvs[0]!.commit(new KvsTransaction().symlink("a", "b").symlink("b", "a"));
  const version = await kvs[0]!.version();
  const long = kvs[0]!.commit(many("new").put("a.x", 1));
  const behind = kvs[0]!.put("behind", 1);
  await assert.rejects(long, fails("ELOOP"));
  assert.equal((await behind).rootseq, version + 1);
  await assert.rejects(kvs[0]!.get("many.k0"), fails("ENOENT"));
});

test("directories that are not in memory are loaded where it gets to them", async (t) => {
  const { kvs } = await startKvs(t);
  const key = (index: number): string => `d${index % 700}.sub.k${index}`;
  await kvs[0]!.commit(many("old", key));
  await sync(kvs[0]!);
  await kvs[0]!.handle.rpc("kvs.dropcache");
  await kvs[0]!.commit(many("new", key));
  for (const index of [0, 1, 699, 700, MANY - 1]) assert.equal(await kvs[0]!.get(key(index)), "new");
  assert.equal(Object.keys(await kvs[0]!.getDirectory("d1.sub")).length, Math.ceil((MANY - 1) / 700));
});

test("checkpoints that are due meanwhile do not lose what only it refers to; it is there after a restart", async (t) => {
  const disk = new MemoryDisk();
  const first = await startStorage({ size: 1, disk, config: { kvs: { "checkpoint-period": "1ms" } } });
  const kvs = new Kvs(first[0]!.connect());
  await kvs.createNamespace("other");
  const other = new Kvs(kvs.handle, "other");
  // Values of their own blobs.
  const value = (index: number): string => `${"x".repeat(100)}${index}`;
  const transaction = new KvsTransaction();
  for (let index = 0; index < MANY; index++) transaction.put(`many.d${index % 100}.k${index}`, value(index));
  const end = { isReached: false };
  const long = kvs.commit(transaction).then(() => (end.isReached = true));
  // A change makes a checkpoint due.
  for (let round = 0; !end.isReached; round++) await other.put("k", round);
  await long;
  await sync(kvs);
  const { rootref } = await kvs.getRoot();
  await stopStorage(first);
  const { kvs: again } = await startKvs(t, 1, disk);
  assert.equal((await again[0]!.getRoot()).rootref, rootref);
  for (let index = 0; index < MANY; index++)
    assert.equal(await again[0]!.get(`many.d${index % 100}.k${index}`), value(index));
});

test("long values to which it appends are merged as by any other commit, and again so after a crash", async (t) => {
  const disk = new MemoryDisk();
  const first = await startStorage({ size: 1, disk });
  const kvs = new Kvs(first[0]!.connect());
  const line = "x".repeat(100);
  const transaction = new KvsTransaction();
  for (let index = 0; index < MANY; index++) transaction.append(`logs.k${index % 3}`, utf8Encode(line));
  await kvs.commit(transaction);
  const object = await kvs.getTreeObject("logs.k0");
  assert.ok(object.type === "valref" && object.data.length < 100, "many appends are few blobs");
  const { rootref } = await kvs.getRoot();
  // The log is what is left.
  disk.crash();
  const { kvs: again } = await startKvs(t, 1, disk);
  assert.equal((await again[0]!.getRoot()).rootref, rootref);
  assert.equal((await again[0]!.getBytes("logs.k0")).byteLength, line.length * Math.ceil(MANY / 3));
});

test("the end of the service finishes it; what it had acknowledged is in the log", async (t) => {
  const disk = new MemoryDisk();
  const first = await startStorage({ size: 1, disk });
  const kvs = new Kvs(first[0]!.connect());
  const long = kvs.commit(many("new"));
  await kvs.handle.rpc("kvs.ping", { seq: 1 });
  await Promise.all([long, stopStorage(first)]);
  const { kvs: again } = await startKvs(t, 1, disk);
  assert.equal(await again[0]!.get(`many.k${MANY - 1}`), "new");
});

test("what removes its namespace ends it", async (t) => {
  const { kvs } = await startKvs(t);
  await kvs[0]!.createNamespace("short-lived");
  const inside = new Kvs(kvs[0]!.handle, "short-lived");
  const long = inside.commit(many("new"));
  const removed = kvs[0]!.removeNamespace("short-lived");
  await assert.rejects(long, fails("ENOTSUP"));
  await removed;
  await sync(kvs[0]!);
});
