/** Another attempt of a job that failed: when there is one, and what it begins with. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { JsonObject } from "../../base/json.ts";
import { JobState } from "../../sdk/job-protocol.ts";
import { Bench } from "./bench.fixture.ts";
import { replay } from "./fold.ts";
import type { Job } from "./job.ts";

const names = (job: Job): string[] => job.events.map(({ name }) => name);

function start(bench: Bench, retry: JsonObject): Job {
  const job = bench.submit({ retry });
  bench.commit();
  bench.allocate(job);
  bench.execute(job, "start");
  return job;
}

function end(bench: Bench, job: Job, status: number): void {
  bench.execute(job, "finish", { status });
  bench.execute(job, "release", { ranks: "all", final: true });
}

test("an attempt that failed is followed by another, whose eventlog replays to the same job", () => {
  const bench = new Bench();
  const job = start(bench, { count: 1 });
  end(bench, job, 3 << 8);
  assert.deepEqual(names(job).slice(-6), ["finish", "release", "free", "retry", "depend", "priority"]);
  assert.deepEqual(job.events.find(({ name }) => name === "retry")?.context, {
    attempt: 2,
    of: 2,
    reason: "exit code 3",
  });
  const { state, attempt, waitStatus, exception, hasResources, released } = job;
  assert.deepEqual(
    [state, attempt, waitStatus, exception, hasResources, released],
    [JobState.Sched, 2, null, null, false, false],
  );
  const folded = replay(job.events);
  assert.deepEqual([folded.state, folded.attempt, folded.annotations], [job.state, job.attempt, job.annotations]);
  bench.allocate(job);
  bench.execute(job, "start");
  end(bench, job, 3 << 8);
  assert.deepEqual(names(job).slice(-2), ["free", "clean"]);
  assert.equal(bench.manager.outcome(job.id)?.success, false);
});

test("a success, a cancellation, a cause that is not named and a job that never ran are final", () => {
  for (const [status, retry] of [
    [0, { count: 3 }],
    [9 << 8, { count: 3, on: ["signal", "exception"] }],
    [137 << 8, { count: 3, on: ["exit", "exception"] }],
  ] as const) {
    const bench = new Bench();
    const job = start(bench, retry as never);
    end(bench, job, status);
    assert.equal(names(job).at(-1), "clean");
  }
  const bench = new Bench();
  const canceled = start(bench, { count: 3 });
  bench.manager.raise(canceled, { type: "cancel", severity: 0, note: "", userid: 0 });
  end(bench, canceled, 15);
  assert.equal(names(canceled).at(-1), "clean");
  const waiting = bench.submit({ retry: { count: 3 } }, { urgency: 0 });
  bench.manager.raise(waiting, { type: "exec", severity: 0, note: "", userid: 0 });
  bench.manager.settle();
  assert.equal(names(waiting).at(-1), "clean");
});

test("dependents hear of the last outcome only", () => {
  const bench = new Bench();
  const job = start(bench, { count: 1 });
  const ok = bench.submit({ dependencies: [{ scheme: "afterok", value: String(job.id) }] });
  const notok = bench.submit({ dependencies: [{ scheme: "afternotok", value: String(job.id) }] });
  end(bench, job, 256);
  assert.deepEqual([ok.state, notok.state], [JobState.Depend, JobState.Depend]);
  bench.allocate(job);
  bench.execute(job, "start");
  end(bench, job, 0);
  assert.equal(ok.state, JobState.Sched);
  assert.equal(notok.exception?.type, "dependency");
});

test("a delay holds the next attempt back", () => {
  const bench = new Bench();
  const job = start(bench, { count: 1, delay: 30 });
  end(bench, job, 256);
  assert.equal(job.state, JobState.Depend);
  bench.pass(29);
  assert.equal(job.state, JobState.Depend);
  bench.pass(1);
  assert.equal(job.state, JobState.Sched);
});
