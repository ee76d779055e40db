/** What survives: crashes at any moment, torn logs, checkpoints in between. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { Kvs, KvsTransaction } from "../../sdk/kvs.ts";
import { makeTextVal } from "../../formats/treeobj.ts";
import { LookupFlag, OPERATION_APPEND, OPERATION_LAST } from "../../sdk/kvs-protocol.ts";
import { nodeCodec } from "../../host/codec.ts";
import { isFluxError } from "../../base/errors.ts";
import { fails, MemoryDisk, startStorage, stopStorage, type Broker } from "./world.fixture.ts";
import { readLog } from "./redo-log.ts";
import { LOOSE_REFS_MAX } from "./ref-list.ts";
import { kvsModule } from "./service.ts";

/** A crash: the brokers are never spoken to again; what is on the disk is all there is. */
async function restart(disk: MemoryDisk): Promise<{ brokers: Broker[]; kvs: Kvs }> {
  disk.crash();
  const brokers = await startStorage({ disk });
  return { brokers, kvs: new Kvs(brokers[0]!.connect()) };
}

test("acknowledged commits survive a crash, versions and namespaces too", async () => {
  const disk = new MemoryDisk();
  const { kvs } = await restart(disk);
  await kvs.createNamespace("job-1", { owner: 2000 });
  for (let value = 1; value <= 42; value++) await kvs.put(`dir.key${value}`, value);
  await kvs.in("job-1").put("a", "x".repeat(100));
  const root = await kvs.getRoot();
  const after = await restart(disk);
  assert.deepEqual(await after.kvs.getRoot(), root);
  assert.equal(await after.kvs.get("dir.key42"), 42);
  assert.equal(await after.kvs.in("job-1").get("a"), "x".repeat(100));
  assert.equal((await after.kvs.in("job-1").getRoot()).owner, 2000);
  await stopStorage(after.brokers);
});

test("a value that was merged has the same hash after a crash, also where its pieces were in the store only", async () => {
  const disk = new MemoryDisk();
  const { brokers, kvs } = await restart(disk);
  const append = (number: number) =>
    kvs.commit(new KvsTransaction().append("dir.log", `line ${number}\n`), { noMerge: true, sync: number === 100 });
  for (let number = 0; number < LOOSE_REFS_MAX; number++) await append(number);
  // The pieces that are to be merged must be had from the store.
  await kvs.handle.rpc("kvs.dropcache");
  await brokers[0]!.connect().rpc("content.dropcache");
  for (let number = LOOSE_REFS_MAX; number < LOOSE_REFS_MAX + 10; number++) await append(number);
  const { data } = (await kvs.lookup("dir.log", LookupFlag.TreeObject)) as { data: readonly string[] };
  assert.ok(data.length < 12, `${data.length} blobs`);
  const root = await kvs.getRoot();
  const text = await kvs.getText("dir.log");
  assert.equal(text, Array.from({ length: LOOSE_REFS_MAX + 10 }, (_, number) => `line ${number}\n`).join(""));
  const after = await restart(disk);
  assert.deepEqual(await after.kvs.getRoot(), root);
  assert.equal(await after.kvs.getText("dir.log"), text);
  await stopStorage(after.brokers);
});

