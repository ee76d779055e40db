/** Jobspecs from command lines: what flux submit, run, batch and alloc ask for. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { FluxError } from "../../base/errors.ts";
import { utf8Encode } from "../../base/bytes.ts";
import type { JsonObject } from "../../base/json.ts";
import { validateJobspec, type Jobspec } from "../../formats/jobspec.ts";
import { splitShellWords } from "../../formats/shell-words.ts";
import type { Command } from "../framework/command.ts";
import { parseLine } from "../framework/parse.ts";
import { command as alloc } from "../commands/alloc.ts";
import { command as batch } from "../commands/batch.ts";
import { command as submit } from "../commands/submit.ts";
import { allocJobspec, batchJobspec } from "./instance.ts";
import { submissionFlags, submissionUrgency, taskJobspec, type SubmissionSource } from "./request.ts";

const FILES: Readonly<Record<string, string>> = {
  rules: "FOO=bar\n# comment\n-A\nBAZ=$BB\n",
  "value.json": '{"x": [1]}',
  "conf.toml": "[resource]\nnoverify = true\n",
};

const warnings: string[] = [];

const source: SubmissionSource = {
  env: { A: "1", BB: "2", HOME: "/home/me" },
  cwd: "/work",
  limits: { nofile: 1024, core: 0, memlock: 64 },
  now: 1000,
  readFile: (path) => ({ data: utf8Encode(readText(path)), permissions: 0o640 }),
  readText,
  resumeOptions: (path) => [`-Scontent.restore=${path}`],
  warn: (message) => warnings.push(message),
};

function readText(path: string): string {
  if (!Object.hasOwn(FILES, path)) throw new FluxError("ENOENT", `No such file or directory: '${path}'`);
  return FILES[path]!;
}

function parse(command: Command, line: string): ReturnType<typeof parseLine> {
  return parseLine(command, splitShellWords(line));
}

function jobspec(line: string): Jobspec {
  const { options, operands } = parse(submit, `${line} true`);
  return validateJobspec(taskJobspec(options, operands, source));
}

function system(line: string): JsonObject {
  return jobspec(line).attributes.system as JsonObject;
}

function shellOptions(line: string): JsonObject {
  const { shell } = system(`--rlimit=-* ${line}`);
  return ((shell as JsonObject | undefined)?.["options"] as JsonObject | undefined) ?? {};
}

function refusal(line: string): string {
  try {
    jobspec(line);
  } catch (error) {
    assert.ok(error instanceof FluxError);
    return error.message;
  }
  throw new Error(`${line} was taken`);
}

/** `N2/S3/C4+G1` and the like: nodes, slots, cores, GPUs; x marks exclusive nodes. */
function shape(spec: Jobspec): string {
  const words: string[] = [];
  let vertex = spec.resources[0]!;
  if (vertex.type === "node") {
    words.push(`N${String(vertex.count)}${vertex.exclusive === true ? "x" : ""}`);
    vertex = vertex.with![0]!;
  }
  const inside = vertex.with!.map(({ type, count }) => `${type[0]!.toUpperCase()}${String(count)}`);
  const { per_slot, total } = spec.tasks[0]!.count;
  return [...words, `S${String(vertex.count)}`, inside.join("+")].join("/") + ` ${per_slot ?? `=${total}`}`;
}

