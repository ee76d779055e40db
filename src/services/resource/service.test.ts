import assert from "node:assert/strict";
import { test } from "node:test";
import type { JsonObject } from "../../base/json.ts";
import type { Jobspec } from "../../formats/jobspec.ts";
import type { Clock } from "../../base/ports.ts";
import type { Handle } from "../../sdk/handle.ts";
import { submitJob, waitForEvent } from "../../sdk/jobs.ts";
import { lookupText } from "../../sdk/kvs-text.ts";
import { SimulatedInstance } from "../../testkit/instance.ts";
import { OWNER_USERID, World } from "../../testkit/world.ts";

const LIMIT_MS = 3_600_000;

async function simulate<T>(
  size: number,
  config: object,
  workload: (handle: Handle, instance: SimulatedInstance, clock: Clock) => Promise<T>,
): Promise<T> {
  let result: { value: T } | null = null;
  const instance: SimulatedInstance = new SimulatedInstance(new World("resource"), {
    size,
    config,
    workload: async ({ handle, ports }) => {
      result = { value: await workload(handle, instance, ports.clock) };
      return 0;
    },
  });
  assert.equal(await instance.runToEnd(LIMIT_MS), true, instance.stderr.join(""));
  assert.notEqual(result, null, instance.stderr.join(""));
  return result!.value;
}

const status = (handle: Handle): Promise<JsonObject> => handle.rpc("resource.status", null, { nodeid: 0 });

/** The events of the journal until the sentinel. */
async function journal(handle: Handle): Promise<string[]> {
  const names: string[] = [];
  const options = { nodeid: 0, cancelTopic: "resource.journal-cancel" };
  for await (const { events } of handle.stream<{ events: { name: string }[] }>("resource.journal", {}, options)) {
    if (events.length === 0) break;
    names.push(...events.map(({ name }) => name));
  }
  return names;
}

test("the inventory is what every rank found on its machine, and is in the KVS", async () => {
  const seen = await simulate(3, {}, async (handle) => ({
    status: await status(handle),
    stored: JSON.parse(await lookupText(handle, "resource.R")) as JsonObject,
    events: await journal(handle),
  }));
  assert.deepEqual(seen.stored, {
    version: 1,
    execution: {
      R_lite: [{ rank: "0-2", children: { core: "0-3" } }],
      nodelist: ["node[0-2]"],
      starttime: 0,
      expiration: 0,
    },
  });
  assert.deepEqual(seen.status["R"], seen.stored);
  assert.equal(seen.events[0], "restart");
  assert.ok(seen.events.includes("resource-define"));
});

test("a configuration describes the inventory, excludes nodes and gives them properties", async () => {
  const config = {
    resource: {
      config: [
        { hosts: "node[0-1]", cores: "0-3" },
        { hosts: "node1", properties: ["big"] },
      ],
      exclude: "node0",
    },
  };
  const seen = await simulate(2, config, async (handle) => {
    return { status: await status(handle), view: await handle.rpc("resource.sched-status", null, { nodeid: 0 }) };
  });
  assert.equal(seen.status["exclude"], "0");
  const { execution } = seen.view["all"] as { execution: JsonObject };
  assert.deepEqual(execution["R_lite"], [{ rank: "1", children: { core: "0-3" } }]);
  assert.deepEqual(execution["properties"], { big: "1" });
});

test("a made-up cluster is all up, though it has one broker", async () => {
  const config = { "fake-resources": { nnodes: 1000, "cores-per-node": 48, "gpus-per-node": 4 } };
  const seen = await simulate(1, config, status);
  assert.equal(seen["online"], "0-999");
  assert.deepEqual(seen["drain"], {}, "nobody compares it with a machine");
  const { execution } = seen["R"] as { execution: JsonObject };
  assert.deepEqual(execution["R_lite"], [{ rank: "0-999", children: { core: "0-47", gpu: "0-3" } }]);
});

test("a lost broker is offline, and no more among what is scheduled", async () => {
  const seen = await simulate(3, {}, async (handle, instance) => {
    instance.killBroker(2);
    for (let tries = 0; (await status(handle))["offline"] !== "2"; tries++) assert.ok(tries < 10_000, "never offline");
    return handle.rpc<{ all: { execution: JsonObject } }>("resource.sched-status", null, { nodeid: 0 });
  });
  assert.deepEqual(seen.all.execution["R_lite"], [{ rank: "0-1", children: { core: "0-3" } }]);
});

test("a lost broker of a configured inventory is down, and may be scheduled again when it comes back", async () => {
  const config = { resource: { config: [{ hosts: "node[0-2]", cores: "0-3" }] } };
  const seen = await simulate(3, config, async (handle, instance) => {
    instance.killBroker(2);
    for (let tries = 0; (await status(handle))["offline"] !== "2"; tries++) assert.ok(tries < 10_000, "never offline");
    return handle.rpc<Record<string, { execution: JsonObject }>>("resource.sched-status", null, { nodeid: 0 });
  });
  assert.deepEqual(seen["all"]!.execution["R_lite"], [{ rank: "0-2", children: { core: "0-3" } }]);
  assert.deepEqual(seen["down"]!.execution["R_lite"], [{ rank: "2", children: { core: "0-3" } }]);
});

