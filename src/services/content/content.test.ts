/** The content store: blobs on every rank, a full disk, a cache that keeps to its size. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { FluxError, type ErrnoName } from "../../base/errors.ts";
import { wideDirectoryText } from "../../formats/wide-directory.ts";
import { encodeBlobs } from "../../sdk/blob-batch.ts";
import type { Handle } from "../../sdk/handle.ts";
import { contentSqliteModule } from "../content-sqlite/service.ts";
import { makeBrokers, MemoryDisk, stopStorage, type Broker } from "../kvs/world.fixture.ts";
import { BackingRegister, BlobCache } from "./core.ts";
import { contentModule } from "./service.ts";

const fails = (errno: ErrnoName) => (error: unknown) => error instanceof FluxError && error.is(errno);
const blob = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));

async function start(size: number, disk = new MemoryDisk(), hash = "sha1"): Promise<Broker[]> {
  const brokers = makeBrokers({ size, disk, hash });
  for (const broker of brokers) await broker.load(contentModule);
  return brokers;
}

async function store(handle: Handle, text: string): Promise<Uint8Array> {
  return (await handle.call("content.store", text === "" ? null : blob(text)))!.bytes;
}

async function load(handle: Handle, digest: Uint8Array): Promise<string> {
  return Buffer.from((await handle.call("content.load", digest))?.bytes ?? "").toString();
}

async function loadBacking(handle: Handle, digest: Uint8Array): Promise<string> {
  return Buffer.from((await handle.call("content-backing.load", digest))!.bytes).toString();
}

test("what is stored on one rank is loaded on every other, the empty blob too", async (t) => {
  const brokers = await start(3);
  t.after(() => stopStorage(brokers));
  const [leader, one, two] = brokers.map((broker) => broker.connect());
  const digest = await store(one!, "some data");
  assert.equal(Buffer.from(digest).toString("hex"), "baf34551fecb48acc3da868eb85e1b6dac9de356");
  const empty = await store(leader!, "");
  for (const handle of [leader!, one!, two!]) {
    assert.equal(await load(handle, digest), "some data");
    assert.equal(await load(handle, empty), "");
  }
});

test("a blob that does not exist is not remembered as missing", async (t) => {
  const brokers = await start(2);
  t.after(() => stopStorage(brokers));
  const [leader, follower] = brokers.map((broker) => broker.connect());
  const digest = Buffer.from("baf34551fecb48acc3da868eb85e1b6dac9de356", "hex");
  await assert.rejects(load(follower!, digest), fails("ENOENT"));
  await store(leader!, "some data");
  assert.equal(await load(follower!, digest), "some data");
});

test("digests have the length of the instance's hash", async (t) => {
  const brokers = await start(1, new MemoryDisk(), "sha256");
  t.after(() => stopStorage(brokers));
  const handle = brokers[0]!.connect();
  assert.equal((await store(handle, "x")).byteLength, 32);
  await assert.rejects(load(handle, new Uint8Array(20)), fails("EPROTO"));
});

test("only the owner may call, and flush needs a backing store", async (t) => {
  const brokers = await start(1);
  t.after(() => stopStorage(brokers));
  await assert.rejects(store(brokers[0]!.connect(2000), "x"), fails("EPERM"));
  await assert.rejects(brokers[0]!.connect().rpc("content.flush"), fails("ENOSYS"));
  await assert.rejects(brokers[0]!.connect().rpc("content.checkpoint-put", { value: {} }), fails("ENOSYS"));
});

test("a full disk is a state: stores are refused with ENOSPC, reads go on, and it passes", async (t) => {
  const disk = new MemoryDisk();
  const brokers = await start(2, disk);
  t.after(() => stopStorage(brokers));
  await brokers[0]!.load(contentSqliteModule);
  const handles = brokers.map((broker) => broker.connect());
  const before = await store(handles[0]!, "before");
  disk.isFull = true;
  for (const handle of handles) {
    await assert.rejects(store(handle, "during"), fails("ENOSPC"));
    await handle.rpc("content.dropcache");
    assert.equal(await load(handle, before), "before");
  }
  await handles[0]!.rpc("content.flush");
  disk.isFull = false;
  const later = await store(handles[1]!, "during");
  await handles[0]!.rpc("content.dropcache");
  assert.equal(await load(handles[0]!, later), "during");
});

test("what was stored before there was a backing store goes there; flush tells when it cannot", async (t) => {
  const disk = new MemoryDisk();
  const brokers = await start(1, disk);
  t.after(() => stopStorage(brokers));
  const handle = brokers[0]!.connect();
  const early = await store(handle, "early");
  disk.isFull = true;
  await brokers[0]!.load(contentSqliteModule);
  await assert.rejects(handle.rpc("content.flush"), fails("ENOSPC"));
  await handle.rpc("content.dropcache");
  assert.equal(await load(handle, early), "early", "what is nowhere else stays in memory");
  disk.isFull = false;
  await handle.rpc("content.flush");
  await handle.rpc("content.dropcache");
  assert.equal(await load(handle, early), "early");
});

test("a store that is answered is in the backing store, also where a rank had the blob already", async (t) => {
  const disk = new MemoryDisk();
  const brokers = await start(2, disk);
  t.after(() => stopStorage(brokers));
  await brokers[0]!.load(contentSqliteModule);
  const [leader, follower] = brokers.map((broker) => broker.connect());
  const { blobs } = disk.databases.get("/state/content.sqlite")!;
  const text = "a blob that is worth asking for".repeat(100);
  const digest = await store(follower!, text);
  assert.equal(blobs.size, 1);
  assert.equal((await follower!.call("content.touch", digest)) ?? null, null);
  // The store dropped it, and said so to the caches of rank 0 only.
  blobs.clear();
  await leader!.call("content.forget", digest);
  assert.deepEqual((await follower!.call("content.touch", digest))!.bytes, digest);
  assert.equal(await load(follower!, digest), text, "what a rank has it gives");
  await store(follower!, text);
  assert.equal(blobs.size, 1, "and stores it again");
});

test("a directory in pieces is one on every rank, and pieces to who asks for what is stored", async (t) => {
  const brokers = await start(2);
  t.after(() => stopStorage(brokers));
  await brokers[0]!.load(contentSqliteModule);
  const handles = brokers.map((broker) => broker.connect());
  const pieces = ["a", "b"].map((name) => `{"data":{"${name}":{"data":"","type":"val","ver":1}},"type":"dir","ver":1}`);
  const members: string[] = [];
  for (const [index, piece] of pieces.entries()) {
    const ref = `sha1-${Buffer.from(await store(handles[0]!, piece)).toString("hex")}` as const;
    members.push(`{"first":"${index === 0 ? "a" : "b"}","ref":"${ref}"}`);
  }
  const root = wideDirectoryText(members, 2);
  const digest = await store(handles[0]!, root);
  for (const handle of handles) {
    assert.deepEqual(Object.keys(JSON.parse(await load(handle, digest)).data), ["a", "b"]);
    assert.equal(Buffer.from((await handle.call("content.load-stored", digest))!.bytes).toString(), root);
  }
  assert.deepEqual(Object.keys(JSON.parse(await loadBacking(handles[0]!, digest)).data), ["a", "b"]);
});

test("stores beyond the size limit are refused, the limit is warned of, and can be changed", async (t) => {
  const config = { content: { "size-limit": "1K" } };
  const brokers = makeBrokers({ config });
  for (const module of [contentModule, contentSqliteModule]) await brokers[0]!.load(module);
  t.after(() => stopStorage(brokers));
  const handle = brokers[0]!.connect();
  await store(handle, "x".repeat(950));
  await assert.rejects(store(handle, "y".repeat(950)), /has reached its size limit of 1K/);
  const { store: sizes } = await handle.rpc<{ store: { size: number; limit: number } }>("content.stats-get");
  assert.deepEqual([sizes.size, sizes.limit], [950, 1024]);
  assert.match(brokers[0]!.logs.join("\n"), /4 content-sqlite: the content store holds 950, near its size limit of 1K/);
  const sqlite = brokers[0]!.modules.find("content-sqlite")!;
  await sqlite.running!.configure!({ content: { "size-limit": 4096 } });
  await store(handle, "y".repeat(950));
  await assert.rejects(async () => sqlite.running!.configure!({ content: { "size-limit": "lots" } }), fails("EINVAL"));
});

test("flux gc: what has an older epoch and is not marked is swept", async (t) => {
  const brokers = await start(1);
  t.after(() => stopStorage(brokers));
  await brokers[0]!.load(contentSqliteModule);
  const handle = brokers[0]!.connect();
  // By the key-value store: of what a client stores the sweep can be told to spare it for some time.
  await handle.call("content.store-batch", encodeBlobs(["one", "two", "three"].map(blob)));
  const digestOf = (text: string): string => createHash("sha1").update(text).digest("hex");
  await handle.rpc("content.checkpoint-put", { value: { version: 1, rootref: "x" } });
  const info = { current_epoch: 1, high_water: 3 };
  assert.deepEqual(await handle.rpc("content-backing.gc-info", { epoch: 1 }), info);
  assert.deepEqual(await handle.rpc("content-backing.gc-info", { epoch: 1, get_count: true }), {
    ...info,
    candidates: 3,
  });
  const mark = { epoch: 1, hashes: [`sha1-${digestOf("two")}`, `sha1-${digestOf("none")}`] };
  assert.deepEqual(await handle.rpc("content-backing.mark", mark), { marked: 1 });
  const sweep = { epoch: 1, cursor: 0, high_water: 3, delete_cap: 1, window: 100 };
  const first = await handle.rpc<{ deleted: number; cursor: number }>("content-backing.sweep", sweep);
  assert.deepEqual(first, { deleted: 1, cursor: 1 });
  const second = { ...sweep, cursor: first.cursor, delete_cap: 10 };
  assert.deepEqual(await handle.rpc("content-backing.sweep", second), { deleted: 1, cursor: 3 });
  assert.equal(await load(handle, Buffer.from(digestOf("two"), "hex")), "two");
  await assert.rejects(load(handle, Buffer.from(digestOf("three"), "hex")), fails("ENOENT"));
  await assert.rejects(handle.rpc("content-backing.sweep", { ...sweep, window: 0 }), fails("EINVAL"));
  await assert.rejects(handle.rpc("content-backing.gc-info", {}), fails("EPROTO"));
});

test("checkpoints are kept newest first, and asked for on any rank", async (t) => {
  const brokers = await start(2);
  t.after(() => stopStorage(brokers));
  await brokers[0]!.load(contentSqliteModule);
  const handle = brokers[1]!.connect();
  await assert.rejects(handle.rpc("content.checkpoint-get"), fails("ENOENT"));
  for (const rootref of ["bar", "baz"]) await handle.rpc("content.checkpoint-put", { value: { version: 1, rootref } });
  const { value } = await handle.rpc<{ value: { rootref: string }[] }>("content.checkpoint-get");
  assert.deepEqual(
    value.map(({ rootref }) => rootref),
    ["baz", "bar"],
  );
});

test("the backing store's options come from arguments and configuration; unknown ones are refused", async () => {
  for (const args of [["journal_mode=FOO"], ["synchronous=BAR"], ["max-checkpoints=-1"], ["unknown=42"]]) {
    const brokers = await start(1);
    await assert.rejects(brokers[0]!.load(contentSqliteModule, args), fails("EINVAL"));
    await stopStorage(brokers);
  }
});

test("the cache evicts what was not used for longest, and never what is dirty", () => {
  const cache = new BlobCache();
  for (const [key, isDirty] of [
    ["a", false],
    ["b", true],
    ["c", false],
  ] as const)
    cache.add(key, blob("1234"), isDirty, 0);
  cache.get("a", 5);
  cache.shrink(8, 10);
  assert.deepEqual([cache.get("c", 6), cache.bytes], [undefined, 8]);
  cache.shrink(0, 10);
  assert.deepEqual([cache.count, cache.dirtyCount], [1, 1]);
  cache.markClean("b");
  cache.shrink(0, 0);
  assert.equal(cache.count, 1, "what is young stays");
  cache.dropClean();
  assert.deepEqual([cache.count, cache.bytes, cache.dirtyBytes], [0, 0, 0]);
});

test("a cache that is to be small keeps what is young, while that is little", async (t) => {
  const [broker] = makeBrokers();
  t.after(() => stopStorage([broker!]));
  await broker!.load(contentModule, ["purge-target-size=100", "purge-old-entry=1"]);
  await broker!.load(contentSqliteModule);
  const handle = broker!.connect();
  for (let number = 0; number < 100; number++) await store(handle, `blob ${number}`.padEnd(100));
  const { count } = await handle.rpc<{ count: number }>("content.stats-get");
  assert.equal(count, 100);
});

test("one backing store at a time, and always the same", () => {
  const register = new BackingRegister();
  assert.throws(() => register.unregister(), /is not active/);
  register.register("foo");
  assert.throws(() => register.register("bar"), /already active/);
  register.unregister();
  assert.throws(() => register.register("bar"), /cannot be changed/);
  register.register("foo");
});
