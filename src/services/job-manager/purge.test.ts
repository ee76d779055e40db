/** What the configuration does not keep goes, however fast jobs end. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Operation } from "../../sdk/kvs-protocol.ts";
import type { JobManager } from "./core.ts";
import { History } from "./history.ts";
import { InactiveJobs } from "./inactive.ts";
import { purgeExpired } from "./purge.ts";
import type { ManagerSurroundings } from "./surroundings.ts";

const OUTCOME = { userid: 7, isInactive: true, started: true, success: true, excepted: false, waitable: false };

test("more jobs than one batch are purged in several, and pages are written for what is left of them", async () => {
  const manager = { inactive: new InactiveJobs(), history: new History(), waits: { purged: () => {} } };
  for (let id = 1; id <= 4200; id++) {
    manager.inactive.add(id, id, OUTCOME);
    manager.history.add(7, id);
  }
  manager.inactive.cutPages();
  const removed: Operation[] = [];
  const published: number[] = [];
  const pages: number[] = [];
  const surroundings = {
    now: () => 4300,
    committed: async () => {},
    addOperation: (operation: Operation) => void removed.push(operation),
    publish: (_topic: string, payload: object) => void published.push((payload as { jobs: number[] }).jobs.length),
    archive: { purged: (changed: readonly { number: number }[]) => void pages.push(changed.length) },
  };
  const retention = { ageLimit: Infinity, numLimit: 700 };
  await purgeExpired(manager as unknown as JobManager, surroundings as unknown as ManagerSurroundings, retention);
  assert.equal(manager.inactive.count, 700);
  assert.deepEqual(published, [1000, 1000, 1000, 500]);
  assert.deepEqual(pages, [4, 5, 5, 3]);
  assert.equal(removed.length, 3500);
  assert.equal(manager.history.slice(7, "[:]").length, 700);
});