test("acquire-mute silences what changes, not the answer to a scheduler that comes later", async () => {
  const seen = await simulate(2, {}, async (handle) => {
    await handle.rpc("module.remove", { name: "sched-simple" });
    const acquire = (): AsyncIterable<JsonObject> =>
      handle.stream<JsonObject>("resource.acquire", null, { nodeid: 0, cancelTopic: "resource.acquire-cancel" });
    await handle.rpc("resource.acquire-mute", null, { nodeid: 0 });
    await handle.rpc("resource.drain", { targets: "1" }, { nodeid: 0 });
    for await (const { up } of acquire()) return up;
    return null;
  });
  assert.equal(seen, "0");
});

test("the journal tells the past in few messages, with the inventory of today", async () => {
  const seen = await simulate(2, {}, async (handle) => {
    for (const targets of ["0", "1"]) await handle.rpc("resource.drain", { targets }, { nodeid: 0 });
    await handle.rpc("resource.expiration-update", { expiration: 5e9 }, { nodeid: 0 });
    const messages: JsonObject[] = [];
    const options = { nodeid: 0, cancelTopic: "resource.journal-cancel" };
    for await (const message of handle.stream<JsonObject>("resource.journal", {}, options)) {
      messages.push(message);
      if ((message["events"] as unknown[]).length === 0) break;
    }
    return messages;
  });
  const names = seen.map(({ events }) => (events as { name: string }[]).map(({ name }) => name));
  assert.deepEqual(names.at(-2)!.slice(-3), ["drain", "drain", "resource-update"]);
  assert.deepEqual(names.at(-1), []);
  const { R } = seen.find((message) => message["R"] !== undefined) as { R: { execution: JsonObject } };
  assert.equal(R.execution["expiration"], 5e9);
});

test("drain is acknowledged when the KVS has it", async () => {
  const seen = await simulate(2, {}, async (handle) => {
    await handle.rpc("resource.drain", { targets: "node1", reason: "loud fan" }, { nodeid: 0 });
    return { log: await lookupText(handle, "resource.eventlog"), drain: (await status(handle))["drain"] as JsonObject };
  });
  assert.match(
    seen.log,
    /"name":"drain","context":\{"idset":"1","nodelist":"node1","reason":"loud fan","overwrite":0\}/,
  );
  assert.equal((seen.drain["1"] as JsonObject)["reason"], "loud fan");
});

test("only one scheduler acquires resources", async () => {
  const error = await simulate(1, {}, async (handle) => {
    try {
      for await (const item of handle.stream("resource.acquire", null, { nodeid: 0 })) return item;
      return null;
    } catch (caught) {
      return caught;
    }
  });
  assert.match(String(error), /resources are already acquired/);
});

test("who waits for ranks that never come is told when the service ends", async () => {
  const error = await simulate(2, {}, async (handle) => {
    await handle.rpc("resource.monitor-force-down", { ranks: "1" }, { nodeid: 0 });
    const waiting = handle.rpc("resource.monitor-waitup", { up: 2 }, { nodeid: 0 }).catch((caught: unknown) => caught);
    await handle.rpc("module.remove", { name: "resource" });
    return waiting;
  });
  assert.match(String(error), /the resource module is unloading/);
});

test("a scheduler follows a resource service that is loaded anew, and knows who holds what", async () => {
  const seen = await simulate(2, {}, async (handle, _instance, clock) => {
    const ranksOf = async (state: string): Promise<unknown> => {
      const scheduled = await handle.rpc<Record<string, { execution: { R_lite: { rank: string }[] } }>>(
        "resource.sched-status",
        null,
        { nodeid: 0 },
      );
      return scheduled[state]!.execution.R_lite.map(({ rank }) => rank);
    };
    const jobs = [];
    for (const node of [1, 2]) {
      const slot = { type: "slot", count: 1, label: "task", with: [{ type: "core", count: 1 }] };
      const jobspec = {
        version: 1,
        resources: [{ type: "node", count: node, with: [slot] }],
        tasks: [{ command: ["sleep", "600"], slot: "task", count: { per_slot: 1 } }],
        attributes: { system: { duration: 0, cwd: "/tmp", environment: {} } },
      } as Jobspec;
      jobs.push(await submitJob(handle, jobspec, { userid: OWNER_USERID }));
    }
    await waitForEvent(handle, jobs[1]!, "start", {});
    await handle.rpc("resource.drain", { targets: "0", reason: "fan" }, { nodeid: 0 });
    const before = { allocated: await ranksOf("allocated"), down: await ranksOf("down") };
    await handle.rpc("module.remove", { name: "resource" });
    await handle.rpc("module.load", { path: "resource", args: [] });
    await handle.rpc("resource.drain", { targets: "1", reason: "fan" }, { nodeid: 0 });
    await new Promise<void>((resolve) => void clock.after(1000, resolve));
    await handle.rpc("job-manager.raise", { id: jobs[1]!, type: "cancel", severity: 0 });
    await waitForEvent(handle, jobs[1]!, "clean", {});
    return { before, allocated: await ranksOf("allocated"), down: await ranksOf("down") };
  });
  assert.deepEqual(seen.before, { allocated: ["0", "1"], down: ["0"] });
  assert.deepEqual({ allocated: seen.allocated, down: seen.down }, { allocated: ["0"], down: ["0-1"] });
});

