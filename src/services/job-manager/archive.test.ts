/** Jobs that ended, as a restart finds them: in pages, or by looking where the notes say. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { utf8Decode, base64Decode } from "../../base/bytes.ts";
import type { Integer, JsonObject } from "../../base/json.ts";
import { fluidKvsPath } from "../../formats/fluid.ts";
import type { Handle } from "../../sdk/handle.ts";
import type { Operation } from "../../sdk/kvs-protocol.ts";
import type { Val } from "../../formats/treeobj.ts";
import { FluxError } from "../../base/errors.ts";
import { Archive, readArchive, unarchivedJobIds, waitableJobs } from "./archive.ts";
import type { JobManager } from "./core.ts";
import { bitsOf, InactiveJobs, outcomeOfBits, PAGE_JOBS } from "./inactive.ts";

const OUTCOME = { userid: 7, isInactive: true, started: true, success: true, excepted: false, waitable: false };

/** A KVS of single keys, as far as reading goes. */
class Keys {
  readonly values = new Map<string, string>();

  apply({ key, dirent }: Operation): void {
    if (dirent === null) this.values.delete(key);
    else this.values.set(key, utf8Decode(base64Decode((dirent as Val).data)!));
  }

  get handle(): Handle {
    const rpc = async (_topic: string, { key, flags }: { key: string; flags: number }): Promise<object> => {
      const value = this.values.get(key);
      if (flags === 0 && value !== undefined)
        return { val: { ver: 1, type: "val", data: Buffer.from(value).toString("base64") } };
      const below = [...this.values.keys()].filter((name) => name.startsWith(`${key}.`));
      if (below.length === 0) throw new FluxError("ENOENT");
      const names = below.map((name) => name.slice(key.length + 1).split(".")[0]!);
      return { val: { ver: 1, type: "dir", data: Object.fromEntries(names.map((name) => [name, {}])) } };
    };
    return { rpc } as unknown as Handle;
  }
}

/** What an archive needs of a job manager, and jobs that come, end and are purged. */
class Instance {
  readonly keys = new Keys();
  readonly jobs = new Map<Integer, object>();
  readonly inactive = new InactiveJobs();
  maxJobId: Integer = 0;
  readonly archive = new Archive(this as unknown as JobManager, (operation) => this.keys.apply(operation));
  #now = 0;

  submit(ids: readonly Integer[]): void {
    for (const id of ids) {
      this.keys.values.set(`${fluidKvsPath(id)}.eventlog`, "");
      this.jobs.set(id, {});
      if (BigInt(id) > BigInt(this.maxJobId)) this.maxJobId = id;
    }
    this.archive.submitted(ids);
  }

  end(ids: readonly Integer[]): void {
    for (const id of ids) if (this.jobs.delete(id)) this.inactive.add(id, (this.#now += 1), OUTCOME);
    this.archive.review();
  }

  purge(ids: readonly Integer[]): void {
    for (const id of ids) this.keys.values.delete(`${fluidKvsPath(id)}.eventlog`);
    this.archive.purged(this.inactive.remove(ids));
  }
}

async function found(keys: Keys): Promise<{ paged: Integer[]; others: Integer[] }> {
  const archive = await readArchive(keys.handle);
  const paged = (archive?.pages ?? []).flatMap(({ jobs }) => jobs.map(({ id }) => id));
  return { paged, others: (await Array.fromAsync(unarchivedJobIds(keys.handle, archive))).flat() };
}

test("a restart finds every job once, in a page only if it has ended", async () => {
  const step = fc.record({
    submits: fc.nat(600),
    late: fc.boolean(),
    ends: fc.nat(700),
    fromBehind: fc.boolean(),
    purges: fc.nat(300),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 8 }), fc.constantFrom(1, 2 ** 53 - 500), async (steps, first) => {
      const instance = new Instance();
      let next = BigInt(first);
      const fresh = (): Integer => {
        const id = next++;
        return id <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(id) : id;
      };
      for (const { submits, late, ends, fromBehind, purges } of steps) {
        // One of another rank, whose clock is behind.
        const behind = late ? [fresh()] : [];
        instance.submit(Array.from({ length: submits }, fresh));
        instance.submit(behind);
        const active = [...instance.jobs.keys()];
        instance.end(fromBehind ? active.toReversed().slice(0, ends) : active.slice(0, ends));
        instance.purge(instance.inactive.expired(Infinity, Infinity, purges));
        const { paged, others } = await found(instance.keys);
        const sorted = [...paged, ...others].map(BigInt).sort((left, right) => (left < right ? -1 : 1));
        const inactive = [...instance.inactive.endTimes().keys()];
        const expected = [...instance.jobs.keys(), ...inactive].map(BigInt);
        assert.deepEqual(
          sorted,
          expected.sort((left, right) => (left < right ? -1 : 1)),
        );
        assert.ok(paged.every((id) => !instance.jobs.has(id)));
        assert.equal(paged.length, inactive.length - instance.inactive.unpaged().length);
        assert.ok(instance.inactive.unpaged().length < PAGE_JOBS);
      }
    }),
    { numRuns: 10 },
  );
});

