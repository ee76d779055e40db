/** The Handle over a channel that the test holds the other end of. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FluxError, isFluxError, type ErrnoName } from "../base/errors.ts";
import {
  errorResponseTo,
  MATCHTAG_NONE,
  MessageFlag,
  MessageType,
  NODEID_ANY,
  Payload,
  responseTo,
  Role,
  USERID_UNKNOWN,
  type EventMessage,
  type Message,
  type RequestMessage,
} from "../protocol/message.ts";
import { Handle } from "./handle.ts";

/** The broker's end: what was sent, and ways to answer. */
class Broker {
  readonly sent: Message[] = [];
  isClosed = false;
  receive: (message: Message) => void = () => {};
  lose: (error: Error | null) => void = () => {};
  readonly handle: Handle = new Handle({
    start: (receive, closed) => {
      this.receive = receive;
      this.lose = closed;
    },
    send: (message) => void this.sent.push(message),
    close: () => (this.isClosed = true),
  });

  /** The last request that was sent. */
  get request(): RequestMessage {
    const message = this.sent.findLast(({ type }) => type === MessageType.Request);
    assert.ok(message?.type === MessageType.Request);
    return message;
  }

  answer(request: RequestMessage, payload: object | null): void {
    this.receive(responseTo(request, 0, payload === null ? null : Payload.json(payload)));
  }

  refuse(request: RequestMessage, errno: ErrnoName, text?: string): void {
    this.receive(errorResponseTo(request, new FluxError(errno, text)));
  }

  event(topic: string): void {
    const event: EventMessage = {
      type: MessageType.Event,
      topic,
      payload: null,
      flags: 0,
      userid: 0,
      rolemask: Role.Owner,
      route: [],
      sequence: 1,
    };
    this.receive(event);
  }
}

const by = (errno: ErrnoName, text?: RegExp) => (error: unknown) =>
  isFluxError(error, errno) && (text === undefined || text.test(error.message));

test("a request carries what was asked for; without options it goes to anybody, for nobody else", () => {
  const broker = new Broker();
  void broker.handle.rpc("a.b");
  const { nodeid, userid, rolemask, flags, payload } = broker.request;
  assert.deepEqual([nodeid, userid, rolemask, flags, payload], [NODEID_ANY, USERID_UNKNOWN, Role.None, 0, null]);
  void broker.handle.rpc("a.b", { x: 1 }, { nodeid: 3, upstream: true, userid: 7, rolemask: Role.User });
  assert.equal(broker.request.nodeid, 3);
  assert.equal(broker.request.flags, MessageFlag.Upstream);
  assert.deepEqual([broker.request.userid, broker.request.rolemask], [7, Role.User]);
  assert.deepEqual(broker.request.payload?.value, { x: 1 });
});

test("answers are told apart by matchtag, in whatever order they come; strays mean nothing", async () => {
  const broker = new Broker();
  const first = broker.handle.rpc("a.b");
  const firstRequest = broker.request;
  const second = broker.handle.rpc("a.b");
  const secondRequest = broker.request;
  assert.notEqual(firstRequest.matchtag, secondRequest.matchtag);
  broker.answer(secondRequest, { n: 2 });
  broker.answer({ ...firstRequest, matchtag: 999 }, { n: 0 });
  broker.answer(secondRequest, { n: 3 });
  broker.answer(firstRequest, null);
  assert.deepEqual(await second, { n: 2 });
  assert.deepEqual(await first, {}, "no payload reads as an empty object");
});

test("an error response has its sentence, or that of its errno", async () => {
  const broker = new Broker();
  const said = broker.handle.rpc("a.b");
  broker.refuse(broker.request, "EINVAL", "that is wrong");
  await assert.rejects(said, by("EINVAL", /^that is wrong$/));
  const silent = broker.handle.rpc("a.b");
  broker.refuse(broker.request, "ENOENT");
  await assert.rejects(silent, by("ENOENT", /^No such file or directory$/));
});

