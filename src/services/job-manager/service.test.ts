/** The job services together: submission, eventlogs, journal, lists, waits, queues, purges, restarts. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { FluxError } from "../../base/errors.ts";
import type { Integer, JsonObject } from "../../base/json.ts";
import { fluidKvsPath, formatFluid } from "../../formats/fluid.ts";
import {
  addMemo,
  cancelJob,
  jobInfo,
  listJobs,
  lookupJob,
  setUrgency,
  submitJob,
  updateJob,
  waitForEvent,
  waitForJob,
  waitForWaitable,
  watchEventlog,
} from "../../sdk/jobs.ts";
import { JobFlag, JobResult, JobState } from "../../sdk/job-protocol.ts";
import { Kvs } from "../../sdk/kvs.ts";
import { OPERATION_APPEND } from "../../sdk/kvs-protocol.ts";
import { lookupText } from "../../sdk/kvs-text.ts";
import { MemoryDisk } from "../kvs/world.fixture.ts";
import { JobWorld, jobspecOf, OWNER, R } from "./job-world.fixture.ts";

const NORMAL = ["submit", "validate", "depend", "priority", "alloc", "start", "finish", "release", "free", "clean"];

let world: JobWorld;

async function eventNames(id: Integer): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of watchEventlog(world.client, id)) names.push(name);
  return names;
}

function rejection(errno: ConstructorParameters<typeof FluxError>[0], text: string): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof FluxError, String(error));
    assert.deepEqual([error.errnum, error.message], [new FluxError(errno).errnum, text]);
    return true;
  };
}

describe("a job", () => {
  beforeEach(async () => void (world = await JobWorld.start()));
  afterEach(() => world.stop());

  test("is stored before its id is told, and its eventlog can be followed to the end", async () => {
    const environment = { HOME: "/home/x", PATH: "/bin" };
    const id = await world.submit(jobspecOf(["true"], { environment }));
    const { J, jobspec } = await lookupJob(world.client, id, ["J", "jobspec"]);
    assert.match(J!, /^[\w=+/]+\.[\w=+/]+\.none$/);
    assert.equal(JSON.parse(jobspec!).attributes.system.environment, undefined);
    const names = eventNames(id);
    await world.allocate();
    const run = await world.start();
    assert.deepEqual((run.request.json["jobspec"] as any).attributes.system.environment, environment);
    assert.deepEqual(run.request.json["R"], R);
    run.all(0);
    assert.deepEqual(await names, NORMAL);
    assert.deepEqual(await eventNames(id), NORMAL, "an inactive job's eventlog comes from the KVS");
    const free = await world.frees.next();
    assert.deepEqual(free.json, { id, R, final: true });
  });

  test("is listed with the attributes of its state", async () => {
    const id = await world.submit(jobspecOf(["/bin/sleep", "1"], { cwd: "/tmp" }));
    await world.allocate();
    const running = await jobInfo(world.client, id, { state: JobState.Run });
    assert.deepEqual([running["name"], running["state"], running["nodelist"]], ["sleep", JobState.Run, "h0"]);
    assert.equal(running["success"], undefined);
    (await world.start()).all(256);
    const done = await jobInfo(world.client, id, { state: JobState.Inactive });
    assert.equal(done["result"], JobResult.Failed);
    assert.equal(done["waitstatus"], 256);
    const jobs = await Array.fromAsync(
      listJobs(world.client, { attrs: ["name"], constraint: { states: ["inactive"] } }),
    );
    assert.deepEqual(jobs, [{ id, name: "sleep" }]);
    await assert.rejects(
      Array.fromAsync(listJobs(world.client, { attrs: ["foo"] })),
      rejection("EINVAL", "foo is not a valid attribute"),
    );
    await assert.rejects(jobInfo(world.client, 77), rejection("ENOENT", "No such file or directory"));
  });

  test("many at once get ids that increase, and all run", async () => {
    const ids = await Promise.all(Array.from({ length: 50 }, () => world.submit()));
    assert.deepEqual(
      [...ids].sort((left, right) => Number(left) - Number(right)),
      ids,
    );
    for (let count = 0; count < ids.length; count += 1) await world.runNext();
    const outcomes = await Promise.all(ids.map((id) => waitForJob(world.client, id)));
    assert.ok(outcomes.every(({ success }) => success));
  });

  test("that is refused leaves nothing behind", async () => {
    const bad = jobspecOf(["true"], { dependencies: [{ scheme: "afterok", value: "1234" }] });
    await assert.rejects(world.submit(bad), rejection("EINVAL", "dependency: afterok: id 1234: job not found"));
    assert.deepEqual(await Array.fromAsync(listJobs(world.client)), []);
    const good = await world.submit();
    const kvs = await world.client.rpc<{ val: JsonObject }>("kvs.lookup", {
      key: "job",
      flags: 1,
      namespace: "primary",
    });
    assert.ok(fluidKvsPath(good).startsWith(`job.${Object.keys(kvs.val["data"] as JsonObject)[0]}`));
  });

  test("can be cancelled, with the note in its outcome", async () => {
    const id = await world.submit();
    await world.allocate();
    const run = await world.start();
    run.tell("start");
    await waitForEvent(world.client, id, "start");
    await cancelJob(world.client, id, "enough");
    run.finish(15);
    const outcome = await waitForJob(world.client, id);
    assert.equal(outcome.result, JobResult.Canceled);
    assert.equal(outcome.errorText, "Fatal exception type=cancel enough");
    await assert.rejects(cancelJob(world.client, id), rejection("ENOENT", "job is inactive"));
    await assert.rejects(cancelJob(world.client, 5), rejection("ENOENT", "unknown job id"));
  });

  test("of another user is out of reach of guests", async () => {
    const id = await world.submit();
    const guest = world.broker.connect(2000);
    await assert.rejects(
      cancelJob(guest, id),
      rejection("EPERM", "guests can only raise exceptions on their own jobs"),
    );
    await assert.rejects(lookupJob(guest, id, ["R"]), rejection("EPERM", "access is restricted to job/instance owner"));
    await assert.rejects(updateJob(guest, id, {}), rejection("EPERM", "guests may only update their own jobs"));
    await assert.rejects(setUrgency(guest, id, 1), rejection("EPERM", "guests can only reprioritize their own jobs"));
  });

  test("whose urgency is set to what it is gets its priority again, and may be updated where a jobspec may be", async () => {
    const id = await world.submit(jobspecOf(), { urgency: 0 });
    await waitForEvent(world.client, id, "priority");
    assert.equal(await setUrgency(world.client, id, 0), 0);
    await assert.rejects(
      updateJob(world.client, id, { duration: 1 }),
      rejection("EINVAL", "one or more jobspec updates are invalid"),
    );
    await world.client.rpc("job-manager.set-batch-timeout", { timeout: 0.001 });
    await cancelJob(world.client, id);
    const names = ["submit", "validate", "depend", "priority", "urgency", "priority", "exception", "clean"];
    assert.deepEqual(await eventNames(id), names);
    const guest = world.broker.connect(2000);
    const submitted = submitJob(guest, jobspecOf(), { userid: 2000, flags: JobFlag.Waitable });
    await assert.rejects(submitted, rejection("EINVAL", "only the instance owner can submit with FLUX_JOB_WAITABLE"));
  });

  test("can be updated and annotated while it waits", async () => {
    const id = await world.submit(jobspecOf(), { urgency: 0 });
    await updateJob(world.client, id, { "attributes.system.duration": 60 });
    await addMemo(world.client, id, { uri: "x" });
    const { jobspec } = await lookupJob(world.client, id, ["jobspec"], { current: true });
    assert.equal(JSON.parse(jobspec!).attributes.system.duration, 60);
    assert.equal(await setUrgency(world.client, id, 16), 0);
    await world.allocs.next();
    const info = await jobInfo(world.client, id);
    assert.deepEqual([info["duration"], info["annotations"]], [60, { user: { uri: "x" } }]);
    await assert.rejects(
      updateJob(world.client, id, { "attributes.system.job.name": "x" }),
      rejection("EINVAL", "update of attributes.system.job.name not supported"),
    );
  });
});

describe("logs that shells write", () => {
  beforeEach(async () => void (world = await JobWorld.start()));
  afterEach(() => world.stop());

  test("are followed while they grow, and end with the job", async () => {
    const id = await world.submit();
    await world.allocate();
    const run = await world.start();
    run.tell("start");
    const key = `${fluidKvsPath(id)}.guest.output`;
    const seen: string[] = [];
    const watch = (async () => {
      for await (const { name } of watchEventlog(world.client, id, { path: "guest.output", waitCreate: true }))
        seen.push(name);
    })();
    const line = (name: string): string => `{"timestamp":1.5,"name":"${name}"}\n`;
    await world.commit(key, line("header"), OPERATION_APPEND);
    await world.commit(key, line("data") + line("more"), OPERATION_APPEND);
    await world.commit(key, line("last"), OPERATION_APPEND);
    run.finish(0);
    await watch;
    assert.deepEqual(seen, ["header", "data", "more", "last"]);
  });

  test("that never come are ENOENT", async () => {
    const id = await world.submit();
    await world.runNext();
    await waitForJob(world.client, id);
    const watch = Array.fromAsync(watchEventlog(world.client, id, { path: "guest.foo", waitCreate: true }));
    await assert.rejects(watch, rejection("ENOENT", "No such file or directory"));
    await assert.rejects(lookupJob(world.client, id, ["foo"]), rejection("ENOENT", "foo: key not found"));
    await assert.rejects(lookupJob(world.client, 77, ["R"]), rejection("ENOENT", "invalid job id"));
  });
});

describe("waiting", () => {
  beforeEach(async () => void (world = await JobWorld.start()));
  afterEach(() => world.stop());

  test("for waitable jobs, each reported once", async () => {
    const waitable = { flags: JobFlag.Waitable };
    const first = await world.submit(jobspecOf(), waitable);
    const second = await world.submit(jobspecOf(), waitable);
    const waiting = waitForWaitable(world.client, second);
    await world.runNext();
    await world.runNext(256);
    assert.deepEqual(await waiting, { id: second, success: false, errstr: "task(s) exited with exit code 1" });
    assert.deepEqual(await waitForWaitable(world.client, null), { id: first, success: true, errstr: "" });
    await assert.rejects(waitForWaitable(world.client, null), rejection("ECHILD", "there are no more waitable jobs"));
    const plain = await world.submit();
    await assert.rejects(
      waitForWaitable(world.client, plain),
      rejection("ECHILD", "job was not submitted with FLUX_JOB_WAITABLE"),
    );
  });

  test("until there is nothing to do", async () => {
    await world.submit();
    const drained = world.client.rpc("job-manager.drain");
    await world.runNext();
    await drained;
    assert.deepEqual(await world.client.rpc("job-manager.idle"), { pending: 0 });
  });
});

describe("the journal", () => {
  beforeEach(async () => void (world = await JobWorld.start()));
  afterEach(() => world.stop());

  test("shows the past of active jobs, a sentinel, then what happens; with `full` inactive jobs too", async () => {
    const past = await world.submit();
    await world.runNext();
    await waitForJob(world.client, past);
    const active = await world.submit();
    await waitForEvent(world.client, active, "priority");
    const read = async (request: JsonObject): Promise<(readonly [unknown, string[]])[]> => {
      const entries: (readonly [unknown, string[]])[] = [];
      const stream = world.client.stream<{ id: Integer; events: { name: string }[] }>(
        "job-manager.events-journal",
        request,
        {
          cancelTopic: "job-manager.events-journal-cancel",
        },
      );
      for await (const { id, events } of stream) {
        if (id === -1) break;
        entries.push([id, events.map(({ name }) => name)]);
      }
      return entries;
    };
    const pending = NORMAL.slice(0, 4);
    assert.deepEqual(await read({}), [[active, pending]]);
    assert.deepEqual(await read({ full: true }), [
      [past, NORMAL],
      [active, pending],
    ]);
    assert.deepEqual(await read({ full: true, allow: { alloc: 1, clean: 1 }, deny: { alloc: 1 } }), [
      [past, ["clean"]],
    ]);
  });
});

describe("queues", () => {
  beforeEach(
    async () =>
      void (world = await JobWorld.start({ config: { queues: { batch: { requires: ["big"] }, debug: {} } } })),
  );
  afterEach(() => world.stop());

  test("named ones begin stopped, add their constraints, and refuse jobs while disabled", async () => {
    await assert.rejects(world.submit(), rejection("EPERM", "no queue specified"));
    await assert.rejects(
      world.submit(jobspecOf([], { queue: "x" })),
      rejection("EPERM", "Invalid queue 'x' specified"),
    );
    const id = await world.submit(jobspecOf(["true"], { queue: "batch" }));
    const { jobspec } = await lookupJob(world.client, id, ["jobspec"]);
    assert.deepEqual(JSON.parse(jobspec!).attributes.system.constraints, { properties: ["big"] });
    assert.deepEqual(await world.client.rpc("job-manager.queue-status", { name: "batch" }), {
      enable: true,
      start: false,
    });
    await world.client.rpc("job-manager.queue-start", { start: true, all: true });
    assert.equal(await world.allocate(), id);
    await world.client.rpc("job-manager.queue-enable", { enable: false, all: false, name: "debug", reason: "no" });
    await assert.rejects(
      world.submit(jobspecOf(["true"], { queue: "debug" })),
      rejection("EINVAL", "job submission to debug is disabled: no"),
    );
  });
});

describe("purging", () => {
  beforeEach(async () => void (world = await JobWorld.start()));
  afterEach(() => world.stop());

  test("removes the oldest inactive jobs from the KVS and the lists", async () => {
    const ids: Integer[] = [];
    for (let count = 0; count < 3; count += 1) {
      ids.push(await world.submit());
      await world.runNext();
      await waitForJob(world.client, ids.at(-1)!);
    }
    const purge = { age_limit: -1, num_limit: 1, batch: 10 };
    assert.deepEqual(await world.client.rpc("job-manager.purge", { ...purge, force: false }), { count: 2 });
    const listening = Promise.withResolvers<JsonObject>();
    await world.client.subscribe("job-purge-inactive", (event) => listening.resolve(event.payload!.value));
    assert.deepEqual(await world.client.rpc("job-manager.purge", { ...purge, force: true }), { count: 2 });
    assert.deepEqual(await listening.promise, { jobs: ids.slice(0, 2) });
    const left = await Array.fromAsync(listJobs(world.client, { attrs: [] }));
    assert.deepEqual(left, [{ id: ids[2] }]);
    await assert.rejects(lookupJob(world.client, ids[0]!, ["R"]), rejection("ENOENT", "invalid job id"));
    assert.deepEqual(await world.client.rpc("job-manager.purge", { ...purge, num_limit: 0, force: true }), {
      count: 1,
    });
    const directory = await new Kvs(world.client).getDirectory("job");
    assert.deepEqual(directory, {}, "nothing is left of their directories");
  });
});

test("without a KVS, requests that wait for a commit are told so, and the service ends", async () => {
  world = await JobWorld.start();
  const id = await world.submit(undefined, { urgency: 0 });
  await world.broker.modules.remove("kvs");
  await assert.rejects(
    cancelJob(world.client, id, ""),
    rejection("ENOSYS", "No service matching kvs.commit is registered"),
  );
  await world.client.rpc("job-manager.queue-start", { start: false, all: true, nocheckpoint: true });
  await world.broker.modules.remove("job-manager");
  await world.stop();
});

describe("a restart", () => {
  test("puts jobs aside whose record somebody damaged, and tells of the end of waitable ones", async () => {
    const disk = new MemoryDisk();
    world = await JobWorld.start({ disk });
    const done = await world.submit(jobspecOf(), { flags: JobFlag.Waitable });
    await world.runNext(0);
    await waitForJob(world.client, done);
    const damaged = await world.submit(jobspecOf(), { urgency: 0 });
    await world.commit(`${fluidKvsPath(damaged)}.eventlog`, "nonsense");
    disk.crash();

    world = await JobWorld.start({ disk });
    assert.equal(await lookupText(world.client, `job-lost+found.job.${formatFluid(damaged)}.eventlog`), "nonsense");
    await assert.rejects(
      lookupText(world.client, `${fluidKvsPath(damaged)}.eventlog`),
      rejection("ENOENT", "No such file or directory"),
    );
    const { id, success } = await world.client.rpc("job-manager.wait", { id: done });
    assert.deepEqual([id, success], [done, true]);
    const later = await world.submit();
    assert.ok(later > damaged, "its id is not given again");
    await world.stop();
  });

  test("after a crash brings every accepted job back where it was", async () => {
    const disk = new MemoryDisk();
    world = await JobWorld.start({ disk });
    const environment = { A: "b" };
    const done = await world.submit();
    await world.runNext(256);
    await waitForJob(world.client, done);
    const running = await world.submit();
    await world.allocate();
    (await world.start()).tell("start");
    await waitForEvent(world.client, running, "start");
    const held = await world.submit(jobspecOf(["true"], { environment }), { urgency: 0 });
    const dependent = await world.submit(
      jobspecOf(["true"], { dependencies: [{ scheme: "afterany", value: String(held) }] }),
    );
    await world.client.rpc("job-manager.queue-enable", { enable: false, all: false, reason: "full" });
    disk.crash();

    world = await JobWorld.start({ disk });
    assert.deepEqual(
      world.hellos.map(({ id }) => id),
      [running],
      "the scheduler hears who holds resources",
    );
    const again = await world.start();
    assert.deepEqual([again.request.json["id"], again.request.json["reattach"]], [running, true]);
    again.tell("reattached");
    again.finish(0);
    assert.deepEqual(await eventNames(running), NORMAL);
    const listed = await Array.fromAsync(listJobs(world.client, { attrs: ["state"] }));
    assert.deepEqual(new Set(listed.map(({ id }) => id)), new Set([held, dependent, running, done]));
    assert.equal((await waitForJob(world.client, done)).waitStatus, 256);
    await assert.rejects(world.submit(), rejection("EINVAL", "job submission is disabled: full"));
    await setUrgency(world.client, held, 16);
    assert.equal(await world.allocate(), held);
    const run = await world.start();
    assert.deepEqual((run.request.json["jobspec"] as any).attributes.system.environment, environment);
    run.all(0);
    assert.equal(await world.runNext(), dependent, "the dependency was found again");
    await world.client.rpc("job-manager.queue-enable", { enable: true, all: false });
    const later = await world.submit();
    assert.ok(later > dependent, "ids go on increasing");
    await world.stop();
  });
});

test("the owner's user id is the submitter's", async () => {
  world = await JobWorld.start();
  const id = await world.submit();
  const submit = await waitForEvent(world.client, id, "submit");
  assert.deepEqual(submit.context, { userid: OWNER, urgency: 16, flags: 0, version: 1 });
  await world.stop();
});