test("a page keeps when its jobs ended and how; notes that cannot be read are refused", async () => {
  const instance = new Instance();
  assert.equal(await readArchive(instance.keys.handle), null);
  const ids = Array.from({ length: PAGE_JOBS }, (_, index) => index + 1);
  instance.submit(ids);
  instance.end(ids);
  const archive = await readArchive(instance.keys.handle);
  assert.deepEqual(archive?.pages[0]?.jobs[2], { id: 3, timestamp: 3, outcome: OUTCOME });
  const again = new InactiveJobs();
  again.restore(archive!.pages, [{ id: 9000, timestamp: 1, outcome: OUTCOME }]);
  assert.deepEqual([again.count, again.outcome(3), again.unpaged()], [PAGE_JOBS + 1, OUTCOME, [9000]]);
  for (const text of ["[]", "{}", '{"version":2}', '{"version":1,"jobs":[[1]]}', "x"]) {
    instance.keys.values.set("checkpoint.inactive-jobs.1", text);
    await assert.rejects(readArchive(instance.keys.handle), (error: unknown) => error instanceof FluxError, text);
  }
});

test("of pages the jobs are read that somebody may still wait for", async () => {
  const jobs = [1, 2, 3].map((id) => ({ id, timestamp: id, outcome: { ...OUTCOME, waitable: id !== 2 } }));
  const kept = new InactiveJobs();
  kept.restore([{ number: 1, jobs }], []);
  const read = waitableJobs([{ number: 1, jobs }], (id) => Promise.resolve(`job ${id}`));
  assert.deepEqual(await Array.fromAsync(read), ["job 1", "job 3"]);
  assert.deepEqual(outcomeOfBits(7, bitsOf(jobs[0]!.outcome)), jobs[0]!.outcome);
});

test("a page whose jobs are all purged goes, and its number is not given again", async () => {
  const instance = new Instance();
  const ids = Array.from({ length: 2 * PAGE_JOBS }, (_, index) => index + 1);
  instance.submit(ids);
  instance.end(ids);
  instance.purge(ids);
  const pages = (): string[] => [...instance.keys.values.keys()].filter((key) => /inactive-jobs\.\d/.test(key));
  assert.deepEqual(pages(), []);
  const more = ids.map((id) => id + 5000);
  instance.submit(more);
  instance.end(more);
  assert.deepEqual(pages(), ["checkpoint.inactive-jobs.3", "checkpoint.inactive-jobs.4"]);
  const value = JSON.parse(instance.keys.values.get("checkpoint.inactive-jobs.3")!) as JsonObject;
  assert.equal((value["jobs"] as unknown[]).length, PAGE_JOBS);
});
