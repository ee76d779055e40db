/** What is on its way to a client: in order, in pieces as it reads, and told when it is gone. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { ByteStream } from "../base/ports.ts";
import { FrameReader } from "../protocol/frame-reader.ts";
import { MessageType, Payload, Role, type Message, type ResponseMessage } from "../protocol/message.ts";
import { Outbox } from "./outbox.ts";

const PIECE_BYTES = 64 * 1024;
const HIGH_WATER_BYTES = 64 * 1024;

/** A stream whose other side reads when the test says so, and turns that are the test's. */
class SlowClient {
  readonly messages: Message[] = [];
  readonly outbox: Outbox;
  unread: Uint8Array[] = [];
  readonly deferred: (() => void)[] = [];
  readonly #reader = new FrameReader(2 ** 30);

  constructor() {
    const unreadBytes = (): number => this.unreadBytes;
    const stream = {
      get buffered() {
        return unreadBytes();
      },
      write: (chunk: Uint8Array) => {
        this.unread.push(chunk);
        return this.unreadBytes < HIGH_WATER_BYTES;
      },
    };
    const pace = { wait: (callback: () => void) => void this.deferred.push(callback) };
    this.outbox = new Outbox(stream as unknown as ByteStream, pace);
  }

  get unreadBytes(): number {
    return this.unread.reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  read(): void {
    for (const chunk of this.unread.splice(0)) this.#reader.feed(chunk, (message) => this.messages.push(message));
    this.outbox.drained();
  }

  turn(): void {
    for (const callback of this.deferred.splice(0)) callback();
  }
}

function response(matchtag: number, payload: Payload, left?: (byteLength: number) => void): ResponseMessage {
  const common = {
    type: MessageType.Response,
    topic: "kvs.lookup",
    flags: 0,
    userid: 1,
    rolemask: Role.Owner,
    errnum: 0,
  };
  return { ...common, payload, route: [], matchtag, ...(left === undefined ? {} : { transit: { left } }) };
}

/** A payload that is made as it is asked for. */
function lazy(pieceCount: number, made: { count: number }): Payload {
  function* pieces(): Generator<Uint8Array> {
    for (; made.count < pieceCount; made.count++) yield new Uint8Array(PIECE_BYTES).fill(made.count);
  }
  return Payload.pieces({ byteLength: pieceCount * PIECE_BYTES, isLazy: true, pieces });
}

test("of a huge answer no more is made than the client reads", () => {
  const client = new SlowClient();
  const made = { count: 0 };
  client.outbox.send(response(1, lazy(100, made)));
  assert.ok(made.count <= 2, `${made.count} pieces made, none read`);
  for (let round = 0; round < 20; round++) {
    client.read();
    client.turn();
  }
  assert.ok(made.count > 2 && made.count < 45, `${made.count} pieces made for 20 turns`);
  while (client.messages.length === 0) {
    client.read();
    client.turn();
  }
  assert.equal(client.messages[0]!.payload!.byteLength, 100 * PIECE_BYTES);
});

test("a client that reads at once gets a bounded part per turn", () => {
  const made = { count: 0 };
  const deferred: (() => void)[] = [];
  const stream = { buffered: 0, write: () => true } as unknown as ByteStream;
  const outbox = new Outbox(stream, { wait: (callback: () => void) => void deferred.push(callback) });
  outbox.send(response(1, lazy(100, made)));
  const perTurn: number[] = [];
  while (deferred.length > 0) {
    const before = made.count;
    for (const callback of deferred.splice(0)) callback();
    perTurn.push(made.count - before);
  }
  assert.equal(made.count, 100);
  assert.ok(Math.max(...perTurn) <= 2 && perTurn.length >= 49, String(perTurn));
});

test("answers keep their order, and each is told once when it is gone", () => {
  const client = new SlowClient();
  const gone: number[] = [];
  const told = (matchtag: number) => (): void => void gone.push(matchtag);
  client.outbox.send(response(1, Payload.json({ short: 1 }), told(1)));
  client.outbox.send(response(2, lazy(5, { count: 0 }), told(2)));
  client.outbox.send(response(3, Payload.json({ short: 3 }), told(3)));
  client.outbox.send(response(4, Payload.raw(new Uint8Array(200_000)), told(4)));
  client.outbox.send(response(5, Payload.json({ short: 5 }), told(5)));
  assert.deepEqual(gone, [1]);
  while (client.messages.length < 5) {
    client.read();
    client.turn();
  }
  const tags = client.messages.map((message) => (message.type === MessageType.Response ? message.matchtag : 0));
  assert.deepEqual(tags, [1, 2, 3, 4, 5]);
  assert.deepEqual(gone, [1, 2, 3, 4, 5]);
  assert.equal(client.outbox.owedBytes, 0);
});

test("what waits for a client that leaves is let go; what is made when asked for takes no memory before", () => {
  const client = new SlowClient();
  const gone: number[] = [];
  client.unread.push(new Uint8Array(HIGH_WATER_BYTES));
  client.outbox.send(response(1, Payload.raw(new Uint8Array(1_000_000)), (byteLength) => void gone.push(byteLength)));
  const { heldBytes } = client.outbox;
  assert.ok(heldBytes >= 1_000_000);
  client.outbox.send(response(2, lazy(1000, { count: 0 }), (byteLength) => void gone.push(byteLength)));
  assert.equal(client.outbox.heldBytes, heldBytes);
  assert.ok(client.outbox.owedBytes > 1000 * PIECE_BYTES);
  client.outbox.clear();
  assert.deepEqual(gone, [1_000_000, 1000 * PIECE_BYTES]);
});
