/** Many jobs from one command line: --cc, --bcc, and the inputs of flux bulksubmit. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { command as bulksubmit } from "../commands/bulksubmit.ts";
import { command as submit } from "../commands/submit.ts";
import type { ParsedOptions } from "../framework/command.ts";
import { parseLine } from "../framework/parse.ts";
import { splitInputs, substituteInputs } from "./bulk-template.ts";
import { describeLine } from "./describe.ts";
import { NO_PLUGINS } from "./plugins.ts";
import { replicaCount, replicas, SubmissionBuilder } from "./replicate.ts";

function replicate(...words: string[]): { cc: string | null; words: readonly string[]; name: string | null }[] {
  const { options, operands } = parseLine(submit, words);
  return [...replicas(options, operands)].map((each) => ({
    cc: each.cc,
    words: each.command,
    name: each.options.text("job-name"),
  }));
}

describe("replicas", () => {
  test("one without --cc", () => assert.deepEqual(replicate("true"), [{ cc: null, words: ["true"], name: null }]));
  test("--cc replaces {cc} and says which one it is", () =>
    assert.deepEqual(replicate("--cc=3,5", "--job-name=j{cc}", "echo", "{cc}", "{{id}}"), [
      { cc: "3", words: ["echo", "3", "{{id}}"], name: "j3" },
      { cc: "5", words: ["echo", "5", "{{id}}"], name: "j5" },
    ]));
  test("--bcc only replaces", () =>
    assert.deepEqual(replicate("--bcc=1", "echo", "{cc}"), [{ cc: null, words: ["echo", "1"], name: null }]));
  test("their number is known before", () =>
    assert.equal(replicaCount(parseLine(submit, ["--cc=1-1000", "true"]).options), 1000));
  test("mistakes", () => {
    assert.throws(() => replicate("--cc=1", "--bcc=1", "true"), /specify only one of --cc or --bcc/);
    assert.throws(() => replicate("--cc=foo", "true"), /IDset\(\): Invalid argument: foo/);
  });

  test("input for some tasks of each is a mistake", async () => {
    const { options, operands } = parseLine(bulksubmit, ["--input=0-1", "true"]);
    const [replica] = [...replicas(options, operands)];
    const never = (): never => assert.fail();
    const ports = { readFile: never, readText: never, resumeOptions: never, warn: never };
    const builder = new SubmissionBuilder({ env: {}, cwd: "/", limits: {}, now: 0, ...ports }, NO_PLUGINS);
    await assert.rejects(() => builder.build(replica!), /per-task input not supported for submit$/);
  });
  test("jobs that differ in FLUX_JOB_CC only share the rest", async () => {
    let reads = 0;
    const builder = new SubmissionBuilder(
      {
        env: {},
        get cwd() {
          reads++;
          return "/";
        },
        limits: {},
        now: 0,
        readFile: () => assert.fail(),
        readText: () => assert.fail(),
        resumeOptions: () => assert.fail(),
        warn: () => assert.fail(),
      },
      NO_PLUGINS,
    );
    const { options, operands } = parseLine(submit, ["--cc=1-3", "true"]);
    const environments = [];
    for (const replica of replicas(options, operands))
      environments.push((await builder.build(replica)).jobspec.attributes.system?.environment);
    assert.deepEqual(environments, [{ FLUX_JOB_CC: "1" }, { FLUX_JOB_CC: "2" }, { FLUX_JOB_CC: "3" }]);
    assert.equal(reads, 1);
  });
});

describe("inputs of bulksubmit", () => {
  const lines: Readonly<Record<string, readonly string[]>> = { "-": ["in 1", "in 2"], file: ["f1"] };
  const split = (...words: string[]): readonly (readonly string[])[] => {
    const { count, at } = splitInputs(words, (path) => lines[path] ?? []);
    return Array.from({ length: count }, (_, index) => at(index));
  };

  test("from standard input where there is no separator", () =>
    assert.deepEqual(split("echo", "{}"), [["in 1"], ["in 2"]]));
  test("from the command line", () => assert.deepEqual(split("echo", ":::", "a", "b"), [["a"], ["b"]]));
  test("every one with every other", () =>
    assert.deepEqual(split("x", ":::", "a", "b", ":::", "1", "2"), [
      ["a", "1"],
      ["a", "2"],
      ["b", "1"],
      ["b", "2"],
    ]));
  test("linked, one by one, the shorter list again from its start", () =>
    assert.deepEqual(split("x", ":::", "a", "b", "c", ":::+", "1", "2"), [
      ["a", "1"],
      ["b", "2"],
      ["c", "1"],
    ]));
  test("linked to nothing", () => assert.deepEqual(split("x", ":::", ":::+", "1", "2"), []));
  test("linked to all combinations of the others, each in turn", () =>
    assert.deepEqual(split("x", ":::", "a", "b", ":::+", "1", "2", "3", ":::", "x", "y"), [
      ["a", "1", "x"],
      ["a", "2", "y"],
      ["b", "3", "x"],
      ["b", "1", "y"],
    ]));
  test("a million combinations cost nothing until they are asked for", () => {
    const thousand = Array.from({ length: 1000 }, (_, index) => String(index));
    const { count, at } = splitInputs(["x", ":::", ...thousand, ":::", ...thousand], () => []);
    assert.equal(count, 1_000_000);
    assert.deepEqual(at(999_001), ["999", "1"]);
  });
  test("from files", () =>
    assert.deepEqual(split("x", "::::", "file", "::::", "-"), [
      ["f1", "in 1"],
      ["f1", "in 2"],
    ]));
  test("one file each", () =>
    assert.throws(() => split("x", "::::", "file", "-"), /Multiple args not allowed after ::::/));
  test("without a command, each input is one", () =>
    assert.deepEqual(splitInputs([":::", "a"], () => []).command, ["{}"]));

  const cases: readonly [string, string][] = [
    ["{}", "a/b.c"],
    ["{0}-{1}", "a/b.c-x"],
    ["{.%}", "a/b"],
    ["{./}", "b.c"],
    ["{./%}", "b"],
    ["{.//}", "a"],
    ["{1.//}", ""],
    ["{seq} {seq1}", "4 5"],
    ["{seq:03d} {seq1!s:<3}.{1:>3}{.//:x^3}", "004 5  .  xxax"],
    ["{cc} {{id}}", "{cc} {{id}}"],
    ["{0.twice}", "a/b.ca/b.c"],
  ];
  for (const [template, text] of cases)
    test(template, () =>
      assert.equal(substituteInputs(template, ["a/b.c", "x"], 4, new Map([["twice", (x) => x + x]])), text),
    );
  const mistakes: readonly [string, RegExp][] = [
    ["{//}", /Invalid replacement string in command: '\{\/\/\}'/],
    ["{1}", /Invalid replacement string in command: '\{1\}'/],
    ["{.nope}", /Unknown input string method '\.nope'/],
    ["a}", /Single '\}' encountered in format string/],
  ];
  for (const [template, message] of mistakes)
    test(`${template} is a mistake`, () => assert.throws(() => substituteInputs(template, ["a"], 0), message));
});

test("a dry run of bulksubmit shows the options that inputs have shaped", () => {
  const parsed = (...words: string[]): ParsedOptions => parseLine(bulksubmit, words).options;
  const line = describeLine(
    parsed("-n{}", "-N2", "-o", "a", "-o", "b={}", "--env-remove={}", "--cc=1-2"),
    parsed("-n3", "-N2", "-o", "a", "-o", "b=3", "--env-remove=3", "--cc=1-2"),
    ["echo", "3"],
  );
  assert.equal(line, "-n3 --env=['-3'] -o ['a', 'b=3'] --cc=1-2 echo 3");
});
