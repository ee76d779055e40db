/** What clients send that nobody expects ends their request, and nothing else. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8Encode } from "../base/bytes.ts";
import { Errno, FluxError, isFluxError } from "../base/errors.ts";
import { Payload } from "../protocol/message.ts";
import type { Handle } from "../sdk/handle.ts";
import { submitJob, waitForEvent } from "../sdk/jobs.ts";
import { SimulatedInstance, startProcess, type WorkloadContext } from "../testkit/instance.ts";
import type { Program } from "../testkit/programs.ts";
import { OWNER_USERID, World } from "../testkit/world.ts";
import { Attributes } from "./attributes.ts";
import { Broker } from "./broker.ts";
import { BROKER, Groups } from "./groups.ts";
import { BrokerLog } from "./log.ts";

/** Runs something in an instance, which must still be whole afterwards. */
async function survives(seed: string, hostile: (context: WorkloadContext) => Promise<void>): Promise<void> {
  const world = new World(seed);
  const instance = new SimulatedInstance(world, {
    size: 2,
    workload: async (context) => {
      await hostile(context);
      const far = await context.connect(1);
      await far.rpc("kvs.commit", { namespace: "primary", flags: 0, ops: [] });
      return 0;
    },
  });
  assert.ok(await instance.runToEnd(600_000), instance.stderr.join(""));
  assert.deepEqual(instance.exitCodes, [0, 0], instance.stderr.join(""));
}

/** The outcome of a request: the name of its errno, or "answered". */
async function outcome(handle: Handle, topic: string, payload: object | null): Promise<string> {
  try {
    await handle.call(topic, payload);
    return "answered";
  } catch (error) {
    if (!isFluxError(error)) throw error;
    return Object.entries(Errno).find(([, errnum]) => errnum === error.errnum)?.[0] ?? String(error.errnum);
  }
}

test("events with another payload than their topic promises are heard by nobody, and harm nobody", () =>
  survives("bad-events", async ({ handle }) => {
    const topics = [
      "job-exception",
      "job-purge-inactive",
      "shell-1.kill",
      "heartbeat.pulse",
      "kvs.stats-clear",
      "kvs.namespace-primary-setroot",
      "kvs.namespace-primary-removed",
      "kvs.namespace-primary-error",
    ];
    const payloads = [Payload.raw(utf8Encode("no JSON")), Payload.text("[]"), Payload.text("{}"), null];
    for (const topic of topics) for (const payload of payloads) await handle.publish(topic, payload);
  }));

test("a module that is named like what every object has does not exist", () =>
  survives("module-names", async ({ handle }) => {
    for (const path of ["constructor", "toString", "__proto__", "hasOwnProperty"])
      assert.equal(await outcome(handle, "module.load", { path, args: [] }), "ENOENT", path);
    for (const name of ["constructor", "__proto__"])
      assert.equal(await outcome(handle, "attr.set", { name, value: "1" }), "ENOENT", name);
  }));

test("updates of groups that are none are refused", () =>
  survives("groups", async ({ handle }) => {
    for (const update of [
      null,
      { "broker.online": [null] },
      { "broker.online": 1 },
      { "broker.online": [{ ranks: 3 }] },
    ])
      assert.equal(await outcome(handle, "groups.update", { update }), "EPROTO");
  }));

test("a client that is in the group of the brokers before the broker itself does not keep it out", async () => {
  const groups = new Groups({ rank: 0, sendUp: () => {}, ranksBehind: () => [], changed: () => {} });
  groups.join("broker.online", "client-1");
  assert.throws(() => groups.join("broker.online", "client-2"), FluxError);
  groups.join("broker.online", BROKER);
  assert.equal(groups.members("broker.online").count, 1);
});

test("attributes of the log keep their form, whoever sets them", () =>
  survives("log", async ({ handle }) => {
    assert.equal(await outcome(handle, "log.setattr", { name: "log-stderr-level", value: "many" }), "EINVAL");
    assert.equal(await outcome(handle, "log.setattr", { name: "log-stderr-level", value: "3" }), "answered");
    assert.equal(await outcome(handle, "log.setattr", { name: "log-ring-size", value: "16" }), "EINVAL");
  }));

