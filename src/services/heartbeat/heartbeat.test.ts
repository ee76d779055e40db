/** The pulse of an instance. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FluxError } from "../../base/errors.ts";
import { SimulatedInstance } from "../../testkit/instance.ts";
import { World } from "../../testkit/world.ts";
import { heartbeatSettings, PULSE_TOPIC } from "./service.ts";

test("the period comes from the configuration or the module's arguments", () => {
  assert.deepEqual(heartbeatSettings({}, []), { period: 2, timeout: 300, warnThreshold: 3 });
  assert.deepEqual(heartbeatSettings({ heartbeat: { period: "500ms", timeout: "0", warn_thresh: 5 } }, []), {
    period: 0.5,
    timeout: Infinity,
    warnThreshold: 5,
  });
  assert.equal(heartbeatSettings({}, ["period=5s"]).period, 5);
  const refused = (error: unknown): boolean => error instanceof FluxError && error.is("EINVAL");
  assert.throws(() => heartbeatSettings({ heartbeat: { period: "soon" } }, []), refused);
  for (const [key, value] of [
    ["period", 0],
    ["period", "0"],
    ["timeout", "1s"],
    ["warn_thresh", 0],
    ["warn", 3],
  ] as const)
    assert.throws(() => heartbeatSettings({ heartbeat: { [key]: value } }, []), refused, key);
  assert.throws(() => heartbeatSettings({}, ["speed=1"]), refused);
});

test("every rank hears the pulse at its period", async () => {
  const beats: number[] = [];
  const world = new World("heartbeat");
  const instance = new SimulatedInstance(world, {
    size: 3,
    config: { heartbeat: { period: "5s" } },
    workload: async ({ connect, ports }) => {
      const far = await connect(2);
      await new Promise<void>((resolve) => {
        void far.subscribe(PULSE_TOPIC, () => {
          beats.push(ports.clock.now());
          if (beats.length === 4) resolve();
        });
      });
      const { count } = await far.rpc<{ count: number }>("heartbeat.stats-get");
      assert.ok(count >= 4);
      return 0;
    },
  });
  assert.ok(await instance.runToEnd(600_000), instance.stderr.join(""));
  assert.deepEqual(instance.exitCodes, [0, 0, 0]);
  for (let index = 1; index < beats.length; index++)
    assert.ok(Math.abs(beats[index]! - beats[index - 1]! - 5) < 0.1, `${beats.join(" ")}`);
});

test("a follower that hears no pulse says so, and leaves when none comes any more", async () => {
  const world = new World("overdue");
  const instance: SimulatedInstance = new SimulatedInstance(world, {
    size: 2,
    config: { heartbeat: { period: "1s", timeout: "20s" } },
    attributes: { "log-forward-level": "4", "log-stderr-level": "4" },
    workload: async ({ handle, ports }) => {
      const sleep = (seconds: number): Promise<void> =>
        new Promise((resolve) => ports.clock.after(seconds * 1000, resolve));
      await handle.rpc("module.remove", { name: "heartbeat" });
      await sleep(10);
      await handle.rpc("module.load", { path: "heartbeat", args: [] });
      await sleep(10);
      await handle.rpc("module.remove", { name: "heartbeat" });
      await sleep(40);
      return 0;
    },
  });
  assert.ok(await instance.runToEnd(600_000), instance.stderr.join(""));
  assert.deepEqual(instance.exitCodes, [0, 1]);
  const texts = [
    ...instance.stderr.join("").matchAll(/(heartbeat|overlay)\.\w+\[1\]: (heartbeat \w+|disconnecting.*)/g),
  ];
  assert.deepEqual(
    texts.map(([, , text]) => text),
    ["heartbeat overdue", "heartbeat received", "heartbeat overdue", "disconnecting: no heartbeat for 20s"],
  );
});
