/** Watching keys: what is told, in which order, and when it ends. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8Encode } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";
import { Kvs, KvsTransaction, type WatchOptions } from "../../sdk/kvs.ts";
import { MessageFlag, MessageType, Payload, settleTransit, type Message } from "../../protocol/message.ts";
import { makeTextVal } from "../../formats/treeobj.ts";
import { LookupFlag, OPERATION_APPEND, OPERATION_LAST } from "../../sdk/kvs-protocol.ts";
import { type Broker, fails, startStorage, stopStorage } from "../kvs/world.fixture.ts";
import { LOOSE_REFS_MAX } from "../kvs/ref-list.ts";
import { WatchState } from "./core.ts";
import { kvsWatchModule } from "./service.ts";
import { WatchIndex, type Watched } from "./watch-index.ts";

async function start(
  t: { after(action: () => Promise<void>): void },
  size = 1,
): Promise<{ brokers: Broker[]; kvs: Kvs }> {
  const brokers = await startStorage({ size });
  for (const broker of brokers) await broker.load(kvsWatchModule);
  t.after(() => stopStorage(brokers));
  return { brokers, kvs: new Kvs(brokers[0]!.connect()) };
}

/** A watch whose values are asked for one by one; null where the sentinel came. */
function watching(
  kvs: Kvs,
  key: string,
  options: WatchOptions = {},
): { next(): Promise<string | null>; stop(): Promise<unknown> } {
  const values = kvs.watch(key, options);
  return {
    next: async () => {
      const { value, done } = await values.next();
      if (done === true) throw new Error("the watch has ended");
      return value === null ? null : Buffer.from(value as Uint8Array).toString();
    },
    stop: () => values.return(undefined),
  };
}

/** Resolves once the service has so many watchers. */
async function watchers(broker: Broker, count: number): Promise<void> {
  const handle = broker.connect();
  while ((await handle.rpc<{ watchers: number }>("kvs-watch.stats-get")).watchers !== count);
  handle.close();
}

test("every version that writes the key is told, in order, equal values too", async (t) => {
  const { kvs } = await start(t);
  await kvs.put("a", 0);
  const watch = watching(kvs, "...a");
  assert.equal(await watch.next(), "0");
  const values = Array.from({ length: 100 }, (_, index) => Math.floor(index / 2));
  for (const value of values) void kvs.commit(new KvsTransaction().put("a", value), { noMerge: true });
  for (const value of values) assert.equal(await watch.next(), String(value));
  await kvs.commit(new KvsTransaction().unlink("a"));
  await assert.rejects(watch.next(), fails("ENOENT"));
});

test("uniq tells differences only", async (t) => {
  const { kvs } = await start(t);
  await kvs.put("a", 1);
  const watch = watching(kvs, "a", { uniq: true });
  assert.equal(await watch.next(), "1");
  for (const value of [1, 1, 2, 2, 3]) await kvs.put("a", value);
  assert.equal(await watch.next(), "2");
  assert.equal(await watch.next(), "3");
  await watch.stop();
});

test("full also tells a change of what is above the key; without it only writes to the key count", async (t) => {
  const { brokers, kvs } = await start(t);
  await kvs.commit(new KvsTransaction().putText("old.a", "abc").putText("new.a", "xyz").symlink("link", "old"));
  const full = watching(kvs, "old.a", { full: true });
  const linked = watching(kvs, "link.a", { full: true });
  const plain = watching(kvs, "old.a");
  for (const watch of [full, linked, plain]) assert.equal(await watch.next(), "abc");
  await watchers(brokers[0]!, 3);
  await kvs.commit(new KvsTransaction().putTreeObject("old", await kvs.getTreeObject("new")));
  for (const watch of [full, linked]) assert.equal(await watch.next(), "xyz");
  await kvs.commit(new KvsTransaction().putText("old.a", "def"));
  for (const watch of [full, linked, plain]) assert.equal(await watch.next(), "def");
  await kvs.commit(new KvsTransaction().unlink("old"));
  await assert.rejects(full.next(), fails("ENOENT"));
  await assert.rejects(linked.next(), fails("ENOENT"));
  await plain.stop();
});

test("a key that does not exist is an error, or waited for; so is a namespace", async (t) => {
  const { brokers, kvs } = await start(t);
  await assert.rejects(watching(kvs, "nope").next(), fails("ENOENT"));
  await assert.rejects(watching(kvs.in("later"), "k").next(), fails("ENOTSUP"));
  const once = kvs.waitCreate("dir.key");
  const later = watching(kvs.in("later"), "k", { waitCreate: true });
  const value = later.next();
  await watchers(brokers[0]!, 2);
  await kvs.commit(new KvsTransaction().putText("elsewhere.key", "1"));
  await kvs.commit(new KvsTransaction().putTreeObject("dir", await kvs.getTreeObject("elsewhere")));
  assert.equal(Buffer.from(await once).toString(), "1");
  await kvs.createNamespace("later");
  await kvs.in("later").put("k", 2);
  assert.equal(await value, "2");
  const removed = assert.rejects(later.next(), fails("ENOTSUP"));
  await kvs.removeNamespace("later");
  await removed;
  await watchers(brokers[0]!, 0);
});

