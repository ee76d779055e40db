/** Measurements of a broker for a statsd collector. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FluxError } from "../base/errors.ts";
import type { Core } from "./core.ts";
import { reportMetrics } from "./metrics.ts";

interface Told {
  readonly packets: string[][];
  readonly log: string[];
  /** Lets the heart beat, and waits until what follows is done. */
  beat(): Promise<void>;
}

async function watched(answer: () => object, statsd?: (lines: readonly string[]) => void): Promise<Told> {
  const packets: string[][] = [];
  const log: string[] = [];
  let listener: (() => void) | null = null;
  const core = {
    handle: {
      rpc: async () => answer(),
      subscribe: async (_topic: string, heard: () => void) => {
        listener = heard;
        return { cancel: () => (listener = null) };
      },
    },
    options: {
      rank: 3,
      ports: { statsd: statsd ?? ((lines: readonly string[]) => void packets.push([...lines])) },
      log: { append: (_source: string, _level: number, text: string) => log.push(text) },
    },
  };
  await reportMetrics(core as unknown as Core);
  const beat = async (): Promise<void> => {
    listener?.();
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { packets, log, beat };
}

test("the start and each heartbeat tell the gauges of the content cache under the rank", async () => {
  const { packets, beat } = await watched(() => ({ count: 7, valid: 6, dirty: 1, size: 900, "flush-batch-count": 0 }));
  await beat();
  await beat();
  assert.equal(packets.length, 3);
  assert.deepEqual(packets[0], [
    "flux.3.content-cache.count:7|g",
    "flux.3.content-cache.valid:6|g",
    "flux.3.content-cache.dirty:1|g",
    "flux.3.content-cache.size:900|g",
    "flux.3.content-cache.flush-batch-count:0|g",
  ]);
});

test("a service that is not there is waited for; a collector without an address is given up, which is said once", async () => {
  const early = await watched(() => {
    throw new FluxError("ENOSYS");
  });
  await early.beat();
  assert.deepEqual([early.packets, early.log], [[], []]);
  const wrong = await watched(
    () => ({}),
    () => {
      throw new FluxError("EINVAL", "no address");
    },
  );
  await wrong.beat();
  await wrong.beat();
  assert.deepEqual(wrong.log, ["no address"]);
});
