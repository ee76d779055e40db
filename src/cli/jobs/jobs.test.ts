/** What commands know of jobs: outcomes, listings, process tables, patterns, output. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { textOfReal, type JsonObject } from "../../base/json.ts";
import { JobOutputFormatter } from "../output/job-stream.ts";
import { plainText } from "../output/field-value.ts";
import { OutputFormat } from "../output/format-string.ts";
import { JobOutcome } from "./outcome.ts";
import { instanceValue, StatsSummary } from "./instance.ts";
import { jobJson } from "./job-json.ts";
import { parseView } from "../resource/view.ts";
import { parseJobPattern } from "./pattern.ts";
import { expandTable } from "./proctable.ts";
import { attributesOfFields, jobField, jobFieldHeading, JobRecord } from "./record.ts";
import { TaskLimit } from "./recursion.ts";
import { parseFilter, queuesMeant, selectionConstraint } from "./selection.ts";

describe("the outcome of a job", () => {
  const outcome = (...events: readonly { name: string; context?: JsonObject }[]): JobOutcome => {
    const result = new JobOutcome();
    for (const event of events) result.apply(event);
    return result;
  };
  const cancel = { name: "exception", context: { type: "cancel", severity: 0, note: "" } };
  const finish = (status: number): { name: string; context: JsonObject } => ({ name: "finish", context: { status } });

  test("success", () => assert.deepEqual([outcome(finish(0)).exitCode(), outcome(finish(0)).taskText()], [0, ""]));
  test("an exit code", () => {
    assert.equal(outcome(finish(3 << 8)).exitCode(), 3);
    assert.equal(outcome(finish(3 << 8)).taskText(), "task(s) exited with exit code 3");
  });
  test("a signal, of the shell or told by it", () => {
    assert.equal(outcome(finish(9)).exitCode(), 137);
    assert.equal(outcome(finish(143 << 8)).exitCode(), 143);
    assert.equal(outcome(finish(143 << 8)).taskText(), "task(s) Terminated");
  });
  test("a job that never ran fails with 1, or as asked", () => {
    assert.equal(outcome(cancel).exitCode(), 1);
    assert.equal(outcome(cancel).exitCode(42), 42);
  });
  test("a job that an exception ended fails, though no task did", () =>
    assert.equal(outcome(cancel, finish(0)).exitCode(), 1));
  test("an exception that ended nothing does not count", () =>
    assert.equal(outcome({ name: "exception", context: { type: "x", severity: 3 } }, finish(0)).exitCode(), 0));
});

describe("an instance among the jobs of a listing", () => {
  const R = (cores: string): JsonObject => ({
    version: 1,
    execution: { R_lite: [{ rank: "0", children: { core: cores } }], starttime: 0, expiration: 0, nodelist: ["h0"] },
  });
  const states = { depend: 1, priority: 0, sched: 2, run: 3, cleanup: 1, inactive: 13, total: 20 };
  const stats = { job_states: states, successful: 7, failed: 3, canceled: 2, timeout: 1 };
  const view = parseView({ all: R("0-3"), down: R("3"), allocated: R("0") });
  const ask = (path: string): string => plainText(instanceValue(path, new StatsSummary(stats), view));

  const cases: readonly [path: string, text: string][] = [
    ["stats", "PD:3 R:4 CD:7 F:6"],
    ["stats.total", "20"],
    ["progress", "0.65"],
    ["utilization", "0.25"],
    ["gpu_utilization", ""],
    ["resources.all.ncores", "4"],
    ["resources.up.ncores", "3"],
    ["resources.free.ncores", "2"],
    ["resources.down.nnodes", "1"],
    ["resources.nowhere.ncores", ""],
    ["else", ""],
  ];
  for (const [path, text] of cases) test(`instance.${path}`, () => assert.equal(ask(path), text));
  test("without a scheduler only the jobs are known", () =>
    assert.equal(plainText(instanceValue("utilization", new StatsSummary(stats), null)), ""));
});

describe("jobs as JSON", () => {
  const context = { now: 2000, userName: (uid: number) => `user${uid}` };
  const json = (attributes: JsonObject): JsonObject => jobJson(new JobRecord({ id: 1, ...attributes }, context));

  test("a pending job: what is not known is left out", () =>
    assert.deepEqual(json({ state: 8, userid: 7, expiration: 0 }), {
      id: 1,
      userid: 7,
      jobid: "ƒ2",
      state: "SCHED",
      status: "SCHED",
      username: "user7",
      dependencies: [],
      annotations: {},
      exception: { occurred: false },
    }));
  test("a running instance: how long it runs, and where it listens", () => {
    const job = json({ state: 16, t_run: 1990, expiration: 2060, annotations: { user: { uri: "local:///x" } } });
    assert.deepEqual([job["runtime"], job["t_remaining"]].map(textOfReal), ["10.0", "60.0"]);
    assert.equal(job["uri"], "local:///x");
  });
});

test("the virtual queues of a queue that is asked for are meant, too", () => {
  const config = { queues: { batch: {}, debug: {}, quick: { parent: "batch" }, slow: { parent: "batch" } } };
  assert.deepEqual(queuesMeant(["batch"], config), ["batch", "quick", "slow"]);
  assert.deepEqual(queuesMeant(["quick"], config), ["quick"]);
  assert.deepEqual(queuesMeant(["none"], {}), ["none"]);
});

test("instances are asked a few at the same time", async () => {
  const limit = new TaskLimit(2);
  let running = 0;
  let most = 0;
  await Promise.all(
    [1, 2, 3, 4, 5].map((value) =>
      limit.run(async () => {
        most = Math.max(most, (running += 1));
        await Promise.resolve(value);
        running -= 1;
      }),
    ),
  );
  assert.equal(most, 2);
});

describe("a job in a listing", () => {
  const NOW = 2000;
  const atSixOClock = new Date(2026, 0, 2, 18).getTime() / 1000;
  const job = (attributes: JsonObject): JobRecord =>
    new JobRecord({ id: 16777216, ...attributes }, { now: NOW, userName: (uid) => `user${uid}` });
  const show = (field: string, attributes: JsonObject): string => plainText(jobField(job(attributes), field) ?? null);

  const cases: readonly [field: string, attributes: JsonObject, text: string][] = [
    ["id.dec", {}, "16777216"],
    ["id.f58", {}, "ƒ2UzHM"],
    ["username", { userid: 7 }, "user7"],
    ["status", { state: 16 }, "RUN"],
    ["status", { state: 64, result: 2 }, "FAILED"],
    ["status_abbrev", { state: 64, result: 4 }, "CA"],
    ["result", { state: 16 }, ""],
    ["runtime", { t_run: 1990 }, "10.0"],
    ["runtime", { t_run: 1990, t_cleanup: 1995 }, "5.0"],
    ["runtime", {}, "0.0"],
    ["t_remaining", { state: 16, expiration: 2010 }, "10.0"],
    ["t_remaining", { state: 64, expiration: 2010 }, "0.0"],
    ["returncode", { state: 16 }, ""],
    ["returncode", { state: 64, waitstatus: 256 }, "1"],
    ["returncode", { state: 64, waitstatus: 9 }, "-9"],
    ["returncode", { state: 64, result: 4 }, "-128"],
    ["returncode", { state: 64, result: 2 }, "1"],
    ["contextual_time", { state: 8, duration: 60 }, "60.0"],
    ["contextual_time", { state: 16, duration: 60, t_run: 1999 }, "1.0"],
    ["contextual_info", { state: 4 }, "priority-wait"],
    ["contextual_info", { state: 2, dependencies: ["a", "b"] }, "depends:a,b"],
    ["contextual_info", { state: 2, dependencies: [`begin-time=${atSixOClock}`] }, "depends:begin@Jan02-18:00"],
    ["dependencies", { state: 2, dependencies: [`begin-time=${atSixOClock}`, "a"] }, "begin@Jan02-18:00,a"],
    [
      "contextual_info",
      { state: 2, dependencies: [`begin-time=${atSixOClock + 7.5}`] },
      "depends:begin@Jan02-18:00:07",
    ],
    ["contextual_info", { state: 8, priority: 0, urgency: 0 }, "held"],
    ["contextual_info", { state: 8, priority: 0, urgency: 16 }, "priority-hold"],
    ["contextual_info", { state: 8, priority: 16, annotations: { sched: { t_estimate: 5600 } } }, "eta:1h"],
    ["contextual_info", { state: 16, nodelist: "n[0-1]" }, "n[0-1]"],
    ["contextual_info", { state: 8 }, ""],
    ["status_emoji", { state: 32 }, "🗑"],
    ["result_emoji", { state: 16 }, "\u3000"],
    ["uri.local", { state: 16, annotations: { user: { uri: "ssh://h/tmp/local-0" } } }, "local:///tmp/local-0"],
    ["instance.stats", { state: 16 }, ""],
    ["sched.l", { annotations: { sched: { l: [1, { x: null, y: "a'b" }] } } }, "[1, {'x': None, 'y': 'a\\'b'}]"],
    ["sched.f", { annotations: { sched: { f: 0.00001 } } }, "1e-05"],
    ["attempt", { state: 16, annotations: { retry: { attempt: 2, of: 4 } } }, "2/4"],
    ["contextual_info", { state: 16, nodelist: "n1", annotations: { retry: { attempt: 2, of: 4 } } }, "n1 attempt 2/4"],
    ["inactive_reason", { state: 16 }, ""],
    ["inactive_reason", { state: 64, result: 2, waitstatus: 9 }, "Exit -9"],
    ["inactive_reason", { state: 64, result: 1, waitstatus: 0 }, "Exit 0"],
    ["inactive_reason", { state: 64, result: 2, waitstatus: 127 << 8 }, "command not found"],
    ["inactive_reason", { state: 64, result: 2, waitstatus: 137 << 8 }, "Killed"],
    ["inactive_reason", { state: 64, result: 4, exception_note: "no more" }, "Canceled: no more"],
    ["inactive_reason", { state: 64, result: 8 }, "Timeout"],
    [
      "inactive_reason",
      {
        state: 64,
        result: 2,
        exception_occurred: true,
        exception_severity: 0,
        exception_type: "alloc",
        exception_note: "too big",
      },
      "Exception: type=alloc note=too big",
    ],
    ["annotations.sched.resource_summary", { annotations: { sched: { resource_summary: "rank0" } } }, "rank0"],
    ["user.uri", { annotations: { user: { uri: "local:///x" } } }, "local:///x"],
    ["sched", {}, ""],
  ];
  for (const [field, attributes, text] of cases)
    test(`${field} of ${JSON.stringify(attributes)}`, () => assert.equal(show(field, attributes), text));

  test("only attributes that are shown are asked for", () =>
    assert.deepEqual(attributesOfFields(["id.f58", "name", "status"]), ["name", "state", "result"]));
  test("a field that does not exist", () => assert.equal(jobFieldHeading("nosuch"), null));
  test("the default layout", () => {
    const format = new OutputFormat("{id.f58:>12} {name:<10.10+} {status_abbrev:>2.2} {nnodes:>6h}", jobFieldHeading);
    const record = job({ name: "hostname-of-all", state: 64, result: 1, nnodes: 2 });
    assert.deepEqual(format.table([(name) => jobField(record, name)]), {
      header: "       JOBID NAME       ST NNODES",
      lines: ["      ƒ2UzHM hostname-+ CD      2"],
    });
  });
});

describe("selections", () => {
  test("states and results", () => {
    assert.deepEqual(parseFilter(["pending,failed"]), { states: 14, results: 2 });
    assert.throws(() => parseFilter(["foo"]), /Invalid filter specified: foo/);
  });
  test("as a constraint", () =>
    assert.deepEqual(
      selectionConstraint({ userid: 5, states: 62, results: 2, queues: ["a"], name: "n", include: "0-1" }),
      {
        and: [
          { userid: [5] },
          { name: ["n"] },
          { queue: ["a"] },
          { or: [{ states: [62] }, { results: [2] }] },
          { ranks: ["0-1"] },
        ],
      },
    ));
  test("patterns of names and ranges of ids", () => {
    const fits = (...expressions: string[]): boolean => parseJobPattern(expressions)({ id: 5000, name: "sleep" });
    assert.deepEqual(
      [fits("sl"), fits("^eep"), fits("4000..6000"), fits("1..2"), fits("4000..6000", "x")],
      [true, false, true, false, false],
    );
    assert.equal(parseJobPattern(["name:1..2"])({ id: 9, name: "1xx2" }), true);
    assert.throws(() => fits("a", "b"), /Only one pattern can be provided/);
  });
});

describe("process tables", () => {
  test("differences, runs up and repetitions", () =>
    assert.deepEqual(
      expandTable({
        hosts: [["vm", [[-1, -3]]]],
        executables: [],
        ids: [[0, 3]],
        pids: [[25551, 1], -2, 3],
        ranks: [],
      }),
      [
        { rank: 0, host: "vm", pid: 25551 },
        { rank: 1, host: "vm", pid: 25552 },
        { rank: 2, host: "vm", pid: 25550 },
        { rank: 3, host: "vm", pid: 25553 },
      ],
    ));
  test("endings of names", () =>
    assert.deepEqual(
      expandTable({ hosts: [["node", [[1, 1]]]], ids: [0, 1], pids: [7, 0] }).map(({ host }) => host),
      ["node1", "node2"],
    ));
  test("a damaged one is refused", () => {
    assert.throws(() => expandTable({ hosts: ["a"], ids: [0, 1], pids: [1] }), /malformed process table/);
    assert.throws(() => expandTable({ hosts: ["a"], ids: [[0, 1e9]], pids: [1] }), /malformed process table/);
  });
});

describe("output of jobs", () => {
  const data = (
    stream: string,
    rank: string,
    text: string,
  ): { timestamp: number; name: string; context: JsonObject } => ({
    timestamp: 1,
    name: "data",
    context: { stream, rank, data: text },
  });
  test("as it is", () =>
    assert.deepEqual(new JobOutputFormatter({ label: false }).format(data("stderr", "0", "a\nb")), [
      { stream: "stderr", text: "a\nb" },
    ]));
  test("labels stand at the beginning of lines only", () => {
    const formatter = new JobOutputFormatter({ label: true });
    const texts = [data("stdout", "1", "a\nb"), data("stdout", "1", "c\n"), data("stdout", "0", "d\n")].flatMap(
      (entry) => formatter.format(entry).map(({ text }) => text),
    );
    assert.deepEqual(texts, ["1: a\n1: b", "c\n", "0: d\n"]);
  });
  test("bytes that are no text, and data that repeats", () => {
    const formatter = new JobOutputFormatter({ label: false });
    const entry = data("stdout", "0", "/w==");
    const [piece] = formatter.format({ ...entry, context: { ...entry.context, encoding: "base64" } });
    assert.deepEqual(piece, { stream: "stdout", text: new Uint8Array([255]) });
    assert.equal(formatter.format({ ...entry, context: { ...entry.context, repeat: 3 } }).length, 3);
  });
  test("bytes that are no text stay what they are behind a label that is", () => {
    const formatter = new JobOutputFormatter({ label: true, prefix: "ƒ1: " });
    const entry = data("stdout", "0", "/wr+Cg==");
    const [piece] = formatter.format({ ...entry, context: { ...entry.context, encoding: "base64" } });
    const label = Buffer.from("ƒ1: 0: ");
    const expected = Buffer.concat([label, Buffer.from([0xff, 10]), label, Buffer.from([0xfe, 10])]);
    assert.deepEqual(Buffer.from(piece!.text as Uint8Array), expected);
  });
  test("messages of the shell carry the time since submission", () => {
    const formatter = new JobOutputFormatter({ label: false });
    formatter.setOrigin(10);
    const log = { timestamp: 10.042, name: "log", context: { level: 3, rank: 0, component: "output", message: "no" } };
    assert.deepEqual(formatter.format(log), [{ stream: "stderr", text: "0.042s: flux-shell[0]: ERROR: output: no\n" }]);
  });
});
