import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import type { ResourceRequest } from "./choice.ts";
import type { NodeInventory, NodeShare } from "./nodes.ts";
import { ResourcePool } from "./pool.ts";

function nodes(count: number, cores: number, gpus = 0): NodeInventory[] {
  return Array.from({ length: count }, (_, rank) => ({
    rank,
    hostname: `node${rank}`,
    cores: Array.from({ length: cores }, (_core, id) => id),
    gpus: Array.from({ length: gpus }, (_gpu, id) => id),
    properties: rank % 2 === 0 ? ["even"] : [],
  }));
}

function request(wanted: Partial<ResourceRequest>): ResourceRequest {
  return { nodes: 0, slots: 1, coresPerSlot: 1, gpusPerSlot: 0, exclusive: false, constraint: null, ...wanted };
}

function poolOf(inventory: NodeInventory[]): ResourcePool {
  const pool = new ResourcePool(inventory);
  pool.setUp(
    inventory.map((node) => node.rank),
    true,
  );
  return pool;
}

/** Finds resources and holds them; null where there are none. */
function allocate(pool: ResourcePool, id: number, wanted: ResourceRequest): readonly NodeShare[] | null {
  const shares = pool.find(wanted);
  if (shares !== null) pool.hold(id, shares, 0);
  return shares;
}

test("slots go to the nodes with the most room, lowest cores first", () => {
  const pool = poolOf(nodes(3, 4));
  assert.deepEqual(allocate(pool, 1, request({ slots: 3 })), [{ rank: 0, cores: [0, 1, 2], gpus: [] }]);
  assert.deepEqual(allocate(pool, 2, request({ slots: 2, coresPerSlot: 2 })), [
    { rank: 1, cores: [0, 1, 2, 3], gpus: [] },
  ]);
  assert.deepEqual(allocate(pool, 3, request({ slots: 5 })), [
    { rank: 2, cores: [0, 1, 2, 3], gpus: [] },
    { rank: 0, cores: [3], gpus: [] },
  ]);
});

test("jobs spread over nodes: among equal ones the one with more free GPUs, then the lowest rank", () => {
  const inventory = nodes(2, 2).concat({ rank: 2, hostname: "node2", cores: [0, 1], gpus: [0], properties: [] });
  const pool = poolOf(inventory);
  const ranks = [1, 2, 3, 4, 5, 6].map((id) => allocate(pool, id, request({}))![0]!.rank);
  assert.deepEqual(ranks, [2, 0, 1, 2, 0, 1]);
});

test("what could never be had is told as the scheduler of flux-core tells it", () => {
  const pool = poolOf(nodes(4, 4, 2));
  const told = (wanted: Partial<ResourceRequest>): string | null => pool.shortage(request(wanted));
  assert.equal(told({ slots: 16 }), null);
  assert.equal(
    told({ slots: 5, coresPerSlot: 3 }),
    "need 5 slot(s) of 3 core(s), only 4 such slot(s) available (total cores: 16)",
  );
  assert.equal(
    told({ slots: 9, gpusPerSlot: 1 }),
    "need 9 slot(s) with 1 GPU(s) each, only 8 available (total GPUs: 8)",
  );
  assert.equal(told({ nodes: 2, slots: 2, coresPerSlot: 3 }), "need 2 node(s) with 6 cores each, only 0 eligible");
  assert.equal(told({ nodes: 5, gpusPerSlot: 3 }), "need 5 node(s) with 1 cores and 3 GPUs each, only 0 eligible");
  assert.equal(told({ nodes: 5, exclusive: true }), "need 5 exclusive node(s), only 4 eligible");
});

test("a request for nodes takes its slots on each of so many nodes", () => {
  const pool = poolOf(nodes(3, 4, 1));
  assert.deepEqual(allocate(pool, 1, request({ nodes: 2, slots: 1, coresPerSlot: 3, gpusPerSlot: 1 })), [
    { rank: 0, cores: [0, 1, 2], gpus: [0] },
    { rank: 1, cores: [0, 1, 2], gpus: [0] },
  ]);
  assert.equal(allocate(pool, 2, request({ nodes: 2, coresPerSlot: 3 })), null);
});

test("an exclusive node is taken whole, and only if nobody is on it", () => {
  const pool = poolOf(nodes(2, 4));
  allocate(pool, 1, request({}));
  assert.deepEqual(allocate(pool, 2, request({ nodes: 1, exclusive: true })), [
    { rank: 1, cores: [0, 1, 2, 3], gpus: [] },
  ]);
  assert.equal(allocate(pool, 3, request({ nodes: 1, exclusive: true })), null);
});

test("a node that is down gets no job, is counted as satisfiable, and keeps what runs there", () => {
  const pool = poolOf(nodes(2, 2));
  allocate(pool, 1, request({}));
  pool.setUp([0, 1], false);
  assert.deepEqual(pool.down, [0, 1]);
  assert.equal(allocate(pool, 2, request({})), null);
  assert.equal(pool.shortage(request({ slots: 4 })), null);
  assert.notEqual(pool.shortage(request({ slots: 5 })), null);
  pool.free(1, null);
  pool.setUp([0], true);
  assert.deepEqual(allocate(pool, 3, request({ slots: 2 })), [{ rank: 0, cores: [0, 1], gpus: [] }]);
});

