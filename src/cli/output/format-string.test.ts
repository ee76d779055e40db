/** Format strings as Python has them, with what Flux adds. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { FluxError } from "../../base/errors.ts";
import { Float, TextList, type FieldValue } from "./field-value.ts";
import { OutputFormat, sortRows, splitSort, type Row } from "./format-string.ts";

const HEADINGS: Readonly<Record<string, string>> = {
  id: "JOBID",
  name: "NAME",
  n: "NTASKS",
  t: "T_RUN",
  queue: "QUEUE",
};

function rows(...values: Record<string, FieldValue>[]): Row[] {
  return values.map((value) => (field) => value[field]);
}

function format(text: string, ...values: Record<string, FieldValue>[]): string[] {
  const { header, lines } = new OutputFormat(text, (field) => HEADINGS[field] ?? null).table(rows(...values));
  return [header, ...lines.map((line) => line ?? "(left out)")];
}

/** Formats one value by a spec. */
function one(spec: string, value: FieldValue): string {
  return format(`{name${spec}}|`, { name: value })[1]!.slice(0, -1);
}

describe("specs", () => {
  test("columns hold wide letters, too", () => {
    assert.equal(one(":<7.6+", "日本語"), "日本語 ");
    assert.equal(one(":<6.6+", "日本語名"), "日本+");
    assert.equal(one(":>8", "日本"), "    日本");
  });
  const cases: readonly [spec: string, value: FieldValue, text: string][] = [
    ["", "sleep", "sleep"],
    [":>8", "sleep", "   sleep"],
    [":^9", "sleep", "  sleep  "],
    [":*<8", "sleep", "sleep***"],
    [":<3", "sleep", "sleep"],
    [":.3", "sleep", "sle"],
    [":<6.3", "sleep", "sle   "],
    [":.3+", "sleep", "sl+"],
    [":.5+", "sleep", "sleep"],
    [":>6", 42, "    42"],
    [":<6", 42, "42    "],
    [":6", 42, "    42"],
    [":04d", 42, "0042"],
    [":x", 255, "ff"],
    [":,", 1234567, "1,234,567"],
    [":.3f", new Float(1.5), "1.500"],
    [":.2f", 3, "3.00"],
    [":.3", new Float(1795367586.2), "1.8e+09"],
    ["", new Float(3600), "3600.0"],
    ["", new Float(Infinity), "inf"],
    ["", true, "True"],
    ["", new TextList(["a", "b"]), "a,b"],
    ["", ["a", 1, null, true, { x: "it's" }], "['a', 1, None, True, {'x': 'it\\'s'}]"],
    ["", new Float(1e-7), "1e-07"],
    ["", new Float(0.001), "0.001"],
    [":>4", true, "   1"],
    [":h", false, "False"],
    [":^9.3+", "sleep", "   sle   "],
    [":^10.5+", "timeout", "  timeo   "],
    [":^10.5+", "longer than ten", "  longe  +"],
    ["!r", "it's", "'it\\'s'"],
    ["!s", "sleep", "sleep"],
    ["", { sched: { eta: 1 } }, '{"sched": {"eta": 1}}'],
    [":>6h", "", "     -"],
    [":>6h", 0, "     0"],
    [":h", new Float(0), "-"],
    [":>4h", 3, "   3"],
    ["!F", new Float(0.0151), "0.015s"],
    ["!F:>8h", new Float(0), "       -"],
    ["!F", new Float(Infinity), "inf"],
    ["!H", new Float(3723), "1:02:03"],
    ["!H", new Float(0.01), "0:00:01"],
    ["!H", new Float(90000), "1 day, 1:00:00"],
    ["!P", new Float(0.5), "50%"],
    ["!P", new Float(0.015), "1.5%"],
    ["!P", new Float(0.0005), "0.05%"],
    ["!P:>5", new Float(1), " 100%"],
    ["!P", new Float(100), "1e+04%"],
    ["!P", new Float(0), "0%"],
    ["!P", new Float(0.00994), "0.99%"],
    ["!H", new Float(10.5), "0:00:10"],
    ["!H", new Float(11.5), "0:00:12"],
    ["!d", new Float(0), ""],
    ["!D", new Float(0), ""],
    ["!d:%Y::>6h", new Float(0), "     -"],
    ["!d:%Y::>6", new Float(1795367586), "  2026"],
    ["!r", "a", "'a'"],
  ];
  for (const [spec, value, text] of cases)
    test(`{${spec}} of ${String(value instanceof Float ? value.value : value)}`, () =>
      assert.equal(one(spec, value), text));
});

