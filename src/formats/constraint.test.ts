import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFluxError } from "../base/errors.ts";
import type { JsonObject, JsonValue } from "../base/json.ts";
import { parseConstraintQuery, parseRequires } from "./constraint-query.ts";
import { compileConstraint, matchingRanks, validateConstraint } from "./constraint.ts";
import { isDependency, parseDependency } from "./dependency.ts";
import { Hostlist } from "./hostlist.ts";
import { Idset } from "./idset.ts";
import { ResourceSet } from "./resource-set.ts";

/** Ranks 0-3 on host0 … host3; xx on 2-3, yy on 0-2. */
const RESOURCES = ResourceSet.of({ ranks: Idset.upTo(4), cores: Idset.of(0), hosts: Hostlist.parse("host[0-3]") })
  .withProperty("xx", Idset.parse("2-3"))
  .withProperty("yy", Idset.parse("0-2"));

test("RFC 31: operators, alone and together", () => {
  const table: [JsonObject, string][] = [
    [{}, "0-3"],
    [{ properties: ["xx"] }, "2-3"],
    [{ properties: ["xx", "yy"] }, "2"],
    [{ properties: ["^xx"] }, "0-1"],
    [{ properties: ["none"] }, ""],
    [{ properties: [] }, "0-3"],
    [{ not: [{ properties: ["xx"] }] }, "0-1"],
    [{ not: [{ properties: ["xx", "yy"] }] }, "0-1,3"],
    [{ or: [{ properties: ["xx"] }, { properties: ["yy"] }] }, "0-3"],
    [{ and: [{ properties: ["xx"] }, { properties: ["yy"] }] }, "2"],
    [{ hostlist: ["host[0-1]"] }, "0-1"],
    [{ hostlist: ["host0", "host[2-3]"] }, "0,2-3"],
    [{ hostlist: ["host[2-999999]", "other[0-999999]"] }, "2-3"],
    [{ not: [{ hostlist: ["host[0-1]"] }] }, "2-3"],
    [{ and: [{ hostlist: ["host[1-2]"] }, { properties: ["xx"] }] }, "2"],
    [{ ranks: ["0"] }, "0"],
    [{ ranks: ["0", "2-3"] }, "0,2-3"],
    [{ or: [] }, "0-3"],
    [{ and: [] }, "0-3"],
    [{ not: [] }, ""],
    [{ ranks: ["0-2"], properties: ["xx"] }, "2"],
  ];
  for (const [constraint, ranks] of table) {
    assert.equal(String(matchingRanks(RESOURCES, constraint)), ranks, JSON.stringify(constraint));
  }
});

test("what is no constraint is refused", () => {
  const table: [JsonValue, RegExp][] = [
    [[], /constraints must be a mapping/],
    ["xx", /constraints must be a mapping/],
    [{ foo: [] }, /unknown constraint operator 'foo'/],
    [{ and: {} }, /argument to constraint and must be a sequence/],
    [{ properties: "xx" }, /argument to constraint properties must be a sequence/],
    [{ properties: [1] }, /property value must be a string/],
    [{ properties: ["a|b"] }, /invalid character in property 'a\|b'/],
    [{ hostlist: ["f["] }, /Invalid hostlist: 'f\['/],
    [{ ranks: ["1-0"] }, /error parsing idset '1-0'/],
    [{ not: [{ or: [3] }] }, /constraints must be a mapping/],
    [{ constructor: [] }, /unknown constraint operator/],
  ];
  for (const [value, reason] of table) {
    assert.throws(
      () => validateConstraint(value),
      (error) => isFluxError(error, "EINVAL") && reason.test((error as Error).message),
      JSON.stringify(value),
    );
  }
});

test("negation and De Morgan hold for any constraint", () => {
  const leaf: fc.Arbitrary<JsonObject> = fc.constantFrom<JsonObject>(
    { properties: ["xx"] },
    { properties: ["^yy"] },
    { ranks: ["1-2"] },
    { hostlist: ["host3"] },
  );
  fc.assert(
    fc.property(fc.array(leaf, { minLength: 1, maxLength: 4 }), (leaves) => {
      const ranks = (constraint: JsonObject) => String(matchingRanks(RESOURCES, constraint));
      assert.equal(ranks({ not: [{ or: leaves }] }), ranks({ and: leaves.map((item) => ({ not: [item] })) }));
      assert.equal(ranks({ not: [{ not: leaves }] }), ranks({ and: leaves }));
    }),
  );
});