test("a payload that is not JSON fails the call that asked, and no other", async () => {
  const broker = new Broker();
  const bad = broker.handle.rpc("a.b");
  const badRequest = broker.request;
  const stream = broker.handle.stream("a.s");
  const streamRequest = broker.request;
  const item = stream.next();
  const good = broker.handle.rpc("a.c");
  const garbage = Payload.raw(new Uint8Array([1, 2, 3]));
  broker.receive(responseTo(badRequest, 0, garbage));
  broker.receive(responseTo(streamRequest, 0, garbage));
  broker.answer(broker.request, {});
  await assert.rejects(bad, by("EPROTO"));
  await assert.rejects(item, by("EPROTO"));
  assert.deepEqual(await good, {});
});

test("when the connection is lost everything open fails once, with ECONNRESET, and so does what comes after", async () => {
  const broker = new Broker();
  const ends: (string | null)[] = [];
  const closed: number[] = [];
  broker.handle.onClose((error) => closed.push(error.errnum));
  const call = broker.handle.rpc("a.b");
  const { request } = broker;
  broker.handle.open("a.s", {}, { item: () => {}, end: (error) => ends.push(error?.message ?? null) });
  broker.lose(null);
  broker.lose(new Error("again"));
  broker.answer(request, {});
  await assert.rejects(call, by("ECONNRESET", /connection to the broker was lost/));
  await assert.rejects(broker.handle.rpc("a.b"), by("ECONNRESET"));
  assert.equal(ends.length, 1);
  assert.equal(closed.length, 1);
  const { length } = broker.sent;
  broker.handle.send("a.b");
  assert.equal(broker.sent.length, length, "nothing is sent any more");
});

test("close ends what is open with ECANCELED", async () => {
  const broker = new Broker();
  const call = broker.handle.rpc("a.b");
  broker.handle.close();
  assert.equal(broker.isClosed, true);
  assert.equal(broker.handle.isClosed, true);
  await assert.rejects(call, by("ECANCELED"));
});

test("an aborted call fails at once and keeps its matchtag until the answer has come", async () => {
  const broker = new Broker();
  await assert.rejects(broker.handle.rpc("a.b", {}, { signal: AbortSignal.abort() }), by("ECANCELED"));
  const abandoned = broker.request;
  const next = broker.handle.rpc("a.b");
  assert.notEqual(broker.request.matchtag, abandoned.matchtag);
  broker.answer(abandoned, { late: true });
  broker.answer(broker.request, { late: false });
  assert.deepEqual(await next, { late: false });
});

test("a stream gives its items in order, waits for more, and ends at ENODATA", async () => {
  const broker = new Broker();
  const stream = broker.handle.stream<{ n: number }>("a.s");
  const { request } = broker;
  assert.equal(request.flags, MessageFlag.Streaming);
  broker.answer(request, { n: 1 });
  broker.answer(request, { n: 2 });
  const seen: number[] = [];
  const all = (async () => {
    for await (const { n } of stream) seen.push(n);
  })();
  broker.answer(request, { n: 3 });
  broker.refuse(request, "ENODATA");
  await all;
  assert.deepEqual(seen, [1, 2, 3]);
  assert.equal((await stream.next()).done, true);
});

test("a stream that fails gives what came before, then the error", async () => {
  const broker = new Broker();
  const stream = broker.handle.stream<{ n: number }>("a.s");
  broker.answer(broker.request, { n: 1 });
  broker.refuse(broker.request, "EPERM", "not you");
  assert.deepEqual(await stream.next(), { done: false, value: { n: 1 } });
  await assert.rejects(stream.next(), by("EPERM", /^not you$/));
});

test("leaving the loop tells the service, and settles whoever still waits", async () => {
  const broker = new Broker();
  const stream = broker.handle.stream("a.s", {}, { cancelTopic: "a.cancel", nodeid: 2 });
  const { matchtag } = broker.request;
  const waiting = stream.next();
  await stream.return();
  assert.equal((await waiting).done, true);
  assert.equal(broker.request.topic, "a.cancel");
  assert.equal(broker.request.nodeid, 2);
  assert.equal(broker.request.flags, MessageFlag.NoResponse);
  assert.deepEqual(broker.request.payload?.value, { matchtag });
});