test("a value to which nothing more is appended becomes one blob, as far as it is in memory, a short one stays in its directory; so it is after a crash", async () => {
  const disk = new MemoryDisk();
  const { kvs } = await restart(disk);
  const write = (key: string, text: string, flags: number) => {
    const ops = [{ key, flags, dirent: makeTextVal(text) }];
    return kvs.handle.rpc("kvs.commit", { namespace: "primary", flags: 0, ops });
  };
  const append = (key: string, text: string, flags = 0) => write(key, text, OPERATION_APPEND | flags);
  const stored = async (key: string) => {
    const { type, data } = await kvs.lookup(key, LookupFlag.TreeObject);
    return type === "valref" ? data.length : type;
  };
  const line = "x".repeat(1000);
  for (const text of ["a", "b", "c"]) await append("job.log", `${text}${line}`);
  assert.equal(await stored("job.log"), 3);
  await append("job.log", "end", OPERATION_LAST);
  assert.equal(await stored("job.log"), 1);
  for (const text of ["a", "b"]) await append("job.short", text.repeat(100));
  assert.equal(await stored("job.short"), 2);
  await append("job.short", "end", OPERATION_LAST);
  assert.equal(await stored("job.short"), "val");
  await write("job.whole", line, OPERATION_LAST);
  await write("job.other", line, 0);
  await write("job.long", line.repeat(3), OPERATION_LAST);
  assert.deepEqual(await Promise.all(["job.whole", "job.other", "job.long"].map(stored)), ["val", 1, 1]);
  // It was not the end.
  await append("job.whole", "more");
  assert.equal(await stored("job.whole"), 2);
  // What was stored and is not in memory is not read for this.
  for (const text of ["a", "b"]) await append("other", `${text}${line}`);
  await kvs.commit(new KvsTransaction().put("unrelated", 1), { sync: true });
  await kvs.handle.rpc("kvs.dropcache");
  await append("other", "end", OPERATION_LAST);
  assert.equal(await stored("other"), 3);
  const root = await kvs.getRoot();
  const after = await restart(disk);
  assert.deepEqual(await after.kvs.getRoot(), root);
  assert.equal(await after.kvs.getText("job.log"), `a${line}b${line}c${line}end`);
  assert.equal(await after.kvs.getText("job.short"), `${"a".repeat(100)}${"b".repeat(100)}end`);
  assert.equal(await after.kvs.getText("job.whole"), `${line}more`);
  assert.equal(await after.kvs.getText("other"), `a${line}b${line}end`);
  const bad = { key: "bad", flags: OPERATION_LAST, dirent: { ver: 1, type: "val", data: "*".repeat(100) } };
  await assert.rejects(after.kvs.handle.rpc("kvs.commit", { namespace: "primary", flags: 0, ops: [bad] }), (error) =>
    isFluxError(error, "EINVAL"),
  );
  await stopStorage(after.brokers);
});

test("namespaces are read when they are asked for, in whatever way, and what is sent meanwhile keeps its order", async () => {
  const disk = new MemoryDisk();
  const COUNT = 2000;
  const first = await restart(disk);
  const name = (number: number): string => `ns${number}`;
  const making = Array.from({ length: COUNT }, async (_, number) => {
    await first.kvs.createNamespace(name(number), { owner: 2000 + number });
    await first.kvs.in(name(number)).put("key", number);
  });
  await Promise.all(making);
  await stopStorage(first.brokers);

  const { brokers, kvs } = await restart(disk);
  const stats = () => kvs.handle.rpc<{ namespace: Record<string, unknown> }>("kvs.stats-get");
  assert.deepEqual(Object.keys((await stats()).namespace), ["primary"]);
  // All of these find it unread.
  await kvs.put("x", 1);
  const log = kvs.in(name(7));
  const commits = Array.from({ length: 20 }, (_, number) =>
    log.commit(new KvsTransaction().append("log", `${number} `), { noMerge: true }),
  );
  assert.deepEqual(
    (await Promise.all(commits)).map(({ rootseq }) => rootseq),
    commits.map((_, number) => number + 2),
  );
  assert.equal(await log.getText("log"), commits.map((_, number) => `${number} `).join(""));
  assert.equal((await kvs.in(name(8)).getRoot()).owner, 2008);
  assert.equal(await kvs.in(name(9)).get("key"), 9);
  await kvs.in(name(10)).waitVersion(1);
  await assert.rejects(kvs.createNamespace(name(11)), /File exists/);
  await kvs.removeNamespace(name(12));
  await kvs.removeNamespace("none");
  await assert.rejects(kvs.in("none").get("key"), /Operation not supported/);
  await assert.rejects(kvs.in(name(12)).get("key"), /Operation not supported/);
  await kvs.commit(new KvsTransaction().symlink("link", "key", name(13)));
  assert.equal(await kvs.get("link"), 13);
  await kvs.createNamespace(name(12), { owner: 3000 });
  const listed = await kvs.listNamespaces();
  assert.equal(listed.length, COUNT + 1);
  assert.equal(listed.find((each) => each.namespace === name(12))!.owner, 3000);
  assert.ok(Object.keys((await stats()).namespace).length < 20, "the others have not been needed");
  await kvs.removeNamespace(name(14));

  // Once from the log, once from a checkpoint.
  const crashed = await restart(disk);
  assert.equal((await crashed.kvs.listNamespaces()).length, COUNT);
  await stopStorage(crashed.brokers);
  const again = await restart(disk);
  assert.equal((await again.kvs.listNamespaces()).length, COUNT);
  assert.equal(await again.kvs.in(name(7)).getText("log"), await log.getText("log"));
  assert.equal((await again.kvs.in(name(12)).getRoot()).owner, 3000);
  await assert.rejects(again.kvs.in(name(14)).get("key"), /Operation not supported/);
  await stopStorage(again.brokers);
  await stopStorage(brokers);
});