test("an expiration that is no time changes nothing", async () => {
  const seen = await simulate(1, {}, async (handle) => {
    const update = (payload: object): Promise<string> =>
      handle.rpc("resource.expiration-update", payload).then(() => "taken", String);
    await status(handle);
    const refused = [await update({}), await update({ expiration: "soon" }), await update({ expiration: -1 })];
    return { refused, taken: await update({ expiration: 5e9 }), stored: await lookupText(handle, "resource.R") };
  });
  for (const text of seen.refused) assert.match(text, /expiration/);
  assert.equal(seen.taken, "taken");
  assert.match(seen.stored, /"expiration":5000000000\b/);
});

test("a rank that lacks what the configuration says is drained, and says why", async () => {
  const entry = [{ hosts: "node[0-1]", cores: "0-5" }];
  const drained = async (resource: object): Promise<unknown[]> => {
    const seen = await simulate(2, { resource }, status);
    return Object.entries(seen["drain"] as JsonObject).map(([ranks, { reason }]: [string, any]) => [ranks, reason]);
  };
  assert.deepEqual(await drained({ config: entry }), [
    ["0", "rank 0 (node0) missing resources: core[4-5]"],
    ["1", "rank 1 (node1) missing resources: core[4-5]"],
  ]);
  assert.deepEqual(await drained({ config: entry, noverify: true }), []);
  assert.deepEqual(await drained({ config: entry, verify: { core: "allow-missing" } }), []);
  assert.deepEqual(await drained({ config: [{ hosts: "node0,other", cores: "0-1" }] }), [
    ["1", "rank 1 got hostname 'node1', expected 'other'"],
  ]);
});

test("drains outlive a restart of the service, older events go, and the journal still tells them", async () => {
  const seen = await simulate(2, { resource: { history: "0" } }, async (handle) => {
    await handle.rpc("resource.drain", { targets: "1", reason: "loud fan" }, { nodeid: 0 });
    await handle.rpc("module.remove", { name: "sched-simple" });
    await handle.rpc("module.remove", { name: "resource" });
    const before = (await lookupText(handle, "resource.eventlog")).split("\n").length;
    await handle.rpc("module.load", { path: "resource", args: [] });
    const names = await journal(handle);
    return {
      before,
      log: await lookupText(handle, "resource.eventlog"),
      names,
      drain: (await status(handle))["drain"],
    };
  });
  assert.equal(seen.before, 3, "resource-define and drain");
  assert.match(seen.log, /^[^\n]*"method":"kvs"[^\n]*\n$/, "one event is left");
  assert.ok(seen.names.includes("drain"));
  const [[ranks, { reason }]] = Object.entries(seen.drain as JsonObject) as [[string, JsonObject]];
  assert.deepEqual([ranks, reason], ["1", "loud fan"]);
});

test("other ranks say where to ask", async () => {
  const errors = await simulate(2, {}, (handle) =>
    Promise.all(
      ["resource.status", "resource.expiration-update"].map((topic) =>
        handle.rpc(topic, {}, { nodeid: 1 }).catch((error: unknown) => String(error)),
      ),
    ),
  );
  assert.match(String(errors[0]), /this RPC only works on rank 0/);
  assert.match(String(errors[1]), /only available on rank 0/);
});

test("who acquires without a stream is told once, and not while a scheduler has the resources", async () => {
  await simulate(2, {}, async (handle) => {
    await assert.rejects(handle.rpc("resource.acquire"), /resources are already acquired/);
    await handle.rpc("module.remove", { name: "sched-simple" });
    assert.equal((await handle.rpc("resource.acquire"))["up"], "0-1");
    await handle.rpc("resource.drain", { targets: "1" });
    await assert.rejects(handle.rpc("resource.acquire"), /resources are already acquired/);
  });
});

test("a rank that is forced down of an inventory that nobody configured is gone for good", async () => {
  await simulate(2, {}, async (handle) => {
    await handle.rpc("resource.monitor-force-down", { ranks: "1" });
    const { all } = await handle.rpc<{ all: { execution: JsonObject } }>("resource.sched-status");
    assert.deepEqual(all.execution["nodelist"], ["node0"]);
  });
});
