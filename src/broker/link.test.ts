/** Links between brokers: what is held back, where, and what goes by all the same. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { ByteStream, Clock, StreamEvents } from "../base/ports.ts";
import { MessageType, NODEID_ANY, Payload, Role, type Message } from "../protocol/message.ts";
import { WINDOW_BYTES } from "../protocol/pieces.ts";
import { control, Control } from "./edge.ts";
import { Link } from "./link.ts";
import { Pace } from "./pace.ts";

const deferred: (() => void)[] = [];
const clock = {
  monotonicMs: () => 0,
  busyMs: () => 0,
  defer: (callback: () => void) => void deferred.push(callback),
} as unknown as Clock;
const pace = new Pace(clock);
const BLOB_BYTES = 256 * 1024;

/** One end of a wire that carries bytes when the test says so. */
class End implements ByteStream {
  readonly credentials = null;
  readonly identity = null;
  readonly written: Uint8Array[] = [];
  events: StreamEvents | null = null;
  get buffered(): number {
    return 0;
  }
  start(events: StreamEvents): void {
    this.events = events;
  }
  write(chunk: Uint8Array): boolean {
    this.written.push(chunk);
    return true;
  }
  pause(): void {}
  resume(): void {}
  end(): void {}
  destroy(): void {
    this.events?.close(null);
  }
  get writtenBytes(): number {
    return this.written.reduce((sum, { byteLength }) => sum + byteLength, 0);
  }
}

/** Lets turns of the loop go by until nothing is to be done in any. */
function turns(): void {
  while (deferred.length > 0) deferred.shift()!();
}

interface Side {
  readonly end: End;
  readonly link: Link;
  readonly received: Message[];
  hasRoom: boolean;
}

function side(): Side {
  const end = new End();
  const made: Side = { end, link: new Link(end, clock, pace), received: [], hasRoom: true };
  made.link.start({
    message: (message) => void made.received.push(message),
    hasRoom: () => made.hasRoom,
    closed: () => {},
  });
  return made;
}

/** Carries what was written, both ways, until nothing moves. */
function carry(left: Side, right: Side): void {
  turns();
  while (left.end.written.length > 0 || right.end.written.length > 0) {
    for (const [from, to] of [
      [left, right],
      [right, left],
    ] as const)
      for (const chunk of from.end.written.splice(0)) to.end.events!.data(chunk);
    turns();
  }
}

function request(topic: string, payload: Payload, sender: string, left?: (byteLength: number) => void): Message {
  const transit = left === undefined ? undefined : { left };
  const common = { type: MessageType.Request, flags: 0, userid: 1, rolemask: Role.Owner, nodeid: NODEID_ANY } as const;
  return { ...common, topic, payload, route: [sender], matchtag: 1, transit };
}

const blob = (): Payload => Payload.raw(new Uint8Array(BLOB_BYTES));

test("no more than a window of large messages is on the wire while the other side takes nothing", () => {
  const near = side();
  for (let count = 0; count < 40; count++) near.link.send(request("content.store", blob(), `s${count % 4}`));
  assert.ok(near.end.writtenBytes <= 200_000, "a bounded part in one turn");
  turns();
  assert.ok(near.end.writtenBytes < WINDOW_BYTES + 100_000, String(near.end.writtenBytes));
  assert.ok(near.link.isFull);
  const before = near.end.writtenBytes;
  near.link.send(request("broker.ping", Payload.json({}), "other"));
  assert.ok(near.end.writtenBytes > before, "a small one goes by");
});

test("who cannot pass large messages on holds them back where they come from; small ones come through", () => {
  const [near, far] = [side(), side()];
  far.hasRoom = false;
  for (let count = 0; count < 40; count++) near.link.send(request("content.store", blob(), "s"));
  carry(near, far);
  assert.ok(far.received.length * BLOB_BYTES <= WINDOW_BYTES + BLOB_BYTES, String(far.received.length));
  near.link.send(request("broker.ping", Payload.json({}), "other"));
  carry(near, far);
  assert.equal(far.received.at(-1)!.topic, "broker.ping");
  far.hasRoom = true;
  far.link.resume();
  carry(near, far);
  assert.equal(far.received.length, 41);
  assert.equal(near.link.isFull, false);
  assert.equal(near.link.queuedBytes, 0);
});

test("that events begin anew is heard between those before and those after; other control messages go by", () => {
  const [near, far] = [side(), side()];
  const event = (sequence: number): Message => ({
    type: MessageType.Event,
    topic: "e",
    flags: 0,
    userid: 1,
    rolemask: Role.Owner,
    route: [],
    payload: Payload.raw(new Uint8Array(1024)),
    sequence,
  });
  for (let sequence = 1; sequence <= 400; sequence++) near.link.send(event(sequence));
  near.link.send(control(Control.Resync, 0, { sequence: 0, epoch: "another" }));
  near.link.send(event(1));
  near.link.send(control(Control.State, 1));
  carry(near, far);
  const kinds = far.received.map((message) => (message.type === MessageType.Control ? message.controlType : "event"));
  assert.equal(kinds.indexOf(Control.Resync), kinds.length - 2);
  assert.ok(kinds.indexOf(Control.State) < 400);
});

test("relief is told when a full link has room again, and when it is lost", () => {
  for (const isLost of [false, true]) {
    const near = new End();
    let relieved = 0;
    const link = new Link(near, clock, pace);
    link.start({ message: () => {}, closed: () => {}, relieved: () => relieved++ });
    for (let count = 0; count < 40; count++) link.send(request("content.store", blob(), "s"));
    assert.equal(relieved, 0);
    const far = side();
    turns();
    if (isLost) near.destroy();
    else
      while (near.written.length > 0 || far.end.written.length > 0) {
        for (const chunk of near.written.splice(0)) far.end.events!.data(chunk);
        for (const chunk of far.end.written.splice(0)) near.events!.data(chunk);
        turns();
      }
    assert.equal(relieved, 1);
  }
});

test("a sender learns when its message has left, also when the link is lost before, or was before", () => {
  const near = side();
  let left = 0;
  const note = (byteLength: number): void => void (left += byteLength);
  for (let count = 0; count < 40; count++) near.link.send(request("content.store", blob(), "s", note));
  assert.ok(left < 40 * BLOB_BYTES);
  near.end.destroy();
  assert.equal(left, 40 * BLOB_BYTES);
  near.link.send(request("content.store", blob(), "s", note));
  assert.equal(left, 41 * BLOB_BYTES);
});
