/** Lists that go on with the pages of an earlier one. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Integer } from "../../base/json.ts";
import { nodeCodec } from "../../host/codec.ts";
import { JobResult } from "../../sdk/job-protocol.ts";
import { MemoryDisk } from "../kvs/world.fixture.ts";
import { JobList } from "./core.ts";
import { PageFiles } from "./page-files.ts";

const PLACE = "/state/job-list";
/** What fills two pages, and more than may stay in memory. */
const COUNT = 800;

function files(disk: MemoryDisk): PageFiles {
  return new PageFiles(disk.port, nodeCodec(), PLACE);
}

/** Jobs that ended one after the other; every tenth failed, in a queue. */
function end(list: JobList, ids: readonly Integer[]): void {
  for (const id of ids) {
    const isBad = Number(id) % 10 === 0;
    const system = isBad ? { duration: 0, queue: "q" } : { duration: 0 };
    const events = [
      { name: "submit", context: { userid: 1, urgency: 16, flags: 0 } },
      { name: "validate" },
      { name: "finish", context: { status: isBad ? 256 : 0 } },
      { name: "clean" },
    ].map((event) => ({ timestamp: Number(id), ...event }));
    list.take({ id, events, jobspec: { tasks: [], attributes: { system } } });
  }
}

function jobIds(list: JobList): Integer[] {
  return [...list.ordered(0)].filter((record) => record !== null).map(({ id }) => id);
}

const numbers = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, at) => from + at);

test("a list goes on with the pages that an earlier one wrote, and counts their jobs", () => {
  const disk = new MemoryDisk();
  const first = new JobList(files(disk));
  end(first, numbers(1, COUNT));
  const pages = files(disk);
  const list = new JobList(pages, pages.load());
  const { ids, times } = list.paged();
  assert.deepEqual(ids, numbers(1, ids.length));
  assert.deepEqual(times, ids);
  assert.ok(ids.length >= 256);
  end(list, numbers(ids.length + 1, COUNT));
  assert.deepEqual(jobIds(list), numbers(1, COUNT).reverse());
  assert.deepEqual(list.statistics.toJSON(), first.statistics.toJSON());
  assert.equal(list.get(10)?.result, JobResult.Failed);
  // More come: new pages get numbers of their own.
  end(list, numbers(COUNT + 1, 2 * COUNT));
  assert.deepEqual(jobIds(list), numbers(1, 2 * COUNT).reverse());
});

test("jobs that are not what they were taken for are forgotten, and count no more", () => {
  const disk = new MemoryDisk();
  end(new JobList(files(disk)), numbers(1, COUNT));
  const pages = files(disk);
  const list = new JobList(pages, pages.load());
  const { ids } = list.paged();
  list.forget(ids.slice(0, 256));
  assert.deepEqual(list.paged().ids, ids.slice(256));
  const counts = list.statistics.toJSON() as { successful: number; failed: number; inactive_purged: number };
  assert.deepEqual([counts.successful + counts.failed, counts.inactive_purged], [ids.length - 256, 0]);
  assert.equal(files(disk).load().length, pages.load().length);
  assert.equal(disk.files.has(`${PLACE}/0`), false, "a page without jobs is no more");
});

test("while a second list takes over, the pages of the first stay readable", () => {
  const disk = new MemoryDisk();
  const pages = files(disk);
  const first = new JobList(pages);
  end(first, numbers(1, COUNT));
  const paged = first.paged().ids;
  first.purge([paged[0]!]);
  pages.share();
  const second = new JobList(pages, first.storedPages);
  assert.deepEqual(second.paged().ids, paged.slice(1));
  first.purge(paged.slice(0, 256));
  second.purge(paged.slice(0, 256));
  assert.equal(disk.files.has(`${PLACE}/0`), true);
  pages.settle();
  assert.equal(disk.files.has(`${PLACE}/0`), false);
  const { successful, failed } = second.statistics.toJSON() as { successful: number; failed: number };
  assert.equal(successful + failed, paged.length - 256);
});

test("what a crash left half written is no page", () => {
  const disk = new MemoryDisk();
  end(new JobList(files(disk)), numbers(1, COUNT));
  const whole = files(disk).load().length;
  disk.files.set(`${PLACE}/0`, Buffer.from("half"));
  disk.files.set(`${PLACE}/7`, Buffer.from("a page whose index was never written"));
  disk.files.set(`${PLACE}/8.index`, Buffer.from("an index of nothing"));
  assert.equal(files(disk).load().length, whole - 1);
  const left = [...disk.files.keys()].filter((path) => /\/(0|7|8)(\.index)?$/.test(path));
  assert.deepEqual(left, [], "and it goes");
});