test("RFC 35 examples with the default operator name", () => {
  const parse = (query: string) => parseConstraintQuery(query, { defaultOperator: "name" });
  const name = (text: string) => ({ name: [text] });
  assert.deepEqual(parse("foo"), name("foo"));
  assert.deepEqual(parse("foo bar"), { and: [name("foo"), name("bar")] });
  assert.deepEqual(parse("foo bar state:started"), { and: [name("foo"), name("bar"), { state: ["started"] }] });
  assert.deepEqual(parse("a|b|c"), { or: [name("a"), name("b"), name("c")] });
  assert.deepEqual(parse("a|b&c"), { or: [name("a"), { and: [name("b"), name("c")] }] });
  assert.deepEqual(parse("(a|b)&c"), { and: [{ or: [name("a"), name("b")] }, name("c")] });
  assert.deepEqual(parse("(a|-b)&c"), { and: [{ or: [name("a"), { not: [name("b")] }] }, name("c")] });
  assert.deepEqual(parse("foo:'this is args'"), { foo: ["this is args"] });
  assert.deepEqual(parse("'and' \"a:b\""), { and: [name("and"), name("a:b")] });
  assert.deepEqual(parse("android or notary"), { or: [name("android"), name("notary")] });
});

test("--requires examples of flux-submit(1)", () => {
  const properties = (...names: string[]) => ({ properties: names });
  const table: [string, JsonObject][] = [
    ["a,b,c", properties("a", "b", "c")],
    ["a&b&c", properties("a", "b", "c")],
    ["a b c", properties("a", "b", "c")],
    ["a (b c)", properties("a", "b", "c")],
    ["-a -b", { and: [{ not: [properties("a")] }, { not: [properties("b")] }] }],
    ["a and not b", { and: [properties("a"), { not: [properties("b")] }] }],
    ["host:x host:y", { and: [{ hostlist: ["x"] }, { hostlist: ["y"] }] }],
    ["a&b|c", { or: [properties("a", "b"), properties("c")] }],
    ["a or b or c", { or: [properties("a"), properties("b"), properties("c")] }],
    ["a || b", { or: [properties("a"), properties("b")] }],
    ["(a and b) or (b && c)", { or: [properties("a", "b"), properties("b", "c")] }],
    ["b|-c", { or: [properties("b"), { not: [properties("c")] }] }],
    ["b or not c", { or: [properties("b"), { not: [properties("c")] }] }],
    ["not not a", { not: [{ not: [properties("a")] }] }],
    ["^baz", properties("^baz")],
    ["host:fluke[1-5]", { hostlist: ["fluke[1-5]"] }],
    ["hosts:a,b", { hostlist: ["a,b"] }],
    ["-host:fluke7", { not: [{ hostlist: ["fluke7"] }] }],
    ["rank:0", { ranks: ["0"] }],
    ["-rank:0-2", { not: [{ ranks: ["0-2"] }] }],
    ["foo:bar", { foo: ["bar"] }],
  ];
  for (const [query, constraint] of table) assert.deepEqual(parseConstraintQuery(query), constraint, query);
});

test("blanks may follow an operator and a minus sign", () => {
  assert.deepEqual(parseConstraintQuery("rank: 0-3"), { ranks: ["0-3"] });
  assert.deepEqual(parseConstraintQuery("a - host: b"), {
    and: [{ properties: ["a"] }, { not: [{ hostlist: ["b"] }] }],
  });
});

