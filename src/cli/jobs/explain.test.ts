/** What people are told about their jobs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { JsonObject } from "../../base/json.ts";
import { JobResult, JobState } from "../../sdk/job-protocol.ts";
import { explainJob, type JobFacts } from "./explain.ts";
import { JobRecord } from "./record.ts";

const NOW = 1_700_000_000;

function job(attributes: JsonObject): JobRecord {
  const context = { now: NOW, userName: (userid: number) => (userid === 0 ? "root" : `user${userid}`) };
  return new JobRecord({ id: 1, name: "sim", t_submit: NOW - 90, ...attributes }, context);
}

function explained(attributes: JsonObject, facts: Partial<JobFacts> = {}): string {
  const nothing: Omit<JobFacts, "job"> = {
    eventlog: [],
    execLog: [],
    stderrTail: [],
    stderrPath: null,
    antecedents: new Map(),
    aheadCount: 0,
    queue: { enable: true, start: true },
    request: null,
    constraint: null,
    resources: null,
  };
  return explainJob({ job: job(attributes), ...nothing, ...facts }).join("\n");
}

const taskExit = (rank: number, waitStatus: number): JobFacts["execLog"][number] => ({
  name: "shell.task-exit",
  timestamp: NOW,
  context: { rank, wait_status: waitStatus },
});

const resources = {
  all: { nnodes: 4, ncores: 16 },
  up: { nnodes: 3, ncores: 12 },
  free: { nnodes: 1, ncores: 2 },
};
const request = {
  nnodes: 2,
  nslots: 2,
  slotsPerNode: 1,
  coresPerSlot: 4,
  gpusPerSlot: 0,
  ntasks: 2,
  exclusive: false,
} as unknown as NonNullable<JobFacts["request"]>;

test("a job that waits for resources: what it wants, what there is, who comes first, when", () => {
  const waiting = { state: JobState.Sched, urgency: 16, priority: 16 };
  assert.equal(
    explained({ ...waiting, annotations: { sched: { t_estimate: NOW + 60 } } }, { request, resources, aheadCount: 3 }),
    [
      "ƒ2 (sim) waits for resources.",
      "  It was submitted 1.5m ago.",
      "  It asks for 2 nodes and 8 cores.",
      "  Free now: 2 of 16 cores, on 1 of 4 nodes.",
      "  1 node cannot be used (flux resource status tells why).",
      "  Before it: 3 waiting jobs of higher priority, or older.",
      "  The scheduler expects it to start in 1m.",
    ].join("\n"),
  );
  assert.match(explained(waiting), /No scheduler is there/);
  const stopped = { enable: true, start: false, stop_reason: "repairs" };
  assert.match(
    explained({ ...waiting, queue: "batch" }, { queue: stopped }),
    /Its queue batch is stopped \(repairs\): flux queue start batch/,
  );
  assert.match(explained({ ...waiting, urgency: 0, priority: 0 }), /is held: [^]*flux job urgency ƒ2 default/);
});

test("a job that waits for others: what they are doing", () => {
  const antecedents = new Map([
    ["ƒ3", job({ id: 2, state: JobState.Run, t_run: NOW - 5 })],
    ["ƒ4", job({ id: 3, state: JobState.Sched })],
    ["ƒ5", null],
  ]);
  const dependencies = ["after-success=ƒ3", "after-finish=ƒ4", "after-start=ƒ5", `begin-time=${NOW + 120}`, "other"];
  const text = explained({ state: JobState.Depend, dependencies }, { antecedents });
  assert.match(text, /after-success=ƒ3: ƒ3 has been running for 5\.000s/);
  assert.match(text, /after-finish=ƒ4: ƒ4 is waiting itself \(SCHED\)/);
  assert.match(text, /after-start=ƒ5: there is no such job/);
  assert.match(text, /begin-time=\d+: it may begin at .*, in 2m/);
  assert.match(text, /^ {2}other$/m);
});

test("a job that waits for one of several, or for a name that nobody has yet", () => {
  const antecedents = new Map([["ƒ3", job({ id: 2, state: JobState.Sched })]]);
  const dependencies = ["any=after-success=ƒ3|after-failure=ƒ5", "after-success=@later"];
  const text = explained({ state: JobState.Depend, dependencies }, { antecedents });
  const lines = ["any of:", "  after-success=ƒ3: ƒ3 is waiting itself (SCHED)", "  after-failure=ƒ5"];
  assert.ok(text.includes(lines.map((line) => `  ${line}`).join("\n")), text);
  assert.match(text, /^ {2}after-success=@later: no job named 'later' was submitted yet$/m);
});

test("a job that failed: how its tasks ended, and the end of what they said", () => {
  const failed = {
    state: JobState.Inactive,
    result: JobResult.Failed,
    t_run: NOW - 20,
    t_cleanup: NOW - 10,
    nodelist: "n[0-1]",
  };
  const text = explained(failed, {
    execLog: [taskExit(3, 256), taskExit(1, 256), taskExit(0, 0), taskExit(2, 9), taskExit(4, 127 * 256)],
    stderrTail: ["out of cheese"],
  });
  assert.match(text, /failed\.\n {2}It ran for 10s on n\[0-1\]\./);
  assert.match(text, /Tasks 1, 3 exited with 1\./);
  assert.match(text, /Task 2 ended by SIGKILL: .* memory/);
  assert.match(text, /Task 4 exited with 127: .* not found/);
  assert.match(text, /The end of its standard error:\n {4}out of cheese$/);
  assert.match(explained(failed, { stderrPath: "/home/me/err" }), /Its standard error is in \/home\/me\/err/);
  assert.match(explained({ ...failed, waitstatus: 137 * 256 }), /Its tasks exited with 137: .*Killed/);
});

test("a job that was canceled, ran out of time, or could not start: who, when, why", () => {
  const canceled = explained(
    { state: JobState.Inactive, result: JobResult.Canceled },
    {
      eventlog: [
        { name: "exception", timestamp: NOW, context: { type: "cancel", severity: 0, userid: 7, note: "wrong input" } },
      ],
    },
  );
  assert.match(canceled, /was canceled\.\n {2}It never started\.\n {2}Canceled by user7 at .*: wrong input$/);
  assert.match(
    explained({ state: JobState.Inactive, result: JobResult.Timeout, duration: 60 }),
    /was ended at its time limit of 1m\./,
  );
  const refused = [
    { name: "exception", timestamp: NOW, context: { type: "alloc", severity: 0, userid: 0, note: "too large" } },
  ];
  assert.match(
    explained({ state: JobState.Inactive, result: JobResult.Failed }, { eventlog: refused }),
    /Exception alloc by root at .*: too large/,
  );
});

test("a job that runs or has succeeded", () => {
  const running = { state: JobState.Run, t_run: NOW - 30, expiration: NOW + 30, ntasks: 4, nodelist: "n1" };
  assert.equal(
    explained(running, { execLog: [taskExit(0, 0)] }),
    "ƒ2 (sim) has been running for 30s on n1.\n  It will be ended in 30s, when its time is up.\n  1 of 4 tasks have exited.",
  );
  const done = {
    state: JobState.Inactive,
    result: JobResult.Completed,
    t_run: NOW - 9,
    t_cleanup: NOW - 6,
    t_inactive: NOW - 5,
  };
  assert.equal(explained(done), "ƒ2 (sim) succeeded, 5.000s ago.\n  It ran for 3.000s.");
});

test("a held job: by whom, and since when", () => {
  const held = { state: JobState.Sched, urgency: 0, priority: 0 };
  const submit = { name: "submit", timestamp: NOW - 90, context: { userid: 7, urgency: 0 } };
  assert.match(explained(held, { eventlog: [submit] }), /user7 submitted it held\./);
  const urgency = { name: "urgency", timestamp: NOW - 30, context: { userid: 0, urgency: 0 } };
  assert.match(explained(held, { eventlog: [submit, urgency] }), /root put the hold on it 30s ago\./);
});

test("a job that waits for nodes with properties: which", () => {
  const constraint = { and: [{ properties: ["gpu", "^old"] }, { not: [{ hostlist: ["n1", "n2"] }] }] };
  assert.match(
    explained({ state: JobState.Sched, urgency: 16, priority: 16 }, { constraint, resources }),
    /Only nodes count with \(gpu and not old\) and \(not \(hostlist n1,n2\)\)\./,
  );
});

test("a job that was tried again: how often, and how the last attempt ended", () => {
  const failed = { state: JobState.Inactive, result: JobResult.Failed, waitstatus: 512, ntasks: 1, t_run: NOW - 5 };
  const begin = { name: "init", timestamp: NOW };
  const retry = { name: "retry", timestamp: NOW, context: { attempt: 2, of: 2, reason: "exit code 1" } };
  const text = explained(failed, { execLog: [begin, taskExit(0, 256), begin, taskExit(0, 512)], eventlog: [retry] });
  assert.match(text, /attempt number 2;/);
  assert.match(text, /Task 0 exited with 2\./);
  assert.doesNotMatch(text, /exited with 1/);
});
