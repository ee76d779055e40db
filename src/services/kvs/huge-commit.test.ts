/** Commits that come as one huge message: cut where they enter, in order, whole or not at all. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8Encode } from "../../base/bytes.ts";
import { type ErrnoName } from "../../base/errors.ts";
import { makeVal } from "../../formats/treeobj.ts";
import { Payload, type Transit } from "../../protocol/message.ts";
import { Kvs } from "../../sdk/kvs.ts";
import { OPERATION_APPEND, type Operation } from "../../sdk/kvs-protocol.ts";
import { VALUE_PIECE_BYTES } from "../../sdk/value-stream.ts";
import { type Broker, fails, startStorage, stopStorage } from "./world.fixture.ts";

const CHUNK_BYTES = 65_536;

async function start(t: { after(action: () => Promise<void>): void }, size = 1): Promise<Broker[]> {
  const brokers = await startStorage({ size });
  t.after(() => stopStorage(brokers));
  return brokers;
}

/** A payload as it comes from a socket: in pieces. */
function inPieces(text: string): Payload {
  const bytes = utf8Encode(`${text}\0`);
  const pieces: Uint8Array[] = [];
  for (let offset = 0; offset < bytes.byteLength; offset += CHUNK_BYTES)
    pieces.push(bytes.subarray(offset, offset + CHUNK_BYTES));
  return Payload.pieces({ byteLength: bytes.byteLength, pieces: () => pieces.values() });
}

function commit(kvs: Kvs, operations: readonly Operation[]): Promise<unknown> {
  const payload = inPieces(JSON.stringify({ namespace: kvs.namespace, flags: 0, ops: operations }));
  return kvs.handle.rpc("kvs.commit", payload);
}

function put(key: string, value: Uint8Array, flags = 0): Operation {
  return { key, flags, dirent: makeVal(value) };
}

function bytesOf(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at += 4) bytes.writeUInt32LE((at * 2654435761 + seed) >>> 0, Math.min(at, length - 4));
  return bytes;
}

test("long values become blobs of one length, on the leader and on followers; short ones stay", async (t) => {
  const brokers = await start(t, 3);
  for (const [rank, broker] of brokers.entries()) {
    const kvs = new Kvs(broker.connect());
    const values = new Map([
      ["big", bytesOf(2 * VALUE_PIECE_BYTES + 1, rank)],
      ["exact", bytesOf(VALUE_PIECE_BYTES, rank)],
      ["middle", bytesOf(100_000, rank)],
      ["short", bytesOf(10, rank)],
      ["empty", Buffer.alloc(0)],
    ]);
    await commit(
      kvs,
      Array.from(values, ([key, value]) => put(`r${rank}.${key}`, value)),
    );
    for (const [key, value] of values) {
      assert.equal(value.compare(await kvs.getBytes(`r${rank}.${key}`)), 0, `${rank} ${key}`);
      assert.equal(value.compare(await kvs.getLongBytes(`r${rank}.${key}`)), 0, `${rank} ${key}`);
    }
    const big = await kvs.getTreeObject(`r${rank}.big`);
    assert.equal(big.type === "valref" && big.data.length, 3);
    const middle = await kvs.getTreeObject(`r${rank}.middle`);
    assert.equal(middle.type === "valref" && middle.data.length, 1);
  }
});

test("the commits of one sender keep their order, whatever their size", async (t) => {
  for (const broker of await start(t, 2)) {
    const kvs = new Kvs(broker.connect());
    const done: number[] = [];
    const all = [1, 2, 3, 4].map((count) =>
      (count % 2 === 1
        ? commit(kvs, [put("k", bytesOf(1_000_000, count)), put("n", utf8Encode(String(count)))])
        : kvs.put("n", count)
      ).then(() => done.push(count)),
    );
    await Promise.all(all);
    assert.deepEqual(done, [1, 2, 3, 4]);
    assert.equal(await kvs.get("n"), 4);
    assert.equal(bytesOf(1_000_000, 3).compare(await kvs.getBytes("k")), 0);
  }
});

test("a small commit of another sender does not wait for a huge one", async (t) => {
  const [broker] = await start(t);
  const order: string[] = [];
  const huge = commit(new Kvs(broker!.connect()), [put("big", bytesOf(8_000_000))]).then(() => order.push("huge"));
  await new Kvs(broker!.connect()).put("small", 1).then(() => order.push("small"));
  await huge;
  assert.deepEqual(order, ["small", "huge"]);
});

