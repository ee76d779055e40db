/** Large blobs on their way down: kept for a short while, in a bounded place. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "../../base/ports.ts";
import { PassedBlobs } from "./passed-blobs.ts";

const MIB = 1024 * 1024;

/** A clock that is set by hand; one timer is enough. */
function manualClock(): { clock: Clock; advance(ms: number): void } {
  let nowMs = 0;
  let timer: { atMs: number; callback: () => void } | null = null;
  const clock = {
    monotonicMs: () => nowMs,
    after: (ms: number, callback: () => void) => {
      timer = { atMs: nowMs + ms, callback };
      return { cancel: () => (timer = null) };
    },
  } as unknown as Clock;
  const advance = (ms: number): void => {
    nowMs += ms;
    if (timer === null || timer.atMs > nowMs) return;
    const { callback } = timer;
    timer = null;
    callback();
  };
  return { clock, advance };
}

test("a blob that passed is there for the next who asks, until nobody has for a while", () => {
  const { clock, advance } = manualClock();
  const passed = new PassedBlobs(clock, false);
  passed.add("a", new Uint8Array(MIB));
  advance(8_000);
  assert.equal(passed.get("a")?.byteLength, MIB);
  advance(8_000);
  assert.equal(passed.get("a")?.byteLength, MIB, "it was asked for meanwhile");
  advance(30_000);
  advance(30_000);
  assert.equal(passed.get("a"), undefined);
});

test("those that were asked for last are kept, up to a bound", () => {
  const passed = new PassedBlobs(manualClock().clock, true);
  for (let index = 0; index < 100; index++) passed.add(`${index}`, new Uint8Array(MIB));
  assert.equal(passed.get("0"), undefined);
  const kept = Array.from({ length: 100 }, (_, index) => passed.get(`${index}`)).filter((blob) => blob !== undefined);
  assert.equal(kept.length, 64);
  passed.clear();
  assert.equal(passed.get("99"), undefined);
});
