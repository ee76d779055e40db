/** The job-list service in a simulated instance. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Errno, FluxError } from "../../base/errors.ts";
import type { Integer } from "../../base/json.ts";
import { Role } from "../../protocol/message.ts";
import type { Handle, RequestOptions } from "../../sdk/handle.ts";
import type { Jobspec } from "../../formats/jobspec.ts";
import { JobState } from "../../sdk/job-protocol.ts";
import { submitJob } from "../../sdk/jobs.ts";
import { SimulatedInstance } from "../../testkit/instance.ts";
import { OWNER_USERID, World } from "../../testkit/world.ts";

const JOBSPEC = {
  version: 1,
  resources: [{ type: "slot", count: 1, label: "task", with: [{ type: "core", count: 1 }] }],
  tasks: [{ command: ["sleep", "10"], slot: "task", count: { per_slot: 1 } }],
  attributes: { system: { duration: 0, cwd: "/tmp", environment: {} } },
} as Jobspec;

interface Listed {
  readonly jobs: readonly { readonly id: number; readonly state: number }[];
}

test("a job manager that is loaded anew is followed again; until then the list is what it was", async () => {
  const services = ["job-manager", "sched-simple", "job-exec"];
  const seen: { away: Listed["jobs"]; after: Listed["jobs"]; waited: unknown; total: unknown }[] = [];
  const instance = new SimulatedInstance(new World("job-list"), {
    size: 1,
    workload: async ({ handle, ports }) => {
      const id = await submitJob(handle, JOBSPEC, { userid: OWNER_USERID });
      const until = (state: number): Promise<{ job: { state: number } }> =>
        handle.rpc("job-list.list-id", { id, attrs: ["state"], state });
      const list = async (): Promise<Listed["jobs"]> =>
        (await handle.rpc<Listed>("job-list.list", { attrs: ["state"], max_entries: 0 })).jobs;
      await until(JobState.Run);
      const end = until(JobState.Inactive);
      for (const name of services.toReversed()) await handle.rpc("module.remove", { name });
      await new Promise<void>((resolve) => void ports.clock.after(20_000, resolve));
      const away = await list();
      for (const path of services) await handle.rpc("module.load", { path, args: [] });
      const waited = (await end).job.state;
      const next = await submitJob(handle, JOBSPEC, { userid: OWNER_USERID });
      await handle.rpc("job-list.list-id", { id: next, attrs: [], state: JobState.Inactive });
      const { job_states: states } = await handle.rpc<{ job_states: { total: number } }>("job-list.job-stats");
      seen.push({ away, after: await list(), waited, total: states.total });
      return 0;
    },
  });
  assert.equal(await instance.runToEnd(3_600_000), true, instance.stderr.join(""));
  const [{ away, after, waited, total }] = seen as [(typeof seen)[0]];
  assert.deepEqual(
    away.map(({ state }) => state),
    [JobState.Run],
  );
  assert.equal(waited, JobState.Inactive);
  assert.deepEqual(
    after.map(({ state }) => state),
    [JobState.Inactive, JobState.Inactive],
  );
  assert.equal(total, 2);
});

test("two who wait for one job wait for one job", async () => {
  const seen: { waits: number; states: number[] }[] = [];
  const instance = new SimulatedInstance(new World("job-list waits"), {
    size: 1,
    workload: async ({ handle, ports }) => {
      await handle.rpc("job-list.job-state-pause", {});
      const id = await submitJob(handle, JOBSPEC, { userid: OWNER_USERID });
      const wait = (state: number): Promise<{ job: { state: number } }> =>
        handle.rpc("job-list.list-id", { id, attrs: ["state"], state });
      const both = [wait(JobState.Depend), wait(JobState.Inactive)];
      await new Promise<void>((resolve) => void ports.clock.after(1000, resolve));
      const { idsync } = await handle.rpc<{ idsync: { waits: number } }>("job-list.stats-get", {});
      await handle.rpc("job-list.job-state-unpause", {});
      const answers = await Promise.all(both);
      seen.push({ waits: idsync.waits, states: answers.map(({ job }) => job.state) });
      return 0;
    },
  });
  assert.equal(await instance.runToEnd(3_600_000), true, instance.stderr.join(""));
  assert.equal(seen[0]?.waits, 1);
  assert.equal(seen[0]?.states[1], JobState.Inactive);
});

test("in private mode guests see their own jobs only, and no counts", async () => {
  const seen: { guest: Listed["jobs"]; admin: Listed["jobs"]; one: number; counts: number; statistics: number }[] = [];
  const instance = new SimulatedInstance(new World("job-list private"), {
    size: 1,
    workload: async ({ handle }) => {
      await handle.rpc("config.load", { access: { "allow-guest-user": true, "private-mode": true } });
      const id = await submitJob(handle, JOBSPEC, { userid: OWNER_USERID });
      await handle.rpc("job-list.list-id", { id, attrs: [], state: JobState.Run });
      const guest = { userid: OWNER_USERID + 1, rolemask: Role.User };
      const list = async (options: RequestOptions): Promise<Listed["jobs"]> =>
        (await handle.rpc<Listed>("job-list.list", { attrs: ["state"], max_entries: 0 }, options)).jobs;
      const refusal = (topic: string, request: object): Promise<number> =>
        handle.rpc(topic, request, guest).then(
          () => 0,
          (error: unknown) => (error instanceof FluxError ? error.errnum : -1),
        );
      seen.push({
        guest: await list(guest),
        admin: await list({ ...guest, rolemask: Role.User | Role.Admin }),
        one: await refusal("job-list.list-id", { id, attrs: [] }),
        counts: await refusal("job-list.job-stats", {}),
        statistics: await refusal("job-list.stats-get", {}),
      });
      return 0;
    },
  });
  assert.equal(await instance.runToEnd(3_600_000), true, instance.stderr.join(""));
  const [{ guest, admin, one, counts, statistics }] = seen as [(typeof seen)[0]];
  assert.deepEqual([guest.length, admin.length, one], [0, 1, Errno.ENOENT]);
  assert.deepEqual([counts, statistics], [Errno.EPERM, Errno.EPERM]);
});

/** Runs jobs to their end, then removes the list of jobs. */
async function fiveJobsWithoutList(handle: Handle): Promise<Integer[]> {
  const ids: Integer[] = [];
  for (let count = 0; count < 5; count++) ids.push(await submitJob(handle, JOBSPEC, { userid: OWNER_USERID }));
  await handle.rpc("job-list.list-id", { id: ids[4]!, attrs: [], state: JobState.Inactive });
  await handle.rpc("module.remove", { name: "job-list" });
  return ids;
}

