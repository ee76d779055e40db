import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFluxError } from "../base/errors.ts";
import type { JsonValue } from "../base/json.ts";
import { Hostlist } from "./hostlist.ts";
import { Idset } from "./idset.ts";
import { ResourceSet } from "./resource-set.ts";

const ids = (text: string) => Idset.parse(text);

function make(ranks: string, cores = "0", gpus = "", hosts = ""): ResourceSet {
  return ResourceSet.of({ ranks: ids(ranks), cores: ids(cores), gpus: ids(gpus), hosts: Hostlist.parse(hosts) });
}

const RFC_EXAMPLE = {
  version: 1,
  execution: {
    R_lite: [{ rank: "19-22", children: { core: "0-47", gpu: "0-7" } }],
    nodelist: ["node[186-189]"],
    nslots: 32,
    starttime: 1676560542,
    expiration: 1676562342,
  },
} as const;

test("RFC 20 example: 4 nodes of 48 cores and 8 GPUs, written as it was read", () => {
  const set = ResourceSet.parse(RFC_EXAMPLE);
  assert.equal(set.nnodes, 4);
  assert.equal(set.ncores, 192);
  assert.equal(set.ngpus, 32);
  assert.equal(set.nslots, 32);
  assert.equal(set.expiration, 1676562342);
  assert.equal(set.node(20)!.host, "node187");
  assert.equal(String(set.ranksOfHosts(Hostlist.parse("node189"))), "22");
  assert.deepEqual(set.toJSON(), RFC_EXAMPLE);
});

test("hosts go with the ranks in ascending order, however R_lite is ordered", () => {
  const set = ResourceSet.parse({
    version: 1,
    execution: {
      R_lite: [
        { rank: "2", children: { core: "0-1" } },
        { rank: "0-1", children: { core: "0-3", gpu: "0" } },
      ],
      nodelist: ["a", "b[1-2]"],
      properties: { fast: "1-2" },
    },
  });
  assert.deepEqual(
    [...set.nodes()].map(([rank, node]) => `${rank}:${node.host}`),
    ["0:a", "1:b1", "2:b2"],
  );
  assert.equal(set.dump(), "rank[0-1]/core[0-3],gpu0 rank2/core[0-1]");
  assert.deepEqual(set.toJSON().execution.nodelist, ["a,b[1-2]"]);
  assert.ok(set.hasProperty(1, "fast"));
  assert.ok(!set.hasProperty(0, "fast"));
});

test("what is no R is refused with EINVAL and a reason", () => {
  const execution = (changes: Record<string, JsonValue>) => ({
    version: 1,
    execution: { R_lite: [{ rank: "0-1", children: { core: "0" } }], ...changes },
  });
  const table: [JsonValue, RegExp][] = [
    [null, /not an object/],
    [{}, /version undefined/],
    [{ version: 2, execution: {} }, /version 2 is not supported/],
    [{ version: 1 }, /execution: missing/],
    [{ version: 1, execution: {} }, /R_lite: missing/],
    [execution({ R_lite: [{ rank: "0" }] }), /R_lite\[0\]: children/],
    [execution({ R_lite: [{ rank: "x", children: {} }] }), /R_lite\[0\]: rank: error parsing idset/],
    [execution({ R_lite: [{ rank: "0", children: { core: 1 } }] }), /core is missing or not a string/],
    [execution({ R_lite: [{ rank: "0", children: { fpga: "0" } }] }), /'fpga' is not supported/],
    [
      execution({ R_lite: [{ rank: "0-2000000", children: { core: "0" } }] }),
      /2000001 ranks, at most 1048576 are possible/,
    ],
    [execution({ nodelist: ["a"] }), /nodelist has 1 hosts for 2 ranks/],
    [execution({ nodelist: "a[0-1]" }), /nodelist: not an array/],
    [execution({ nodelist: ["a[0-"] }), /Invalid hostlist/],
    [execution({ properties: { "a|b": "0" } }), /invalid character '\|'/],
    [execution({ properties: { a: "1-2" } }), /ranks 2 not found/],
    [execution({ expiration: -1 }), /expiration/],
    [execution({ nslots: 0 }), /nslots/],
  ];
  for (const [value, reason] of table) {
    assert.throws(
      () => ResourceSet.parse(value),
      (error) => isFluxError(error, "EINVAL") && reason.test((error as Error).message),
      JSON.stringify(value),
    );
  }
  assert.ok(ResourceSet.parse({ version: 1, execution: { R_lite: {} } }).isEmpty);
});

test("append joins disjoint sets and refuses overlapping ones", () => {
  assert.equal(make("0-1", "0-1").append(make("1-2", "2-3")).dump(), "rank0/core[0-1] rank1/core[0-3] rank2/core[2-3]");
  assert.equal(
    make("0-1", "0-1")
      .append(make("2-3", "0-1", "0-1"))
      .dump(),
    "rank[0-1]/core[0-1] rank[2-3]/core[0-1],gpu[0-1]",
  );
  assert.throws(
    () => make("0-1").append(make("1-2")),
    (error) => isFluxError(error, "EEXIST"),
  );
  assert.throws(() => make("0", "0", "", "a").append(make("0", "1", "", "b")), /rank 0 is a in one set and b/);
  assert.throws(() => make("0", "0", "", "a").append(make("1")), /with hosts and one without/);
});

