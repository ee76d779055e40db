import assert from "node:assert/strict";
import { test } from "node:test";
import type { NativeAddon } from "./native.ts";
import { UnixStream } from "./unix-stream.ts";

test("a peer that takes all at once, however much is written, does not keep others from their turn", async () => {
  const addon = {
    streamOpen: () => ({}),
    streamRead: () => undefined,
    streamClose: () => undefined,
    streamWrite: (_stream: unknown, bytes: Uint8Array, offset: number) => bytes.byteLength - offset,
  };
  const stream = new UnixStream(addon as unknown as NativeAddon, -1);
  const chunk = new Uint8Array(256 * 1024);
  let turns = 0;
  let drains = 0;
  const turn = (): void => {
    turns++;
    if (drains < 100) setImmediate(turn);
  };
  setImmediate(turn);
  await new Promise<void>((resolve) => {
    const write = (): void => {
      assert.equal(stream.write(chunk), false);
      if (++drains === 100) resolve();
    };
    stream.start({ data: () => undefined, drain: write, close: () => undefined });
    process.nextTick(write);
  });
  assert.ok(turns >= 98, `${turns} turns for others while ${drains} chunks were written`);
  stream.destroy();
});
