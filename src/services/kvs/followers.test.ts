/** The KVS on several ranks: followers read what the leader has, and who writes through one reads its own writes there. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import { makeDirref } from "../../formats/treeobj.ts";
import { Kvs, KvsTransaction } from "../../sdk/kvs.ts";
import { startStorage, stopStorage } from "./world.fixture.ts";

test("a commit through a follower is read there at once, and elsewhere once the version has come", async (t) => {
  const brokers = await startStorage({ size: 4 });
  t.after(() => stopStorage(brokers));
  const [leader, one, two] = brokers.map((broker) => new Kvs(broker.connect()));
  await one!.put("a.b", "x".repeat(200));
  for (let value = 0; value < 20; value++) {
    const { rootseq, rootref } = await one!.put("a.c", value);
    assert.equal(await one!.get("a.c"), value);
    await two!.waitVersion(rootseq);
    assert.equal(await two!.get("a.c"), value);
    assert.equal((await leader!.getRoot()).rootref, rootref);
  }
  assert.equal(await two!.get("a.b"), "x".repeat(200));
});

test("followers read versions that no disk has seen, and old ones", async (t) => {
  const brokers = await startStorage({ size: 2 });
  t.after(() => stopStorage(brokers));
  const leader = new Kvs(brokers[0]!.connect());
  const follower = new Kvs(brokers[1]!.connect());
  const { rootref } = await leader.commit(new KvsTransaction().putText("d.long", "y".repeat(500)));
  await leader.commit(new KvsTransaction().unlink("d"));
  assert.equal(await follower.getText("d.long", { at: makeDirref(rootref) }), "y".repeat(500));
});

test("a namespace is found on every rank, gone when it is removed, and new when made again", async (t) => {
  const brokers = await startStorage({ size: 2 });
  t.after(() => stopStorage(brokers));
  const leader = new Kvs(brokers[0]!.connect());
  const follower = new Kvs(brokers[1]!.connect(), "ns");
  await assert.rejects(follower.get("k"), (error) => error instanceof FluxError && error.is("ENOTSUP"));
  await follower.createNamespace("ns");
  await follower.put("k", 1);
  assert.equal(await follower.get("k"), 1);
  await leader.commit(new KvsTransaction().symlink("link", "k", "ns"));
  const primary = follower.in("primary");
  await primary.waitVersion(1);
  assert.equal(await primary.get("link"), 1, "a link leads a follower to a namespace");
  const waiting = assert.rejects(
    follower.waitVersion(99),
    (error) => error instanceof FluxError && error.is("ENOTSUP"),
  );
  await leader.removeNamespace("ns");
  await waiting;
  await leader.createNamespace("ns");
  assert.equal(await follower.version(), 0);
});

test("a follower holds versions back while it is told to", async (t) => {
  const brokers = await startStorage({ size: 2 });
  t.after(() => stopStorage(brokers));
  const leader = new Kvs(brokers[0]!.connect());
  const follower = new Kvs(brokers[1]!.connect());
  assert.equal(await follower.version(), 0);
  await follower.handle.rpc("kvs.setroot-pause", { namespace: "primary" });
  await leader.put("k", 1);
  assert.equal(await follower.version(), 0);
  await follower.handle.rpc("kvs.setroot-unpause", { namespace: "primary" });
  assert.equal(await follower.version(), 1);
});

test("a follower tells of the primary namespace, and holds it back, before anybody has read it there", async (t) => {
  const brokers = await startStorage({ size: 2 });
  t.after(() => stopStorage(brokers));
  const leader = new Kvs(brokers[0]!.connect());
  const follower = new Kvs(brokers[1]!.connect());
  const here = { nodeid: 1 };
  await follower.handle.rpc("kvs.setroot-pause", { namespace: "primary" }, here);
  await leader.put("k", 1);
  await assert.rejects(follower.get("k"), (error) => error instanceof FluxError && error.is("ENOENT"));
  await follower.handle.rpc("kvs.setroot-unpause", { namespace: "primary" }, here);
  await follower.waitVersion(1);
  const { namespace } = await follower.handle.rpc<{ namespace: JsonObject }>("kvs.stats-get", {}, here);
  assert.deepEqual(Object.keys(namespace), ["primary"]);
  const none = follower.handle.rpc("kvs.setroot-pause", { namespace: "none" }, here);
  await assert.rejects(none, (error) => error instanceof FluxError && error.is("ENOTSUP"));
});

test("a guest's commit through a follower is still the guest's", async (t) => {
  const brokers = await startStorage({ size: 2 });
  t.after(() => stopStorage(brokers));
  const owner = new Kvs(brokers[0]!.connect());
  await owner.createNamespace("mine", { owner: 2000 });
  const guest = new Kvs(brokers[1]!.connect(2000), "mine");
  await guest.put("k", 1);
  assert.equal(await guest.get("k"), 1);
  await assert.rejects(guest.in("primary").put("k", 1), (error) => error instanceof FluxError && error.is("EPERM"));
  await assert.rejects(guest.in("primary").get("k"), (error) => error instanceof FluxError && error.is("EPERM"));
});

test("a follower that missed events learns it from the next one, whichever it is", async (t) => {
  const brokers = await startStorage({ size: 2 });
  t.after(() => stopStorage(brokers));
  const leader = new Kvs(brokers[0]!.connect());
  const follower = new Kvs(brokers[1]!.connect());
  await leader.createNamespace("gone");
  await leader.put("k", 1);
  assert.equal(await follower.version(), 1);
  assert.equal(await follower.in("gone").version(), 0);
  const missed = 2;
  brokers[1]!.router.eventSequence = brokers[0]!.router.eventSequence + missed;
  await leader.put("k", 2);
  await leader.removeNamespace("gone");
  assert.equal(await follower.version(), 1);
  const gone = assert.rejects(
    follower.in("gone").waitVersion(1),
    (error) => error instanceof FluxError && error.is("ENOTSUP"),
  );
  leader.handle.sendEvent("heartbeat.pulse");
  await follower.waitVersion(2);
  assert.equal(await follower.get("k"), 2);
  await gone;
});

test("a version that is announced right behind the first answer about its namespace is not missed", async (t) => {
  const brokers = await startStorage({ size: 2 });
  t.after(() => stopStorage(brokers));
  const leader = new Kvs(brokers[0]!.connect(), "ns");
  const follower = new Kvs(brokers[1]!.connect(), "ns");
  await leader.createNamespace("ns");
  // What comes over the link arrives at once, as after a pause of the network.
  const { router } = brokers[1]!;
  const receive = router.receiveFrom.bind(router);
  const held: Parameters<typeof receive>[] = [];
  router.receiveFrom = (...message) => void held.push(message);
  const version = follower.version();
  while (held.length === 0) await leader.version();
  await leader.put("k", 1);
  router.receiveFrom = receive;
  for (const message of held) receive(...message);
  assert.ok((await version) <= 1);
  assert.equal(await follower.version(), 1);
  assert.equal(await follower.get("k"), 1);
});

test("who commits to a job's namespace through a follower reads its own writes there", async (t) => {
  const brokers = await startStorage({ size: 2 });
  t.after(() => stopStorage(brokers));
  const follower = new Kvs(brokers[1]!.connect());
  const inJob = follower.in("job-83986743296");
  assert.equal(await follower.version(), 0);
  for (let value = 0; value < 10; value++) {
    await inJob.put("key", value);
    assert.equal(await inJob.get("key"), value);
  }
});