test("an abort signal asks the stream's service to end it, also one that came before", async () => {
  const broker = new Broker();
  const abort = new AbortController();
  const early = broker.handle.stream("a.s", {}, { cancelTopic: "a.cancel", signal: abort.signal });
  const request = broker.request;
  abort.abort();
  assert.equal(broker.request.topic, "a.cancel");
  broker.refuse(request, "ENODATA");
  assert.equal((await early.next()).done, true);
  broker.handle.stream("a.s", {}, { cancelTopic: "a.cancel", signal: abort.signal });
  assert.deepEqual(
    broker.sent.map(({ topic }) => topic),
    ["a.s", "a.cancel", "a.s", "a.cancel"],
  );
});

test("events go to the listeners of every prefix that fits, until each is canceled", async () => {
  const broker = new Broker();
  const seen: string[] = [];
  const note = (name: string) => () => void seen.push(name);
  const subscribe = async (prefix: string, listener: () => void) => {
    const subscription = broker.handle.subscribe(prefix, listener);
    broker.answer(broker.request, null);
    return subscription;
  };
  const same = note("same");
  const all = await subscribe("", note("all"));
  const first = await subscribe("job.", same);
  const second = await subscribe("job.", same);
  broker.event("job.state");
  broker.event("jobs");
  assert.deepEqual(seen.splice(0), ["all", "same", "same", "all"]);
  first.cancel();
  first.cancel();
  broker.event("job.state");
  assert.deepEqual(seen.splice(0), ["all", "same"]);
  second.cancel();
  all.cancel();
  broker.event("job.state");
  assert.deepEqual(seen, []);
  assert.equal(broker.sent.filter(({ topic }) => topic === "event.unsubscribe").length, 3, "once for each");
});

test("a subscription that is refused hears nothing", async () => {
  const broker = new Broker();
  const subscription = broker.handle.subscribe("job.", () => assert.fail("heard"));
  broker.refuse(broker.request, "EPERM");
  await assert.rejects(subscription, by("EPERM"));
  broker.event("job.state");
});

test("requests without a matchtag are answered to one listener", () => {
  const broker = new Broker();
  const seen: number[] = [];
  broker.handle.onUntagged(({ errnum }) => seen.push(errnum));
  broker.handle.sendUntagged("sched.alloc", { id: 1 });
  assert.equal(broker.request.matchtag, MATCHTAG_NONE);
  broker.answer(broker.request, { id: 1 });
  broker.refuse(broker.request, "ENOSYS");
  assert.deepEqual(seen, [0, 38]);
});

test("who serves nothing says so, unless no answer is wanted", () => {
  const broker = new Broker();
  void broker.handle.rpc("my.own");
  const { request } = broker;
  broker.receive(request);
  const answer = broker.sent.at(-1)!;
  assert.ok(answer.type === MessageType.Response && answer.errnum === 38);
  const { length } = broker.sent;
  broker.receive({ ...request, flags: MessageFlag.NoResponse });
  assert.equal(broker.sent.length, length);
});

test("an event that a listener cannot read is told of, and nobody else misses anything", async () => {
  const bad: string[] = [];
  let receive: (message: Message) => void = () => {};
  const channel = {
    start: (deliver: (message: Message) => void) => (receive = deliver),
    send: (message: Message) => {
      if (message.type === MessageType.Request) receive(responseTo(message, 0, null));
    },
    close: () => {},
  };
  const handle = new Handle(channel, { badEvent: (topic, error) => bad.push(`${topic}: ${error.message}`) });
  const heard: string[] = [];
  await handle.subscribe("a", ({ topic, payload }) => heard.push(`${topic} ${Object.keys(payload!.value).join()}`));
  await handle.subscribe("a", ({ topic }) => heard.push(topic));
  const event = (topic: string, payload: Payload, rolemask: number = Role.Owner): void =>
    receive({ type: MessageType.Event, topic, payload, flags: 0, userid: 0, rolemask, route: [], sequence: 1 });
  event("a.1", Payload.text("no JSON"));
  event("a.2", Payload.json({ x: 1 }));
  assert.deepEqual(heard, ["a.1", "a.2 x", "a.2"]);
  assert.equal(bad.length, 1);
  assert.match(bad[0]!, /^a\.1: invalid JSON/);
  heard.length = 0;
  await handle.subscribe("b", ({ topic }) => heard.push(topic), { ownerOnly: true });
  event("b.guest", Payload.json({}), Role.User);
  event("b.owner", Payload.json({}), Role.Owner | Role.Local);
  assert.deepEqual(heard, ["b.owner"], "what any user may publish, services do not act upon");
});
