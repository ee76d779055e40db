/** Jobs that other releases, or damage, have left in the KVS: what a restart makes of them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fluidKvsPath, formatFluid } from "../../formats/fluid.ts";
import { waitForJob } from "../../sdk/jobs.ts";
import { lookupText } from "../../sdk/kvs-text.ts";
import { MemoryDisk } from "../kvs/world.fixture.ts";
import { JobWorld, jobspecOf, R } from "./job-world.fixture.ts";

const DIRECTORY = "job.0000.0001.ce00.0000";
const ID = 7751073792;
const SUBMIT = ["submit", { userid: 5588, urgency: 16, flags: 0 }] as const;
const END = [["finish", { status: 0 }], ["release", { ranks: "all", final: true }], ["free"], ["clean"]] as const;

/** An instance that finds these keys in its KVS. */
async function restartWith(keys: Readonly<Record<string, string>>): Promise<JobWorld> {
  const disk = new MemoryDisk();
  const before = await JobWorld.start({ disk });
  for (const [key, value] of Object.entries(keys)) await before.commit(key, value);
  disk.crash();
  return JobWorld.start({ disk });
}

function eventlog(...events: readonly (readonly [name: string, context?: object])[]): string {
  return events.map(([name, context]) => `${JSON.stringify({ timestamp: 1, name, context })}\n`).join("");
}

/** Whether the job is where it was, or was put aside. */
async function placeOf(world: JobWorld): Promise<"kept" | "aside"> {
  const { inactive_jobs: count } = await world.client.rpc<{ inactive_jobs: number }>("job-manager.stats-get");
  const isAside = await lookupText(world.client, `job-lost+found.job.${formatFluid(ID)}.J`).then(
    () => true,
    () => false,
  );
  assert.equal(isAside, count === 0, "either the one or the other");
  await world.stop();
  return isAside ? "aside" : "kept";
}

test("a log of a release that knew no validate event is read", async () => {
  const log = eventlog(SUBMIT, ["depend"], ["priority", { priority: 16 }], ["alloc"], ["start"], ...END);
  const world = await restartWith({
    [`${DIRECTORY}.eventlog`]: log,
    [`${DIRECTORY}.jobspec`]: JSON.stringify(jobspecOf()),
    [`${DIRECTORY}.J`]: "x",
  });
  const { max_jobid } = await world.client.rpc<{ max_jobid: number }>("job-manager.getinfo");
  assert.equal(max_jobid, ID);
  assert.equal(await placeOf(world), "kept");
});

test("jobs without a jobspec, without a submit event, or with less of a log than they have run are put aside", async () => {
  const jobspec = JSON.stringify(jobspecOf());
  const whole = eventlog(SUBMIT, ["validate"], ["exception", { type: "cancel", severity: 0 }], ["clean"]);
  const records = [
    { eventlog: whole },
    { eventlog: eventlog(["validate"], ...END), jobspec },
    { eventlog: eventlog(SUBMIT), jobspec, "guest.exec.eventlog": eventlog(["init"], ["starting"]) },
  ];
  for (const record of records) {
    const entries = Object.entries({ ...record, J: "x" }).map(([key, value]) => [`${DIRECTORY}.${key}`, value]);
    assert.equal(await placeOf(await restartWith(Object.fromEntries(entries))), "aside");
  }
});

test("a job that ran, but whose allocation a full disk refused just before a crash, does not run twice", async () => {
  const disk = new MemoryDisk();
  const before = await JobWorld.start({ disk });
  const id = await before.submit();
  await before.commit(`${fluidKvsPath(id)}.R`, JSON.stringify(R));
  await before.commit(`${fluidKvsPath(id)}.guest.exec.eventlog`, eventlog(["init"], ["starting"]));
  disk.crash();

  const world = await JobWorld.start({ disk });
  assert.deepEqual(
    world.hellos.map((hello) => hello["id"]),
    [id],
    "the scheduler hears that its resources are taken",
  );
  const run = await world.start();
  assert.deepEqual([run.request.json["id"], run.request.json["reattach"], run.request.json["R"]], [id, true, R]);
  run.tell("reattached");
  run.finish(0);
  await waitForJob(world.client, id);
  const names = (await lookupText(world.client, `${fluidKvsPath(id)}.eventlog`)).match(/(?<="name":")[^"]+/g);
  assert.equal(names?.filter((name) => name === "alloc").length, 1);
  await world.stop();
});

test("a directory that is no job's is refused by name: jobs in it would be lost sight of", async () => {
  await assert.rejects(restartWith({ "job.0000.0001.e100.ZZZZ.eventlog": "" }), {
    message: "could not decode 0000.0001.e100.ZZZZ to job ID",
  });
});
