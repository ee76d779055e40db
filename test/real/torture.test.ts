/** Nothing that was acknowledged is missing after kill -9, under load: a few rounds; `npm run torture` does more. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { KILLS, torture } from "./torture.ts";

const ROUNDS = 6;

test(
  `kill -9 of the leader, a leaf, all brokers, under load: ${ROUNDS} rounds lose nothing`,
  { timeout: 120_000 },
  async () => {
    const { failures, kills, acknowledged, acknowledgedBig } = await torture(ROUNDS, "1");
    assert.deepEqual(failures, []);
    assert.deepEqual([...kills.keys()].toSorted(), [...KILLS].toSorted());
    assert.ok(acknowledged > ROUNDS * 10 && acknowledgedBig > 0, `${acknowledged} writes, ${acknowledgedBig} long`);
  },
);
