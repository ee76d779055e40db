/** What the job-info service shows of jobs, live and afterwards. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { isFluxError } from "../../base/errors.ts";
import type { Integer, JsonObject } from "../../base/json.ts";
import { fluidKvsPath } from "../../formats/fluid.ts";
import { updateJob, waitForEvent, waitForJob, WatchFlag } from "../../sdk/jobs.ts";
import { OPERATION_APPEND } from "../../sdk/kvs-protocol.ts";
import { JobWorld, jobspecOf, R } from "../job-manager/job-world.fixture.ts";
import { ActiveJobs, applyUpdates, isComplete, lifeOf, LineSplitter } from "./core.ts";

let world: JobWorld;

/** Names of events, "-" for the sentinel. */
async function watch(id: Integer, path: string, flags: number, until?: string): Promise<string[]> {
  const names: string[] = [];
  const stream = world.client.stream<{ event?: string }>(
    "job-info.eventlog-watch",
    { id, path, flags },
    {
      cancelTopic: "job-info.eventlog-watch-cancel",
    },
  );
  for await (const { event } of stream) {
    names.push(event === undefined ? "-" : (JSON.parse(event) as { name: string }).name);
    if (names.at(-1) === until) break;
  }
  return names;
}

describe("a watch", () => {
  beforeEach(async () => void (world = await JobWorld.start()));
  afterEach(() => world.stop());

  test("marks the end of what was there with a sentinel, where it is wanted", async () => {
    const id = await world.submit();
    await waitForEvent(world.client, id, "priority");
    const watching = watch(id, "eventlog", WatchFlag.InitialSentinel, "alloc");
    const pending = ["submit", "validate", "depend", "priority"];
    await world.allocate();
    assert.deepEqual(await watching, [...pending, "-", "alloc"]);
    (await world.start()).all(0);
    await waitForJob(world.client, id);
    assert.deepEqual((await watch(id, "eventlog", WatchFlag.InitialSentinel)).slice(-2), ["clean", "-"]);
  });

  test("of a log that is not there fails at once, where a sentinel is wanted", async () => {
    const id = await world.submit(jobspecOf(), { urgency: 0 });
    const seen = watch(id, "guest.output", WatchFlag.InitialSentinel);
    await assert.rejects(seen, (error) => isFluxError(error, "ENOENT"));
  });

  test("of the exec eventlog ends with `done`, while the job goes on", async () => {
    const id = await world.submit();
    await world.allocate();
    (await world.start()).tell("start");
    await waitForEvent(world.client, id, "start");
    const watching = watch(id, "guest.exec.eventlog", WatchFlag.WaitCreate);
    const key = `${fluidKvsPath(id)}.guest.exec.eventlog`;
    await world.commit(key, '{"timestamp":1,"name":"init"}\n', OPERATION_APPEND);
    await world.commit(key, '{"timestamp":2,"name":"done"}\n', OPERATION_APPEND);
    assert.deepEqual(await watching, ["init", "done"]);
  });

  test("shows what others append to an eventlog, once, and in a guest's directory by its namespace", async () => {
    const id = await world.submit(jobspecOf(), { urgency: 0 });
    const watching = watch(id, "eventlog", 0, "mine");
    const guest = watch(id, "guest.notes", WatchFlag.WaitCreate, "note");
    const key = fluidKvsPath(id);
    await world.commit(`${key}.eventlog`, '{"timestamp":1,"name":"mine"}\n', OPERATION_APPEND);
    await world.commit(`${key}.guest.notes`, '{"timestamp":1,"name":"note"}\n', OPERATION_APPEND);
    assert.deepEqual(await watching, ["submit", "validate", "depend", "priority", "mine"]);
    assert.deepEqual(await guest, ["note"]);
    const stream = world.client.stream("job-info.eventlog-watch", { id, path: "guest.notes", flags: 0 });
    await stream.next();
    const { namespaces } = await world.client.rpc<{ namespaces: JsonObject }>("kvs-watch.stats-get");
    assert.deepEqual(Object.keys(namespaces), [Number(id) < 1e7 ? "primary" : `job-${id}`]);
    await world.client.rpc("job-manager.raise", { id, type: "cancel", severity: 0 });
    assert.equal((await stream.next()).done, true);
  });

  test("is refused with the texts that clients know", async () => {
    const id = await world.submit();
    const refuses = (payload: JsonObject, text: RegExp): Promise<void> =>
      assert.rejects(Array.fromAsync(world.client.stream("job-info.eventlog-watch", payload)), text);
    await refuses({ id, path: "eventlog", flags: 64 }, /eventlog-watch request rejected with invalid flag/);
    await refuses({ id, flags: 0 }, /Protocol error/);
    await refuses({ id: 77, path: "eventlog", flags: 0 }, /invalid job id/);
    await assert.rejects(
      world.client.rpc("job-info.eventlog-watch", { id, path: "eventlog", flags: 0 }),
      /rejected without streaming RPC flag/,
    );
  });

  test("of a jobspec gives it anew after each update, to the end of the job", async () => {
    const id = await world.submit(jobspecOf(), { urgency: 0 });
    const durations: unknown[] = [];
    const request = { id, key: "jobspec", flags: 0 };
    for await (const { jobspec } of world.client.stream<{ jobspec: any }>("job-info.update-watch", request)) {
      durations.push(jobspec.attributes.system.duration);
      if (durations.length === 1) await updateJob(world.client, id, { "attributes.system.duration": 9 });
      if (durations.length === 2) await world.client.rpc("job-manager.raise", { id, type: "cancel", severity: 0 });
    }
    assert.deepEqual(durations, [0, 9]);
  });

  test("of R ends with ENOENT where there never is one, as of a job that is not there", async () => {
    const id = await world.submit(jobspecOf(), { urgency: 0 });
    const watch = (job: Integer): Promise<unknown> =>
      Array.fromAsync(world.client.stream("job-info.update-watch", { id: job, key: "R", flags: 0 }));
    const refused = assert.rejects(watch(id), /No such file or directory/);
    await world.client.rpc("job-manager.raise", { id, type: "cancel", severity: 0 });
    await refused;
    await assert.rejects(watch(77), /No such file or directory/);
  });

  test("is for both keys, a lookup of what updates make for R only", async () => {
    const id = await world.submit();
    const request = { id, key: "jobspec", flags: 0 };
    await assert.rejects(
      world.client.rpc("job-info.update-lookup", request),
      /update-lookup unsupported key specified/,
    );
  });

  test("of R waits for the allocation", async () => {
    const id = await world.submit();
    const stream = world.client.stream<{ R: JsonObject }>("job-info.update-watch", { id, key: "R", flags: 0 });
    const first = stream.next();
    await world.allocate();
    assert.deepEqual((await first).value, { R });
  });
});

