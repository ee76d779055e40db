import assert from "node:assert/strict";
import { test } from "node:test";
import { JobState, type JobEvent } from "../../sdk/job-protocol.ts";
import { replay } from "./fold.ts";
import { newJob } from "./job.ts";
import { startsAgain } from "./requeue.ts";

const events = (...names: string[]): JobEvent[] =>
  names.map((name, index) => ({
    timestamp: index,
    name,
    ...(name === "submit" && { context: { userid: 1, urgency: 16, flags: 0 } }),
    ...(name === "priority" && { context: { priority: 16 } }),
    ...(name === "requeue" && { context: { reason: "the instance stopped" } }),
    ...(name === "finish" && { context: { status: 0 } }),
  }));
const RUNNING = ["submit", "validate", "depend", "priority", "alloc", "start"];

test("a job that ran when its instance stopped waits for resources again, and runs a second time", () => {
  const again = replay(events(...RUNNING, "requeue"));
  assert.deepEqual([again.state, again.hasResources, again.started], [JobState.Priority, false, false]);
  const second = replay(events(...RUNNING, "requeue", "priority", "alloc", "start", "finish"));
  assert.deepEqual([second.state, second.waitStatus], [JobState.Cleanup, 0]);
});

test("a job is requeued only while it runs", () => {
  assert.throws(() => replay(events(...RUNNING.slice(0, 4), "requeue")), /requeue is not legal in state SCHED/);
  assert.throws(() => replay(events(...RUNNING, "finish", "requeue")), /requeue is not legal in state CLEANUP/);
});

test("which jobs start again: those that ran, unless they are not to run twice", () => {
  const spec = (resume?: string): object => ({ attributes: { system: { duration: 0, ...(resume && { resume }) } } });
  const job = (names: string[], resume?: string): ReturnType<typeof newJob> => ({
    ...newJob(1, spec(resume) as never),
    ...replay(events(...names)),
  });
  assert.equal(startsAgain(job(RUNNING)), true);
  assert.equal(startsAgain(job(RUNNING.slice(0, 5))), true, "what was granted is not there any more");
  assert.equal(startsAgain(job(RUNNING, "lost")), false);
  assert.equal(startsAgain(job(RUNNING, "restart")), true);
  assert.equal(startsAgain(job(RUNNING.slice(0, 4))), false, "it waits anyway");
  assert.equal(startsAgain(job([...RUNNING, "finish"])), false);
});
