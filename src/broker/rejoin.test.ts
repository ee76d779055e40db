/** A lost broker is not the end: those below it rejoin under another, and keep what they had. In virtual time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isFluxError } from "../base/errors.ts";
import type { Integer } from "../base/json.ts";
import type { Jobspec } from "../formats/jobspec.ts";
import type { Handle } from "../sdk/handle.ts";
import { submitJob, waitForEvent } from "../sdk/jobs.ts";
import { SimulatedInstance, type WorkloadContext } from "../testkit/instance.ts";
import { OWNER_USERID, World } from "../testkit/world.ts";

type Scenario = (context: WorkloadContext, instance: SimulatedInstance, world: World) => Promise<void>;

/** Seven brokers: 1 is above 3 and 4, 2 above 5 and 6. */
async function live(
  name: string,
  scenario: Scenario,
  attributes: Record<string, string> = {},
): Promise<SimulatedInstance> {
  const world = new World(name);
  const instance: SimulatedInstance = new SimulatedInstance(world, {
    size: 7,
    attributes: { "tbon.topo": "kary:2", ...attributes },
    workload: async (context) => {
      await scenario(context, instance, world);
      return 0;
    },
  });
  assert.ok(await instance.runToEnd(600_000), instance.stderr.join(""));
  assert.equal(instance.exitCodes[0], 0, instance.stderr.join(""));
  return instance;
}

const sleep = ({ ports }: WorkloadContext, seconds: number): Promise<void> =>
  new Promise((resolve) => ports.clock.after(seconds * 1000, resolve));

async function untilGroup(handle: Handle, name: string, members: string): Promise<string[]> {
  const seen: string[] = [];
  for await (const answer of handle.stream<{ members: string }>("groups.get", { name }, { nodeid: 0 })) {
    seen.push(answer.members);
    if (answer.members === members) break;
  }
  return seen;
}

async function untilReached(context: WorkloadContext, rank: number): Promise<void> {
  for (;;) {
    try {
      await context.handle.rpc("broker.ping", {}, { nodeid: rank });
      return;
    } catch (error) {
      if (!isFluxError(error, "EHOSTUNREACH")) throw error;
      await sleep(context, 0.05);
    }
  }
}

interface Health {
  readonly status: string;
  readonly children: readonly { readonly rank: number; readonly status: string }[];
}

/** A job of one task that sleeps on a node. */
const sleeper = (rank: number, seconds: number): Jobspec => ({
  version: 1,
  resources: [
    { type: "node", count: 1, with: [{ type: "slot", count: 1, label: "task", with: [{ type: "core", count: 1 }] }] },
  ],
  tasks: [{ command: ["sleep", String(seconds)], slot: "task", count: { per_slot: 1 } }],
  attributes: { system: { duration: 0, cwd: "/tmp", environment: {}, constraints: { ranks: [String(rank)] } } },
});

async function outcome(handle: Handle, id: Integer): Promise<unknown> {
  const finish = await waitForEvent(handle, id, "finish");
  return finish.context?.["status"];
}

test("when a router dies, those below it rejoin above it and stay in their groups; it alone is lost", async () => {
  const instance = await live("router", async (context, instance) => {
    const { handle } = context;
    await untilGroup(handle, "broker.online", "0-6");
    instance.killBroker(1);
    assert.deepEqual((await untilGroup(handle, "broker.online", "0,2-6")).at(-1), "0,2-6");
    await untilReached(context, 3);
    await untilReached(context, 4);
    await sleep(context, 30);
    assert.deepEqual(await handle.rpc("groups.get", { name: "broker.online" }, { nodeid: 0 }), { members: "0,2-6" });
    const health = await handle.rpc<Health>("overlay.health", {}, { nodeid: 0 });
    assert.deepEqual(Object.fromEntries(health.children.map(({ rank, status }) => [rank, status])), {
      1: "lost",
      2: "full",
      3: "full",
      4: "full",
    });
    await assert.rejects(handle.rpc("broker.ping", {}, { nodeid: 1 }), (error) => isFluxError(error, "EHOSTUNREACH"));
  });
  assert.deepEqual(instance.exitCodes, [0, 137, 0, 0, 0, 0, 0]);
});

