/** Job lists: records from events, orders, constraints, counts. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { FluxError } from "../../base/errors.ts";
import type { JsonObject, JsonValue } from "../../base/json.ts";
import { JobState, type JobEvent } from "../../sdk/job-protocol.ts";
import { compileConstraint, ComparisonBudget } from "./constraint.ts";
import { parseList } from "./protocol.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { JobList } from "./core.ts";
import { memoryPages, type Pause } from "./finished.ts";
import { ALL_ATTRIBUTES, describe as describeJob, type JobRecord } from "./record.ts";

function present(records: Iterable<JobRecord | Pause>): JobRecord[] {
  return [...records].filter((record) => record !== null);
}

const UNLIMITED = new ComparisonBudget(0);

const JOBSPEC: JsonObject = {
  version: 1,
  resources: [{ type: "slot", count: 2, label: "task", with: [{ type: "core", count: 3 }] }],
  tasks: [{ command: ["/usr/bin/app", "x"], slot: "task", count: { per_slot: 1 } }],
  attributes: { system: { duration: 60, cwd: "/tmp", queue: "batch" } },
};

function rOf(rank: number): JsonObject {
  const R_lite = [{ rank: String(rank), children: { core: "0-5" } }];
  return { version: 1, execution: { R_lite, nodelist: [`h${rank}`], starttime: 5, expiration: 65 } };
}

interface Life {
  readonly userid?: number;
  readonly priority?: number;
  readonly until?: "depend" | "sched" | "run" | "inactive";
  readonly rank?: number;
  readonly status?: number;
  readonly exception?: string;
  /** When each event comes. */
  readonly time?: number;
}

function take(list: JobList, id: number, life: Life = {}): JobRecord {
  const { userid = 1, priority = 16, until = "inactive", rank = 0, status = 0, exception, time = id } = life;
  const stages = ["depend", "sched", "run", "inactive"];
  const reaches = (stage: string): boolean => stages.indexOf(until) >= stages.indexOf(stage);
  const events: JobEvent[] = [];
  const add = (name: string, context?: JsonObject): void =>
    void events.push({ timestamp: time + events.length / 10, name, ...(context === undefined ? {} : { context }) });
  add("submit", { userid, urgency: 16, flags: 0 });
  add("validate");
  const addAll = (...all: (readonly [name: string, context?: JsonObject])[]): void => {
    for (const [name, context] of all) add(name, context);
  };
  if (reaches("sched")) addAll(["depend"], ["priority", { priority }]);
  if (reaches("run")) addAll(["alloc", { annotations: { sched: { resource_summary: "x" } } }], ["start"]);
  if (reaches("inactive")) {
    if (exception !== undefined) add("exception", { type: exception, severity: 0, note: "why" });
    addAll(["finish", { status }], ["release", { ranks: "all", final: true }], ["free"], ["clean"]);
  }
  return list.take({ id, events, jobspec: JOBSPEC, ...(reaches("run") ? { R: rOf(rank) } : {}) })!;
}

describe("the attributes of a job", () => {
  test("while it waits: what the jobspec says", () => {
    const job = describeJob(take(new JobList(memoryPages()), 7, { until: "sched", time: 10 }), ALL_ATTRIBUTES);
    assert.deepEqual(job, {
      id: 7,
      userid: 1,
      urgency: 16,
      priority: 16,
      t_submit: 10,
      t_depend: 10.1,
      t_priority: 10.2,
      t_sched: 10.3,
      state: JobState.Sched,
      name: "app",
      cwd: "/tmp",
      queue: "batch",
      ntasks: 2,
      ncores: 6,
      duration: 60,
    });
  });

  test("when it is inactive: where it ran and how it ended", () => {
    const job = describeJob(
      take(new JobList(memoryPages()), 7, { exception: "timeout", status: 36352 }),
      ALL_ATTRIBUTES,
    );
    const { nnodes, ranks, nodelist, expiration, success, result, waitstatus } = job;
    assert.deepEqual([nnodes, ranks, nodelist, expiration], [1, "0", "h0", 65]);
    assert.deepEqual([success, result, waitstatus], [false, 8, 36352]);
    const { exception_occurred, exception_type, exception_severity, exception_note } = job;
    assert.deepEqual(
      [exception_occurred, exception_type, exception_severity, exception_note],
      [true, "timeout", 0, "why"],
    );
    assert.equal(job["t_cleanup"], 7.6, "cleanup begins with the exception");
  });

  test("follow updates, memos and dependencies", () => {
    const list = new JobList(memoryPages());
    const record = take(list, 7, { until: "depend" });
    const more = (name: string, context: JsonObject): void =>
      void list.take({ id: 7, events: [{ timestamp: 9, name, context }] });
    more("dependency-add", { description: "a" });
    more("dependency-add", { description: "b" });
    more("dependency-remove", { description: "a" });
    more("jobspec-update", { "attributes.system.duration": 5 });
    more("memo", { uri: "x" });
    const { dependencies, duration, annotations } = describeJob(record, ALL_ATTRIBUTES);
    assert.deepEqual([dependencies, duration, annotations], [["b"], 5, { user: { uri: "x" } }]);
  });
});

