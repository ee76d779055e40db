/** The job manager's decisions, with the test as scheduler, execution service and KVS. */
import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { FluxError } from "../../base/errors.ts";
import type { Integer, JsonObject } from "../../base/json.ts";
import { JobFlag, JobState, PRIORITY_MAX, type JobEvent } from "../../sdk/job-protocol.ts";
import { takeAllocationAnswer, takeExecutionAnswer } from "./answers.ts";
import { Bench, OWNER, R } from "./bench.fixture.ts";
import { replay } from "./fold.ts";
import { newFolded, type Folded, type Job } from "./job.ts";
import { plan } from "./plan.ts";

function names(job: Job): string[] {
  return job.events.map(({ name }: JobEvent) => name);
}

function after(scheme: string, id: Integer): JsonObject {
  return { dependencies: [{ scheme, value: String(id) }] };
}

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
});

describe("a job's life", () => {
  test("goes through all states, and leaves memory", () => {
    const job = bench.submit();
    assert.deepEqual(names(job), ["submit", "validate", "depend", "priority"]);
    assert.equal(bench.take("sched.alloc")[0]!["id"], job.id);
    bench.run(job);
    assert.deepEqual(names(job).slice(4), ["alloc", "start", "finish", "release", "free", "clean"]);
    assert.deepEqual(bench.take("sched.free"), [{ id: job.id, R, final: true }]);
    assert.equal(bench.manager.jobs.size, 0);
    assert.equal(bench.manager.outcome(job.id)?.success, true);
  });

  test("shells are started only when the allocation is in the KVS", () => {
    const job = bench.submit();
    bench.commit();
    takeAllocationAnswer(bench.manager, { id: job.id, type: 0, R });
    assert.deepEqual(bench.take("job-exec.start"), []);
    bench.commit();
    assert.equal(bench.take("job-exec.start").length, 1);
  });

  test("resources that are released one by one go back one by one", () => {
    const job = bench.submit();
    bench.commit();
    bench.allocate(job);
    bench.execute(job, "finish", { status: 0 });
    bench.execute(job, "release", { ranks: "1", final: false });
    bench.execute(job, "release", { ranks: "0", final: true });
    const frees = bench.take("sched.free");
    const ranksOf = ({ R }: JsonObject): unknown =>
      ((R as any).execution.R_lite as JsonObject[]).map(({ rank }) => rank);
    assert.deepEqual(frees.map(ranksOf), [["1"], ["0"]]);
    assert.deepEqual(
      frees.map(({ final }) => final),
      [undefined, true],
    );
    assert.deepEqual(names(job).slice(-3), ["release", "free", "clean"]);
  });

  test("a job that cannot be scheduled gets an alloc exception", () => {
    const job = bench.submit();
    takeAllocationAnswer(bench.manager, { id: job.id, type: 2, note: "unsatisfiable request" });
    assert.deepEqual(names(job).slice(-2), ["exception", "clean"]);
    assert.deepEqual(job.exception, { type: "alloc", severity: 0, note: "unsatisfiable request", userid: OWNER });
    assert.deepEqual(bench.take("job-exception"), [{ id: job.id, type: "alloc", severity: 0 }]);
  });
});

