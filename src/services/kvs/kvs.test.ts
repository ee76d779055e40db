/** The KVS from outside: what clients of a broker see, on one rank. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8Encode } from "../../base/bytes.ts";
import { type ErrnoName } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import { Kvs, KvsTransaction } from "../../sdk/kvs.ts";
import { OPERATION_PRUNE, type Operation } from "../../sdk/kvs-protocol.ts";
import { fluidKvsPath } from "../../formats/fluid.ts";
import { makeDir, makeDirref, makeVal, type Treeobj } from "../../formats/treeobj.ts";
import { fails, makeBrokers, MemoryDisk, startStorage, stopStorage } from "./world.fixture.ts";
import { contentModule } from "../content/service.ts";
import { kvsModule } from "./service.ts";

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));

async function oneBroker(t: { after(action: () => Promise<void>): void }): Promise<Kvs> {
  const brokers = await startStorage();
  t.after(() => stopStorage(brokers));
  return new Kvs(brokers[0]!.connect());
}

test("a new instance begins with the empty directory at version 0", async (t) => {
  const kvs = await oneBroker(t);
  assert.deepEqual(await kvs.getRoot(), {
    owner: 1000,
    rootseq: 0,
    rootref: "sha1-c0a9faf907dda6216fd73bf81d0b3b21a1a8cb91",
    flags: 0,
    namespace: "primary",
  });
});

// The hashes are those that Flux itself shows for the same content.
const TREES: [string, (txn: KvsTransaction) => KvsTransaction, string, Treeobj][] = [
  [
    "a directory is a reference",
    (txn) => txn.putText("a.b", "1"),
    "a",
    makeDirref("sha1-b5d67bd187c0ef7014fd4421114127857c9563e9"),
  ],
  ["an empty one too", (txn) => txn.mkdir("d.e"), "d.e", makeDirref("sha1-c0a9faf907dda6216fd73bf81d0b3b21a1a8cb91")],
  ["72 characters of base64 stay", (txn) => txn.putText("k", "x".repeat(54)), "k", makeVal(bytes("x".repeat(54)))],
  [
    "a longer value is a blob",
    (txn) => txn.putText("k", "x".repeat(55)),
    "k",
    { ver: 1, type: "valref", data: ["sha1-cef734ba81a024479e09eb5a75b6ddae62e6abf1"] },
  ],
  [
    "appends are blobs in order",
    (txn) => txn.putText("v", "abc").append("v", "").append("v", "x"),
    "v",
    {
      ver: 1,
      type: "valref",
      data: [
        "sha1-a9993e364706816aba3e25717850c26c9cd0d89d",
        "sha1-da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "sha1-11f6ad8ec52a2984abaafd7c3b516503785c2072",
      ],
    },
  ],
  ["the first append creates", (txn) => txn.append("n", "abc"), "n", makeVal(bytes("abc"))],
  [
    "inline directories become references",
    (txn) => txn.putTreeObject("z", makeDir({ a: makeDir({ b: makeVal(bytes("1")) }) })),
    "z",
    makeDirref("sha1-366ab28080ba1017a788d8dfb1c3c31b2fa599a2"),
  ],
];
for (const [name, build, key, expected] of TREES)
  test(`tree objects: ${name}`, async (t) => {
    const kvs = await oneBroker(t);
    await kvs.commit(build(new KvsTransaction()));
    const found = await kvs.getTreeObject(key);
    assert.deepEqual(found, expected);
  });

test("lookups fail as the flags ask for something else than there is", async (t) => {
  const kvs = await oneBroker(t);
  await kvs.commit(
    new KvsTransaction().putText("dir.v", "1").symlink("l1", "l2").symlink("l2", "l1").symlink("away", "k", "nowhere"),
  );
  await assert.rejects(kvs.getText("nope"), fails("ENOENT"));
  await assert.rejects(kvs.getText("dir.v.x.y"), fails("ENOENT"));
  await assert.rejects(kvs.getText("dir"), fails("EISDIR"));
  await assert.rejects(kvs.getText("."), fails("EISDIR"));
  await assert.rejects(kvs.getDirectory("dir.v"), fails("ENOTDIR"));
  await assert.rejects(kvs.readLink("dir"), fails("EINVAL"));
  await assert.rejects(kvs.getText("l1"), fails("ELOOP"));
  await assert.rejects(kvs.getText("away"), fails("ENOTSUP"));
  await assert.rejects(kvs.in("nowhere").getText("x"), fails("ENOTSUP"));
  await assert.rejects(kvs.getText("x", { at: { ver: 1, type: "dirref", data: ["sha1-aaa"] } }), fails("EINVAL"));
  await assert.rejects(kvs.handle.rpc("kvs.lookup", {}), fails("EPROTO"));
});

test("an empty key names nothing, and a link to it leads nowhere; clients refuse it", async (t) => {
  const kvs = await oneBroker(t);
  await kvs.commit(new KvsTransaction().putText("k", "1").symlink("nowhere", ""));
  await assert.rejects(kvs.getText(""), fails("EINVAL"));
  const lookup = { key: "", flags: 0, namespace: "primary" };
  await assert.rejects(kvs.handle.rpc("kvs.lookup", lookup), fails("ENOENT"));
  assert.equal((await kvs.handle.rpc("kvs.lookup-plus", lookup))["errno"], 2);
  for (const key of ["nowhere", "nowhere.k"]) await assert.rejects(kvs.getText(key), fails("ENOENT"));
  assert.deepEqual(await kvs.readLink("nowhere"), { target: "" });
});

test("tree objects in a commit have the members of RFC 11 and no others", async (t) => {
  const kvs = await oneBroker(t);
  for (const data of ["NDI=", "A".repeat(4000)]) {
    const ops = [{ key: "k", flags: 0, dirent: { ...makeVal(bytes("")), data, more: 1 } }];
    await assert.rejects(kvs.handle.rpc("kvs.commit", { namespace: "primary", flags: 0, ops }), fails("EINVAL"));
  }
  await assert.rejects(kvs.getText("k"), fails("ENOENT"));
});

test("the KVS is not loaded where there is no content service", async () => {
  const [broker] = makeBrokers({});
  await assert.rejects(broker!.load(kvsModule), fails("ENOENT"));
});

test("what a log has is not dirty", async (t) => {
  const brokers = await startStorage({ disk: new MemoryDisk() });
  t.after(() => stopStorage(brokers));
  const kvs = new Kvs(brokers[0]!.connect());
  await kvs.put("a.b", 1);
  const { cache } = await kvs.handle.rpc<{ cache: JsonObject }>("kvs.stats-get", {});
  assert.equal(cache["#obj dirty"], 0);
  assert.notEqual(cache["#obj logged"], 0);
});

test("a transaction that cannot be done leaves nothing behind, and the others of its turn happen", async (t) => {
  const kvs = await oneBroker(t);
  await kvs.commit(new KvsTransaction().mkdir("dir").symlink("away", "k", "other").symlink("link", "dir"));
  const bad: [KvsTransaction, ErrnoName][] = [
    [new KvsTransaction().putText("x", "1").append("dir", "no"), "EISDIR"],
    [new KvsTransaction().putText("x", "1").append("link", "no"), "ENOTSUP"],
    [new KvsTransaction().putText("x.y.z", "1").putText("away.k", "no"), "EINVAL"],
    [new KvsTransaction().putText("x", "1").putText(".", "no"), "EINVAL"],
  ];
  const good = ["p", "q", "r"].map((key) => kvs.put(key, key));
  const outcomes = await Promise.allSettled(bad.map(([transaction]) => kvs.commit(transaction)));
  for (const [position, outcome] of outcomes.entries()) {
    assert.equal(outcome.status, "rejected");
    assert.ok(fails(bad[position]![1])(outcome.reason), String(outcome.reason));
  }
  const versions = new Set((await Promise.all(good)).map(({ rootseq }) => rootseq));
  assert.equal(versions.size, 1, "commits of one turn share a version");
  assert.deepEqual(Object.keys(await kvs.getDirectory(".")), ["away", "dir", "link", "p", "q", "r"]);
});

test("no-merge commits have versions of their own", async (t) => {
  const kvs = await oneBroker(t);
  const commits = [1, 2, 3].map((value) => kvs.commit(new KvsTransaction().put("k", value), { noMerge: true }));
  assert.deepEqual(
    (await Promise.all(commits)).map(({ rootseq }) => rootseq),
    [1, 2, 3],
  );
});

test("a leader told not to merge gives every commit a version; unknown arguments are refused", async (t) => {
  const [broker] = makeBrokers();
  await broker!.load(contentModule);
  await assert.rejects(broker!.load(kvsModule, ["badopt"]), fails("EINVAL"));
  await broker!.load(kvsModule, ["transaction-merge=0"]);
  t.after(() => stopStorage([broker!]));
  const kvs = new Kvs(broker!.connect());
  const versions = (await Promise.all([1, 2, 3].map((value) => kvs.put("k", value)))).map(({ rootseq }) => rootseq);
  assert.deepEqual(versions, [1, 2, 3]);
});

test("a leader told which root to begin with begins there, whatever was saved", async (t) => {
  const [broker] = makeBrokers();
  await broker!.load(contentModule);
  await broker!.load(kvsModule);
  t.after(() => stopStorage([broker!]));
  const before = new Kvs(broker!.connect());
  await before.put("k", "old");
  // Who asks for a root holds it: it is written, though the next version supersedes it.
  const { rootref } = await before.getRoot();
  await before.put("k", "new");
  await broker!.modules.remove("kvs");
  await assert.rejects(broker!.load(kvsModule, ["initial-rootref=foo"]), fails("EINVAL"));
  await broker!.load(kvsModule, [`initial-rootref=${rootref}`]);
  const kvs = new Kvs(broker!.connect());
  assert.equal(await kvs.get("k"), "old");
  assert.equal((await kvs.put("k", "newest")).rootseq, 1);
});

test("a link to the namespace that it is in leads on; one to another is followed by readers only", async (t) => {
  const kvs = await oneBroker(t);
  await kvs.commit(
    new KvsTransaction().mkdir("dir").symlink("here", "dir", "primary").symlink("there", "dir", "other"),
  );
  await kvs.put("here.k", "1");
  assert.equal(await kvs.get("dir.k"), "1");
  await assert.rejects(kvs.put("there.k", "1"), fails("EINVAL"));
});

test("keys are taken with any number of dots; writing goes through links, over values", async (t) => {
  const kvs = await oneBroker(t);
  await kvs.commit(new KvsTransaction().putText("..a..b.", "1").mkdir("dir").symlink("link", "dir"));
  assert.equal(await kvs.getText("a.b"), "1");
  await kvs.commit(new KvsTransaction().putText("link.x", "2").putText("a.b.c", "3"));
  assert.equal(await kvs.getText("dir.x"), "2");
  assert.equal(await kvs.getText("a.b.c."), "3");
  await kvs.commit(new KvsTransaction().unlink("link").unlink("a.b.c").unlink("not.there"));
  assert.deepEqual(Object.keys(await kvs.getDirectory("dir")), ["x"]);
  assert.deepEqual(await kvs.getDirectory("a.b"), {});
});

test("a removal that prunes takes emptied directories along, but for the top one, and no other", async (t) => {
  const kvs = await oneBroker(t);
  const directories = async (key: string) => Object.keys(await kvs.getDirectory(key));
  const remove = (key: string, flags: number = OPERATION_PRUNE) => ({ key, flags, dirent: null });
  const commit = (...operations: Operation[]) =>
    kvs.handle.rpc("kvs.commit", { namespace: "primary", flags: 0, ops: operations });
  await kvs.commit(
    new KvsTransaction().put("job.a.b.1.R", 1).put("job.a.b.2.R", 1).put("job.a.c.3.R", 1).mkdir("none"),
  );
  await commit(remove("job.a.b.1"));
  assert.deepEqual(await directories("job.a.b"), ["2"]);
  // Pruning and a new job in the same directories are one after the other, also within a version.
  await Promise.all([commit(remove("job.a.b.2")), kvs.put("job.a.b.4.R", 1), commit(remove("job.a.c.3"))]);
  assert.deepEqual([await directories("job.a"), await directories("job.a.b")], [["b"], ["4"]]);
  await commit(remove("job.a.b.4"), remove("not.there"));
  assert.deepEqual([await directories("job"), await directories("none")], [[], []]);
  await kvs.commit(new KvsTransaction().put("x.y.z.k", 1).symlink("link", "x.y"));
  await commit(remove("link.z.k"));
  assert.deepEqual([await directories("x"), await directories(".")], [[], ["job", "link", "none", "x"]]);
  await kvs.put("x.y.z.k", 1);
  await commit(remove("x.y.z.k", 0));
  assert.deepEqual(await directories("x.y.z"), [], "who only removes a key removes nothing else");
});

test("values that are stored again are counted", async (t) => {
  const brokers = await startStorage();
  t.after(() => stopStorage(brokers));
  const kvs = new Kvs(brokers[0]!.connect());
  const count = async (): Promise<unknown> =>
    (await kvs.handle.rpc<{ namespace: { primary: JsonObject } }>("kvs.stats-get")).namespace.primary["#no-op stores"];
  await kvs.put("a", "x".repeat(500));
  assert.equal(await count(), 0);
  await kvs.put("b", "x".repeat(500));
  assert.equal(await count(), 1);
});

test("an old root can still be looked at", async (t) => {
  const kvs = await oneBroker(t);
  const { rootref } = await kvs.commit(new KvsTransaction().putText("a.b", "old").putText("long", "y".repeat(100)));
  await kvs.commit(new KvsTransaction().putText("a.b", "new").unlink("long"));
  const at = makeDirref(rootref);
  assert.equal(await kvs.getText("a.b", { at }), "old");
  await kvs.commit(new KvsTransaction().putTreeObject("snapshot", at), { sync: true });
  await kvs.handle.rpc("kvs.dropcache");
  await kvs.handle.rpc("content.dropcache");
  assert.equal(await kvs.getText("snapshot.long"), "y".repeat(100));
  assert.equal(await kvs.getText("a.b"), "new");
});

test("namespaces are apart; a guest has its own only, and stores no references", async (t) => {
  const brokers = await startStorage();
  t.after(() => stopStorage(brokers));
  const owner = new Kvs(brokers[0]!.connect());
  await owner.createNamespace("guests", { owner: 2000 });
  await assert.rejects(owner.createNamespace("guests"), fails("EEXIST"));
  await assert.rejects(owner.removeNamespace("primary"), fails("ENOTSUP"));
  await owner.put("k", "primary");
  await owner.commit(new KvsTransaction().symlink("to", "k", "guests"));
  const guest = new Kvs(brokers[0]!.connect(2000), "guests");
  await guest.put("k", "guest");
  assert.equal(await owner.get("to"), "guest");
  assert.equal(await owner.get("k"), "primary");
  await assert.rejects(guest.in("primary").get("k"), fails("EPERM"));
  await assert.rejects(guest.in("primary").put("k", 1), fails("EPERM"));
  await assert.rejects(guest.in("primary").getRoot(), fails("EPERM"));
  await assert.rejects(guest.commit(new KvsTransaction().symlink("l", "k")), fails("EPERM"));
  await assert.rejects(guest.createNamespace("mine"), { message: "Request requires owner credentials" });
  await guest.commit(new KvsTransaction().mkdir("d").unlink("k"));
  const waiting = assert.rejects(owner.in("guests").waitVersion(1000), fails("ENOTSUP"));
  await owner.removeNamespace("guests");
  await waiting;
  await assert.rejects(guest.get("k"), fails("ENOTSUP"));
  assert.deepEqual(await owner.listNamespaces(), [{ namespace: "primary", owner: 1000, flags: 0 }]);
});

test("waiting for a version ends when it comes", async (t) => {
  const kvs = await oneBroker(t);
  const waiting = kvs.waitVersion(2);
  await kvs.put("a", 1);
  await kvs.put("a", 2);
  await waiting;
  assert.equal(await kvs.version(), 2);
});

test("a synchronised commit is in a checkpoint; without a backing store there is none", async (t) => {
  const kvs = await oneBroker(t);
  const { rootref, rootseq } = await kvs.commit(new KvsTransaction().put("k", 1), { sync: true });
  const { value } = await kvs.handle.rpc<{ value: { rootref: string; sequence: number }[] }>("content.checkpoint-get");
  assert.deepEqual([value[0]!.rootref, value[0]!.sequence], [rootref, rootseq]);
  const [bare] = makeBrokers();
  await bare!.load(contentModule);
  await bare!.load(kvsModule);
  t.after(() => stopStorage([bare!]));
  const without = new Kvs(bare!.connect());
  await assert.rejects(without.commit(new KvsTransaction().put("k", 1), { sync: true }), fails("ENOSYS"));
  assert.equal(await without.get("k"), 1);
});

test("a full disk refuses commits, serves lookups, and takes commits again when there is room", async (t) => {
  const disk = new MemoryDisk();
  const brokers = await startStorage({ disk });
  t.after(() => stopStorage(brokers));
  const kvs = new Kvs(brokers[0]!.connect());
  await kvs.put("k", "before");
  disk.isFull = true;
  await assert.rejects(kvs.put("k", "refused"), fails("ENOSPC"));
  await assert.rejects(kvs.createNamespace("refused"), fails("ENOSPC"));
  assert.equal(await kvs.get("k"), "before");
  assert.equal(await kvs.version(), 1);
  disk.isFull = false;
  assert.equal((await kvs.put("k", "after")).rootseq, 2);
  assert.equal(await kvs.get("k"), "after");
});

test("keys that are names of JavaScript's own, and names beyond the basic plane, are keys like any other", async (t) => {
  const kvs = await oneBroker(t);
  for (const key of ["__proto__", "constructor.toString", "ƒuzzy", "\u{1f600}", "\uffee", "tab\there"]) {
    await kvs.put(key, key);
    assert.equal(await kvs.get(key), key);
  }
  await kvs.commit(new KvsTransaction().put("x", 1), { sync: true });
  await kvs.handle.rpc("kvs.dropcache");
  await kvs.handle.rpc("content.dropcache");
  assert.equal(await kvs.get("__proto__"), "__proto__");
  assert.equal(await kvs.get("\u{1f600}"), "\u{1f600}");
});

test("a long value goes in pieces and comes back whole", async (t) => {
  const kvs = await oneBroker(t);
  const value = Buffer.alloc(5_000_000, "0123456789abc");
  await kvs.putBytes("big", value);
  const object = await kvs.getTreeObject("big");
  assert.equal(object.type === "valref" && object.data.length, 7);
  assert.equal(value.compare(await kvs.getLongBytes("big")), 0);
  assert.equal(value.compare(await kvs.getBytes("big")), 0);
});

test("the namespace of a job's guest is the job's directory in the primary namespace", async (t) => {
  const kvs = await oneBroker(t);
  const namespace = "job-83986743296";
  const flags = 0;
  const ops = [{ key: "a.b", flags: 0, dirent: makeVal(utf8Encode("1")) }];
  await kvs.handle.rpc("kvs.commit", { namespace, flags, ops });
  const path = `${fluidKvsPath(83986743296)}.guest`;
  assert.equal(await kvs.get(`${path}.a.b`), 1);
  const answer = await kvs.handle.rpc("kvs.lookup", { namespace, key: "a.b", flags });
  assert.deepEqual(answer, { val: makeVal(utf8Encode("1")) });
  await assert.rejects(kvs.handle.rpc("kvs.lookup", { namespace, key: "none", flags }), fails("ENOENT"));
  await assert.rejects(kvs.handle.rpc("kvs.lookup", { namespace: "job-1", key: "a.b", flags }), fails("ENOTSUP"));
});
