import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFluxError } from "../base/errors.ts";
import { Hostlist } from "./hostlist.ts";
import { Taskmap } from "./taskmap.ts";

test("RFC 34 test vectors, from raw to blocks and back", () => {
  const table: [string, string][] = [
    ["0", "[[0,1,1,1]]"],
    ["0;1", "[[0,2,1,1]]"],
    ["0-1", "[[0,1,2,1]]"],
    ["0-1;2-3", "[[0,2,2,1]]"],
    ["0,2;1,3", "[[0,2,1,2]]"],
    ["1;0", "[[1,1,1,1],[0,1,1,1]]"],
    ["0-3;4-7;8-11;12-15", "[[0,4,4,1]]"],
    ["0,4,8,12;1,5,9,13;2,6,10,14;3,7,11,15", "[[0,4,1,4]]"],
    ["0-1,8-9;2-3,10-11;4-5,12-13;6-7,14-15", "[[0,4,2,2]]"],
    ["0-1;2-3;4-5;6-7;8-11;12-15", "[[0,4,2,1],[4,2,4,1]]"],
    ["0,6;1,7;2,8;3,9;4,10,12,14;5,11,13,15", "[[0,6,1,2],[4,2,1,2]]"],
    ["14-15;12-13;10-11;8-9;4-7;0-3", "[[5,1,4,1],[4,1,4,1],[3,1,2,1],[2,1,2,1],[1,1,2,1],[0,1,2,1]]"],
    ["0-1;2-3;4-5;6-7;8-9;12-13;10-11;14-15", "[[0,5,2,1],[6,1,2,1],[5,1,2,1],[7,1,2,1]]"],
    ["12-15;8-11;4-7;0-3", "[[3,1,4,1],[2,1,4,1],[1,1,4,1],[0,1,4,1]]"],
  ];
  for (const [raw, blocks] of table) {
    assert.equal(String(Taskmap.fromRaw(raw)), blocks);
    assert.equal(Taskmap.parse(blocks).toRaw(), raw);
    assert.equal(Taskmap.parse(raw).toRaw(), raw);
  }
  assert.ok(Taskmap.parse("[]").isUnknown);
  assert.equal(Taskmap.UNKNOWN.ntasks, 0);
});

test("RFC 34 tables: block and cyclic distributions, in blocks and for PMI", () => {
  const even = [4, 4, 4, 4];
  const uneven = [2, 2, 2, 2, 4, 4];
  const large = Array.from({ length: 4096 }, () => 256);
  const table: [Taskmap, string, string | null][] = [
    [Taskmap.block(even), "[[0,4,4,1]]", "(vector,(0,4,4))"],
    [Taskmap.cyclic(even), "[[0,4,1,4]]", "(vector,(0,4,1),(0,4,1),(0,4,1),(0,4,1))"],
    [Taskmap.cyclic(even, 2), "[[0,4,2,2]]", "(vector,(0,4,2),(0,4,2))"],
    [Taskmap.cyclic(even, 3), "[[0,4,3,1],[0,4,1,1]]", "(vector,(0,4,3),(0,4,1))"],
    [Taskmap.block(uneven), "[[0,4,2,1],[4,2,4,1]]", "(vector,(0,4,2),(4,2,4))"],
    [Taskmap.cyclic(uneven), "[[0,6,1,2],[4,2,1,2]]", "(vector,(0,6,1),(0,6,1),(4,2,1),(4,2,1))"],
    [Taskmap.cyclic(uneven, 2), "[[0,6,2,1],[4,2,2,1]]", "(vector,(0,6,2),(4,2,2))"],
    [Taskmap.block(large), "[[0,4096,256,1]]", "(vector,(0,4096,256))"],
    [Taskmap.cyclic(large), "[[0,4096,1,256]]", null],
    [Taskmap.cyclic(large, 2), "[[0,4096,2,128]]", null],
  ];
  for (const [map, blocks, pmi] of table) {
    assert.equal(String(map), blocks);
    if (pmi !== null) assert.equal(map.toPmi(), pmi);
    assert.equal(String(Taskmap.fromPmi(map.toPmi())), blocks);
  }
  assert.deepEqual(JSON.parse(JSON.stringify(Taskmap.block(large).toWrapped())), {
    version: 1,
    map: [[0, 4096, 256, 1]],
  });
  assert.equal(String(Taskmap.parse('{"version":1, "map":[[0,4096,256,1]]}')), "[[0,4096,256,1]]");
});