test("an orderly end leaves a checkpoint and no log", async () => {
  const disk = new MemoryDisk();
  const { brokers, kvs } = await restart(disk);
  await kvs.put("a.b", "c".repeat(100));
  const root = await kvs.getRoot();
  await stopStorage(brokers);
  assert.deepEqual([...disk.files.keys()], []);
  const after = await restart(disk);
  assert.deepEqual(await after.kvs.getRoot(), root);
  assert.equal(await after.kvs.get("a.b"), "c".repeat(100));
  await stopStorage(after.brokers);
});

test("a torn or corrupt end of the log is cut off and logged; what is before it is there", async () => {
  for (const damage of [
    (log: Buffer) => log.subarray(0, log.byteLength - 5),
    (log: Buffer) => Buffer.concat([log.subarray(0, -3), Buffer.from("xyz")]),
    (log: Buffer) => Buffer.concat([log, Buffer.alloc(100)]),
  ]) {
    const disk = new MemoryDisk();
    const { kvs } = await restart(disk);
    await kvs.put("a", 1);
    await kvs.put("a", 2);
    await kvs.put("b", 3);
    disk.files.set("/state/kvs.log", Buffer.from(damage(disk.files.get("/state/kvs.log")!)));
    const { brokers, kvs: again } = await restart(disk);
    assert.equal(await again.get("a"), 2);
    assert.ok(
      brokers[0]!.logs.some((line) => line.includes("/state/kvs.log: a ")),
      brokers[0]!.logs.join(),
    );
    await again.put("c", 4);
    const third = await restart(disk);
    assert.equal(await third.kvs.get("c"), 4, "what came after the cut is read");
    await stopStorage(third.brokers);
  }
});

test("a log that does not continue the checkpoint is other data, and is dropped", async () => {
  const disk = new MemoryDisk();
  const first = await restart(disk);
  await first.kvs.commit(new KvsTransaction().put("a", 1), { sync: true });
  await first.kvs.put("a", 2);
  disk.databases.clear();
  const { kvs, brokers } = await restart(disk);
  assert.equal(await kvs.version(), 0);
  assert.ok(brokers[0]!.logs.some((line) => line.includes("record 2 does not follow 0")));
  await stopStorage(brokers);
});

test("a checkpoint that somebody else made begins anew: the log before it is dropped, what comes then survives", async () => {
  const disk = new MemoryDisk();
  const first = await restart(disk);
  const { rootref } = await first.kvs.put("restored", 1);
  await first.kvs.commit(new KvsTransaction(), { sync: true });
  await first.kvs.put("late", 1);
  const value = { version: 1, rootref, sequence: 0, timestamp: 1 };
  await first.brokers[0]!.connect().rpc("content.checkpoint-put", { value });
  const second = await restart(disk);
  assert.equal(await second.kvs.get("restored"), 1);
  await assert.rejects(second.kvs.get("late"), { message: "No such file or directory" });
  await second.kvs.put("new", 2);
  const third = await restart(disk);
  assert.equal(await third.kvs.get("new"), 2);
  await stopStorage(third.brokers);
});

test("a checkpoint that cannot be read is told, not taken for none: its tree would be lost", async () => {
  const disk = new MemoryDisk();
  const { brokers, kvs } = await restart(disk);
  const { rootref } = await kvs.put("kept", 1);
  const content = brokers[0]!.connect();
  await brokers[0]!.modules.remove("kvs");
  const checkpoint = { version: 1, rootref, sequence: 1, timestamp: 1.5 };
  for (const wrong of [{ version: 2 }, { version: "1" }, { rootref: "sha1-aaa" }, { sequence: "1" }]) {
    await content.rpc("content.checkpoint-put", { value: { ...checkpoint, ...wrong } });
    await assert.rejects(brokers[0]!.load(kvsModule), fails("EINVAL"), JSON.stringify(wrong));
  }
  await content.rpc("content.checkpoint-put", { value: { version: 0, rootref } });
  await brokers[0]!.load(kvsModule);
  assert.equal(await kvs.get("kept"), 1);
  await stopStorage(brokers);
});

test("rewriting one key many times leaves a few versions on the disk, not all", async () => {
  const disk = new MemoryDisk();
  const { brokers, kvs } = await restart(disk);
  for (let value = 0; value < 500; value++) await kvs.put("churn.key", `${value} `.repeat(100));
  await stopStorage(brokers);
  const stored = disk.databases.get("/state/content.sqlite")!.blobs.size;
  assert.ok(stored <= 10, `${stored} blobs are stored`);
});