describe("cancelling", () => {
  const cancel = (job: Job): void => {
    bench.manager.raise(job, { type: "cancel", severity: 0, note: "", userid: OWNER });
    bench.manager.settle();
  };

  test("while the job is held", () => {
    const job = bench.submit({}, { urgency: 0 });
    assert.deepEqual(bench.take("sched.alloc"), []);
    cancel(job);
    assert.deepEqual(names(job).slice(-2), ["exception", "clean"]);
  });

  test("while the scheduler has its request: clean waits for the scheduler's word", () => {
    const job = bench.submit();
    cancel(job);
    assert.deepEqual(bench.take("sched.cancel"), [{ id: job.id }]);
    assert.equal(names(job).at(-1), "exception");
    takeAllocationAnswer(bench.manager, { id: job.id, type: 3 });
    assert.equal(names(job).at(-1), "clean");
  });

  test("too late for the scheduler: the resources go back unused", () => {
    const job = bench.submit();
    cancel(job);
    takeAllocationAnswer(bench.manager, { id: job.id, type: 0, R });
    assert.deepEqual(bench.take("sched.free"), [{ id: job.id, R, final: true }]);
    assert.ok(!names(job).includes("alloc"));
    assert.equal(names(job).at(-1), "clean");
  });

  test("between allocation and start: no shell is started", () => {
    const job = bench.submit();
    takeAllocationAnswer(bench.manager, { id: job.id, type: 0, R });
    cancel(job);
    bench.commit();
    assert.deepEqual(bench.take("job-exec.start"), []);
    assert.deepEqual(names(job).slice(-3), ["exception", "free", "clean"]);
  });

  test("while it runs: resources stay until the execution service releases them", () => {
    const job = bench.submit();
    bench.commit();
    bench.allocate(job);
    bench.execute(job, "start");
    cancel(job);
    assert.equal(names(job).at(-1), "exception");
    bench.execute(job, "finish", { status: 15 });
    bench.execute(job, "release", { ranks: "all", final: true });
    assert.deepEqual(names(job).slice(-4), ["finish", "release", "free", "clean"]);
  });
});

describe("the scheduler's queue", () => {
  test("requests are made by priority, then in the order of submission, no more than the limit", () => {
    bench.manager.schedulerLost();
    const low = bench.submit({}, { urgency: 10 });
    const first = bench.submit();
    const second = bench.submit();
    const top = bench.submit({}, { urgency: 31 });
    assert.equal(top.priority, PRIORITY_MAX);
    bench.manager.scheduler.ready(2);
    bench.manager.settle();
    assert.deepEqual(
      bench.take("sched.alloc").map(({ id }) => id),
      [top.id, first.id],
    );
    takeAllocationAnswer(bench.manager, { id: top.id, type: 0, R });
    assert.deepEqual(
      bench.take("sched.alloc").map(({ id }) => id),
      [second.id],
    );
    assert.equal(low.allocation, "queued");
  });

  test("a job that wants debug events tells when its request was sent, not when it was queued", () => {
    bench.manager.scheduler.ready(1);
    const [first, second] = [bench.submit({}, { flags: JobFlag.Debug }), bench.submit({}, { flags: JobFlag.Debug })];
    assert.equal(names(first).at(-1), "debug.alloc-request");
    assert.equal(names(second).at(-1), "priority");
    takeAllocationAnswer(bench.manager, { id: first.id, type: 0, R });
    assert.equal(names(second).at(-1), "debug.alloc-request");
  });

  test("with all requests taken, the least gives way to a job of higher priority", () => {
    bench.manager.scheduler.ready(1);
    const low = bench.submit({}, { urgency: 1 });
    const high = bench.submit({}, { urgency: 20 });
    assert.deepEqual(bench.take("sched.cancel"), [{ id: low.id }]);
    takeAllocationAnswer(bench.manager, { id: low.id, type: 3 });
    assert.deepEqual(
      bench.take("sched.alloc").map(({ id }) => id),
      [low.id, high.id],
    );
    assert.equal(low.allocation, "queued");
  });

  test("the urgency of a job with a request: the scheduler is told; a hold takes the request back", () => {
    const job = bench.submit();
    bench.manager.post(job, "urgency", { userid: OWNER, urgency: 20 });
    bench.manager.settle();
    assert.deepEqual(bench.take("sched.prioritize"), [{ jobs: [[job.id, 20]] }]);
    bench.manager.post(job, "urgency", { userid: OWNER, urgency: 0 });
    bench.manager.settle();
    assert.deepEqual(bench.take("sched.cancel"), [{ id: job.id }]);
    assert.equal(job.priority, 0);
  });

  test("a stopped queue hands out nothing", () => {
    bench.manager.queues.start({ name: null, all: false }, false, "maintenance", false);
    const job = bench.submit();
    assert.deepEqual(bench.take("sched.alloc"), []);
    bench.manager.queues.start({ name: null, all: false }, true, null, false);
    bench.manager.settle();
    assert.deepEqual(
      bench.take("sched.alloc").map(({ id }) => id),
      [job.id],
    );
  });

  test("a scheduler that comes back gets the requests again, and hears what was freed in between", () => {
    const waiting = bench.submit();
    bench.manager.schedulerLost();
    bench.manager.scheduler.hello();
    bench.manager.scheduler.free({ id: 99, R, final: true });
    assert.deepEqual(bench.take("sched.free"), []);
    bench.take("sched.alloc");
    bench.manager.scheduler.ready(Infinity);
    bench.manager.settle();
    assert.equal(bench.take("sched.free").length, 1);
    assert.deepEqual(
      bench.take("sched.alloc").map(({ id }) => id),
      [waiting.id],
    );
  });
});

