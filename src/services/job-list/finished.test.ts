/** Jobs that have ended: a few in memory, the others in pages, and nobody can tell where. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { FluxError } from "../../base/errors.ts";
import type { Integer } from "../../base/json.ts";
import { compareIds } from "../../sdk/job-protocol.ts";
import { FinishedJobs, memoryPages, type PageStore } from "./finished.ts";
import { newRecord, type JobRecord } from "./record.ts";

const LIMITS = { pageJobs: 4, memoryJobs: 12 };

function ended(id: Integer, tInactive: number): JobRecord {
  return { ...newRecord(id), tInactive, name: `job${id}` };
}

function listed(jobs: FinishedJobs, since = 0): Integer[] {
  return [...jobs.latestFirst(since)].filter((record) => record !== null).map(({ id }) => id);
}

/** What an array of all jobs would tell. */
function expected(records: readonly JobRecord[], since = 0): Integer[] {
  return records
    .filter(({ tInactive }) => tInactive > since)
    .toSorted((left, right) => right.tInactive - left.tInactive || compareIds(right.id, left.id))
    .map(({ id }) => id);
}

describe("finished jobs", () => {
  test("however they end and are purged, the list is what an array would be", () =>
    fc.assert(
      fc.property(
        fc.array(fc.record({ time: fc.integer({ min: 1, max: 50 }), purge: fc.option(fc.nat(80)) }), { maxLength: 80 }),
        fc.nat(50),
        (steps, since) => {
          const jobs = new FinishedJobs(memoryPages(), LIMITS);
          let all: JobRecord[] = [];
          for (const [id, { time, purge }] of steps.entries()) {
            const record = ended(id + 1, time);
            jobs.add(record);
            all.push(record);
            if (purge === null) continue;
            const isKnown = all.some((each) => each.id === purge);
            assert.equal(jobs.remove(purge)?.id ?? null, isKnown ? purge : null);
            all = all.filter((each) => each.id !== purge);
          }
          assert.deepEqual(listed(jobs), expected(all));
          assert.deepEqual(listed(jobs, since), expected(all, since));
          assert.equal(jobs.size, all.length);
          for (const { id } of all) assert.equal(jobs.get(id)?.name, `job${id}`);
        },
      ),
    ));

  test("only a bounded number of them is in memory", () => {
    const jobs = new FinishedJobs(memoryPages(), LIMITS);
    for (let id = 1; id <= 1000; id++) jobs.add(ended(id, id));
    assert.ok(jobs.pageCount * LIMITS.pageJobs >= 1000 - LIMITS.memoryJobs);
  });

  test("the latest are listed without reading pages of those before", () => {
    const pages = memoryPages();
    let readCount = 0;
    const jobs = new FinishedJobs({ ...pages, read: (page) => (readCount++, pages.read(page)) }, LIMITS);
    for (let id = 1; id <= 1000; id++) jobs.add(ended(id, id));
    const latest: Integer[] = [];
    for (const record of jobs.latestFirst(0)) {
      if (record !== null) latest.push(record.id);
      if (latest.length === 20) break;
    }
    assert.deepEqual([latest[0], latest.at(-1)], [1000, 981]);
    assert.ok(readCount <= 5, `${readCount} pages were read`);
  });

  test("ids beyond what a number holds are found", () => {
    const jobs = new FinishedJobs(memoryPages(), LIMITS);
    const ids = Array.from({ length: 40 }, (_, index) => 2n ** 63n + BigInt(index));
    for (const [index, id] of ids.entries()) jobs.add(ended(id, index + 1));
    assert.equal(jobs.get(ids[3]!)?.id, ids[3]);
    assert.equal(jobs.get(7), null);
  });

  test("a page whose jobs are all purged is removed", () => {
    const pages = memoryPages();
    const removed: number[] = [];
    const jobs = new FinishedJobs({ ...pages, remove: (page) => void removed.push(page) }, LIMITS);
    for (let id = 1; id <= 20; id++) jobs.add(ended(id, id));
    for (let id = 1; id <= 4; id++) jobs.remove(id);
    assert.deepEqual(removed, [0]);
  });

  test("where a page cannot be written its jobs stay in memory, and are written later", () => {
    const pages = memoryPages();
    let isFull = true;
    const store: PageStore = {
      ...pages,
      write(page, data, index) {
        if (isFull) throw new FluxError("ENOSPC");
        pages.write(page, data, index);
      },
    };
    const jobs = new FinishedJobs(store, LIMITS);
    let refusals = 0;
    const add = (id: number): void => {
      try {
        jobs.add(ended(id, id));
      } catch (error) {
        assert.ok(error instanceof FluxError && error.is("ENOSPC"));
        refusals += 1;
      }
    };
    for (let id = 1; id <= 30; id++) add(id);
    assert.ok(refusals > 0 && refusals < 10, "it is not tried with each job");
    assert.equal(listed(jobs).length, 30);
    isFull = false;
    for (let id = 31; id <= 40; id++) add(id);
    assert.ok(jobs.pageCount > 0);
    assert.equal(listed(jobs).length, 40);
  });
});