type Step =
  | { kind: "put" | "append"; key: string; value: string }
  | { kind: "unlink" | "mkdir"; key: string }
  | { kind: "crash" | "stop" | "checkpoint" | "dropcache" };

const keys = fc.array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 3 }).map((names) => names.join("."));
const values = fc.oneof(fc.string({ maxLength: 20 }), fc.string({ minLength: 60, maxLength: 80 }));
const steps: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constantFrom("put", "append"), key: keys, value: values }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom("unlink", "mkdir"), key: keys }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom("crash", "stop", "checkpoint", "dropcache") }) },
) as fc.Arbitrary<Step>;

/** The model: values by full key, and the set of directories. */
class Model {
  values = new Map<string, string>();
  directories = new Set<string>();

  #clear(key: string): void {
    for (const each of this.values.keys()) if (each === key || each.startsWith(`${key}.`)) this.values.delete(each);
    for (const each of this.directories) if (each === key || each.startsWith(`${key}.`)) this.directories.delete(each);
  }
  #makeParents(key: string): void {
    const names = key.split(".");
    for (let depth = 1; depth < names.length; depth++) {
      const parent = names.slice(0, depth).join(".");
      this.values.delete(parent);
      this.directories.add(parent);
    }
  }
  /** Returns whether the operation is possible. */
  apply(step: Step): boolean {
    if (!("key" in step)) return true;
    if (step.kind === "append" && this.directories.has(step.key)) return false;
    if (step.kind !== "unlink") this.#makeParents(step.key);
    const before = this.values.get(step.key) ?? "";
    this.#clear(step.key);
    if (step.kind === "put") this.values.set(step.key, step.value);
    if (step.kind === "append") this.values.set(step.key, before + step.value);
    if (step.kind === "mkdir") this.directories.add(step.key);
    return true;
  }
}

function transactionOf(step: Step): KvsTransaction {
  const transaction = new KvsTransaction();
  if (step.kind === "put") return transaction.putText(step.key, step.value);
  if (step.kind === "append") return transaction.append(step.key, step.value);
  if (step.kind === "mkdir") return transaction.mkdir(step.key);
  if (step.kind === "unlink") return transaction.unlink(step.key);
  return transaction;
}

async function contentOf(kvs: Kvs, key = "."): Promise<{ values: Map<string, string>; directories: Set<string> }> {
  const found = { values: new Map<string, string>(), directories: new Set<string>() };
  for (const [name, entry] of Object.entries(await kvs.getDirectory(key))) {
    const path = key === "." ? name : `${key}.${name}`;
    if (entry.type !== "dirref") found.values.set(path, await kvs.getText(path));
    else {
      found.directories.add(path);
      const below = await contentOf(kvs, path);
      for (const [each, value] of below.values) found.values.set(each, value);
      for (const each of below.directories) found.directories.add(each);
    }
  }
  return found;
}

test("any history, with crashes, restarts and checkpoints anywhere, reads as the model says", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(steps, { maxLength: 40 }), async (history) => {
      const disk = new MemoryDisk();
      const model = new Model();
      let { brokers, kvs } = await restart(disk);
      for (const step of history) {
        if (step.kind === "crash") ({ brokers, kvs } = await restart(disk));
        else if (step.kind === "stop") {
          await stopStorage(brokers);
          ({ brokers, kvs } = await restart(disk));
        } else if (step.kind === "checkpoint") await kvs.commit(new KvsTransaction(), { sync: true });
        else if (step.kind === "dropcache") await kvs.handle.rpc("kvs.dropcache");
        else {
          const isPossible = model.apply(step);
          if (isPossible) await kvs.commit(transactionOf(step));
          else await assert.rejects(kvs.commit(transactionOf(step)));
        }
      }
      const before = await kvs.getRoot();
      ({ brokers, kvs } = await restart(disk));
      assert.deepEqual(await kvs.getRoot(), before);
      const found = await contentOf(kvs);
      assert.deepEqual(new Map([...found.values].sort()), new Map([...model.values].sort()));
      assert.deepEqual([...found.directories].sort(), [...model.directories].sort());
      await stopStorage(brokers);
    }),
    { numRuns: 60 },
  );
});

test("reading a log never throws, whatever its bytes are", () => {
  const codec = nodeCodec();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
      const { goodBytes, records } = readLog(codec, noise);
      assert.ok(goodBytes <= noise.byteLength && records.length === 0);
    }),
  );
});