test("a huge value can be appended", async (t) => {
  for (const broker of await start(t, 2)) {
    const kvs = new Kvs(broker.connect());
    await commit(kvs, [put("log", utf8Encode("begin")), put("pad", bytesOf(300_000))]);
    await commit(kvs, [put("log", bytesOf(900_000), OPERATION_APPEND)]);
    assert.equal(Buffer.concat([Buffer.from("begin"), bytesOf(900_000)]).compare(await kvs.getBytes("log")), 0);
  }
});

test("a guest commits huge values in its own namespace, and no references", async (t) => {
  for (const [rank, broker] of (await start(t, 2)).entries()) {
    const namespace = `mine${rank}`;
    await new Kvs(broker.connect()).createNamespace(namespace, { owner: 2000 });
    const guest = new Kvs(broker.connect(2000), namespace);
    await commit(guest, [put("k", bytesOf(1_000_000))]);
    assert.equal(bytesOf(1_000_000).compare(await guest.getBytes("k")), 0);
    const reference: Operation = {
      key: "r",
      flags: 0,
      dirent: { ver: 1, type: "valref", data: [`sha1-${"0".repeat(40)}`] },
    };
    await assert.rejects(commit(guest, [put("k", bytesOf(300_000)), reference]), fails("EPERM"));
    await assert.rejects(commit(guest.in("primary"), [put("k", bytesOf(1_000_000))]), fails("EPERM"));
    await assert.rejects(guest.handle.rpc("kvs.commit-cut", {}, { nodeid: 0 }), fails("EPERM"));
  }
});

test("what makes no sense is refused, and nothing of it happens", async (t) => {
  const [broker] = await start(t);
  const kvs = new Kvs(broker!.connect());
  const long = "A".repeat(400_000);
  const text = (ops: string): string =>
    `{"namespace":"primary","flags":0,"ops":[{"key":"a","flags":0,"dirent":${JSON.stringify(makeVal(utf8Encode("1")))}},${ops}]}`;
  const value = (data: string): string => `{"ver":1,"type":"val","data":${data}}`;
  const operation = (dirent: string, flags = 0): string => `{"key":"b","flags":${flags},"dirent":${dirent}}`;
  const pad = operation(value(`"${long}"`));
  const cases: [string, ErrnoName][] = [
    [operation(value(`"${long}A"`)), "EINVAL"],
    [operation(value(`"${long}!AAA"`)), "EINVAL"],
    [operation(value(`"AA==${long}"`)), "EINVAL"],
    [`{"key":"${long}","flags":0,"dirent":${value('"AAAA"')}}`, "EPROTO"],
    [operation(`{"ver":1,"type":"symlink","data":{"target":"${long}"}}`), "EINVAL"],
    // What stands for a long string inside cannot be had by writing it.
    [`${pad},${operation(value('{"long":7}'))}`, "EINVAL"],
    [`${pad},`, "EPROTO"],
    [operation(`{"ver":1,"type":"valref","data":["sha1-${"0".repeat(40)}"]}`, OPERATION_APPEND) + `,${pad}`, "EPROTO"],
  ];
  for (const [ops, errno] of cases)
    await assert.rejects(kvs.handle.rpc("kvs.commit", inPieces(text(ops))), fails(errno), ops.slice(0, 60));
  await assert.rejects(kvs.get("a"), fails("ENOENT"));
  await kvs.put("after", 1);
});

test("who sends huge commits is held back until they are done", async (t) => {
  const [broker] = await start(t);
  let held = 0;
  const transit: Transit = { left: (byteLength) => (held -= byteLength) };
  const payload = inPieces(JSON.stringify({ namespace: "primary", flags: 0, ops: [put("k", bytesOf(1_000_000))] }));
  const port = broker!.router.attach({ userid: 1000, rolemask: 1 });
  const answered = new Promise<void>((resolve) => {
    port.start(
      () => resolve(),
      () => {},
    );
  });
  held += payload.byteLength;
  const request = { type: 1, topic: "kvs.commit", payload, flags: 0, userid: 1000, rolemask: 1 } as const;
  port.send({ ...request, route: [], nodeid: 0xffffffff, matchtag: 1, transit });
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(held, payload.byteLength);
  await answered;
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(held, 0);
});
