/** The socket for clients, byte by byte: who is let in, and what a client can do to itself and to others. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FluxError, isFluxError } from "../base/errors.ts";
import type { ByteStream, Clock, Net, Ports } from "../base/ports.ts";
import { encodeFrame } from "../protocol/codec.ts";
import { FrameReader } from "../protocol/frame-reader.ts";
import {
  MessageType,
  NODEID_ANY,
  Payload,
  Role,
  settleTransit,
  USERID_UNKNOWN,
  type Message,
} from "../protocol/message.ts";
import { Handle } from "../sdk/handle.ts";
import { Kvs } from "../sdk/kvs.ts";
import { connectLocal } from "../sdk/local-connector.ts";
import { Router, type Peer } from "./router.ts";
import { SimulatedInstance } from "../testkit/instance.ts";
import { World } from "../testkit/world.ts";
import { admit, LocalConnector } from "./connector-local.ts";
import { Pace } from "./pace.ts";

const OPEN = { allowGuestUser: true, allowRootOwner: true };
const CLOSED = { allowGuestUser: false, allowRootOwner: false };

test("roles: the owner always, root and guests where the configuration lets them in", () => {
  const owner = { userid: 1000, rolemask: Role.Owner | Role.Local };
  assert.deepEqual(admit({ uid: 1000, pid: 1 }, 1000, CLOSED), owner);
  assert.equal(admit({ uid: 1001, pid: 1 }, 1000, CLOSED), 1);
  assert.equal(admit({ uid: 0, pid: 1 }, 1000, CLOSED), 1);
  assert.deepEqual(admit({ uid: 0, pid: 1 }, 1000, OPEN), { userid: 0, rolemask: Role.Owner | Role.Local });
  assert.deepEqual(admit({ uid: 1001, pid: 1 }, 1000, OPEN), { userid: 1001, rolemask: Role.User | Role.Local });
  assert.equal(admit(null, 1000, OPEN), 1);
});

/** Runs a test against the socket of a broker. */
async function atSocket(run: (ports: Ports, uri: string, handle: Handle) => Promise<void>): Promise<void> {
  const world = new World("connector");
  let failure: unknown = null;
  const instance = new SimulatedInstance(world, {
    size: 1,
    workload: async ({ ports, handle }) => {
      const { value } = await handle.rpc<{ value: string }>("attr.get", { name: "local-uri" });
      await run(ports, value, handle).catch((error: unknown) => (failure = error));
      return 0;
    },
  });
  assert.ok(await instance.runToEnd(600_000), instance.stderr.join(""));
  if (failure !== null) throw failure;
}

const request = (topic: string, payload: object): Message => ({
  type: MessageType.Request,
  topic,
  payload: Payload.json(payload),
  flags: 0,
  userid: USERID_UNKNOWN,
  rolemask: Role.None,
  route: [],
  nodeid: NODEID_ANY,
  matchtag: 7,
});

interface RawClient {
  readonly stream: ByteStream;
  /** Resolves with the next message. */
  next(): Promise<Message>;
  readonly closed: Promise<void>;
}

/** A client that writes what it likes. */
async function rawClient(ports: Ports, uri: string): Promise<RawClient> {
  const stream = await ports.net.connect({ kind: "unix", path: uri.slice("local://".length) });
  const reader = new FrameReader(2 ** 30);
  const messages: Message[] = [];
  let wake = (): void => {};
  let handshake: number | null = null;
  let close = (): void => {};
  const closed = new Promise<void>((resolve) => (close = resolve));
  stream.start({
    data: (chunk) => {
      const rest = handshake === null ? chunk.subarray(1) : chunk;
      handshake ??= chunk[0]!;
      assert.equal(handshake, 0);
      reader.feed(rest, (message) => messages.push(message));
      wake();
    },
    close,
  });
  const next = async (): Promise<Message> => {
    while (messages.length === 0) await new Promise<void>((resolve) => (wake = resolve));
    return messages.shift()!;
  };
  return { stream, next, closed };
}

test("a request may come one byte at a time, and many in one piece", () =>
  atSocket(async (ports, uri) => {
    const client = await rawClient(ports, uri);
    const frame = encodeFrame(request("attr.get", { name: "size" }));
    for (const byte of frame) client.stream.write(Uint8Array.of(byte));
    const answer = await client.next();
    assert.equal(answer.type, MessageType.Response);
    assert.deepEqual(answer.payload?.value, { value: "1", flags: 1 });
    assert.deepEqual(answer.route, []);
    client.stream.write(Buffer.concat([frame, frame, frame]));
    for (let count = 0; count < 3; count++) assert.equal((await client.next()).type, MessageType.Response);
    client.stream.destroy();
  }));