test("pending jobs come by priority, running ones by start, inactive ones by end; latest first", () => {
  const list = new JobList(memoryPages());
  take(list, 1, { time: 100 });
  take(list, 2, { time: 50 });
  take(list, 3, { until: "sched", priority: 5 });
  take(list, 4, { until: "sched", priority: 9 });
  take(list, 5, { until: "sched", priority: 9 });
  take(list, 6, { until: "run" });
  take(list, 7, { until: "run" });
  take(list, 8, { until: "depend" });
  take(list, 9, { until: "sched", priority: 0 });
  const ids = present(list.ordered(0)).map(({ id }) => id);
  assert.deepEqual(ids, [4, 5, 3, 8, 9, 7, 6, 1, 2]);
  assert.deepEqual(
    present(list.ordered(60))
      .map(({ id }) => id)
      .slice(-2),
    [6, 1],
    "what ended before is left out",
  );
  assert.deepEqual(list.sizes(), { pending: 5, running: 2, inactive: 2 });
});

test("a job that is tried again: nothing of the attempt before, but which attempt it is", () => {
  const list = new JobList(memoryPages());
  take(list, 7, { until: "run", time: 10 });
  const events: JobEvent[] = [
    { timestamp: 20, name: "finish", context: { status: 256 } },
    { timestamp: 20.1, name: "release", context: { ranks: "all", final: true } },
    { timestamp: 20.2, name: "free" },
    { timestamp: 20.3, name: "retry", context: { attempt: 2, of: 3, reason: "exit code 1" } },
  ];
  const job = describeJob(list.take({ id: 7, events })!, ALL_ATTRIBUTES);
  assert.deepEqual(
    [job["state"], job["annotations"]],
    [JobState.Depend, { retry: { attempt: 2, of: 3, reason: "exit code 1" } }],
  );
  for (const name of ["t_run", "t_cleanup", "ranks", "nodelist", "nnodes", "expiration", "waitstatus"])
    assert.equal(job[name], undefined, name);
  assert.deepEqual(list.sizes(), { pending: 1, running: 0, inactive: 0 });
});

test("counts follow every change, also a purge", () => {
  const list = new JobList(memoryPages());
  take(list, 1);
  take(list, 2, { status: 256 });
  take(list, 3, { exception: "cancel" });
  take(list, 4, { until: "sched" });
  take(list, 4, { until: "inactive" });
  list.purge([1, 2]);
  const { job_states, successful, failed, canceled, inactive_purged, queues } = list.statistics.toJSON();
  assert.deepEqual(job_states, { depend: 0, priority: 0, sched: 0, run: 0, cleanup: 0, inactive: 2, total: 2 });
  assert.deepEqual([successful, failed, canceled, inactive_purged], [1, 0, 1, 2]);
  assert.deepEqual((queues as JsonObject[])[0]!["name"], "batch");
});

describe("constraints", () => {
  const list = new JobList(memoryPages());
  take(list, 1, { userid: 1, until: "run", rank: 0 });
  take(list, 2, { userid: 2, status: 256, rank: 1 });
  take(list, 3, { userid: 1, until: "sched" });
  const matching = (constraint: JsonValue): unknown[] =>
    present(list.ordered(0))
      .filter(compileConstraint(constraint, UNLIMITED))
      .map(({ id }) => id)
      .sort();

  const table: readonly (readonly [JsonObject, number[]])[] = [
    [{}, [1, 2, 3]],
    [{ userid: [1] }, [1, 3]],
    [{ userid: [] }, []],
    [{ name: ["app"] }, [1, 2, 3]],
    [{ name: ["x"] }, []],
    [{ queue: ["batch", "x"] }, [1, 2, 3]],
    [{ states: ["pending", 64] }, [2, 3]],
    [{ states: ["RUN"] }, [1]],
    [{ results: ["failed"] }, [2]],
    [{ results: [1] }, []],
    [{ hostlist: ["h[1-5]"] }, [2]],
    [{ ranks: ["0,7"] }, [1]],
    [{ t_inactive: [">0"] }, [2]],
    [{ t_submit: ["<=2"] }, [1, 2]],
    [{ not: [{ userid: [1] }] }, [2]],
    [{ and: [{ userid: [1] }, { states: ["run"] }] }, [1]],
    [{ or: [{ userid: [2] }, { states: ["run"] }] }, [1, 2]],
    [{ and: [] }, [1, 2, 3]],
    [{ or: [] }, [1, 2, 3]],
    [{ not: [] }, []],
  ];
  for (const [constraint, ids] of table)
    test(JSON.stringify(constraint), () => assert.deepEqual(matching(constraint), ids));

  const wrong: readonly (readonly [JsonValue, string])[] = [
    [5, "constraint must be JSON object"],
    [{ a: 1, b: 2 }, "constraint must only contain 1 element"],
    [{ foo: [1] }, "unknown constraint operator: foo"],
    [{ userid: 5 }, "operator userid values not an array"],
    [{ userid: ["x"] }, "userid value must be an integer"],
    [{ name: [1] }, "name value must be a string"],
    [{ states: ["foo"] }, "invalid states value 'foo' specified"],
    [{ states: [1000] }, "invalid states value '3E8h' specified"],
    [{ states: [1.5] }, "states value invalid type"],
    [{ results: [64] }, "invalid results value '40h' specified"],
    [{ hostlist: ["foo["] }, "host value not in valid Hostlist format"],
    [{ t_submit: ["1234"] }, "timestamp comparison operator not specified"],
    [{ t_submit: [">a"] }, "Invalid timestamp value specified"],
    [{ t_submit: [] }, "timestamp value not specified"],
    [{ t_submit: [1] }, "t_submit value must be a string"],
    [{ and: [5] }, "constraint must be JSON object"],
  ];
  for (const [constraint, text] of wrong)
    test(`${JSON.stringify(constraint)} is refused`, () =>
      assert.throws(
        () => compileConstraint(constraint, UNLIMITED),
        (error) =>
          error instanceof FluxError && error.message === `invalid payload: constraint object invalid: ${text}`,
      ));
});