test("a constraint chooses among nodes", () => {
  const pool = poolOf(nodes(4, 1));
  const constraint = { key: "even", matches: (node: NodeInventory) => node.properties.includes("even") };
  assert.deepEqual(
    allocate(pool, 1, request({ nodes: 2, constraint }))?.map((share) => share.rank),
    [0, 2],
  );
  assert.equal(allocate(pool, 2, request({ constraint })), null);
  assert.match(pool.shortage(request({ nodes: 3, constraint }))!, /^need 3 node.*only 2 eligible$/);
});

test("ranks of one job may be freed one by one", () => {
  const pool = poolOf(nodes(2, 1));
  allocate(pool, 1, request({ nodes: 2 }));
  pool.free(1, [0]);
  assert.deepEqual(pool.held.get(1), [{ rank: 1, cores: [0], gpus: [] }]);
  assert.deepEqual(allocate(pool, 2, request({})), [{ rank: 0, cores: [0], gpus: [] }]);
  pool.free(1, null);
  assert.equal(pool.held.has(1), false);
});

/** The same rules, told simply: a list of free cores per node, copied on every try. */
class NaivePool {
  readonly free: Map<number, Set<number>>;
  readonly up = new Set<number>();
  readonly cores: number;

  constructor(count: number, cores: number) {
    this.cores = cores;
    this.free = new Map(
      Array.from({ length: count }, (_, rank) => [rank, new Set(Array.from({ length: cores }).keys())]),
    );
  }

  allocate(wanted: ResourceRequest): NodeShare[] | null {
    const shares: NodeShare[] = [];
    let left = wanted.nodes || wanted.slots;
    // The sort is stable: equal nodes stay in the order of their ranks.
    for (const [rank, free] of [...this.free].sort(([, left], [, right]) => right.size - left.size)) {
      if (!this.up.has(rank) || left === 0) continue;
      const ids = [...free].toSorted((a, b) => a - b);
      if (wanted.exclusive && ids.length < this.cores) continue;
      const fit = Math.floor(ids.length / wanted.coresPerSlot);
      const slots = wanted.nodes ? (fit >= wanted.slots ? wanted.slots : 0) : Math.min(fit, left);
      if (slots === 0) continue;
      shares.push({ rank, cores: wanted.exclusive ? ids : ids.slice(0, slots * wanted.coresPerSlot), gpus: [] });
      left -= wanted.nodes ? 1 : slots;
    }
    if (left > 0) return null;
    for (const share of shares) for (const core of share.cores) this.free.get(share.rank)!.delete(core);
    return shares;
  }
}

const step = fc.oneof(
  fc.record({
    kind: fc.constant("allocate" as const),
    nodes: fc.integer({ min: 0, max: 3 }),
    slots: fc.integer({ min: 1, max: 6 }),
    coresPerSlot: fc.integer({ min: 1, max: 3 }),
    exclusive: fc.boolean(),
  }),
  fc.record({ kind: fc.constant("free" as const), which: fc.nat() }),
  fc.record({ kind: fc.constant("up" as const), rank: fc.integer({ min: 0, max: 4 }), isUp: fc.boolean() }),
);

test("it gives what a naive allocator gives, never one core twice, and gets everything back", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const pool = poolOf(nodes(5, 4));
      const naive = new NaivePool(5, 4);
      for (let rank = 0; rank < 5; rank++) naive.up.add(rank);
      const running: number[] = [];
      steps.forEach((each, id) => {
        if (each.kind === "up") {
          pool.setUp([each.rank], each.isUp);
          if (each.isUp) naive.up.add(each.rank);
          else naive.up.delete(each.rank);
        } else if (each.kind === "free") {
          const job = running.splice(each.which % Math.max(1, running.length), 1)[0];
          if (job === undefined) return;
          for (const share of pool.held.get(job)!)
            for (const core of share.cores) naive.free.get(share.rank)!.add(core);
          pool.free(job, null);
        } else {
          const wanted = request(each);
          const shares = allocate(pool, id, wanted);
          assert.deepEqual(shares, naive.allocate(wanted));
          if (shares !== null) running.push(id);
        }
        const taken = [...pool.held.values()]
          .flat()
          .flatMap(({ rank, cores }) => cores.map((core) => `${rank}/${core}`));
        assert.equal(new Set(taken).size, taken.length);
      });
      for (const job of running) pool.free(job, null);
      pool.setUp([0, 1, 2, 3, 4], true);
      assert.notEqual(allocate(pool, -1, request({ slots: 20 })), null);
    }),
  );
});

test("what a job held before a restart, and is there no more, is left out", () => {
  const pool = poolOf(nodes(2, 2));
  const held = [
    { rank: 0, cores: [1, 7], gpus: [0] },
    { rank: 9, cores: [0], gpus: [] },
  ];
  assert.equal(pool.restore(1, held), false);
  assert.equal(pool.restore(2, [{ rank: 0, cores: [0, 1], gpus: [] }]), false, "one core of them is another job's");
  assert.equal(pool.restore(3, [{ rank: 1, cores: [0, 1], gpus: [] }]), true);
  assert.equal(allocate(pool, 4, request({})), null);
  for (const id of [1, 2, 3]) pool.free(id, null);
  assert.equal(allocate(pool, 5, request({ nodes: 2, coresPerSlot: 2 }))?.length, 2);
});