describe("the execution service", () => {
  test("one that takes over is asked to find the shells of its predecessor", () => {
    const job = bench.submit();
    bench.commit();
    bench.allocate(job);
    bench.execute(job, "start");
    bench.take("job-exec.start");
    bench.manager.execution.lost(null);
    bench.manager.executionHello("job-exec", "another");
    assert.deepEqual(
      bench.take("job-exec.start").map(({ id, reattach }) => [id, reattach]),
      [[job.id, true]],
    );
    bench.execute(job, "reattached");
    bench.execute(job, "finish", { status: 0 });
    bench.execute(job, "release", { ranks: "all", final: true });
    assert.equal(names(job).filter((name) => name === "start").length, 1);
    assert.equal(names(job).at(-1), "clean");
  });

  test("an answer that makes no sense is refused", () => {
    assert.throws(() => takeExecutionAnswer(bench.manager, { id: 77, type: "start", data: {} }), FluxError);
    assert.throws(() => takeAllocationAnswer(bench.manager, { id: 77, type: 0, R }), FluxError);
  });
});

describe("dependencies", () => {
  /** Scheme, how the antecedent ends, whether the dependent job goes on. */
  const table: readonly (readonly [
    scheme: string,
    end: "ok" | "failed" | "canceled" | "never ran",
    goesOn: boolean,
  ])[] = [
    ["afterok", "ok", true],
    ["afterok", "failed", false],
    ["afterok", "never ran", false],
    ["afternotok", "ok", false],
    ["afternotok", "failed", true],
    ["afternotok", "canceled", true],
    ["afternotok", "never ran", false],
    ["afterany", "ok", true],
    ["afterany", "failed", true],
    ["afterany", "never ran", true],
    ["afterstart", "failed", true],
    ["afterstart", "never ran", false],
    ["afterexcept", "canceled", true],
    ["afterexcept", "failed", false],
    ["afterexcept", "never ran", false],
  ];
  const end = (job: Job, how: string): void => {
    const cancel = { type: "cancel", severity: 0, note: "", userid: OWNER };
    if (how === "never ran") {
      bench.manager.raise(job, cancel);
      bench.manager.settle();
      if (job.allocation !== "none") takeAllocationAnswer(bench.manager, { id: job.id, type: 3 });
    } else if (how === "canceled") {
      bench.commit();
      bench.allocate(job);
      bench.execute(job, "start");
      bench.manager.raise(job, cancel);
      bench.execute(job, "finish", { status: 15 });
      bench.execute(job, "release", { ranks: "all", final: true });
    } else bench.run(job, how === "ok" ? 0 : 256);
    bench.commit();
  };
  for (const [scheme, how, goesOn] of table) {
    test(`${scheme} a job that ${how === "never ran" ? how : `is ${how}`}: ${goesOn ? "goes on" : "can never go on"}`, () => {
      const first = bench.submit();
      const second = bench.submit(after(scheme, first.id));
      assert.equal(second.state, JobState.Depend);
      end(first, how);
      if (goesOn) {
        assert.ok(names(second).includes("dependency-remove"));
        assert.equal(second.state, JobState.Sched);
      } else {
        assert.equal(second.exception?.type, "dependency");
        const why = how === "never ran" ? "job never started" : "can never be satisfied";
        assert.match(second.exception!.note, new RegExp(`^dependency after-[a-z]+=1 ${why}$`));
      }
    });
    test(`${scheme} a job that was ${how} before: ${goesOn ? "accepted" : "refused"}`, () => {
      const first = bench.submit();
      end(first, how);
      assert.equal(bench.manager.jobs.size, 0);
      if (!goesOn) return void assert.throws(() => bench.submit(after(scheme, first.id)), /dependency: after/);
      const second = bench.submit(after(scheme, first.id));
      assert.deepEqual(names(second).slice(0, 4), ["submit", "dependency-add", "dependency-remove", "validate"]);
      return undefined;
    });
  }

  test("what is wrong with one is said", () => {
    const refuses = (dependencies: JsonObject[], text: RegExp): void =>
      assert.throws(() => bench.submit({ dependencies }), text);
    refuses([{ scheme: "foo", value: "1" }], /dependency scheme "foo" not supported/);
    refuses([{ scheme: "afterok", value: "x!y" }], /dependency: afterok: "x!y" is not a valid jobid$/);
    refuses(
      [{ scheme: "afterok", value: "prep" }],
      /"prep" is not a valid jobid \(a job by its name: afterok:@prep\)$/,
    );
    refuses([{ scheme: "afterok", value: "0x77" }], /dependency: afterok: id 0x77: job not found$/);
    refuses([{ scheme: "afterok", value: "first" }], /id first: job not found \(a job by its name: afterok:@first\)$/);
    refuses([{ scheme: "begin-time", value: "soon" }], /Invalid begin-time=soon/);
    refuses([{ scheme: "begin-time", value: "-1.0" }], /Invalid begin-time=-1.0/);
    refuses([{ scheme: "singleton", value: "" }], /singleton jobs require a job name/);
    const other = bench.submit({}, { userid: 77 });
    refuses([{ scheme: "afterok", value: String(other.id) }], /Permission denied/);
    assert.equal(bench.manager.jobs.size, 1);
  });

  test("a begin-time that has passed is noted and satisfied at once", () => {
    const job = bench.submit({ dependencies: [{ scheme: "begin-time", value: String(bench.now - 60) }] });
    bench.pass(0);
    const names = job.events.map(({ name }) => name);
    assert.deepEqual(names.slice(1, 5), ["dependency-add", "validate", "dependency-remove", "depend"]);
  });

  test("begin-time waits for its time", () => {
    const job = bench.submit({ dependencies: [{ scheme: "begin-time", value: String(bench.now + 60) }] });
    bench.pass(59);
    assert.equal(job.state, JobState.Depend);
    bench.pass(2);
    assert.equal(job.state, JobState.Sched);
  });

  test("singleton waits for earlier jobs of the same name", () => {
    const named = (dependencies: JsonObject[] = []): Job => bench.submit({ job: { name: "x" }, dependencies });
    const first = named();
    const second = named([{ scheme: "singleton", value: "" }]);
    const third = named([{ scheme: "singleton", value: "" }]);
    bench.run(first);
    assert.equal(second.state, JobState.Sched);
    assert.equal(third.state, JobState.Depend);
    bench.run(second);
    assert.equal(third.state, JobState.Sched);
  });
});

describe("the plan", () => {
  test("is idempotent, and no action is left when the manager has settled", () => {
    const job = bench.submit({}, { flags: JobFlag.Debug });
    const check = (): void => {
      assert.equal(plan(job), null, `in state ${job.state} after ${names(job).at(-1)}`);
      assert.deepEqual(plan(job), plan(job));
    };
    check();
    bench.commit();
    check();
    bench.allocate(job);
    check();
    bench.execute(job, "start");
    check();
    bench.execute(job, "finish", { status: 0 });
    check();
    bench.execute(job, "release", { ranks: "all", final: true });
    check();
  });

  test("the state of a live job is that of its eventlog", () => {
    const job = bench.submit({}, { flags: JobFlag.Waitable });
    bench.manager.post(job, "memo", { a: 1 });
    bench.run(job, 256);
    const replayed = replay(job.events);
    for (const key of Object.keys(newFolded()) as (keyof Folded)[]) assert.deepEqual(job[key], replayed[key], key);
  });
});
