/** Appends through links that break at any moment: each is in the value, once, in order. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isFluxError } from "../../src/base/errors.ts";
import { KvsBatch } from "../../src/sdk/kvs-batch.ts";
import { Kvs } from "../../src/sdk/kvs.ts";
import { SimulatedClock } from "../../src/testkit/clock.ts";
import { Scope } from "../../src/testkit/scope.ts";
import { Seeded } from "../../src/testkit/seeded.ts";
import { World } from "../../src/testkit/world.ts";
import { Cluster } from "./history-cluster.ts";

const PRIMARY = { namespace: "primary" };
const SEEDS = 10;
const LINES = 150;
/** Until the link is there again, and what was lost has been sent again. */
const CALM_MS = 2000;
const LIMIT_MS = 600_000;
/** Rank 2 stands below rank 1, which stands below rank 0. */
const RANK = 2;

interface Outcome {
  readonly value: string;
  /** How often a link was lost while something was under way. */
  readonly losses: number;
}

async function appendThroughLosses(seed: number, sender: string | null): Promise<Outcome> {
  const world = new World(`append ${seed}`);
  const dice = new Seeded(seed);
  const cluster = new Cluster(world, { size: RANK + 1, topology: "kary:1", config: {} });
  let losses = 0;
  const work = async (): Promise<string> => {
    const handle = await cluster.connect(RANK, "writer");
    const isRefused = (error: unknown): boolean => isFluxError(error, "EAGAIN") || assert.fail(String(error));
    while (await handle.rpc("kvs.getroot", PRIMARY).then(() => false, isRefused)) await cluster.pause(100);
    const clock = new SimulatedClock(world.timeline, new Scope("writer"));
    const told = { failed: (error: Error) => assert.fail(error), delayed: () => losses++ };
    const batch = new KvsBatch({ handle, clock, ...(sender !== null && { sender }), ...told });
    for (let line = 0; line < LINES; line++) {
      batch.append("log", `${line}\n`);
      if (dice.below(3) === 0) batch.flush();
      if (dice.below(10) === 0)
        world.timeline.after(dice.below(40) / 10, () => {
          world.network.resetOne((left, right) => left.includes("broker") && right.includes("broker"));
        });
      await cluster.pause(dice.below(20) === 0 ? CALM_MS : dice.below(20) / 10);
    }
    await batch.settle("log");
    const reader = await cluster.connect(0, "reader");
    return String(await new Kvs(reader).getText("log"));
  };
  let value: string | null = null;
  const done = work().then((text) => (value = text));
  const isDone = await world.timeline.runUntil(() => value !== null, LIMIT_MS);
  assert.ok(isDone, `takes for ever: ${cluster.stderr.slice(-5).join("")}`);
  cluster.end();
  return { value: await done, losses };
}

const EXPECTED = Array.from({ length: LINES }, (_, line) => `${line}\n`).join("");

test(
  "a batch that names itself appends everything once, whatever is lost with links",
  { timeout: 120_000 },
  async () => {
    let losses = 0;
    for (let seed = 0; seed < SEEDS; seed++) {
      const outcome = await appendThroughLosses(seed, `writer ${seed}`);
      assert.equal(outcome.value, EXPECTED, `seed ${seed}`);
      losses += outcome.losses;
    }
    assert.ok(losses > 3 * SEEDS, `${losses} losses`);
  },
);

test("without a name some of it would be there twice, or in another order", { timeout: 120_000 }, async () => {
  for (let seed = 0; seed < SEEDS; seed++) if ((await appendThroughLosses(seed, null)).value !== EXPECTED) return;
  assert.fail("no link was lost between a commit and its answer");
});