test("who asks a job list that is loaded anew waits until it knows all jobs", async () => {
  const seen: { first: number; total: number; ids: number }[] = [];
  const instance = new SimulatedInstance(new World("job-list anew"), {
    size: 1,
    workload: async ({ handle }) => {
      const ids = await fiveJobsWithoutList(handle);
      await handle.rpc("module.load", { path: "job-list", args: [] });
      const [listed, stats, one] = await Promise.all([
        handle.rpc<Listed>("job-list.list", { attrs: ["state"], max_entries: 0 }),
        handle.rpc<{ job_states: { total: number } }>("job-list.job-stats"),
        handle.rpc<{ job: { id: number } }>("job-list.list-id", { id: ids[0]!, attrs: [] }),
      ]);
      seen.push({ first: listed.jobs.length, total: stats.job_states.total, ids: one.job.id === ids[0] ? 1 : 0 });
      return 0;
    },
  });
  assert.equal(await instance.runToEnd(3_600_000), true, instance.stderr.join(""));
  assert.deepEqual(seen, [{ first: 5, total: 5, ids: 1 }]);
});

test("a job that is purged as the list is loaded anew is not in it", async () => {
  const seen: number[] = [];
  const instance = new SimulatedInstance(new World("job-list purge"), {
    size: 1,
    workload: async ({ handle }) => {
      const ids = await fiveJobsWithoutList(handle);
      const loading = handle.rpc("module.load", { path: "job-list", args: [] });
      // The event of a purge; the journal may tell of these jobs before or after it.
      await handle.publish("job-purge-inactive", { jobs: ids.slice(0, 3) });
      await loading;
      const { jobs } = await handle.rpc<Listed>("job-list.list", { attrs: ["state"], max_entries: 0 });
      seen.push(jobs.length);
      return 0;
    },
  });
  assert.equal(await instance.runToEnd(3_600_000), true, instance.stderr.join(""));
  assert.deepEqual(seen, [2]);
});
