import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFluxError } from "../base/errors.ts";
import { Idset } from "./idset.ts";

const ids = fc.array(fc.nat({ max: 60 }), { maxLength: 40 });

function sorted(values: Iterable<number>): number[] {
  return [...new Set(values)].sort((left, right) => left - right);
}

test("RFC 22: ids ascend, neighbours may be ranges, brackets may be added", () => {
  const set = Idset.of(42, 1, 2, 3, 5, 6);
  assert.equal(set.format({ ranges: false }), "1,2,3,5,6,42");
  assert.equal(set.format(), "1-3,5-6,42");
  assert.equal(set.format({ brackets: true }), "[1-3,5-6,42]");
  assert.equal(String(set), "1-3,5-6,42");
  assert.equal(JSON.stringify({ ranks: set }), '{"ranks":"1-3,5-6,42"}');
});

test("one id and the empty set take no brackets", () => {
  assert.equal(Idset.of(7).format({ brackets: true }), "7");
  assert.equal(new Idset().format({ brackets: true }), "");
});

test("text is read with ranges and in brackets", () => {
  const table: [string, number[]][] = [
    ["", []],
    ["[]", []],
    ["42", [42]],
    ["1-4,7,9-10", [1, 2, 3, 4, 7, 9, 10]],
    ["[99-101]", [99, 100, 101]],
    ["0", [0]],
    ["2-2", [2]],
    ["1-3,4-5", [1, 2, 3, 4, 5]],
    [",1,,3,", [1, 3]],
  ];
  for (const [text, expected] of table) assert.deepEqual([...Idset.parse(text)], expected, text);
});

test("text that is no idset is refused with EINVAL and a reason", () => {
  const table: [string, RegExp][] = [
    ["foo", /'foo' is not an id or a range/],
    ["01", /leading zeroes/],
    ["1-02", /leading zeroes/],
    ["5-3", /out of order/],
    ["2,1", /'1' is out of order/],
    ["1,1", /'1' is out of order/],
    ["1-3,2-5", /'2-5' is out of order/],
    ["1-", /'1-' is not/],
    ["-1", /'-1' is not/],
    ["[1-2", /not an id/],
    ["1 2", /not an id/],
    ["9999999999", /too large/],
  ];
  for (const [text, reason] of table) {
    assert.throws(
      () => Idset.parse(text),
      (error) => isFluxError(error, "EINVAL") && reason.test((error as Error).message),
      text,
    );
    assert.equal(Idset.tryParse(text), null);
  }
});

test("a set has what was added and not removed, as a plain Set would", () => {
  const operation = fc.record({ adds: fc.boolean(), first: fc.nat({ max: 60 }), length: fc.nat({ max: 12 }) });
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 30 }), (operations) => {
      const set = new Idset();
      const model = new Set<number>();
      for (const { adds, first, length } of operations) {
        const last = first + length;
        for (let id = first; id <= last; id++) {
          if (adds) model.add(id);
          else model.delete(id);
        }
        if (adds) set.addRange(first, last);
        else set.removeRange(first, last);
        const expected = sorted(model);
        assert.deepEqual([...set], expected);
        assert.equal(set.count, expected.length);
        assert.equal(set.first, expected[0]);
        assert.equal(set.last, expected.at(-1));
        for (let id = 0; id < 75; id += 7) assert.equal(set.has(id), model.has(id));
        // Ranges never touch: the text is the shortest.
        const ranges = [...set.ranges()];
        for (let index = 1; index < ranges.length; index++) assert.ok(ranges[index]![0] > ranges[index - 1]![1] + 1);
      }
    }),
  );
});

test("union, subtract, intersect and comparisons agree with plain sets", () => {
  fc.assert(
    fc.property(ids, ids, (left, right) => {
      const [a, b] = [Idset.from(left), Idset.from(right)];
      assert.deepEqual([...a.union(b)], sorted([...left, ...right]));
      assert.deepEqual([...a.subtract(b)], sorted(left.filter((id) => !right.includes(id))));
      const common = sorted(left.filter((id) => right.includes(id)));
      assert.deepEqual([...a.intersect(b)], common);
      assert.equal(a.intersect(b).count, common.length);
      assert.equal(a.overlaps(b), common.length > 0);
      assert.equal(
        a.includes(b),
        right.every((id) => left.includes(id)),
      );
      assert.equal(a.equals(b), sorted(left).join() === sorted(right).join());
      assert.deepEqual([...a], sorted(left), "operands are not changed");
    }),
  );
});

test("text round trip", () => {
  fc.assert(
    fc.property(ids, fc.boolean(), fc.boolean(), (values, brackets, ranges) => {
      const set = Idset.from(values);
      assert.ok(Idset.parse(set.format({ brackets, ranges })).equals(set));
    }),
  );
});

test("a large set costs its gaps, not its ids", () => {
  const set = Idset.parse("0-2000000000");
  set.removeRange(10, 1_999_999_990);
  assert.equal(set.count, 20);
  assert.equal(String(set), "0-9,1999999991-2000000000");
});

test("add tells whether an id is new, and refuses what is no id", () => {
  const set = new Idset();
  assert.equal(set.add(3), true);
  assert.equal(set.add(3), false);
  assert.throws(() => set.add(-1), /-1 is not an id/);
  assert.throws(() => set.add(1.5), /1.5 is not an id/);
  set.addRange(0, 5);
  set.removeAll(set);
  assert.ok(set.isEmpty);
});
