/** Bulk work: as fast as the machine while nobody else talks; a small share of the broker's time while somebody does. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "../base/ports.ts";
import { MessageType, Payload, Role, type Message } from "../protocol/message.ts";
import { isSmallTalk, Pace } from "./pace.ts";

/** A broker whose time passes as it works, or waits for a timer. */
class Loop {
  nowMs = 1000;
  busyMs = 500;
  readonly #turns: (() => void)[] = [];
  readonly #timers: { atMs: number; callback: () => void }[] = [];
  readonly pace = new Pace({
    monotonicMs: () => this.nowMs,
    busyMs: () => this.busyMs,
    defer: (callback: () => void) => void this.#turns.push(callback),
    after: (delayMs: number, callback: () => void) => void this.#timers.push({ atMs: this.nowMs + delayMs, callback }),
  } as unknown as Clock);

  work(ms: number): void {
    this.nowMs += ms;
    this.busyMs += ms;
  }

  /** One turn of the loop: what was deferred, or else the next timer. False where nothing waits. */
  turn(): boolean {
    if (this.#turns.length > 0) this.#turns.splice(0).forEach((callback) => callback());
    else {
      const timer = this.#timers.shift();
      if (timer === undefined) return false;
      this.nowMs = Math.max(this.nowMs, timer.atMs);
      timer.callback();
    }
    return true;
  }

  /** Does so many parts of some milliseconds; others talk meanwhile, or do not. Returns the share of time at work. */
  share(parts: number, partMs: number, othersTalk: boolean): number {
    const began = { nowMs: this.nowMs, busyMs: this.busyMs };
    let left = parts;
    const part = (): void => {
      this.work(partMs);
      if (othersTalk) this.pace.spoke(this);
      if (--left > 0) this.pace.wait(part);
    };
    if (othersTalk) this.pace.spoke(this);
    this.pace.wait(part);
    while (this.turn());
    assert.equal(left, 0);
    return (this.busyMs - began.busyMs) / (this.nowMs - began.nowMs);
  }
}

test("with nobody else, one part follows the other, two in a turn", () => {
  const loop = new Loop();
  assert.equal(loop.share(100, 1, false), 1);
  const done: number[] = [];
  for (let part = 0; part < 5; part++) loop.pace.wait(() => done.push(part));
  assert.deepEqual(done, []);
  loop.turn();
  assert.deepEqual(done, [0, 1]);
  loop.turn();
  loop.turn();
  assert.deepEqual(done, [0, 1, 2, 3, 4]);
});

test("beside others the broker is idle most of the time, and no longer", () => {
  const loop = new Loop();
  const share = loop.share(100, 1, true);
  assert.ok(share > 0.12 && share < 0.18, String(share));
  assert.ok(loop.share(1000, 1, false) > 0.9, "soon after they have stopped it is as busy as it can be");
});

test("what a party asked for before does not hold it back when it moves much itself", () => {
  const loop = new Loop();
  const [mover, other] = [{}, {}];
  loop.pace.spoke(mover);
  loop.pace.moves(mover);
  assert.ok(loop.share(100, 1, false) > 0.9);
  loop.pace.spoke(other);
  loop.pace.spoke(mover);
  loop.pace.moves(mover);
  assert.ok(loop.share(10, 1, false) < 0.2);
});

test("no part waits long, however busy the broker is", () => {
  const loop = new Loop();
  loop.pace.spoke(loop);
  loop.work(90);
  const atMs = loop.nowMs;
  let proceededMs = 0;
  loop.pace.wait(() => (proceededMs = loop.nowMs));
  while (loop.turn());
  assert.ok(proceededMs > atMs && proceededMs - atMs <= 25);
});

test("small talk is a short request; blobs are asked for by those who move much", () => {
  const message = (type: number, topic: string, bytes: number): Message =>
    ({ type, topic, payload: Payload.raw(new Uint8Array(bytes)), rolemask: Role.Owner }) as unknown as Message;
  assert.ok(isSmallTalk(message(MessageType.Request, "kvs.lookup", 100)));
  assert.ok(!isSmallTalk(message(MessageType.Request, "kvs.commit", 100_000)));
  assert.ok(!isSmallTalk(message(MessageType.Request, "content.load", 20)));
  assert.ok(!isSmallTalk(message(MessageType.Response, "kvs.lookup", 100)));
});
