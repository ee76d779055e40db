/** Blobs in files: names and contents that other tools read, on a real disk. */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { FluxError, type ErrnoName } from "../../base/errors.ts";
import { nodeDisk } from "../../host/disk.ts";
import { encodeBlobs } from "../../sdk/blob-batch.ts";
import { Kvs, KvsTransaction } from "../../sdk/kvs.ts";
import { contentModule } from "../content/service.ts";
import { kvsModule } from "../kvs/service.ts";
import { makeBrokers, stopStorage, type Broker } from "../kvs/world.fixture.ts";
import { contentFilesModule } from "./service.ts";

const root = mkdtempSync(join(tmpdir(), "flux-files-"));
after(() => rmSync(root, { recursive: true, force: true }));
const fails = (errno: ErrnoName) => (error: unknown) => error instanceof FluxError && error.is(errno);

async function start(name: string, args: readonly string[] = []): Promise<Broker> {
  const directory = mkdtempSync(join(root, name));
  return restart(directory, args);
}

async function restart(directory: string, args: readonly string[] = []): Promise<Broker> {
  const [broker] = makeBrokers({ realDisk: { port: nodeDisk(), directory } });
  await broker!.load(contentModule);
  await broker!.load(contentFilesModule, args);
  return broker!;
}

/** Written: 9 MB. A store of less than 4 MiB is left alone. */
const SIZE_MAX = 4_500_000;

async function objectCount(broker: Broker): Promise<number> {
  return (await broker.connect().rpc<{ object_count: number }>("content-files.stats-get")).object_count;
}

test("each blob is a file named by its blobref, the checkpoint is one more", async (t) => {
  const directory = mkdtempSync(join(root, "names"));
  const broker = await restart(directory);
  t.after(() => stopStorage([broker]));
  const handle = broker.connect();
  await handle.call("content.store", new Uint8Array(Buffer.from("some data")));
  await handle.call("content.store-batch", encodeBlobs([Buffer.from("more"), Buffer.from("some data")]));
  await assert.rejects(handle.rpc("content.checkpoint-get"), fails("ENOENT"));
  for (const rootref of ["bar", "baz"]) await handle.rpc("content.checkpoint-put", { value: { version: 1, rootref } });
  assert.deepEqual(await handle.rpc("content.checkpoint-get"), { value: [{ version: 1, rootref: "baz" }] });
  assert.deepEqual(
    readdirSync(join(directory, "content.files")),
    [
      "kvs-primary",
      "sha1-e7c95b4c28243c79cd41d964c2c889a4d29d25da",
      "sha1-baf34551fecb48acc3da868eb85e1b6dac9de356",
    ].toSorted(),
  );
  const blob = readFileSync(join(directory, "content.files/sha1-baf34551fecb48acc3da868eb85e1b6dac9de356"), "utf8");
  assert.equal(blob, "some data");
  assert.equal(await objectCount(broker), 2);
  await assert.rejects(handle.rpc("content-backing.gc-info", {}), /Unknown service method/);
});

test("for tests it can be loaded beside the content service, which then has no backing store", async (t) => {
  const broker = await start("testing", ["testing"]);
  t.after(() => stopStorage([broker]));
  const handle = broker.connect();
  const digest = (await handle.call("content.store", new Uint8Array([1, 2])))!.bytes;
  await assert.rejects(handle.call("content-backing.load", digest), fails("ENOENT"));
  await assert.rejects(handle.rpc("content.flush"), fails("ENOSYS"));
  await handle.rpc("content-backing.checkpoint-put", { value: { rootref: "x" } });
  await assert.rejects(handle.rpc("content.checkpoint-get"), fails("ENOSYS"));
});

test("the key-value store lives on it over a restart; truncate begins with nothing", async () => {
  const directory = mkdtempSync(join(root, "restart"));
  const first = await restart(directory);
  await first.load(kvsModule);
  const put = { key: "a", flags: 0, dirent: { ver: 1, type: "val", data: "IjEi" } };
  await first.connect().rpc("kvs.commit", { namespace: "primary", flags: 0, ops: [put] });
  await stopStorage([first]);
  const second = await restart(directory);
  await second.load(kvsModule);
  const lookup = { key: "a", namespace: "primary", flags: 0 };
  assert.deepEqual(await second.connect().rpc("kvs.lookup", lookup), { val: put.dirent });
  await stopStorage([second]);
  const third = await restart(directory, ["truncate"]);
  assert.equal(await objectCount(third), 0);
  await stopStorage([third]);
});

test(
  "what a checkpoint does not reach is removed, what it reaches and what clients stored lately stays",
  { timeout: 60_000 },
  async (t) => {
    const directory = mkdtempSync(join(root, "churn"));
    const broker = await restart(directory);
    t.after(() => stopStorage([broker]));
    await broker.load(kvsModule);
    const kvs = new Kvs(broker.connect());
    const value = (round: number, key: number): Uint8Array => new Uint8Array(10_000).fill(round + key);
    const sync = () => kvs.commit(new KvsTransaction(), { sync: true });
    const leased = (await kvs.handle.call("content.store", new Uint8Array(Buffer.from("stored by a client"))))!.bytes;
    for (let round = 0; round < 30; round++) {
      for (let key = 0; key < 30; key++)
        await kvs.putBytes(`dir.k${key}`, Buffer.concat([value(round, key), Buffer.from(`${round}.${key}`)]));
      await sync();
    }
    const bytes = (): number =>
      readdirSync(join(directory, "content.files"))
        .map((name) => readFileSync(join(directory, "content.files", name)).byteLength)
        .reduce((sum, each) => sum + each, 0);
    const isCollected = async (): Promise<boolean> =>
      (await kvs.handle.rpc<{ size: number }>("content-files.stats-get")).size < SIZE_MAX;
    while (!(await isCollected())) await new Promise((resolve) => setImmediate(resolve));
    assert.ok(bytes() < SIZE_MAX);
    await kvs.handle.rpc("kvs.dropcache");
    await kvs.handle.rpc("content.dropcache");
    for (let key = 0; key < 30; key++)
      assert.equal((await kvs.getBytes(`dir.k${key}`)).byteLength, 10_000 + `29.${key}`.length);
    assert.equal((await kvs.handle.call("content-backing.load", leased))!.bytes.byteLength, 18);
  },
);

test("what is missing, damaged or unknown", async (t) => {
  const broker = await start("bad");
  t.after(() => stopStorage([broker]));
  const handle = broker.connect();
  await assert.rejects(handle.call("content.load", new Uint8Array(20)), fails("ENOENT"));
  await assert.rejects(handle.call("content-backing.load", new Uint8Array(3)), fails("EPROTO"));
  await assert.rejects(handle.call("content-backing.validate", new Uint8Array(20)), fails("ENOENT"));
  assert.equal((await handle.call("content.touch", new Uint8Array(40)))!.bytes.byteLength, 40);
  await assert.rejects(start("option", ["foo=1"]), fails("EINVAL"));
  const directory = mkdtempSync(join(root, "damaged"));
  const other = await restart(directory);
  writeFileSync(join(directory, "content.files/kvs-primary"), "{");
  await assert.rejects(other.connect().rpc("content.checkpoint-get"), fails("EIO"));
  await stopStorage([other]);
});
