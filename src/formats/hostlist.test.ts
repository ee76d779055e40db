import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFluxError } from "../base/errors.ts";
import { Hostlist } from "./hostlist.ts";

test("RFC 29 test vectors", () => {
  const table: [string, string][] = [
    ["", ""],
    ["foox,fooy,fooz", "foox,fooy,fooz"],
    ["[1-3,5-6]", "1,2,3,5,6"],
    ["foo[1-5]", "foo1,foo2,foo3,foo4,foo5"],
    ["foo[0-4]-eth2", "foo0-eth2,foo1-eth2,foo2-eth2,foo3-eth2,foo4-eth2"],
    ["foo1,foo1,foo1", "foo1,foo1,foo1"],
    ["[00-02]", "00,01,02"],
    ["[00-2]", "00,01,02"],
    ["foo[1,1,2,1]", "foo1,foo1,foo2,foo1"],
  ];
  for (const [text, names] of table) {
    const list = Hostlist.parse(text);
    assert.equal(list.toArray().join(","), names, text);
    assert.equal(list.count, names === "" ? 0 : names.split(",").length);
  }
});

test("leading zeroes of the first number of an idlist go for all", () => {
  assert.deepEqual(Hostlist.parse("n[005,4,11-13]").toArray(), ["n005", "n004", "n011", "n012", "n013"]);
});

test("a list is written compactly, in its own order", () => {
  const table: [string, string][] = [
    ["foo1", "foo1"],
    ["foo", "foo"],
    ["foo1,foo2,foo3", "foo[1-3]"],
    ["foo1,foo3,foo2", "foo[1,3,2]"],
    ["foo9,foo10,foo11", "foo[9-11]"],
    ["foo08,foo09,foo10", "foo[08-10]"],
    ["foo1,foo02", "foo1,foo02"],
    ["foo099,foo100", "foo[099-100]"],
    ["foo005,foo4", "foo005,foo4"],
    ["foo5,bar5,foo6", "foo5,bar5,foo6"],
    ["foo1,foo1", "foo[1,1]"],
    ["foo[0-4]-eth2", "foo[0-4]-eth2"],
    ["1,2", "[1-2]"],
    ["foo,,bar,", "foo,bar"],
    ["foo0,foo00", "foo0,foo00"],
    ["a1 a2\na3", "a[1-3]"],
  ];
  for (const [text, expected] of table) assert.equal(Hostlist.parse(text).format(), expected);
  assert.equal(JSON.stringify([Hostlist.parse("a1,a2")]), '["a[1-2]"]');
});

test("a text that is no hostlist is refused, and nothing of it is appended", () => {
  const bad = ["foo[", "foo]", "foo[1", "foo[1-]", "foo[a]", "foo[]", "foo[3-1]", "a[1]b[2]", "a[[1]]", "a[1 2]", "é"];
  for (const text of bad) {
    assert.throws(
      () => Hostlist.parse(text),
      (error) => isFluxError(error, "EINVAL"),
      text,
    );
    assert.equal(Hostlist.tryParse(text), null);
  }
  assert.throws(
    () => Hostlist.parse("n[0-99999999]"),
    (error) => isFluxError(error, "ERANGE"),
  );
  const list = Hostlist.parse("a");
  assert.throws(() => list.append("b,c["), /brackets/);
  assert.equal(list.format(), "a");
});

test("nth and find", () => {
  const list = Hostlist.parse("foo[1-3],bar,foo2,n[08-10]-x");
  assert.equal(list.nth(0), "foo1");
  assert.equal(list.nth(3), "bar");
  assert.equal(list.nth(7), "n10-x");
  assert.equal(list.nth(-1), "n10-x");
  assert.equal(list.nth(8), undefined);
  assert.equal(list.nth(-9), undefined);
  assert.equal(list.find("foo2"), 1);
  assert.equal(list.find("n09-x"), 6);
  assert.equal(list.find("n9-x"), -1);
  assert.equal(list.find("foo02"), -1);
  assert.equal(list.find("bar"), 3);
  assert.equal(list.find("ba"), -1);
  assert.ok(!list.has("foo4"));
});

test("sort, uniq and the set operations of flux-hostlist(1)", () => {
  const parse = (text: string) => Hostlist.parse(text);
  assert.equal(parse("foo10,foo9,bar,foo9").sort().format(), "bar,foo[9,9-10]");
  assert.equal(parse("foo10,foo9,bar,foo9").uniq().format(), "bar,foo[9-10]");
  assert.equal(parse("b2,a10,a9,a01,a1,c,a9").uniq().format(), "a[1,9],a[01,10],b2,c");
  assert.equal(parse("a[1-3]").union(parse("a[2-5]")).format(), "a[1-5]");
  assert.equal(parse("a[3,2,1,2]").intersect(parse("a[2-9]")).format(), "a[3,2]");
  assert.equal(parse("a[3,2,1,2]").subtract(parse("a2")).format(), "a[3,1]");
  assert.equal(parse("a[1-3]").xor(parse("a[3-4]")).format(), "a[1-2,4]");
  assert.ok(parse("a1,a2").equals(parse("a[1-2]")));
  assert.ok(!parse("a2,a1").equals(parse("a[1-2]")));
});

const host = fc
  .tuple(
    fc.constantFrom("a", "node", "x9y", ""),
    fc.constantFrom("", "0", "1", "2", "3", "9", "10", "11", "01", "02", "08", "09", "099", "100"),
    fc.constantFrom("", "", "-eth0", "z"),
  )
  .map((parts) => parts.join(""))
  .filter((name) => name !== "");

test("the text of a list is read back to the same names in the same order", () => {
  fc.assert(
    fc.property(fc.array(host, { maxLength: 30 }), (hosts) => {
      const list = Hostlist.from(hosts);
      assert.deepEqual(list.toArray(), hosts);
      assert.deepEqual(Hostlist.parse(list.format()).toArray(), hosts);
      assert.deepEqual(Hostlist.parse(hosts.join(",")).toArray(), hosts);
      for (const [index, name] of hosts.entries()) {
        assert.equal(list.nth(index), name);
        assert.equal(list.find(name), hosts.indexOf(name));
      }
      assert.deepEqual(list.uniq().toArray().sort(), [...new Set(hosts)].sort());
      assert.deepEqual(list.sort().toArray().sort(), hosts.toSorted());
    }),
    { numRuns: 500 },
  );
});

test("a hundred thousand nodes are a few runs", () => {
  const list = Hostlist.parse("node[0-99999]");
  assert.equal(list.count, 100_000);
  assert.equal(list.find("node77777"), 77_777);
  list.push("node100000");
  assert.equal(list.format(), "node[0-100000]");
});