test("updates of R and jobspec are applied in order", () => {
  const events = [60, 90].map((expiration) => ({ timestamp: 1, name: "resource-update", context: { expiration } }));
  assert.deepEqual(applyUpdates("R", { execution: { expiration: 0, x: 1 } }, events), {
    execution: { expiration: 90, x: 1 },
  });
});

test("lines are put together whatever the pieces", () => {
  const splitter = new LineSplitter();
  assert.deepEqual([splitter.push("a\nb"), splitter.push(""), splitter.push("c\n\nd")], [["a\n"], [], ["bc\n", "\n"]]);
  assert.equal(splitter.length, 7);
});

test("a job's followers hear of each event once, and of its end", () => {
  const jobs = new ActiveJobs();
  const heard: string[] = [];
  jobs.complete();
  jobs.take({ id: 1, events: [{ timestamp: 1, name: "submit", context: { userid: 5 } }] });
  jobs.get(1)!.followers.add({
    events: (events) => heard.push(...events.map(({ name }) => name)),
    ended: () => heard.push("end"),
  });
  jobs.take({ id: 1, events: [{ timestamp: 2, name: "annotations", context: {} }] });
  jobs.take({ id: 1, events: [{ timestamp: 3, name: "clean" }] });
  jobs.take({ id: 1, events: [{ timestamp: 4, name: "late" }] });
  assert.deepEqual(heard, ["clean", "end"]);
  assert.equal(jobs.get(1), null);
});

test("a new journal goes on where the lost one ended, and ends what it does not know", () => {
  const jobs = new ActiveJobs();
  const heard: string[] = [];
  const submit = { timestamp: 1, name: "submit", context: { userid: 5 } };
  const restart = { timestamp: 2, name: "flux-restart" };
  const follow = (id: number): void =>
    void jobs.get(id)!.followers.add({
      events: (events) => heard.push(...events.map(({ name }) => `${id} ${name}`)),
      ended: () => heard.push(`${id} end`),
    });
  for (const id of [1, 2]) jobs.take({ id, events: [submit] });
  jobs.complete();
  [1, 2].forEach(follow);
  jobs.lose();
  jobs.expect(3, 5, [submit]);
  follow(3);
  jobs.take({ id: 1, events: [submit, restart] });
  jobs.take({ id: 3, events: [submit, restart] });
  jobs.expect(4, 5, [submit]);
  follow(4);
  assert.deepEqual(jobs.complete(), [2, 4]);
  jobs.finish(2, [submit, restart, { timestamp: 3, name: "clean" }]);
  jobs.finish(4, []);
  assert.deepEqual(heard, ["1 flux-restart", "3 flux-restart", "2 flux-restart", "2 clean", "2 end", "4 end"]);
  assert.equal(jobs.get(2), null);
});

test("the end of a job is noticed that nobody follows", () => {
  const jobs = new ActiveJobs();
  jobs.complete();
  const notices = [1, 2].map((id) => jobs.notice(id));
  jobs.take({ id: 1, events: ["submit", "clean"].map((name) => ({ timestamp: 1, name, context: { userid: 5 } })) });
  notices.forEach((notice) => notice.close());
  jobs.take({ id: 2, events: ["submit", "clean"].map((name) => ({ timestamp: 1, name, context: { userid: 5 } })) });
  assert.deepEqual(
    notices.map(({ isOver }) => isOver),
    [true, false],
  );
});

test("what is written after the end of a job is no part of it", () => {
  const events = ["submit", "clean", "late"].map((name, timestamp) => ({ timestamp, name }));
  assert.deepEqual(lifeOf(events), events.slice(0, 2));
  assert.ok(isComplete(lifeOf(events)) && !isComplete(events));
  assert.deepEqual(lifeOf(events.slice(0, 1)), events.slice(0, 1));
});