test("append tells the pieces, each once, the sentinel after those that were there", async (t) => {
  const { kvs } = await start(t);
  await kvs.commit(new KvsTransaction().append("log", "1").append("log", "2"));
  const watch = watching(kvs, "log", { append: true, initialSentinel: true });
  assert.deepEqual([await watch.next(), await watch.next(), await watch.next()], ["1", "2", null]);
  await kvs.commit(new KvsTransaction().append("log", "3").append("log", ""));
  assert.deepEqual([await watch.next(), await watch.next()], ["3", ""]);
  await kvs.commit(new KvsTransaction().putText("log", "1234"));
  await assert.rejects(watch.next(), fails("EINVAL"));
});

test("an awaited log has its sentinel first", async (t) => {
  const { kvs } = await start(t);
  const watch = watching(kvs, "log", { append: true, initialSentinel: true, waitCreate: true });
  assert.equal(await watch.next(), null);
  await kvs.commit(new KvsTransaction().append("log", "1"));
  assert.equal(await watch.next(), "1");
  await watch.stop();
});

test("a stream gives a value in its pieces and ends", async (t) => {
  const { kvs } = await start(t);
  await kvs.commit(new KvsTransaction().append("log", "1").append("log", "2").putText("empty", "").mkdir("dir"));
  const pieces = async (key: string): Promise<string[]> =>
    Array.fromAsync(kvs.stream(key), (piece) => Buffer.from(piece).toString());
  assert.deepEqual(await pieces("log"), ["1", "2"]);
  assert.deepEqual(await pieces("empty"), [""]);
  await assert.rejects(pieces("dir"), fails("EISDIR"));
});

test("of a huge value who reads slowly is not sent more than it takes", async (t) => {
  const { brokers, kvs } = await start(t);
  const value = Buffer.alloc(8_000_000, "0123456789a");
  await kvs.putBytes("huge", value);
  const slow = brokers[0]!.router.attach({ userid: 1000, rolemask: 1 });
  const unread: Message[] = [];
  const got: Uint8Array[] = [];
  let wake = (): void => {};
  slow.settlesTransit = true;
  slow.start(
    (message) => {
      unread.push(message);
      wake();
    },
    () => {},
  );
  const payload = Payload.json({ key: "huge", namespace: "primary", flags: LookupFlag.Stream });
  const common = { type: MessageType.Request, userid: 1000, rolemask: 1, route: [], nodeid: 0xffffffff } as const;
  slow.send({ ...common, topic: "kvs-watch.lookup", payload, flags: MessageFlag.Streaming, matchtag: 1 });
  for (let isOver = false; !isOver;) {
    while (unread.length === 0) await new Promise<void>((resolve) => (wake = resolve));
    // Whatever is fetched ahead meanwhile, it is not sent.
    await kvs.get(".", undefined).catch(() => {});
    assert.equal(unread.length, 1);
    const message = unread.shift()!;
    isOver = message.type !== MessageType.Response || message.errnum !== 0;
    if (!isOver) got.push(Buffer.from((message.payload!.value["val"] as { data: string }).data, "base64"));
    settleTransit(message);
  }
  assert.equal(Buffer.concat(got).compare(value), 0);
  assert.ok(got.length > 5);
});

test("a guest watches what it may read, and nothing else", async (t) => {
  const { brokers, kvs } = await start(t);
  await kvs.put("k", 1);
  await kvs.createNamespace("mine", { owner: 2000 });
  const guest = new Kvs(brokers[0]!.connect(2000), "mine");
  await guest.put("k", 2);
  const watch = watching(guest, "k");
  assert.equal(await watch.next(), "2");
  await assert.rejects(watching(guest.in("primary"), "k").next(), fails("EPERM"));
  await watch.stop();
});

test("a canceled watch ends with ENODATA; one whose client is gone is forgotten", async (t) => {
  const { brokers, kvs } = await start(t);
  await kvs.put("k", 1);
  const handle = brokers[0]!.connect();
  const ended = new Promise<FluxError | null>((resolve) => {
    const stream = handle.open(
      "kvs-watch.lookup",
      { key: "k", namespace: "primary", flags: LookupFlag.Watch },
      { item: () => stream.cancel(), end: resolve },
      { cancelTopic: "kvs-watch.cancel" },
    );
  });
  assert.equal(await ended, null);
  const watch = watching(new Kvs(handle), "k");
  await watch.next();
  await watchers(brokers[0]!, 1);
  handle.close();
  await watchers(brokers[0]!, 0);
});