test("a log file that takes no more is complained of once, and ends nobody", async () => {
  let fails = true;
  const told: string[] = [];
  const log = new BrokerLog({
    rank: () => "0",
    pid: 1,
    attributes: attributesWith({ "log-filename": "/full/log" }),
    now: () => 1_700_000_000,
    stderr: (text) => told.push(text),
    forward: () => {},
    appendFile: () => {
      if (fails) throw new FluxError("ENOSPC", "cannot append to /full/log: No space left on device");
    },
  });
  for (let count = 0; count < 3; count++) log.append("test", 7, "line");
  assert.equal(told.length, 1);
  assert.match(told[0]!, /broker\.err\[0\]: log-filename: cannot append .* No space left on device/);
  fails = false;
  log.append("test", 7, "line");
  fails = true;
  log.append("test", 7, "line");
  assert.equal(told.length, 2);
});

function attributesWith(values: Readonly<Record<string, string>>): Attributes {
  const attributes = new Attributes();
  for (const [name, value] of Object.entries(values)) attributes.set(name, value);
  return attributes;
}

test("a broker whose directories cannot be removed ends all the same", async () => {
  const world = new World("stuck");
  let exitCode: number | null = null;
  let stderr = "";
  const program: Program = (process) => {
    const ports = world.portsOf(process);
    const remove = (path: string): void => {
      throw new FluxError("EBUSY", `cannot remove ${path}: Device or resource busy`);
    };
    const disk = new Proxy(ports.disk, {
      get: (target, name) => (name === "remove" ? remove : methodOf(target, name)),
    });
    const options = { ports: { ...ports, disk }, modules: {}, initialProgram: ["nosuch"] };
    const broker = new Broker({ ...options, stderr: (text) => (stderr += text) });
    void broker.run().then((code) => process.exit(code));
  };
  startProcess(world, "node0", ["flux-broker"], {}, program, (code) => (exitCode = code));
  await world.timeline.runUntil(() => exitCode !== null, 60_000);
  assert.equal(exitCode, 127, "there is no such program");
  assert.match(stderr, /cannot remove .*: Device or resource busy/);
});

function methodOf(target: object, name: string | symbol): unknown {
  const value: unknown = Reflect.get(target, name);
  return typeof value === "function" ? (value as () => void).bind(target) : value;
}

test("JSON that is nested without end is refused", () =>
  survives("deep", async ({ handle }) => {
    const nested = (open: string, close: string, depth: number): Payload =>
      Payload.text(`{"x":${open.repeat(depth)}1${close.repeat(depth)}}`);
    for (const depth of [10_000, 500_000])
      for (const payload of [
        nested("[", "]", depth),
        nested('{"a":', "}", depth),
        nested('[[],"[",{"]":', "}]", depth),
      ]) {
        assert.equal(await outcome(handle, "attr.get", payload), "EPROTO");
        assert.equal(await outcome(handle, "job-list.list", payload), "EPROTO");
      }
    assert.equal(await outcome(handle, "broker.ping", nested("[", "]", 1000)), "answered");
  }));

test("what schedulers and execution services are asked in their own protocols is checked as well", () =>
  survives("protocols", async ({ handle }) => {
    const task = { command: ["sleep", "1000"], slot: "task", count: { per_slot: 1 } };
    const slot = { type: "slot", count: 1, label: "task", with: [{ type: "core", count: 1 }] };
    const attributes = { system: { duration: 0, cwd: "/tmp", environment: {} } };
    const jobspec = { version: 1, resources: [slot], tasks: [task], attributes };
    const id = await submitJob(handle, jobspec, { userid: OWNER_USERID });
    await waitForEvent(handle, id, "start");
    for (const jobs of [null, [null], [[id]], [["x", 1]], 1])
      assert.equal(await outcome(handle, "sched.prioritize", { jobs }), "EPROTO");
    const request = { id, priority: 1, userid: 0, t_submit: 0, jobspec };
    assert.equal(await outcome(handle, "sched.alloc", request), "EEXIST");
    assert.equal(await outcome(handle, "job-exec.expiration", { id }), "EPROTO");
    await handle.rpc("job-manager.raise", { id, type: "cancel", severity: 0 });
    await waitForEvent(handle, id, "clean");
  }));

test("a job that the job manager has not taken is not there after its restart", () =>
  survives("lost-job", async ({ handle }) => {
    const task = { command: ["true"], slot: "task", count: { per_slot: 1 } };
    const slot = { type: "slot", count: 1, label: "task", with: [{ type: "core", count: 1 }] };
    const jobspec = { version: 1, resources: [slot], tasks: [task], attributes: { system: { duration: 0 } } };
    await handle.rpc("module.remove", { name: "job-manager" });
    await assert.rejects(submitJob(handle, jobspec, { userid: OWNER_USERID }));
    await handle.rpc("module.load", { path: "job-manager", args: [] });
    const { jobs } = await handle.rpc<{ jobs: object[] }>("job-manager.list", { max_entries: 0 });
    assert.deepEqual(jobs, []);
  }));