describe("resources", () => {
  const cases: readonly [line: string, shape: string][] = [
    ["", "S1/C1 1"],
    ["-n4 -c2 -g1", "S4/C2+G1 1"],
    ["-N2", "N2x/S1/C1 1"],
    ["-N2 -n4", "N2/S2/C1 1"],
    ["-N3 -n4", "N3/S2/C1 =4"],
    ["-N2 -n4 -c3", "N2/S2/C3 1"],
    ["-N2 -x -n4", "N2x/S2/C1 1"],
    ["-n0", "S1/C1 1"],
    ["--cores=4", "S4/C1 1"],
    ["--cores=4 -N2", "N2/S1/C2 1"],
    ["--cores=4 -N2 -x", "N2x/S1/C2 1"],
    ["--tasks-per-node=2 -N2", "N2x/S1/C1 1"],
    ["--tasks-per-core=2 --cores=4", "S4/C1 1"],
    ["--gpus-per-node=2 -N2", "N2x/S1/C1+G2 1"],
    ["--resources-shape=node=2/slot=3{a}/[core=4;gpu] -n9 --cores=8", "N2/S3/C4+G1 1"],
  ];
  for (const [line, expected] of cases) test(line || "nothing", () => assert.equal(shape(jobspec(line)), expected));

  test("tasks per resource are an option of the shell", () => {
    assert.deepEqual(shellOptions("--tasks-per-node=2 -N2"), { "per-resource": { type: "node", count: 2 } });
    assert.deepEqual(shellOptions("--tasks-per-core=2 -N2"), { "per-resource": { type: "core", count: 2 } });
  });

  const refused: readonly [line: string, message: RegExp][] = [
    ["-x -n4", /^exclusive can only be set with a node count$/],
    ["--resources-shape=slot=0/core", /^Illegal character '0' at position 5$/],
    ["--resources-shape=slot/core --resources-json=x", /^`--resources-shape` and `--resources-json` are mutually/],
    ["-N2 -n1", /^node count must not be greater than task count$/],
    ["-N0 -n4", /^node count must be an integer >= 1/],
    ["-n 4Q", /^--ntasks: invalid int value '4Q'$/],
    ["-g -1", /^gpus per task must be an integer >= 0/],
    ["--cores=4 -n2", /^Per-resource options can't be used with per-task options/],
    ["--cores=5 -N2", /^number of cores must be evenly divisible by node count$/],
    ["--tasks-per-node=2", /^must specify node or core count with per_resource$/],
    ["--tasks-per-node=0 -N1", /^--tasks-per-node must be >= 1$/],
    ["--tasks-per-node=1 --tasks-per-core=1", /^Do not specify both the number of tasks per node and per core$/],
    ["--gpus-per-node=1 -n1", /^--gpus-per-node requires --nodes$/],
    ["-N0", /^node count must be an integer >= 1/],
    ["--gpus-per-node=1", /^--gpus-per-node requires --nodes$/],
  ];
  for (const [line, message] of refused) test(`refused: ${line}`, () => assert.match(refusal(line), message));
});

describe("attributes", () => {
  const cases: readonly [line: string, key: string, value: unknown][] = [
    ["", "duration", 0],
    ["-t 5", "duration", 300],
    ["-t 5s", "duration", 5],
    ["-t 1.5h", "duration", 5400],
    ["-S duration=7", "duration", 7],
    ["", "cwd", "/work"],
    ["--cwd=/tmp", "cwd", "/tmp"],
    ["-q batch", "queue", "batch"],
    ["-B mine", "bank", "mine"],
    ["--job-name=x", "job", { name: "x" }],
    ["-S a", "a", 1],
    ["-S system.b=x", "b", "x"],
    ["-S x.y='{\"z\":2}'", "x", { y: { z: 2 } }],
    ["-S ^j=value.json", "j", { x: [1] }],
    ["--requires='a b'", "constraints", { properties: ["a", "b"] }],
    [
      "--requires='a|b' --requires=c",
      "constraints",
      { and: [{ or: [{ properties: ["a"] }, { properties: ["b"] }] }, { properties: ["c"] }] },
    ],
    ["--requires=a --requires=host:n1", "constraints", { and: [{ properties: ["a"] }, { hostlist: ["n1"] }] }],
    ["--dependency=afterok:f1", "dependencies", [{ scheme: "afterok", value: "f1" }]],
    ["--begin-time=+1m", "dependencies", [{ scheme: "begin-time", value: "1060" }]],
    [
      "--add-file=x=rules",
      "files",
      { x: { mode: 0o100640, size: FILES["rules"]!.length, encoding: "utf-8", data: FILES["rules"] } },
    ],
  ];
  for (const [line, key, value] of cases)
    test(`${line || "nothing"}: ${key}`, () => assert.deepEqual(system(line)[key], value));

  test("-S user.x and -S .x go elsewhere", () => {
    assert.deepEqual(jobspec("-S user.x=1").attributes.user, { x: 1 });
    const { options, operands } = parse(submit, "-S .top=5 true");
    assert.equal(taskJobspec(options, operands, source).attributes["top"], 5);
  });

  const refused: readonly [line: string, message: string][] = [
    ["-t x", "invalid Flux standard duration"],
    ["-t=-1", "duration must not be negative"],
    ["-t inf", "duration must be a normal, finite value"],
    ["--taskmap=1:2", 'Invalid taskmap URI "1:2": must be SCHEME:VALUE[?KEY=VAL[&KEY=VAL...]]'],
    ["--dependency=12", 'Invalid dependency URI "12:": must be SCHEME:VALUE[?KEY=VAL[&KEY=VAL...]]'],
    ["--begin-time=+inf", "timestamp out of range for platform time_t"],
    ["--begin-time=99999999999999999999", "timestamp out of range for platform time_t"],
    ["--begin-time=nonsense", 'Invalid datetime: "nonsense"'],
    ["--begin-time=2031-02-30", 'Invalid datetime: "2031-02-30"'],
    ["--begin-time='2031-13-01 10:00'", 'Invalid datetime: "2031-13-01 10:00"'],
    ["--begin-time=25:00", 'Invalid datetime: "25:00"'],
    ["--begin-time=10:60", 'Invalid datetime: "10:60"'],
    ["--begin-time=13pm", 'Invalid datetime: "13pm"'],
    ["-S ^j=nofile", "No such file or directory: 'nofile'"],
    ["--add-file=nofile", "--add-file=nofile: [Errno 2] No such file or directory: 'nofile'"],
  ];
  for (const [line, message] of refused) test(`refused: ${line}`, () => assert.equal(refusal(line), message));

  test("a dependency scheme that is out of use is warned of", () => {
    warnings.length = 0;
    jobspec("--dependency=after:f1");
    assert.deepEqual(warnings, ["dependency scheme 'after' is deprecated, use 'afterstart'"]);
  });
});

describe("shell options", () => {
  const cases: readonly [line: string, options: unknown][] = [
    ["", {}],
    [
      "-o pty -o a.b=3 -o a.c=foo -o d=1.5 -o f=true -o h=null",
      { pty: 1, a: { b: 3, c: "foo" }, d: 1.5, f: true, h: null },
    ],
    ["-o a.b=1 -o a=2", { a: 2 }],
    ["-o foo=", { foo: "" }],
    ["-o foo=08", { foo: "08" }],
    ["-l", {}],
    [
      "--output=b --error=c -l",
      {
        output: {
          stdout: { type: "file", path: "b", label: true },
          stderr: { type: "file", path: "c", label: true },
        },
      },
    ],
    ["--output=none --error=kvs", {}],
    ["--input=a", { input: { stdin: { type: "file", path: "a" } } }],
    [
      "-u",
      {
        output: { stdout: { buffer: { type: "none" } }, stderr: { buffer: { type: "none" } }, "batch-timeout": 0.05 },
        input: { "batch-timeout": 0 },
      },
    ],
    ["--signal=SIGTERM@30s", { signal: { signum: 15, timeleft: 30 } }],
    ["--signal=@2m", { signal: { signum: 10, timeleft: 120 } }],
    ["--signal=USR2", { signal: { signum: 12, timeleft: 60 } }],
    ["--taskmap=Block:2?x=1", { taskmap: { scheme: "block", value: "2", x: 1 } }],
    ["--taskmap=cyclic", { taskmap: { scheme: "cyclic", value: "" } }],
    ["--taskmap=manual:[[0,1,1,1]]", { taskmap: { scheme: "manual", value: "[[0,1,1,1]]" } }],
    ["--rlimit=core=16", { rlimit: { core: 16 } }],
    ["--rlimit=memlock", { rlimit: { memlock: 64 } }],
  ];
  for (const [line, options] of cases) test(line || "nothing", () => assert.deepEqual(shellOptions(line), options));

  test("limits travel by default, but not all", () =>
    assert.deepEqual((system("")["shell"] as JsonObject)["options"], { rlimit: { nofile: 1024, core: 0 } }));
  test("a part that is there already cannot become an object", () =>
    assert.equal(refusal("-o a=1 -o a.b=2"), "failed to set attributes.system.shell.options.a.b to 2"));
  test("refused: --signal=FOO", () => assert.equal(refusal("--signal=FOO"), "--signal=FOO: signal 'FOO' is invalid"));
});

describe("environment", () => {
  const HOME = "/home/me";
  const cases: readonly [line: string, environment: unknown][] = [
    ["", { A: "1", BB: "2", HOME }],
    ["--env=-*", {}],
    ["--env=-* --env=A", { A: "1" }],
    ["--env-remove=* --env=FOO=bar", { FOO: "bar" }],
    ["--env-remove=/^B/", { A: "1", HOME }],
    ["--env='-?'", { BB: "2", HOME }],
    ["--env='FOO=${BB}y$$'", { A: "1", BB: "2", HOME, FOO: "2y$" }],
    ["--env=NOPE", { A: "1", BB: "2", HOME }],
    ["--env-file=rules", { BB: "2", HOME, FOO: "bar", BAZ: "2" }],
    ["--env=^rules --env=A", { BB: "2", HOME, FOO: "bar", BAZ: "2", A: "1" }],
    ["--env=P=/bin --env='P=$P:/usr'", { A: "1", BB: "2", HOME, P: "/bin:/usr" }],
    ["--env=A=x=y", { A: "x=y", BB: "2", HOME }],
  ];
  for (const [line, environment] of cases)
    test(line || "nothing", () => assert.deepEqual(system(line)["environment"], environment));
  test("refused", () => {
    assert.equal(refusal("--env='F=$NOPE'"), "--env: Variable 'NOPE' not found in F=$NOPE");
    assert.equal(refusal("--env='F=${NOPE'"), "--env: Unable to substitute F=${NOPE");
    assert.equal(refusal("--env=^nofile"), "--env: [Errno 2] No such file or directory: 'nofile'");
  });
});

describe("urgency and flags", () => {
  const urgency = (line: string): number => submissionUrgency(parse(submit, line).options);
  const flags = (line: string): number => submissionFlags(parse(submit, line).options);
  test("names and numbers", () =>
    assert.deepEqual(["", "--urgency=hold", "--urgency=EXPEDITE", "--urgency=7"].map(urgency), [16, 0, 31, 7]));
  test("flags are bits", () =>
    assert.deepEqual(["", "--flags=debug", "--flags=waitable,novalidate"].map(flags), [0, 2, 12]));
  test("refused", () => {
    assert.throws(() => flags("--flags=foo"), new FluxError("EINVAL", "--flags: Unknown flag foo"));
    assert.throws(() => urgency("--urgency=foo"), /invalid urgency 'foo'/);
    assert.throws(() => urgency("--urgency=constructor"), /invalid urgency 'constructor'/);
  });
});

describe("instances", () => {
  const SCRIPT = { name: "s.sh", text: "#!/bin/sh\necho hi\n", args: ["a"] };

  test("flux batch: a script inside the jobspec, brokers one per node, output to a file", () => {
    const spec = validateJobspec(batchJobspec(parse(batch, "-N2 -n4 -c2").options, SCRIPT, source));
    assert.equal(shape(spec), "N2/S2/C2 1");
    assert.deepEqual(spec.tasks[0]!.command, ["flux", "broker", "{{tmpdir}}/script", "a"]);
    const { system } = spec.attributes;
    assert.deepEqual(system?.job, { name: "s.sh" });
    assert.deepEqual(system?.files, {
      script: { mode: 0o100700, size: 18, encoding: "utf-8", data: SCRIPT.text },
    });
    assert.deepEqual(system?.shell?.options, {
      "per-resource": { type: "node" },
      mpi: "none",
      "exit-timeout": "none",
      output: { stdout: { type: "file", path: "flux-{{id}}.out" } },
      rlimit: { nofile: 1024, core: 0 },
    });
  });

  const brokerLines: readonly [line: string, words: string[]][] = [
    ["-n1 --broker-opts=-v --broker-opts='-Sx=1 -Sy=2'", ["-v", "-Sx=1 -Sy=2"]],
    ["-n1 --dump=foo.tgz", ["-Scontent.dump=foo.tgz"]],
    ["-n1 --dump --conf=a=1", ["-Scontent.dump=flux-{{jobid}}-dump.tgz", "-c{{tmpdir}}/conf.json"]],
  ];
  for (const [line, words] of brokerLines)
    test(`flux batch ${line}`, () =>
      assert.deepEqual(batchJobspec(parse(batch, line).options, SCRIPT, source).tasks[0]!.command, [
        "flux",
        "broker",
        ...words,
        "{{tmpdir}}/script",
        "a",
      ]));

  const files = (spec: Jobspec): JsonObject => (spec.attributes.system as JsonObject)["files"] as JsonObject;
  const shell = (spec: Jobspec): JsonObject => (spec.attributes.system as JsonObject)["shell"] as JsonObject;

  test("--conf gathers keys, texts and files", () => {
    const { options } = parse(batch, "-n1 --conf=conf.toml --conf=a.b=1 --conf=a.c=x");
    assert.deepEqual(files(batchJobspec(options, SCRIPT, source))["conf.json"], {
      mode: 0o100600,
      data: { resource: { noverify: true }, a: { b: 1, c: "x" } },
    });
  });

  test("flux batch --output=none leaves output in the KVS", () => {
    const spec = batchJobspec(parse(batch, "-n1 --output=none").options, SCRIPT, source);
    assert.equal((shell(spec)["options"] as JsonObject)["output"], undefined);
  });

  test("flux alloc: a command or a shell, `--` for the broker", () => {
    const line = (text: string): readonly string[] => {
      const { options, operands } = parse(alloc, text);
      return allocJobspec(options, operands, source, false).tasks[0]!.command;
    };
    assert.deepEqual(line("-n1"), ["flux", "broker"]);
    assert.deepEqual(line("-n1 sleep 3"), ["flux", "broker", "sleep", "3"]);
    assert.deepEqual(line("-n1 -- sleep 3"), ["flux", "broker", "--", "sleep", "3"]);
    assert.deepEqual(line("-n1 --bg"), ["flux", "broker", "-Sbroker.rc2_none=1"]);
    assert.deepEqual(line("-n1 --bg sleep 3"), ["flux", "broker", "sleep", "3"]);
  });

  test("a size is needed", () =>
    assert.throws(
      () => batchJobspec(parse(batch, "").options, SCRIPT, source),
      new FluxError("EINVAL", "Number of slots to allocate must be specified"),
    ));
});