test("who rejoins has missed no event, and reads and watches the key-value store as before", async () => {
  await live("events", async (context, instance) => {
    const { handle } = context;
    const far = await context.connect(4);
    const heard: string[] = [];
    const values: unknown[] = [];
    await far.subscribe("news.", ({ topic }) => void heard.push(topic));
    far.open(
      "kvs-watch.lookup",
      { namespace: "primary", key: "progress", flags: 4 | 8 },
      { item: (payload) => void values.push(payload?.value["val"]), end: (error) => void values.push(String(error)) },
    );
    const put = (value: number): Promise<unknown> =>
      handle.rpc("kvs.commit", {
        namespace: "primary",
        flags: 0,
        ops: [{ key: "progress", flags: 0, dirent: { type: "val", ver: 1, data: btoa(String(value)) } }],
      });
    await put(1);
    await handle.publish("news.1");
    await sleep(context, 1);
    instance.killBroker(1);
    await handle.publish("news.2");
    await put(2);
    await untilReached(context, 4);
    await handle.publish("news.3");
    await put(3);
    await sleep(context, 5);
    assert.deepEqual(heard, ["news.1", "news.2", "news.3"]);
    assert.equal((values.at(-1) as { data: string }).data, btoa("3"));
  });
});

test("jobs below a router that dies go on; those on it are lost", async () => {
  await live("jobs", async (context, instance) => {
    const { handle } = context;
    const [survivor, victim] = await Promise.all(
      [3, 1].map((rank) => submitJob(handle, sleeper(rank, 60), { userid: OWNER_USERID })),
    );
    for (const id of [survivor!, victim!]) await waitForEvent(handle, id, "start");
    await sleep(context, 1);
    instance.killBroker(1);
    assert.equal(await outcome(handle, victim!), 256);
    assert.equal(await outcome(handle, survivor!), 0);
    // A new one starts there, too.
    assert.equal(await outcome(handle, await submitJob(handle, sleeper(4, 1), { userid: OWNER_USERID })), 0);
  });
});

test("a job that ends while its node is on the way back is not lost", async () => {
  await live("ending", async (context, instance, world) => {
    const { handle } = context;
    const id = await submitJob(handle, sleeper(3, 12), { userid: OWNER_USERID });
    await waitForEvent(handle, id, "start");
    world.network.cut("node3");
    await sleep(context, 8);
    instance.killBroker(1);
    await sleep(context, 8);
    world.network.restore("node3");
    assert.equal(await outcome(handle, id), 0);
  });
});

test("a broker that says nothing for a while is torpid, and keeps its jobs", async () => {
  await live("torpid", async (context, _instance, world) => {
    const { handle } = context;
    const id = await submitJob(handle, sleeper(3, 60), { userid: OWNER_USERID });
    await waitForEvent(handle, id, "start");
    world.network.cut("node3");
    await untilGroup(handle, "broker.torpid", "3");
    assert.deepEqual(await handle.rpc("groups.get", { name: "broker.online" }, { nodeid: 0 }), { members: "0-6" });
    world.network.restore("node3");
    await untilGroup(handle, "broker.torpid", "");
    assert.equal(await outcome(handle, id), 0);
  });
});

test("a broker that reaches nobody above ends after tbon.rejoin_timeout, with all below it", async () => {
  const instance = await live(
    "nobody",
    async ({ handle }, instance) => {
      await untilGroup(handle, "broker.online", "0-6");
      instance.killBroker(1);
      await untilGroup(handle, "broker.online", "0,2,5-6");
    },
    { "tbon.rejoin_timeout": "0" },
  );
  assert.deepEqual(instance.exitCodes, [0, 137, 0, 1, 1, 0, 0]);
});

test("who is sent away does not come back by itself", async () => {
  const instance = await live("away", async (context) => {
    const { handle } = context;
    await untilGroup(handle, "broker.online", "0-6");
    await handle.rpc("overlay.disconnect-subtree", { rank: 5 }, { nodeid: 2 });
    await untilGroup(handle, "broker.online", "0-4,6");
    await sleep(context, 20);
    assert.deepEqual(await handle.rpc("groups.get", { name: "broker.online" }, { nodeid: 0 }), { members: "0-4,6" });
  });
  assert.deepEqual(instance.exitCodes, [0, 0, 0, 0, 0, 1, 0]);
});
