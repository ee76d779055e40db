/** A leader that dies at any moment of a job's start: the tasks run once or not at all, and the job comes to its end. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { submitJob, watchEventlog } from "../../src/sdk/jobs.ts";
import type { Jobspec } from "../../src/formats/jobspec.ts";
import { SimulatedInstance, type Workload } from "../../src/testkit/instance.ts";
import { OWNER_USERID, World } from "../../src/testkit/world.ts";
import { watchTasks } from "./checks.ts";

const MOMENTS = 60;
const STEP_MS = 0.5;
const LIMIT_MS = 600_000;

const JOBSPEC = {
  version: 1,
  resources: [{ type: "slot", count: 1, label: "task", with: [{ type: "core", count: 1 }] }],
  tasks: [{ command: ["sleep", "1"], slot: "task", count: { per_slot: 1 } }],
  attributes: { system: { duration: 0, cwd: "/tmp", environment: {} } },
} as Jobspec;

interface Outcome {
  readonly tasksStarted: number;
  readonly events: string[];
}

async function killedAt(moment: number): Promise<Outcome> {
  const world = new World(`restart ${moment}`);
  let tasksStarted = 0;
  watchTasks(world);
  const watch = world.processes.spawned!;
  world.processes.spawned = (process) => {
    watch(process);
    if (process.env["FLUX_TASK_RANK"] !== undefined) tasksStarted++;
  };
  const boot = (workload: Workload): SimulatedInstance => new SimulatedInstance(world, { size: 1, workload });
  const first = boot(async ({ handle }) => {
    const id = await submitJob(handle, JOBSPEC, { userid: OWNER_USERID });
    world.timeline.after(moment * STEP_MS, () => first.killBroker(0));
    for await (const { name } of watchEventlog(handle, id)) if (name === "clean") break;
    return 0;
  });
  await first.runToEnd(LIMIT_MS);
  const events: string[] = [];
  const second = boot(async ({ handle }) => {
    const { jobs } = await handle.rpc<{ jobs: { id: number }[] }>("job-list.list", { attrs: [], max_entries: 0 });
    for await (const { name } of watchEventlog(handle, jobs[0]!.id)) events.push(name);
    return 0;
  });
  assert.equal(await second.runToEnd(LIMIT_MS), true, second.stderr.join(""));
  return { tasksStarted, events };
}

test("a leader killed at any moment of a job's start: its tasks never run twice", async () => {
  const outcomes: Outcome[] = [];
  for (let moment = 0; moment < MOMENTS; moment++) outcomes.push(await killedAt(moment));
  const runs = outcomes.map(
    ({ tasksStarted, events }) => `${tasksStarted} ${events.includes("start")} ${events.includes("exception")}`,
  );
  // Killed early, the job runs afterwards. Killed between tasks and start event, it fails: what they did is not known.
  assert.ok(runs.includes("1 true false"), "killed before the tasks");
  assert.ok(runs.includes("1 false true"), "killed between the tasks and the start event");
  assert.ok(runs.includes("1 true true"), "killed while the job ran");
});
