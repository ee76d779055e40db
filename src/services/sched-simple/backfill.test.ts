import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { SchedulerCore, type Grant, type Policy } from "./core.ts";
import { durationOf, goesBefore, JobOrder, type PendingJob } from "./job-order.ts";
import type { NodeInventory } from "./nodes.ts";
import { ResourcePool } from "./pool.ts";

const NODES = 4;
const CORES = 4;

const inventory: NodeInventory[] = Array.from({ length: NODES }, (_, rank) => ({
  rank,
  hostname: `n${rank}`,
  cores: Array.from({ length: CORES }, (_core, id) => id),
  gpus: [],
  properties: [],
}));

interface Wanted {
  readonly nodes: number;
  readonly slots: number;
  readonly exclusive: boolean;
  readonly duration: number;
  readonly priority: number;
}

const wanted = fc.record({
  nodes: fc.integer({ min: 0, max: NODES }),
  slots: fc.integer({ min: 1, max: CORES }),
  exclusive: fc.boolean(),
  duration: fc.constantFrom(1, 2, 5, 10, 30, 100),
  priority: fc.constantFrom(16, 16, 16, 17, 20),
});
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("submit" as const), job: wanted }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("wait" as const), seconds: fc.integer({ min: 1, max: 20 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("early" as const), which: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("cancel" as const), which: fc.nat() }) },
);

function jobOf(id: number, { nodes, slots, exclusive, duration, priority }: Wanted): PendingJob {
  const isExclusive = exclusive && nodes > 0;
  const shape = [nodes, slots, isExclusive].join();
  const perSlot = { coresPerSlot: 1, gpusPerSlot: 0 };
  const request = { nodes, slots, ...perSlot, exclusive: isExclusive, constraint: null, duration, shape };
  return { id, userid: 0, priority, submitTime: id, request };
}

/** A world in which jobs end when they are expected to, or before. */
class World {
  readonly core: SchedulerCore;
  now = 1000;
  readonly #running = new Map<number, number>();

  constructor(policy: Policy) {
    const pool = new ResourcePool(inventory);
    pool.setUp([...inventory.keys()], true);
    this.core = new SchedulerCore(pool, () => assert.fail(), policy);
  }

  get running(): number[] {
    return [...this.#running.keys()];
  }

  pass(): Grant[] {
    const grants = this.core.pass(this.now);
    for (const { job } of grants) this.#running.set(Number(job.id), this.now + durationOf(job));
    return grants;
  }

  /** Time passes until something ends, or so many seconds. */
  wait(seconds: number): void {
    const until = this.now + seconds;
    this.now = Math.min(until, ...this.#running.values());
    for (const [id, end] of this.#running) if (end <= this.now) this.end(id);
  }

  end(id: number): void {
    this.#running.delete(id);
    this.core.pool.free(id, null);
  }
}

/** Lets time pass until all jobs are over. */
function runOut(world: World): void {
  for (let turn = 0; world.core.queue.size > 0 || world.running.length > 0; turn++) {
    assert.ok(turn < 1000, "every job gets its turn");
    world.wait(1000);
    world.pass();
  }
  assert.equal(world.core.pool.table.freeCores, NODES * CORES);
}

type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never;

function play(policy: Policy, steps: readonly Step[], check: (world: World, grants: Grant[]) => void): void {
  const world = new World(policy);
  steps.forEach((each, index) => {
    if (each.kind === "submit") world.core.add(jobOf(index, each.job));
    else if (each.kind === "wait") world.wait(each.seconds);
    else if (each.kind === "early") {
      const id = world.running[each.which % Math.max(1, world.running.length)];
      if (id !== undefined) world.end(id);
    } else {
      const job = world.core.queue.leading(100)[each.which % Math.max(1, world.core.queue.size)];
      if (job !== undefined) world.core.remove(job.id);
    }
    check(world, world.pass());
  });
}

test("no core is two jobs', and all are free again in the end", () => {
  for (const policy of ["easy", "fifo"] as const)
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        let last: World | null = null;
        play(policy, steps, (world) => {
          last = world;
          const taken = [...world.core.pool.held.values()].flat();
          const cores = taken.flatMap(({ rank, cores: list }) => list.map((core) => `${rank}/${core}`));
          assert.equal(new Set(cores).size, cores.length);
          assert.equal(world.core.pool.table.freeCores, NODES * CORES - cores.length);
        });
        if (last !== null) runOut(last);
      }),
    );
});