test("requests that make no sense are refused with EPROTO", async (t) => {
  const { kvs } = await start(t);
  const ask = (flags: number): Promise<unknown> =>
    kvs.handle.rpc("kvs-watch.lookup", { key: "k", namespace: "primary", flags });
  await assert.rejects(ask(LookupFlag.Watch), fails("EPROTO"));
  await assert.rejects(ask(LookupFlag.Stream), fails("EPROTO"));
  await assert.rejects(kvs.handle.rpc("kvs-watch.lookup"), fails("EPROTO"));
  for (const flags of [
    LookupFlag.WatchFull,
    LookupFlag.Watch | LookupFlag.Stream,
    LookupFlag.Watch | LookupFlag.InitialSentinel,
  ])
    await assert.rejects(kvs.watchObjects("k", flags).next(), fails("EPROTO"));
});

test("a watch on a follower tells every version", async (t) => {
  const { brokers, kvs } = await start(t, 3);
  const follower = new Kvs(brokers[2]!.connect());
  await follower.put("k", "0");
  const watch = watching(follower, "k");
  assert.equal(await watch.next(), '"0"');
  for (let value = 1; value <= 50; value++) void kvs.commit(new KvsTransaction().put("k", value), { noMerge: true });
  for (let value = 1; value <= 50; value++) assert.equal(await watch.next(), String(value));
  await watch.stop();
});

test("a watch on a follower that missed events tells the present value", async (t) => {
  const { brokers, kvs } = await start(t, 2);
  const follower = new Kvs(brokers[1]!.connect());
  await follower.put("k", 0);
  const watch = watching(follower, "k");
  assert.equal(await watch.next(), "0");
  brokers[1]!.router.eventSequence = brokers[0]!.router.eventSequence + 1;
  await kvs.put("k", 1);
  kvs.handle.sendEvent("heartbeat.pulse");
  assert.equal(await watch.next(), "1");
  await watch.stop();
});

test("only the watchers that a write concerns are found", () => {
  const index = new WatchIndex<Watched>();
  const watched = (key: string, attention: Watched["attention"]): Watched => ({ key, attention });
  const exact = watched("a.b", "exact");
  const loose = watched("a.b.c", "loose");
  const root = watched(".", "loose");
  const every = watched("x", "every");
  for (const each of [exact, loose, root, every]) index.add(each);
  const concerned = (key: string): Set<Watched> => index.concernedBy({ [key]: null });
  assert.deepEqual(concerned("a.b"), new Set([every, exact, loose, root]));
  assert.deepEqual(concerned("a"), new Set([every, loose, root]));
  assert.deepEqual(concerned("a.b.c.d"), new Set([every, loose, root]));
  assert.deepEqual(concerned("a.bc"), new Set([every, root]));
  for (const each of [exact, loose, root, every]) index.delete(each);
  assert.equal(index.size, 0);
  assert.deepEqual(concerned("a.b"), new Set());
});

test("a replaced value is no append, even with as many pieces", async (t) => {
  const { kvs } = await start(t);
  await kvs.commit(new KvsTransaction().append("log", "one").append("log", "two"));
  const watch = watching(kvs, "log", { append: true });
  assert.deepEqual([await watch.next(), await watch.next()], ["one", "two"]);
  await kvs.commit(new KvsTransaction().unlink("log").append("log", "eins").append("log", "zwei").append("log", "3"));
  await assert.rejects(watch.next(), fails("EINVAL"));
  // Also where it begins with the same bytes: nobody appended them.
  await kvs.commit(new KvsTransaction().putText("log", "one").append("log", "two"));
  const other = watching(kvs, "log", { append: true });
  assert.deepEqual([await other.next(), await other.next()], ["one", "two"]);
  await kvs.commit(new KvsTransaction().putText("log", `onetwo${"x".repeat(100)}`));
  await assert.rejects(other.next(), fails("EINVAL"));
});

test("many appends in one commit, merged at once, are told to who has the value before them", async (t) => {
  const { kvs } = await start(t);
  await kvs.put("log", 1);
  const watch = watching(kvs, "log", { append: true });
  assert.equal(await watch.next(), "1");
  const transaction = new KvsTransaction();
  for (let number = 0; number < 2 * LOOSE_REFS_MAX; number++) transaction.append("log", ".");
  await kvs.commit(transaction);
  assert.equal(await watch.next(), ".".repeat(2 * LOOSE_REFS_MAX));
  await watch.stop();
});