test("subtract, intersect and the choice of ranks", () => {
  assert.equal(make("0-1", "0-1").subtract(make("0-1", "0")).dump(), "rank[0-1]/core1");
  assert.equal(make("0-1").subtract(make("0")).dump(), "rank1/core0");
  assert.equal(make("0-3", "0-1").intersect(make("1-5", "0")).dump(), "rank[1-3]/core0");
  assert.equal(make("0-3").intersect(make("4-5")).dump(), "");
  assert.equal(make("0-1023").keepRanks(ids("5-7")).dump(), "rank[5-7]/core0");
  assert.equal(make("1-10").removeRanks(ids("5-7")).dump(), "rank[1-4,8-10]/core0");
  assert.ok(make("0-3", "0-3").includes(make("1", "2")));
  assert.ok(!make("0-3", "0-3").includes(make("4", "2")));
});

test("remap numbers ranks from 0, rerank as hosts are listed; properties move along", () => {
  assert.equal(make("5,99,1000").remap().dump(), "rank[0-2]/core0");
  assert.equal(make("5", "2-3,7", "1,3").remap().withCoresFromZero().dump(), "rank0/core[0-2],gpu[1,3]");
  const set = make("0-3", "0", "", "foo[0-3]").withProperty("x", ids("0"));
  const reranked = set.rerank(Hostlist.parse("foo[3,2,1,0]"));
  assert.equal(reranked.nodelist.format(), "foo[3,2,1,0]");
  assert.equal(String(reranked.properties.get("x")), "3");
  assert.throws(() => set.rerank(Hostlist.parse("foo[0-2]")), /number of hosts/);
  assert.throws(() => set.rerank(Hostlist.parse("foo[1-4]")), /host foo0 not found/);
});

test("properties are for ranks of the set only", () => {
  const set = make("0-3").withProperty("xx", ids("0-1")).withProperty("+queue", ids("3"));
  assert.deepEqual(set.toJSON().execution.properties, { xx: "0-1", "+queue": "3" });
  assert.deepEqual(set.withoutLocalProperties().toJSON().execution.properties, { xx: "0-1" });
  assert.deepEqual([...set.keepRanks(ids("2-3")).properties.keys()], ["+queue"]);
  assert.throws(() => make("0-3").withProperty("xx", ids("3-5")), /ranks 4-5 not found/);
  assert.throws(() => make("0").withProperty("de^bug", ids("0")), /invalid character '\^'/);
});

test("hosts are found by name", () => {
  const set = make("0-2", "0", "", "a,b,a");
  assert.equal(String(set.ranksOfHosts(Hostlist.parse("a"))), "0,2");
  assert.throws(() => set.ranksOfHosts(Hostlist.parse("b,c")), /host c not found/);
});

test("the scheduler's key is handed on by every operation", () => {
  const set = make("0-3", "0-3", "0", "foo[0-3]").with({ scheduling: 42, expiration: 7 });
  const others = [
    set.keepRanks(ids("0")),
    set.remap(),
    set.subtract(make("1", "0", "", "foo1")),
    set.intersect(make("1")),
  ];
  for (const other of others) {
    assert.equal(other.toJSON().scheduling, 42);
    assert.equal(other.expiration, 7);
  }
});

const anySet = fc
  .array(fc.tuple(fc.nat({ max: 6 }), fc.uniqueArray(fc.nat({ max: 5 }), { minLength: 1 }), fc.boolean()), {
    maxLength: 6,
  })
  .map((nodes) =>
    ResourceSet.fromNodes(
      new Map(
        nodes.map(([rank, cores, gpu]) => [
          rank,
          { cores: Idset.from(cores), gpus: gpu ? Idset.of(0) : new Idset(), host: `h${rank}` },
        ]),
      ),
    ),
  );

test("sets form an algebra, and the text of a set is read back to it", () => {
  fc.assert(
    fc.property(anySet, anySet, (a, b) => {
      assert.ok(a.subtract(b).union(a.intersect(b)).equals(a));
      assert.ok(a.subtract(b).intersect(b).isEmpty);
      assert.ok(a.union(b).includes(a) && a.union(b).includes(b));
      assert.equal(a.union(b).ncores, a.ncores + b.ncores - a.intersect(b).ncores);
      const read = ResourceSet.parseText(JSON.stringify(a));
      assert.ok(read.equals(a));
      assert.deepEqual(read.toJSON(), a.toJSON());
    }),
  );
});

test("ten thousand equal nodes are one entry", () => {
  const set = make("0-9999", "0-63", "0-3", "node[0-9999]");
  assert.equal(set.toJSON().execution.R_lite.length, 1);
  assert.equal(set.ncores, 640_000);
});