/** A connector whose sockets are in the hand of the test; deferred work waits for `turn`. */
function fakeConnector(parent: Peer | null = null): {
  connect(): { send(bytes: Uint8Array): void; isPaused(): boolean };
  turn(): Promise<void>;
} {
  const deferred: (() => void)[] = [];
  const defer = (callback: () => void): void => void deferred.push(callback);
  let accept: (stream: ByteStream) => void = () => {};
  const listen = (_address: unknown, take: typeof accept): Promise<object> => {
    accept = take;
    return Promise.resolve({ close: () => Promise.resolve() });
  };
  let uuid = 0;
  const routes = { parent, children: [], nextHop: () => null };
  const router = new Router({
    rank: parent === null ? 0 : 1,
    size: 2,
    ownerUserid: 1,
    routes,
    newUuid: () => `u${uuid++}`,
    defer,
  });
  const service = router.attach({ userid: 1, rolemask: Role.Owner });
  router.addService(service, "order");
  if (parent !== null) router.addPeer(parent);
  service.start(
    (message) => message.type === MessageType.Request && order.push(String(message.payload?.value["from"])),
    () => {},
  );
  const clock = { defer, monotonicMs: () => 0, busyMs: () => 0 } as unknown as Clock;
  const connector = new LocalConnector({
    net: { listen } as unknown as Net,
    clock,
    pace: new Pace(clock),
    router,
    ownerUserid: 1,
    access: () => CLOSED,
    isOffline: () => false,
    log: (_severity, text) => assert.fail(text),
  });
  void connector.listen("/socket");
  return {
    connect: () => {
      let receive: (chunk: Uint8Array) => void = () => {};
      let paused = false;
      accept({
        credentials: { uid: 1, pid: 1 },
        buffered: 0,
        write: () => true,
        start: (events: { data(chunk: Uint8Array): void }) => (receive = (chunk) => events.data(chunk)),
        pause: () => (paused = true),
        resume: () => (paused = false),
      } as unknown as ByteStream);
      return { send: (bytes) => receive(bytes), isPaused: () => paused };
    },
    turn: async () => {
      for (const callback of deferred.splice(0)) callback();
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

const order: string[] = [];

test("a storm of requests in one piece is taken in turns, and in order; others have theirs in between", async () => {
  const { connect, turn } = fakeConnector();
  const storm = connect();
  const other = connect();
  const frames = Array.from({ length: 200 }, (_, index) => encodeFrame(request("order.take", { from: `s${index}` })));
  storm.send(Buffer.concat(frames));
  other.send(encodeFrame(request("order.take", { from: "other" })));
  assert.equal(storm.isPaused(), true);
  assert.equal(other.isPaused(), false);
  for (let count = 0; count < 10; count++) await turn();
  assert.equal(storm.isPaused(), false);
  const place = order.indexOf("other");
  assert.ok(place > 0 && place <= 64, `${place} came before the other's`);
  assert.deepEqual(
    order.filter((from) => from !== "other"),
    Array.from({ length: 200 }, (_, index) => `s${index}`),
  );
});

test("of who sends bulk one chunk is taken at a time, turn about; who sends little is not stopped", async () => {
  order.length = 0;
  const { connect, turn } = fakeConnector();
  const bulk = ["a", "b", "c", "d"].map((from) => ({ from, client: connect() }));
  const chunk = (from: string, part: number): Uint8Array =>
    encodeFrame(request("order.take", { from, pad: "x".repeat(200_000) })).slice(part * 60_000, (part + 1) * 60_000);
  for (const { from, client } of bulk) client.send(chunk(from, 0));
  assert.ok(bulk.every(({ client }) => client.isPaused()));
  const small = connect();
  small.send(encodeFrame(request("order.take", { from: "small" })));
  assert.equal(small.isPaused(), false);
  await turn();
  assert.deepEqual(
    bulk.map(({ client }) => client.isPaused()),
    [false, false, true, true],
  );
  for (const { from, client } of bulk.slice(0, 2)) client.send(chunk(from, 1));
  await turn();
  assert.deepEqual(
    bulk.map(({ client }) => client.isPaused()),
    [true, true, false, false],
  );
  assert.equal(order.filter((from) => from === "small").length, 1);
});

test("a client whose messages cannot be passed on is not read from, until they can; others are", async () => {
  const queued: Message[] = [];
  const { connect, turn } = fakeConnector({ uuid: "parent", send: (message) => void queued.push(message) });
  const bulk = connect();
  const other = connect();
  const frame = encodeFrame(request("content.store", { pad: "x".repeat(700_000) }));
  const chunks: Uint8Array[] = [];
  for (let start = 0; start < frame.byteLength; start += 65_536) chunks.push(frame.slice(start, start + 65_536));
  for (let count = 0; count < 2; count++)
    for (const chunk of chunks) {
      bulk.send(chunk);
      await turn();
      await turn();
    }
  assert.equal(queued.length, 2);
  assert.equal(bulk.isPaused(), true);
  other.send(encodeFrame(request("broker.ping", {})));
  await turn();
  assert.equal(other.isPaused(), false);
  assert.equal(queued.length, 3);
  for (const message of queued) settleTransit(message);
  assert.equal(bulk.isPaused(), false);
});

test("a huge message may come in small chunks beside others; its client may die in the middle of it", () =>
  atSocket(async (ports, uri, handle) => {
    const value = Buffer.alloc(2_000_000, "0123456789abcdef");
    const dirent = { ver: 1, type: "val", data: value.toString("base64") };
    const frame = encodeFrame(
      request("kvs.commit", { namespace: "primary", flags: 0, ops: [{ key: "huge", flags: 0, dirent }] }),
    );
    const [whole, dying] = [await rawClient(ports, uri), await rawClient(ports, uri)];
    for (let start = 0; start < frame.byteLength; start += 9999) {
      whole.stream.write(frame.subarray(start, start + 9999));
      if (start < frame.byteLength / 2) dying.stream.write(frame.subarray(start, start + 9999));
      if (start % 7 === 0) await handle.rpc("broker.ping");
    }
    dying.stream.destroy();
    const answer = await whole.next();
    assert.equal(answer.type === MessageType.Response && answer.errnum, 0);
    assert.equal(value.compare(await new Kvs(handle).getLongBytes("huge")), 0);
    whole.stream.destroy();
  }));

test("a client that leaves in the middle of its storm harms nobody", () =>
  atSocket(async (ports, uri, handle) => {
    const storm = await rawClient(ports, uri);
    const frame = encodeFrame(request("attr.get", { name: "size" }));
    storm.stream.write(Buffer.concat(Array.from({ length: 1000 }, () => frame)));
    await storm.next();
    storm.stream.destroy();
    assert.equal((await handle.rpc<{ value: string }>("attr.get", { name: "rank" })).value, "0");
  }));

test("garbage ends the connection it came on, and no other", () =>
  atSocket(async (ports, uri, handle) => {
    const garbage = [
      new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"),
      // The magic in the byte order of the RFC's text instead of the library's.
      Uint8Array.of(0xff, 0xee, 0x00, 0x12, 0, 0, 0, 20),
      // A frame whose message is nonsense.
      Uint8Array.of(0x12, 0x00, 0xee, 0xff, 0, 0, 0, 4, 1, 2, 3, 4),
    ];
    for (const bytes of garbage) {
      const bad = await rawClient(ports, uri);
      bad.stream.write(bytes);
      await bad.closed;
      assert.equal((await handle.rpc<{ value: string }>("attr.get", { name: "rank" })).value, "0");
    }
  }));

test("what a client that serves was asked and has not answered ends with its connection, streams too", () =>
  atSocket(async (ports, uri, handle) => {
    const server = new Handle(await connectLocal(ports, uri));
    let count = 0;
    const asked = Promise.withResolvers<void>();
    server.serveRequests(() => ++count === 2 && asked.resolve());
    await server.rpc("service.add", { service: "silent" });
    const ended = Promise.withResolvers<FluxError | null>();
    handle.open("silent.watch", {}, { item: () => {}, end: ended.resolve });
    const call = handle.rpc("silent.say", {});
    await asked.promise;
    server.close();
    await assert.rejects(call, (error) => isFluxError(error, "ENOSYS"));
    assert.ok(isFluxError(await ended.promise, "ENOSYS"));
  }));

test("a client's service is reached by others and goes with its connection", () =>
  atSocket(async (ports, uri, handle) => {
    const server = new Handle(await connectLocal(ports, uri));
    server.serveRequests((incoming) => incoming.respond({ echo: incoming.json["word"] }));
    await server.rpc("service.add", { service: "mine" });
    assert.deepEqual(await handle.rpc("mine.say", { word: "hello" }), { echo: "hello" });
    await assert.rejects(handle.rpc("service.add", { service: "mine" }), (error) => isFluxError(error, "EEXIST"));
    server.close();
    let error: unknown = null;
    while (error === null)
      error = await handle.rpc("mine.say", {}).then(
        () => null,
        (reason: unknown) => reason,
      );
    assert.ok(isFluxError(error, "ENOSYS"), String(error));
  }));

test("large payloads go both ways", () =>
  atSocket(async (_ports, _uri, handle) => {
    const pad = "x".repeat(3_000_000);
    assert.equal((await handle.rpc<{ pad: string }>("broker.ping", { pad })).pad.length, pad.length);
  }));

test("no socket, no broker: the error names the path", () =>
  atSocket(async (ports) => {
    await assert.rejects(
      connectLocal(ports, "local:///nosuch", { retries: 0 }),
      (error) =>
        error instanceof FluxError && error.is("ENOENT") && error.message === "broker socket /nosuch was not found",
    );
  }));
