/** Requests that make no sense: each is answered, and the job services go on as before. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { FluxError } from "../../base/errors.ts";
import type { Integer, JsonValue } from "../../base/json.ts";
import { waitForEvent } from "../../sdk/jobs.ts";
import { JobWorld } from "./job-world.fixture.ts";

/** A request of each method that would be carried out as it stands, but for the job. */
const REQUESTS: Readonly<Record<string, Readonly<Record<string, JsonValue>>>> = {
  "job-ingest.submit": { J: "x", urgency: 16, flags: 0 },
  "job-manager.submit": { jobs: [{ id: 5, userid: 0, urgency: 16, flags: 0, t_submit: 1, jobspec: {} }] },
  "job-manager.raise": { id: 1, type: "x", severity: 7, note: "n", wait_status: 0 },
  "job-manager.raiseall": { dry_run: true, userid: -1, states: 64, severity: 1, type: "x", note: "n" },
  "job-manager.kill": { id: 1, signum: 15 },
  "job-manager.killall": { dry_run: true, userid: -1, signum: 15 },
  "job-manager.urgency": { id: 1, urgency: 16 },
  "job-manager.update": { id: 1, updates: { "attributes.system.duration": 10 } },
  "job-manager.memo": { id: 1, volatile: true, memo: { a: 1 } },
  "job-manager.post-event.post": { id: 1, name: "x", context: {} },
  "job-manager.wait": { id: 1 },
  "job-manager.list": { max_entries: 0 },
  "job-manager.getattr": { id: 1, attrs: ["eventlog"] },
  "job-manager.history.get": { slice: "[:]" },
  "job-manager.jobtap": { query_only: true },
  "job-manager.jobtap-query": { name: ".history" },
  "job-manager.housekeeping-kill": { signum: 15, jobid: 1, ranks: "0" },
  "job-manager.queue-status": { name: "" },
  "job-manager.queue-enable": { enable: true, all: true, name: "", reason: "r" },
  "job-manager.queue-start": { start: true, all: true, name: "", reason: "r", nocheckpoint: true },
  "job-manager.purge": { age_limit: -1, num_limit: -1, batch: 5, force: false },
  "job-manager.purge-id": { id: 1, force: false },
  "job-manager.sched-ready": { mode: "limited", limit: 3 },
};

const VALUES: readonly JsonValue[] = [
  null,
  true,
  -1,
  1.5,
  1e300,
  2 ** 63,
  18446744073709551615n,
  "",
  "constructor",
  "0-1048575",
  "[::-1]",
  [],
  [[]],
  [{}],
  [null],
  {},
  { constructor: {} },
  { "a..b": 1 },
  { attributes: null },
  { "attributes.system": 7 },
  { "attributes.system.queue": {} },
  { "attributes.system.constraints.properties": 3, "attributes.system.duration": 1e300 },
];

const EVENTS = ["submit", "depend", "priority", "alloc", "start", "release", "free", "clean", "exception", "memo"];
const CONTEXTS = ["jobspec-update", "resource-update", "set-flags", "dependency-add", "dependency-remove", "urgency"];

describe("the job services", () => {
  let world: JobWorld;
  let waiting: Integer;
  before(async () => {
    world = await JobWorld.start();
    waiting = await world.submit();
    await world.allocs.next();
  });
  after(() => world.stop());

  /** Answered by an error or not: what matters is that there is an answer, and a sentence with an error. */
  async function ask(topic: string, payload: object): Promise<void> {
    try {
      await world.client.rpc(topic, payload);
    } catch (error) {
      assert.ok(error instanceof FluxError && error.message !== "", `${topic}: ${String(error)}`);
      assert.doesNotMatch(error.message, /undefined|\[object|Cannot read|is not a function|internal error/, topic);
    }
  }

  for (const [topic, good] of Object.entries(REQUESTS))
    test(`answer ${topic} whatever it says`, async () => {
      const request = "id" in good ? { ...good, id: waiting } : good;
      for (const key of Object.keys(request)) {
        const { [key]: _left, ...without } = request as Record<string, JsonValue>;
        // To wait for a job that is there is no mistake.
        if (topic !== "job-manager.wait") await ask(topic, without);
        for (const value of VALUES) await ask(topic, { ...request, [key]: value });
      }
    });

  test("take no event that they could not read back", async () => {
    const id = await world.submit(undefined, { urgency: 0 });
    for (const name of [...EVENTS, ...CONTEXTS])
      for (const context of VALUES) await ask("job-manager.post-event.post", { id, name, context });
  });

  test("end a job whose execution service says what makes no sense, and no other", async () => {
    await world.client.rpc("job-manager.queue-start", { start: true, all: true });
    const id = await world.submit();
    while ((await world.allocate()) !== id);
    const run = await world.start();
    run.tell("start");
    run.tell("release", { ranks: "garbage", final: false });
    const { context } = await waitForEvent(world.client, id, "exception");
    assert.equal(context?.["type"], "job-manager");
    run.finish(15);
    await waitForEvent(world.client, id, "clean");
  });

  test("go on", async () => {
    await world.client.rpc("job-manager.queue-enable", { enable: true, all: true });
    await world.client.rpc("job-manager.queue-start", { start: true, all: true });
    const id = await world.submit();
    while ((await world.allocate()) !== id);
    (await world.start()).all(0);
    await waitForEvent(world.client, id, "clean");
  });
});
