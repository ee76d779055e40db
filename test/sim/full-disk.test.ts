/** A disk that gets full, in virtual time: at any size, with whatever is under way. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isFluxError } from "../../src/base/errors.ts";
import { Kvs } from "../../src/sdk/kvs.ts";
import type { Seeded } from "../../src/testkit/seeded.ts";
import { World } from "../../src/testkit/world.ts";
import { withLog } from "./plant.ts";
import { drive, StorageNode, type StorageNodeOptions, storageOf } from "./storage-node.ts";

const SEEDS = 40;
const ATTEMPTS = 60;
const LENGTHS = [10, 500, 5000, 20_000] as const;

interface Written {
  /** Values by key, as they were acknowledged. */
  readonly values: Map<string, string>;
  refusals: number;
}

/** Writes values, one after the other; those that are refused are refused with ENOSPC and a sentence. */
async function write(node: StorageNode, dice: Seeded, attempts: number, written: Written): Promise<void> {
  const kvs = new Kvs(node.handle);
  for (let count = 0; count < attempts; count++) {
    const key = `k${dice.below(30)}`;
    const value = `${dice.uint32()} `.repeat(dice.pick(LENGTHS) / 10);
    try {
      if (dice.chance(0.2)) await node.handle.call("content.store", dice.bytes(3000));
      await kvs.put(key, value);
      written.values.set(key, value);
    } catch (error) {
      if (!isFluxError(error, "ENOSPC")) throw error;
      assert.match(error.message, /\w+ \w+/);
      written.refusals += 1;
    }
    if (dice.chance(0.1)) await new Promise<void>((resolve) => node.world.timeline.after(3000, resolve));
  }
}

/** Everything that was acknowledged can be read. */
async function check(node: StorageNode, { values }: Written): Promise<void> {
  const kvs = new Kvs(node.handle);
  for (const [key, value] of values) assert.equal(await kvs.get(key), value, key);
}

async function runSeed(seed: number, planted: StorageNodeOptions = {}): Promise<number> {
  const world = new World(`full disk ${seed}`);
  const dice = world.dice.fork("writer");
  const storage = storageOf(world);
  const options = { config: { kvs: { "checkpoint-period": "1s" } }, ...planted };
  const node = await StorageNode.boot(world, options);
  const written: Written = { values: new Map(), refusals: 0 };
  await drive(world, write(node, dice, 10, written));

  storage.capacityBytes = storage.usedBytes() + dice.below(100_000);
  await drive(world, write(node, dice, ATTEMPTS, written));
  await drive(world, node.handle.rpc("kvs.dropcache"));
  await drive(world, check(node, written));
  const { refusals } = written;

  if (dice.chance(0.5)) {
    node.kill();
    const again = await StorageNode.boot(world, options);
    await drive(world, check(again, written));
    again.kill();
  } else {
    storage.capacityBytes = Number.MAX_SAFE_INTEGER;
    written.refusals = 0;
    // The first ones may still be told of the checkpoint that failed; it is tried again by itself.
    await drive(world, new Promise<void>((resolve) => world.timeline.after(5000, resolve)));
    await drive(world, write(node, dice, 20, written));
    assert.equal(written.refusals, 0, "there is room again");
    await node.stop();
    const again = await StorageNode.boot(world, options);
    await drive(world, check(again, written));
    again.kill();
  }
  assert.equal(node.failure, null);
  return refusals;
}

test(`${SEEDS} times a full disk refuses writers and loses nothing`, { timeout: 60_000 }, async () => {
  let refusals = 0;
  for (let seed = 0; seed < SEEDS; seed++)
    refusals += await runSeed(seed).catch((error: unknown) => {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
    });
  assert.ok(refusals > 2 * SEEDS, `only ${refusals} writes were refused`);
});

test("a planted fault is found: a log that does not say that the disk is full", async () => {
  const wrapPorts: StorageNodeOptions["wrapPorts"] = (ports) =>
    withLog(ports, (log) => ({
      append: (data) => {
        try {
          log.append(data);
        } catch (error) {
          if (!isFluxError(error, "ENOSPC")) throw error;
        }
      },
    }));
  const outcomes: string[] = [];
  for (let seed = 0; seed < 10; seed++)
    await runSeed(seed, { wrapPorts }).catch((error: unknown) => outcomes.push((error as Error).message));
  assert.ok(outcomes.length > 0, "nothing was found");
});