test("a syntax error says what is wrong", () => {
  const refused: readonly (readonly [query: string, text: string])[] = [
    ["rank:", "Missing argument to token 'rank:'"],
    ["-host: ", "Missing argument to token 'host:'"],
    ["(rank:)", "Invalid token ')' at position 6"],
    ["rank:|a", "Invalid token '|' at position 5"],
    ["^rank:0", "invalid character '^' in operator '^rank:'"],
    ["a,b:c", "invalid character ',' in operator 'a,b:'"],
    ["a -", "Unexpected end of input in 'a -'"],
    ["x:'", `Unclosed quote "'" at position 3`],
    [`a"b`, `Unclosed quote '"' at position 2`],
  ];
  for (const [query, text] of refused) {
    assert.throws(
      () => parseConstraintQuery(query),
      (error) => isFluxError(error, "EINVAL") && error.message === text,
      query,
    );
  }
});

test("syntax errors are refused", () => {
  for (const query of [
    "",
    "&x",
    "x&",
    "a||",
    "(a",
    "a)",
    "-(a|b)",
    "-",
    "not",
    "a not",
    ":x",
    "x:",
    "'a",
    "()",
    "| |",
  ]) {
    assert.throws(
      () => parseConstraintQuery(query),
      (error) => isFluxError(error, "EINVAL"),
      query,
    );
  }
  assert.throws(() => parseConstraintQuery("(".repeat(5000) + "a"), /too deep/);
  assert.throws(() => parseConstraintQuery("not ".repeat(5000) + "a"), /too deep/);
  assert.throws(() => parseConstraintQuery("a", {}), /'a' has no operator/);
});

test("several --requires must all hold", () => {
  const join = (...queries: string[]) => parseRequires(queries);
  assert.equal(join(), null);
  assert.deepEqual(join("foo"), { properties: ["foo"] });
  assert.deepEqual(join("foo,bar", "^baz"), { properties: ["foo", "bar", "^baz"] });
  assert.deepEqual(join("foo", "rank:0"), { and: [{ properties: ["foo"] }, { ranks: ["0"] }] });
  assert.deepEqual(join("a|b", "c"), {
    and: [{ or: [{ properties: ["a"] }, { properties: ["b"] }] }, { properties: ["c"] }],
  });
  assert.throws(() => join("a) (b"), /Invalid token '\)' at position 1/);
});

test("a matcher takes any target", () => {
  const matches = compileConstraint({ properties: ["a"] });
  assert.ok(matches({ rank: 9, hasProperty: (name) => name === "a" }));
  assert.ok(!compileConstraint({ hostlist: ["h"] })({ rank: 9, hasProperty: () => false }));
});

test("RFC 26: dependencies as URIs and objects", () => {
  const table: [string, JsonObject][] = [
    ["afterany:ƒ2oLkTLb", { scheme: "afterany", value: "ƒ2oLkTLb" }],
    ["string:foo?type=out", { scheme: "string", value: "foo", type: "out" }],
    ["fluid:hungry-hippos-white-elephant", { scheme: "fluid", value: "hungry-hippos-white-elephant" }],
    ["string:foo?type=in&scope=user", { scheme: "string", value: "foo", type: "in", scope: "user" }],
    ["begin-time:1552594348.5", { scheme: "begin-time", value: "1552594348.5" }],
    ["singleton", { scheme: "singleton", value: "" }],
    ["x:a:b", { scheme: "x", value: "a:b" }],
  ];
  for (const [uri, object] of table) {
    assert.deepEqual(parseDependency(uri), object);
    assert.ok(isDependency(object));
  }
  const options: [string, JsonObject][] = [
    ["x=1;y=2.5", { x: 1, y: 2.5 }],
    ["x=007&x=a", { x: [7, "a"] }],
    ["x=true&y", { x: "true" }],
    ["c=d%20e", { c: "d e" }],
  ];
  for (const [query, expected] of options) {
    assert.deepEqual(parseDependency(`a:b%20?${query}`), { scheme: "a", value: "b%20", ...expected });
  }
  for (const uri of ["", ":x", "1a:x", "a b:x", "a:b?value=2", "a:b?x=%zz"]) {
    assert.throws(
      () => parseDependency(uri),
      (error) => isFluxError(error, "EINVAL"),
      uri,
    );
  }
  assert.ok(!isDependency({ scheme: "a" }));
});
