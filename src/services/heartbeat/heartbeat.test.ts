/** The pulse of an instance. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FluxError } from "../../base/errors.ts";
import { SimulatedInstance } from "../../testkit/instance.ts";
import { World } from "../../testkit/world.ts";
import { heartbeatSettings, PULSE_TOPIC } from "./service.ts";

test("the period comes from the configuration or the module's arguments", () => {
  assert.deepEqual(heartbeatSettings({}, []), { period: 2, timeout: 300 });
  assert.deepEqual(heartbeatSettings({ heartbeat: { period: "500ms", timeout: 10 } }, []), {
    period: 0.5,
    timeout: 10,
  });
  assert.equal(heartbeatSettings({}, ["period=5s"]).period, 5);
  const refused = (error: unknown): boolean => error instanceof FluxError && error.is("EINVAL");
  assert.throws(() => heartbeatSettings({ heartbeat: { period: "soon" } }, []), refused);
  assert.throws(() => heartbeatSettings({ heartbeat: { period: 0 } }, []), refused);
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
