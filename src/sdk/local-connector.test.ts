/** The client's side of the local socket, byte by byte, against a broker that says what the test wants. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FluxError, isFluxError, type ErrnoName } from "../base/errors.ts";
import type { ByteStream, Clock, Net, StreamEvents } from "../base/ports.ts";
import { encodeFrame } from "../protocol/codec.ts";
import { FrameReader } from "../protocol/frame-reader.ts";
import { MessageType, Payload, Role, type Message } from "../protocol/message.ts";
import type { MessageChannel } from "./channel.ts";
import { connectLocal } from "./local-connector.ts";

/** The broker's end of one connection. */
class Peer {
  readonly written: Uint8Array[] = [];
  events: StreamEvents | null = null;
  isEnded = false;
  isDestroyed = false;
  readonly stream: ByteStream = {
    credentials: null,
    identity: null,
    buffered: 0,
    start: (events) => void (this.events = events),
    write: (chunk) => this.written.push(chunk) > 0,
    pause: () => {},
    resume: () => {},
    end: () => void (this.isEnded = true),
    destroy: () => {
      this.isDestroyed = true;
      this.events!.close(null);
    },
  };

  say(bytes: Uint8Array): void {
    this.events!.data(bytes);
  }
}

/** Connects to a peer; the first attempts fail as listed. Delays that the client waits are noted, and over at once. */
function connect(options: { failures?: FluxError[]; retries?: number; uri?: string } = {}): {
  peer: Peer;
  delays: number[];
  channel: Promise<MessageChannel>;
} {
  const { failures = [], retries, uri = "local:///run/local" } = options;
  const peer = new Peer();
  const delays: number[] = [];
  const net = {
    connect: (address: unknown) => {
      assert.deepEqual(address, { kind: "unix", path: "/run/local" });
      const failure = failures.shift();
      return failure === undefined ? Promise.resolve(peer.stream) : Promise.reject(failure);
    },
  } as unknown as Net;
  const clock = {
    after: (delayMs: number, callback: () => void) => {
      delays.push(delayMs);
      queueMicrotask(callback);
      return { cancel: () => {} };
    },
  } as unknown as Clock;
  return { peer, delays, channel: connectLocal({ net, clock }, uri, retries === undefined ? {} : { retries }) };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const by = (errno: ErrnoName, text?: RegExp) => (error: unknown) =>
  isFluxError(error, errno) && (text === undefined || text.test(error.message));

function event(topic: string): Message {
  return {
    type: MessageType.Event,
    topic,
    payload: Payload.json({ from: "broker" }),
    flags: 0,
    userid: 1000,
    rolemask: Role.Owner,
    route: [],
    sequence: 1,
  };
}

/** What a channel delivers, and how often it says that it is lost. */
function listen(channel: MessageChannel): { topics: string[]; ends: (Error | null)[] } {
  const heard = { topics: [] as string[], ends: [] as (Error | null)[] };
  channel.start(
    (message) => heard.topics.push(message.type === MessageType.Control ? "control" : message.topic),
    (error) => heard.ends.push(error),
  );
  return heard;
}

test("handshake and messages may come one byte at a time", async () => {
  const { peer, channel } = connect();
  await turn();
  const bytes = [0, ...encodeFrame(event("one")), ...encodeFrame(event("two"))];
  for (const byte of bytes) peer.say(new Uint8Array([byte]));
  assert.deepEqual(listen(await channel).topics, ["one", "two"]);
});

test("handshake and messages may come all at once, and more before and after anybody listens", async () => {
  const { peer, channel } = connect();
  await turn();
  peer.say(new Uint8Array([0, ...encodeFrame(event("one"))]));
  const opened = await channel;
  peer.say(encodeFrame(event("two")));
  const heard = listen(opened);
  assert.deepEqual(heard.topics, ["one", "two"]);
  peer.say(encodeFrame(event("three")));
  assert.deepEqual(heard.topics, ["one", "two", "three"]);
});

test("what is sent is whole frames; after close nothing more is sent, and no loss is told", async () => {
  const { peer, channel } = connect();
  await turn();
  peer.say(new Uint8Array([0]));
  const opened = await channel;
  const heard = listen(opened);
  opened.send(event("mine"));
  const topics: string[] = [];
  const reader = new FrameReader(1 << 20);
  for (const chunk of peer.written)
    reader.feed(chunk, (message) => topics.push(message.type === MessageType.Control ? "" : message.topic));
  assert.deepEqual(topics, ["mine"]);
  opened.close();
  assert.equal(peer.isEnded, true);
  opened.send(event("late"));
  peer.events!.close(null);
  assert.equal(peer.written.length, 1);
  assert.deepEqual(heard.ends, []);
});

test("a broker that refuses says the errno in the handshake", async () => {
  const { peer, channel } = connect();
  await turn();
  peer.say(new Uint8Array([1]));
  await assert.rejects(channel, by("EPERM"));
  assert.equal(peer.isDestroyed, true);
});

test("a broker that goes away before the handshake is a reset connection", async () => {
  const { peer, channel } = connect();
  await turn();
  peer.events!.close(null);
  await assert.rejects(channel, by("ECONNRESET"));
});

test("garbage ends the connection, once, with the reason", async () => {
  for (const garbage of ["not a message at all", "\x12\x00\xee\xfe", "\x12\x00\xee\xff\x00\x00\x00\x04abcd"]) {
    const { peer, channel } = connect();
    await turn();
    peer.say(new Uint8Array([0]));
    const heard = listen(await channel);
    peer.say(encodeFrame(event("good")));
    for (const byte of Buffer.from(garbage, "latin1")) if (!peer.isDestroyed) peer.say(new Uint8Array([byte]));
    assert.deepEqual(heard.topics, ["good"]);
    assert.equal(peer.isDestroyed, true, JSON.stringify(garbage));
    assert.equal(heard.ends.length, 1);
    assert.ok(isFluxError(heard.ends[0], "EPROTO"), String(heard.ends[0]));
  }
});

test("a connection that was lost before anybody listened says so to who listens, after what had come", async () => {
  const { peer, channel } = connect();
  await turn();
  peer.say(new Uint8Array([0, ...encodeFrame(event("last"))]));
  const opened = await channel;
  peer.events!.close(null);
  assert.deepEqual(listen(opened), { topics: ["last"], ends: [null] });
});

test("a broker that is not there yet is tried again, ever more slowly", async () => {
  const refused = new FluxError("ECONNREFUSED");
  const missing = new FluxError("ENOENT");
  const { peer, delays, channel } = connect({ failures: [missing, refused, missing] });
  await turn();
  peer.say(new Uint8Array([0]));
  await channel;
  assert.deepEqual(delays, [16, 32, 64]);
});

test("a broker that never comes: the error names the path; other errors are final at once", async () => {
  const missing = Array.from({ length: 3 }, () => new FluxError("ENOENT"));
  const late = connect({ failures: missing, retries: 2 });
  await assert.rejects(late.channel, by("ENOENT", /^broker socket \/run\/local was not found$/));
  assert.equal(late.delays.length, 2);
  const forbidden = connect({ failures: [new FluxError("EACCES")] });
  await assert.rejects(forbidden.channel, by("EACCES"));
  assert.deepEqual(forbidden.delays, []);
});

test("only local:// has a path", async () => {
  for (const uri of ["ssh://host/path", "local://", "/run/local"])
    await assert.rejects(connect({ uri }).channel, by("EINVAL", /is not a local:\/\/ URI$/), uri);
});