describe("tables", () => {
  test("headings stand over the fields", () =>
    assert.deepEqual(format("{id:>8} {name:<6.6+} {n:>6}", { id: "f1", name: "hostname", n: 4 }), [
      "   JOBID NAME   NTASKS",
      "      f1 hostn+      4",
    ]));
  test("a precision does not cut a heading", () => assert.equal(format("{name:.2}", { name: "abc" })[0], "NAME"));
  test("double braces are braces", () => assert.equal(format("{{{name}}}", { name: "x" })[1], "{x}"));
  test("?: leaves out a column that is empty everywhere, with what stands before it", () => {
    assert.deepEqual(format("{id} ?:{queue:>6} {name}", { id: 1, queue: "", name: "a" }), ["JOBID NAME", "1 a"]);
    assert.deepEqual(
      format("{id} ?:{queue:>6} {name}", { id: 1, queue: "q", name: "a" }, { id: 2, queue: "", name: "b" }),
      ["JOBID  QUEUE NAME", "1      q a", "2        b"],
    );
  });
  test("+: makes a column as wide as its widest value", () =>
    assert.deepEqual(format("+:{name:<5.5}|", { name: "sleep" }, { name: "hostname" }), [
      "NAME    |",
      "sleep   |",
      "hostname|",
    ]));
  test("?+: does both", () => {
    assert.deepEqual(format("{id}?+: {queue}", { id: 1, queue: "" })[0]!.trim(), "JOBID?+: QUEUE");
    assert.deepEqual(format("{id} ?+:{queue:>2}", { id: 1, queue: "" })[0], "JOBID");
    assert.deepEqual(format("{id} ?+:{queue:>2}", { id: 1, queue: "batch" })[1], "1 batch");
  });
  test("a row in which nothing shows is left out", () =>
    assert.deepEqual(format("{queue}", { queue: "" }, { queue: "q" }), ["QUEUE", "(left out)", "q"]));
  test("letters beyond ASCII count as one", () => assert.equal(one(":>4", "ƒ2"), "  ƒ2"));
});

describe("mistakes", () => {
  const cases: readonly [string, string][] = [
    ["{nosuch}", "Unknown format field: nosuch"],
    ["{id", "expected '}' before end of string"],
    ["id}", "Single '}' encountered in format string"],
    ["{id!Z}", "Unknown conversion specifier Z"],
  ];
  for (const [text, message] of cases)
    test(text, () => assert.throws(() => format(text, { id: 1 }), new FluxError("EINVAL", message)));
});

describe("order", () => {
  const known = (field: string): boolean => field in HEADINGS;
  const sorted = (keys: string[], ...values: Record<string, FieldValue>[]): FieldValue[] =>
    sortRows(rows(...values), keys, known).map((row) => row("id") ?? null);

  test("sort: before a format gives the keys", () =>
    assert.deepEqual(splitSort("sort:name,-n {id}"), { keys: ["name", "-n"], format: "{id}" }));
  test("earlier keys come first, a dash reverses", () =>
    assert.deepEqual(
      sorted(["name", "-n"], { id: 1, name: "b", n: 1 }, { id: 2, name: "a", n: 1 }, { id: 3, name: "a", n: 2 }),
      [3, 2, 1],
    ));
  test("empty before numbers before texts", () =>
    assert.deepEqual(
      sorted(["n"], { id: 1, n: "x" }, { id: 2, n: 7 }, { id: 3, n: "" }, { id: 4, n: true }),
      [3, 4, 2, 1],
    ));
  test("an unknown key is a mistake", () =>
    assert.throws(() => sorted(["nosuch"], { id: 1 }), new FluxError("EINVAL", "Invalid sort key: nosuch")));
});