test("a listing may select by members of its own instead of a constraint", () => {
  const list = new JobList(memoryPages());
  take(list, 1, { userid: 1, until: "run" });
  take(list, 2, { userid: 2, status: 256 });
  take(list, 3, { userid: 1 });
  const select = (members: JsonObject): number[] => {
    const request = { json: { max_entries: 0, attrs: [], ...members } } as unknown as IncomingRequest;
    const { matches } = parseList(request, 0);
    return present(list.ordered(0))
      .filter(matches)
      .map(({ id }) => Number(id));
  };
  assert.deepEqual(select({}).toSorted(), [1, 2, 3]);
  assert.deepEqual(select({ userid: 1 }).toSorted(), [1, 3]);
  assert.deepEqual(select({ userid: 1, states: 64 }), [3]);
  assert.deepEqual(select({ states: 16, results: 2 }).toSorted(), [1, 2]);
  assert.deepEqual(select({ states: 64, results: 2 }), [2]);
  assert.deepEqual(select({ queue: "nosuch" }), []);
  assert.deepEqual(select({ name: "nosuch" }), []);
});

test("constraints know all times of a job's life", () => {
  const record = take(new JobList(memoryPages()), 100);
  for (const name of ["t_submit", "t_depend", "t_priority", "t_sched", "t_run", "t_cleanup", "t_inactive"]) {
    assert.ok(compileConstraint({ [name]: [">=100"] }, UNLIMITED)(record), name);
    assert.ok(!compileConstraint({ [name]: [">200"] }, UNLIMITED)(record), name);
  }
});

test("a short text that stands for millions of hosts is refused before they are counted out", () => {
  const hosts = Array.from({ length: 1000 }, (_, index) => `h${index}x[0-999999]`).join();
  const started = performance.now();
  assert.throws(() => compileConstraint({ hostlist: [hosts] }, UNLIMITED), /too many hosts specified/);
  assert.ok(performance.now() - started < 1000, "they would take minutes");
});

test("a list that compares too often is refused", () => {
  const record = take(new JobList(memoryPages()), 1, {});
  const matches = compileConstraint({ or: [{ name: ["x"] }, { userid: [1] }] }, new ComparisonBudget(5));
  assert.ok(matches(record));
  assert.ok(matches(record));
  assert.throws(
    () => matches(record),
    (error) => error instanceof FluxError && error.is("EINVAL") && error.message.startsWith("Excessive comparisons"),
  );
});

test("ranks are written with brackets where there are several", () => {
  const list = new JobList(memoryPages());
  const record = take(list, 7, { until: "run", time: 10 });
  const R_lite = [{ rank: "0-2", children: { core: "0" } }];
  const R = { version: 1, execution: { R_lite, nodelist: ["h[0-2]"], starttime: 5, expiration: 0 } };
  list.take({ id: 7, events: [{ timestamp: 11, name: "alloc" }], R });
  assert.equal(describeJob(record, ["ranks"])["ranks"], "[0-2]");
  assert.ok(compileConstraint({ ranks: ["1"] }, UNLIMITED)(record));
});

test("of a job without a program only what it got is known: no name, no directory, no tasks", () => {
  const submit = { timestamp: 1, name: "submit", context: { userid: 1, urgency: 16, flags: 0 } };
  const jobspec = { ...JOBSPEC, tasks: [{ command: [], slot: "task", count: { per_slot: 1 } }] } as JsonObject;
  const list = new JobList(memoryPages());
  list.take({ id: 1, events: [submit], jobspec });
  const R_lite = [{ rank: "0", children: { core: "0" } }];
  const R = { version: 1, execution: { R_lite, nodelist: ["h0"], starttime: 5, expiration: 0 } };
  const job = describeJob(list.take({ id: 1, events: [{ timestamp: 2, name: "alloc" }], R })!, ALL_ATTRIBUTES);
  assert.deepEqual([job["name"], job["ntasks"], job["cwd"], job["ncores"]], [undefined, undefined, undefined, 1]);
});
