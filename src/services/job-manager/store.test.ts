import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Clock } from "../../base/ports.ts";
import type { Operation } from "../../sdk/kvs-protocol.ts";
import { newJob, type Job } from "./job.ts";
import { EventStore } from "./store.ts";

/** A store whose commits are acknowledged when the test says so, and what it tells. */
function storeUnderTest() {
  const told: string[] = [];
  const acknowledge: (() => void)[] = [];
  const clock = { after: () => ({ cancel: () => {} }), monotonicMs: () => 0 } as unknown as Clock;
  const store = new EventStore({
    clock,
    commit: (operations: readonly Operation[]) => {
      told.push(`commit ${operations.length}`);
      return new Promise((resolve) => acknowledge.push(resolve));
    },
    sent: (entries) => told.push(`sent ${entries.map(({ job }) => job.sentCount).join()}`),
    durable: (entries) => told.push(`durable ${entries.map(({ job }) => job.durableCount).join()}`),
    log: () => {},
  });
  return { store, told, acknowledge };
}

/** Everything that is due without a commit's answer. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const add = (store: EventStore, job: Job): void => store.add(job, { timestamp: 1, name: "alloc" });

describe("events on their way", () => {
  test("a batch is told to be on its way when it is committed, and to be there when that is acknowledged", async () => {
    const { store, told, acknowledge } = storeUnderTest();
    const job = newJob(1, null);
    add(store, job);
    await settled();
    assert.deepEqual(told, ["commit 1", "sent 1"]);
    acknowledge[0]!();
    await settled();
    assert.deepEqual(told, ["commit 1", "sent 1", "durable 1"]);
  });

  test("what comes meanwhile is on its way only with the next commit", async () => {
    const { store, told, acknowledge } = storeUnderTest();
    const job = newJob(1, null);
    add(store, job);
    await settled();
    add(store, job);
    await settled();
    assert.equal(job.sentCount, 1);
    acknowledge[0]!();
    await settled();
    assert.deepEqual(told, ["commit 1", "sent 1", "durable 1", "commit 1", "sent 2"]);
  });

  test("a commit that others may pass is not told before it is acknowledged", async () => {
    const { store, told, acknowledge } = storeUnderTest();
    for (let id = 1; id <= 1025; id++) add(store, newJob(id, null));
    await settled();
    assert.deepEqual(told, ["commit 1025"]);
    acknowledge[0]!();
    await settled();
    assert.deepEqual(
      told.map((text) => text.split(" ")[0]),
      ["commit", "sent", "durable"],
    );
  });
});