test("the first waiting job never starts later than it was once promised, but for jobs that come before it", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      let promise: { id: unknown; time: number } | null = null;
      play("easy", steps, (world, grants) => {
        const first = world.core.queue.firsts.first;
        if (first?.id !== promise?.id) promise = null;
        if (first === undefined) return;
        if (grants.some(({ job }) => goesBefore(job, first))) promise = null;
        const [estimate] = world.core.forecast(1, world.now);
        assert.equal(estimate?.id, first.id, "all jobs have limits, so it can be told");
        if (promise !== null) assert.ok(estimate.time <= promise.time, `${estimate.time} after ${promise.time}`);
        promise = estimate;
      });
    }),
  );
});

test("no job waits that could run without delaying the first one", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      play("easy", steps, ({ core, now }) => {
        const { first } = core.queue.firsts;
        if (first === undefined) return;
        assert.equal(core.pool.find(first.request), null, "the first does not fit");
        const { time } = core.forecast(1, now)[0]!;
        for (const job of core.queue.leading(100)) {
          if (now + durationOf(job) <= time) assert.equal(core.pool.find(job.request), null, `job ${job.id} fits`);
        }
      });
    }),
  );
});

test("in strict order jobs start as they come", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      play("fifo", steps, ({ core }, grants) => {
        const { first } = core.queue.firsts;
        for (const { job } of grants) assert.ok(first === undefined || goesBefore(job, first));
      });
    }),
  );
});

test("the order is kept whatever comes and goes, and the first short enough is found", () => {
  fc.assert(
    fc.property(fc.array(fc.record({ job: wanted, leaves: fc.boolean() }), { maxLength: 100 }), (entries) => {
      const order = new JobOrder();
      const jobs = entries.map(({ job }, id) => jobOf(id, job));
      for (const job of jobs) order.add(job);
      for (const [index, { leaves }] of entries.entries()) if (leaves) order.remove(jobs[index]!);
      const left = jobs
        .filter((_, index) => !entries[index]!.leaves)
        .sort((one, other) => (goesBefore(one, other) ? -1 : 1));
      assert.deepEqual([...order], left);
      assert.equal(order.size, left.length);
      for (const seconds of [0, 1, 4, 30, 1000])
        assert.equal(
          order.firstWithin(seconds),
          left.find((job) => durationOf(job) <= seconds),
        );
      for (const job of jobs)
        assert.equal(
          order.after(job),
          left.find((other) => goesBefore(job, other)),
        );
    }),
  );
});

test("a pass costs what changed: 100,000 jobs wait, and one ends", () => {
  const world = new World("easy");
  world.core.add(jobOf(0, { nodes: 4, slots: 4, exclusive: true, duration: 100, priority: 31 }));
  world.pass();
  for (let id = 1; id <= 100_000; id++)
    world.core.add(jobOf(id, { nodes: id % 3, slots: 1 + (id % 4), exclusive: false, duration: id, priority: 16 }));
  assert.deepEqual(world.pass(), [], "nothing is free");
  // What a pass looks at is counted by the searches in the pool.
  let searches = 0;
  const { pool } = world.core;
  const find = pool.find.bind(pool);
  pool.find = (...args) => {
    searches++;
    return find(...args);
  };
  world.end(0);
  const grants = world.pass();
  assert.ok(grants.length >= 4);
  assert.ok(searches <= grants.length + 2 * 12, `${searches} searches for ${grants.length} jobs of 12 shapes`);
  searches = 0;
  world.core.add(jobOf(200_000, { nodes: 0, slots: 1, exclusive: false, duration: 5, priority: 16 }));
  world.pass();
  assert.ok(searches <= 1, "a job that comes is looked at alone");
});
