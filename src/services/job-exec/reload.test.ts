/** Job execution whose services are loaded anew while jobs run. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Integer, JsonObject } from "../../base/json.ts";
import { fluidKvsPath } from "../../formats/fluid.ts";
import type { Jobspec } from "../../formats/jobspec.ts";
import type { Handle } from "../../sdk/handle.ts";
import { parseEventlog, type JobEvent } from "../../sdk/job-protocol.ts";
import { submitJob, waitForEvent } from "../../sdk/jobs.ts";
import { lookupText } from "../../sdk/kvs-text.ts";
import { SimulatedInstance, type WorkloadContext } from "../../testkit/instance.ts";
import { OWNER_USERID, World } from "../../testkit/world.ts";

/** A task on each of two nodes. */
function sleeping(seconds: string): Jobspec {
  const slot = { type: "slot", count: 1, label: "task", with: [{ type: "core", count: 1 }] };
  return {
    version: 1,
    resources: [{ type: "node", count: 2, with: [slot] }],
    tasks: [{ command: ["sleep", seconds], slot: "task", count: { per_slot: 1 } }],
    attributes: { system: { duration: 0, cwd: "/tmp", environment: {} } },
  } as Jobspec;
}

async function simulate<T>(workload: (context: WorkloadContext) => Promise<T>): Promise<T> {
  const results: T[] = [];
  const instance = new SimulatedInstance(new World("reload"), {
    size: 2,
    workload: async (context) => {
      results.push(await workload(context));
      return 0;
    },
  });
  assert.equal(await instance.runToEnd(3_600_000), true, instance.stderr.join(""));
  assert.equal(results.length, 1, instance.stderr.join(""));
  return results[0]!;
}

async function events(handle: Handle, id: Integer, log: string): Promise<JobEvent[]> {
  return parseEventlog(await lookupText(handle, `${fluidKvsPath(id)}.${log}`));
}

const contextOf = (log: readonly JobEvent[], event: string): JsonObject | undefined =>
  log.find(({ name }) => name === event)?.context;

test("jobs that end while their services are loaded anew end as they did", async () => {
  const modules = ["job-manager", "job-list", "sched-simple", "job-exec", "job-ingest"];
  const seen = await simulate(async ({ handle, ports }) => {
    const jobs = [];
    for (const seconds of ["5", "60"]) jobs.push(await submitJob(handle, sleeping(seconds), { userid: OWNER_USERID }));
    for (const id of jobs)
      await waitForEvent(handle, id, "shell.start", { path: "guest.exec.eventlog", waitCreate: true });
    for (const name of modules.toReversed()) await handle.rpc("module.remove", { name });
    await new Promise<void>((resolve) => void ports.clock.after(20_000, resolve));
    for (const path of modules) await handle.rpc("module.load", { path, args: [] });
    const ends = await Promise.all(
      jobs.map(async (id) => {
        await waitForEvent(handle, id, "clean", {});
        return events(handle, id, "eventlog");
      }),
    );
    return { ends, exec: await events(handle, jobs[0]!, "guest.exec.eventlog") };
  });
  for (const log of seen.ends) {
    assert.equal(contextOf(log, "exception"), undefined);
    assert.equal(contextOf(log, "finish")?.["status"], 0);
  }
  const names = seen.exec.map(({ name }) => name);
  assert.deepEqual(names.slice(names.indexOf("reattach")).toSorted(), [
    "complete",
    "done",
    "reattach",
    "shell-exit",
    "shell.task-exit",
  ]);
  assert.equal(names.at(-1), "done");
});

/** On one of the two cores of two nodes: what waits for it gets it only once it is free. */
function whole(seconds: string): Jobspec {
  const slot = { type: "slot", count: 1, label: "task", with: [{ type: "core", count: 1 }] };
  return {
    version: 1,
    resources: [{ type: "node", count: 2, exclusive: true, with: [slot] }],
    tasks: [{ command: ["sleep", seconds], slot: "task", count: { per_slot: 1 } }],
    attributes: { system: { duration: 0, cwd: "/tmp", environment: {} } },
  } as Jobspec;
}

for (const modules of [["job-manager"], ["job-manager", "sched-simple"], ["job-manager", "job-exec"]])
  for (const seconds of ["5", "60"])
    test(`${modules.join(" and ")} loaded anew: a job of ${seconds} s goes on, its resources stay taken`, async () => {
      const logs = await simulate(async ({ handle, ports }) => {
        const first = await submitJob(handle, whole(seconds), { userid: OWNER_USERID });
        await waitForEvent(handle, first, "shell.start", { path: "guest.exec.eventlog", waitCreate: true });
        const second = await submitJob(handle, whole("1"), { userid: OWNER_USERID });
        await waitForEvent(handle, second, "priority", {});
        for (const name of modules.toReversed()) await handle.rpc("module.remove", { name });
        await new Promise<void>((resolve) => void ports.clock.after(20_000, resolve));
        for (const path of modules) await handle.rpc("module.load", { path, args: [] });
        for (const id of [first, second]) await waitForEvent(handle, id, "clean", {});
        return Promise.all([first, second].map((id) => events(handle, id, "eventlog")));
      });
      for (const log of logs) {
        assert.equal(contextOf(log, "exception"), undefined);
        assert.equal(contextOf(log, "finish")?.["status"], 0);
        assert.equal(log.filter(({ name }) => name === "start").length, 1);
      }
      const [first, second] = logs as [JobEvent[], JobEvent[]];
      const at = (log: readonly JobEvent[], event: string): number => log.find(({ name }) => name === event)!.timestamp;
      assert.ok(at(second, "alloc") >= at(first, "free"));
    });
