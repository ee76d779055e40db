/** Command lines in both dialects: what is an option, an argument, an operand, a mistake. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { defineCommand, type Command, type Dialect, type OptionSpec } from "./command.ts";
import { parseLine, UsageError } from "./parse.ts";

const OPTIONS: readonly OptionSpec[] = [
  { names: ["nodes"], short: "N", argument: "N", help: "" },
  { names: ["ntasks"], short: "n", argument: "N", help: "" },
  { names: ["label-io"], short: "l", help: "" },
  { names: ["verbose"], short: "v", repeatable: true, help: "" },
  { names: ["count"], short: "c", argument: "N", integer: true, help: "" },
  { names: ["width"], short: "w", argument: "N", optionalArgument: true, help: "" },
  { names: ["no-header", "suppress-header"], help: "" },
];

function command(dialect: Dialect, more: Partial<Command> = {}): Command {
  return defineCommand({
    name: "test",
    dialect,
    summary: "",
    options: OPTIONS,
    operands: [{ name: "ARG", arity: "*" }],
    ...more,
  });
}

function given(dialect: Dialect, words: readonly string[], more: Partial<Command> = {}): unknown {
  const { options, operands } = parseLine(command(dialect, more), words);
  return [options.given.map(({ name, value }) => (value === null ? name : `${name}=${value}`)), operands];
}

function complaint(dialect: Dialect, words: readonly string[], more: Partial<Command> = {}): string {
  try {
    parseLine(command(dialect, more), words);
  } catch (error) {
    assert.ok(error instanceof UsageError);
    return error.message;
  }
  throw new Error("no complaint");
}

describe("both dialects", () => {
  for (const dialect of ["getopt", "argparse"] as const) {
    const cases: readonly [words: string[], options: string[], operands: string[]][] = [
      [["-n4", "-N", "2", "--ntasks=8", "--ntasks", "9"], ["ntasks=4", "nodes=2", "ntasks=8", "ntasks=9"], []],
      [["-lvvn4"], ["label-io", "verbose", "verbose", "ntasks=4"], []],
      [["a", "-l", "b"], ["label-io"], ["a", "b"]],
      [["-l", "--", "-v", "--"], ["label-io"], ["-v", "--"]],
      [["-", "--ntasks="], ["ntasks="], ["-"]],
      [["-w", "-w5", "--width=6"], ["width", "width=5", "width=6"], []],
      [["--suppress-header"], ["no-header"], []],
    ];
    for (const [words, options, operands] of cases)
      test(`${dialect}: ${words.join(" ")}`, () => assert.deepEqual(given(dialect, words), [options, operands]));

    test(`${dialect}: options end at the first operand where a program follows`, () =>
      assert.deepEqual(given(dialect, ["-l", "ls", "-l", "--", "-v"], { stopAtOperand: true }), [
        ["label-io"],
        ["ls", "-l", "--", "-v"],
      ]));

    test(`${dialect}: help is found wherever it stands`, () =>
      assert.notEqual(parseLine(command(dialect), ["-l", "-h", "--nonsense"]).help, null));

    test(`${dialect}: every word ends in exactly one place`, () => {
      const word = fc.oneof(
        fc.constantFrom("-l", "-vv", "-n3", "--ntasks=x", "--", "-", "--no-header"),
        fc.stringMatching(/^[a-z]{1,6}$/),
      );
      fc.assert(
        fc.property(fc.array(word, { maxLength: 12 }), (words) => {
          const { options, operands } = parseLine(command(dialect), words);
          const flags = words.slice(0, words.includes("--") ? words.indexOf("--") : undefined);
          const expected = flags.reduce(
            (sum, each) => sum + (each === "-vv" ? 2 : each.startsWith("-") && each !== "-" ? 1 : 0),
            0,
          );
          assert.equal(options.given.length, expected);
          const rest = words.includes("--") ? words.slice(words.indexOf("--") + 1) : [];
          assert.deepEqual(operands, [...flags.filter((each) => each === "-" || !each.startsWith("-")), ...rest]);
        }),
      );
    });
  }
});

describe("getopt", () => {
  test("an abbreviation that fits one option stands for it", () =>
    assert.deepEqual(given("getopt", ["--lab", "--nt", "4"]), [["label-io", "ntasks=4"], []]));
  test("one that fits several does not", () =>
    assert.equal(complaint("getopt", ["--n=4"]), "unrecognized option '--n=4'"));
  test("a separate argument may look like an option", () =>
    assert.deepEqual(given("getopt", ["-n", "-l"]), [["ntasks=-l"], []]));
  const mistakes: readonly [string[], string][] = [
    [["--nonsense"], "unrecognized option '--nonsense'"],
    [["-lQ"], "unrecognized option '-Q'"],
    [["-n"], "'-n' missing argument"],
    [["--ntasks"], "'--ntasks' missing argument"],
    [["--count=x"], "test: Option 'count' requires an integer argument"],
  ];
  for (const [words, message] of mistakes)
    test(words.join(" "), () => assert.equal(complaint("getopt", words), message));
});

describe("argparse", () => {
  test("negative numbers are operands and arguments", () =>
    assert.deepEqual(given("argparse", ["-c", "-3", "-5"]), [["count=-3"], ["-5"]]));
  test("unknown options are told together, after the rest", () =>
    assert.equal(complaint("argparse", ["-Q", "-l", "--foo=1"]), "unrecognized arguments: -Q --foo=1"));
  test("operands beyond those that are taken are unknown too", () =>
    assert.equal(
      complaint("argparse", ["a", "b"], { operands: [{ name: "QUEUE", arity: "?" }] }),
      "unrecognized arguments: b",
    ));
  const mistakes: readonly [string[], string][] = [
    [["-n"], "argument -n/--ntasks: expected one argument"],
    [["-n", "-l"], "argument -n/--ntasks: expected one argument"],
    [["--label-io=x"], "argument -l/--label-io: ignored explicit argument 'x'"],
    [["-lQ"], "argument -l/--label-io: ignored explicit argument 'Q'"],
    [["-Ql"], "unrecognized arguments: -Ql"],
    [["--count=foo"], "argument -c/--count: invalid int value: 'foo'"],
    [["--nt=4"], "unrecognized arguments: --nt=4"],
  ];
  for (const [words, message] of mistakes)
    test(words.join(" "), () => assert.equal(complaint("argparse", words), message));
  test("operands that are missing are named", () =>
    assert.equal(
      complaint("argparse", [], { operands: [{ name: "EXPRESSION", arity: "+" }] }),
      "the following arguments are required: EXPRESSION",
    ));
});