test("PMI mappings: unknown, blanks, malformed", () => {
  assert.ok(Taskmap.fromPmi("").isUnknown);
  assert.equal(Taskmap.parse("(vector,(0,1,2),(0,1,2))").toPmi(), "(vector,(0,1,4))");
  assert.equal(String(Taskmap.parse("(vector, (0,1,2), (1,1,2))")), "[[0,1,2,1],[1,1,2,1]]");
  for (const text of ["(vector,(0,1))", "(0,1,1)", "(vector,(0,1,1)", "(vector,(0,0,1))"]) {
    assert.throws(
      () => Taskmap.parse(text),
      (error) => isFluxError(error, "EINVAL"),
      text,
    );
  }
});

test("what is no task map is refused", () => {
  const bad = [
    "[[0,4,4]]",
    "{}",
    "[[0,1,1,0]]",
    "[[-1,1,1,1]]",
    '[["0",1,1,1]]',
    "[[0,1,1,1.5]]",
    "[[0,1,1,1]",
    "x",
    "0;0",
    "1",
  ];
  for (const text of [...bad, '{"version":2,"map":[]}', "[[0,1,1,99999999999]]"]) {
    assert.throws(
      () => Taskmap.parse(text),
      (error) => isFluxError(error, "EINVAL"),
      text,
    );
  }
  assert.throws(() => Taskmap.cyclic([1], 0), /stride/);
});

test("a hostfile gives tasks to hosts in its order, again from the start where it is short", () => {
  const nodelist = Hostlist.parse("a,b,c");
  assert.equal(Taskmap.hostfile(Hostlist.parse("c,a,a,b"), nodelist, 6).toRaw(), "1-2,5;3;0,4");
  assert.throws(() => Taskmap.hostfile(Hostlist.parse("d"), nodelist, 1), /host d is not assigned/);
  assert.throws(() => Taskmap.hostfile(new Hostlist(), nodelist, 1), /no hosts/);
});

test("any assignment of tasks to nodes survives all forms", () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 5 }), { minLength: 1, maxLength: 40 }), (nodes) => {
      const map = Taskmap.fromNodes(nodes);
      assert.equal(map.ntasks, nodes.length);
      for (const [task, node] of nodes.entries()) {
        assert.equal(map.nodeOf(task), node);
        assert.ok(map.taskIds(node).has(task));
      }
      assert.equal(map.nodeOf(nodes.length), undefined);
      for (let node = 0; node < 7; node++) {
        assert.equal(map.ntasksOf(node), nodes.filter((other) => other === node).length);
        assert.equal(map.taskIds(node).count, map.ntasksOf(node));
      }
      for (const other of [Taskmap.parse(String(map)), Taskmap.fromPmi(map.toPmi()), Taskmap.fromRaw(map.toRaw())]) {
        assert.ok(other.equals(map));
      }
    }),
  );
});

test("schemes keep the number of tasks of each node", () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat({ max: 6 }), { minLength: 1, maxLength: 8 }),
      fc.integer({ min: 1, max: 4 }),
      (counts, stride) => {
        for (const map of [Taskmap.block(counts), Taskmap.cyclic(counts, stride)]) {
          assert.deepEqual(
            counts.map((_, nodeid) => map.ntasksOf(nodeid)),
            counts,
          );
        }
      },
    ),
  );
});
