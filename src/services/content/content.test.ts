/** The content store: blobs on every rank, a full disk, a cache that keeps to its size. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FluxError, type ErrnoName } from "../../base/errors.ts";
import type { Handle } from "../../sdk/handle.ts";
import { contentSqliteModule } from "../content-sqlite/service.ts";
import { makeBrokers, MemoryDisk, stopStorage, type Broker } from "../kvs/world.test.ts";
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

test("a full disk is a state: reads go on, flush fails with ENOSPC, and it passes", async (t) => {
  const disk = new MemoryDisk();
  const brokers = await start(1, disk);
  t.after(() => stopStorage(brokers));
  await brokers[0]!.load(contentSqliteModule);
  const handle = brokers[0]!.connect();
  const before = await store(handle, "before");
  await handle.rpc("content.flush");
  await handle.rpc("content.dropcache");
  disk.isFull = true;
  const during = await store(handle, "during");
  await assert.rejects(handle.rpc("content.flush"), fails("ENOSPC"));
  await assert.rejects(handle.call("content-backing.store", blob("direct")), fails("ENOSPC"));
  assert.equal(await load(handle, before), "before");
  assert.equal(await load(handle, during), "during");
  disk.isFull = false;
  await handle.rpc("content.flush");
  await handle.rpc("content.dropcache");
  assert.equal(await load(handle, during), "during");
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

test("one backing store at a time, and always the same", () => {
  const register = new BackingRegister();
  assert.throws(() => register.unregister(), /is not active/);
  register.register("foo");
  assert.throws(() => register.register("bar"), /already active/);
  register.unregister();
  assert.throws(() => register.register("bar"), /cannot be changed/);
  register.register("foo");
});
