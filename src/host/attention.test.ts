import assert from "node:assert/strict";
import { test } from "node:test";
import { Attention } from "./attention.ts";

/** A loop that goes round when it is told to, and a clock that stands still between. */
class Loop {
  nowMs = 0;
  rounds = 0;
  readonly attention: Attention;
  #deferred: (() => void)[] = [];

  constructor(hasSeveralCores = true) {
    this.attention = new Attention({
      now: () => this.nowMs,
      defer: (callback) => this.#deferred.push(callback),
      hasSeveralCores: () => hasSeveralCores,
    });
  }

  /** Whether the loop would not sleep now. */
  get isAwake(): boolean {
    return this.#deferred.length > 0;
  }

  round(elapsedMs: number): void {
    this.nowMs += elapsedMs;
    this.rounds++;
    for (const callback of this.#deferred.splice(0)) callback();
  }

  /** The other side sends, this side answers, so many times. */
  turns(count: number, stream: object, elapsedMs = 0.1): void {
    for (let turn = 0; turn < count; turn++) {
      this.round(elapsedMs);
      this.attention.heard(stream);
      this.attention.wrote(stream);
    }
  }
}

test("after a row of quick turns the loop looks for the next message, and sleeps when it has looked in vain", () => {
  const loop = new Loop();
  const stream = {};
  loop.turns(16, stream);
  assert.equal(loop.isAwake, false, "a row is not yet made");
  loop.turns(1, stream);
  assert.equal(loop.isAwake, true);
  loop.round(0.2);
  assert.equal(loop.isAwake, true, "it may still come");
  loop.round(0.2);
  assert.equal(loop.isAwake, false);
  loop.turns(10, stream);
  assert.equal(loop.isAwake, false, "the row begins anew");
});

test("while messages come it stays awake", () => {
  const loop = new Loop();
  const stream = {};
  loop.turns(1000, stream, 0.25);
  assert.equal(loop.isAwake, true);
});

test("slow turns, messages without answers, and several streams are no reason to stay awake", () => {
  const slow = new Loop();
  slow.turns(1000, {}, 1);
  assert.equal(slow.isAwake, false);

  const listening = new Loop();
  const stream = {};
  for (let message = 0; message < 1000; message++) {
    listening.round(0.1);
    listening.attention.heard(stream);
  }
  assert.equal(listening.isAwake, false);

  const busy = new Loop();
  const [one, other] = [{}, {}];
  for (let turn = 0; turn < 1000; turn++) busy.turns(1, turn % 2 === 0 ? one : other);
  assert.equal(busy.isAwake, false);
});

test("with one core the loop sleeps, so that the other side can run", () => {
  const loop = new Loop(false);
  loop.turns(1000, {});
  assert.equal(loop.isAwake, false);
});