test("only what was sent decides whether a value with other pieces goes on", () => {
  const state = new WatchState(LookupFlag.Watch | LookupFlag.WatchAppend);
  const valref = (...data: string[]) => ({ value: { ver: 1, type: "valref", data } as const });
  assert.equal(state.see(valref("r1", "r2")).pieces.length, 2);
  for (const ref of ["r1", "r2"]) state.sent({ ref, bytes: 3 });
  assert.deepEqual(state.see(valref("r1", "r2", "r3")).pieces, [{ kind: "blob", ref: "r3" }]);
  const sent = [{ ref: "r2", bytes: 3 }];
  assert.deepEqual(state.see(valref("r1", "r23")), { pieces: [], mismatch: { from: 1, sent, blobs: ["r23"] } });
  state.merged(1, [{ ref: "r23", bytes: 6 }], valref("r1", "r23").value);
  assert.deepEqual(state.see(valref("r1", "r23", "r4")).pieces, [{ kind: "blob", ref: "r4" }]);
  // A value that has ended may have come to stand in its directory.
  const whole = { value: { ver: 1, type: "val", data: "b25lMnR3bw==" } } as const;
  assert.deepEqual(state.see(whole).mismatch?.blobs, [utf8Encode("one2two")]);
  state.merged(0, [{ ref: null, bytes: 7 }], whole.value);
  assert.deepEqual(state.see({ value: { ...whole.value } }), { pieces: [] });
  assert.deepEqual(state.see(valref("r5", "r6")).pieces, [{ kind: "blob", ref: "r6" }]);
});

test("a value that ends, and is short, goes on being told piece by piece while it moves into its directory", async (t) => {
  const { kvs } = await start(t);
  const append = (text: string, flags = 0) => {
    const ops = [{ key: "log", flags: OPERATION_APPEND | flags, dirent: makeTextVal(text) }];
    return kvs.handle.rpc("kvs.commit", { namespace: "primary", flags: 0, ops });
  };
  const [one, two] = ["1".repeat(100), "2".repeat(100)];
  await append(one);
  await append(two);
  const watch = watching(kvs, "log", { append: true });
  assert.deepEqual([await watch.next(), await watch.next()], [one, two]);
  await append("end", OPERATION_LAST);
  assert.equal((await kvs.lookup("log", LookupFlag.TreeObject)).type, "val");
  assert.equal(await watch.next(), "end");
  // Others write, which is no news; and it was not the end.
  await kvs.put("other", 1);
  await append("more");
  assert.equal(await watch.next(), "more");
  await watch.stop();
});

test("appends go on being told piece by piece while the store merges them, on every rank, also to who comes late", async (t) => {
  const { brokers, kvs } = await start(t, 2);
  const count = 3 * LOOSE_REFS_MAX;
  const line = (number: number): string => `line ${number}\n`;
  const whole = Array.from({ length: count }, (_, number) => line(number)).join("");
  const read = async (watch: ReturnType<typeof watching>): Promise<string[]> => {
    const pieces: string[] = [];
    for (let length = 0; length < whole.length; length += pieces.at(-1)!.length) pieces.push((await watch.next())!);
    return pieces;
  };
  await kvs.commit(new KvsTransaction().append("log", line(0)));
  const clients = brokers.map((broker) => new Kvs(broker.connect()));
  const first = clients.map((client) => read(watching(client, "log", { append: true })));
  const late: typeof first = [];
  for (let number = 1; number < count; number++) {
    await kvs.commit(new KvsTransaction().append("log", line(number)), { noMerge: true });
    if (number % 100 === 0) for (const client of clients) late.push(read(watching(client, "log", { append: true })));
  }
  for (const pieces of await Promise.all([...first, ...late])) assert.equal(pieces.join(""), whole);
  const { data } = (await kvs.lookup("log", LookupFlag.TreeObject)) as { data: readonly string[] };
  assert.ok(data.length <= LOOSE_REFS_MAX + 1, `${data.length} blobs`);
  assert.equal(await kvs.getText("log"), whole);
});

test("that its namespace was created is no news to a watcher that has seen it", async (t) => {
  const { kvs } = await start(t);
  await kvs.createNamespace("ns");
  const watch = watching(kvs.in("ns"), "a", { waitCreate: true });
  await kvs.in("ns").put("a", 1);
  assert.equal(await watch.next(), "1");
  // The announcement was under way for so long, as over a slow link.
  kvs.handle.sendEvent("kvs.namespace-ns-created", { namespace: "ns", rootseq: 0, rootref: "", owner: 0 });
  await kvs.in("ns").put("a", 2);
  assert.equal(await watch.next(), "2");
  await watch.stop();
});
