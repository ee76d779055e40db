/** Whole brokers in virtual time: how an instance starts, lives with losses, and ends. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FluxError, isFluxError } from "../base/errors.ts";
import type { Handle } from "../sdk/handle.ts";
import { Broker, type BrokerOptions } from "./broker.ts";
import { SimulatedInstance, startProcess, type InstanceOptions, type WorkloadContext } from "../testkit/instance.ts";
import type { Program } from "../testkit/programs.ts";
import { World } from "../testkit/world.ts";

const MINUTE_MS = 60_000;

interface Outcome {
  readonly world: World;
  readonly instance: SimulatedInstance;
  readonly elapsedMs: number;
}

/** Runs an instance to its end; the workload may use it (to kill its brokers). */
async function live(
  size: number,
  workload: (context: WorkloadContext, instance: SimulatedInstance) => Promise<number>,
  options: Partial<InstanceOptions> = {},
): Promise<Outcome> {
  const world = new World(`broker ${size}`);
  const instance: SimulatedInstance = new SimulatedInstance(world, {
    size,
    workload: (context) => workload(context, instance),
    ...options,
  });
  const ended = await instance.runToEnd(10 * MINUTE_MS);
  assert.ok(ended, `the instance did not end:\n${instance.stderr.join("")}`);
  return { world, instance, elapsedMs: world.timeline.nowMs };
}

const attributeOf = async (handle: Handle, name: string, rank?: number): Promise<string> =>
  (await handle.rpc<{ value: string }>("attr.get", { name }, rank === undefined ? {} : { nodeid: rank })).value;

interface Health {
  readonly status: string;
  readonly children: readonly { readonly rank: number; readonly status: string; readonly error?: string }[];
}
const healthOf = (handle: Handle, rank: number): Promise<Health> =>
  handle.rpc<Health>("overlay.health", {}, { nodeid: rank });

/** Resolves when a group has exactly these members. */
async function untilGroup(handle: Handle, name: string, members: string): Promise<void> {
  for await (const answer of handle.stream<{ members: string }>("groups.get", { name }, { nodeid: 0 }))
    if (answer.members === members) return;
}

test("the instance's exit code is that of its initial program, and nothing is left on any machine", async () => {
  const { world, instance } = await live(4, async () => 7);
  assert.deepEqual(instance.exitCodes, [7, 0, 0, 0]);
  for (let rank = 0; rank < 4; rank++) {
    const left = [...world.storage(instance.machineOf(rank)).files.keys()].filter((path) =>
      /\/flux-[^/]*\//.test(path),
    );
    assert.deepEqual(left, []);
  }
});

/** One broker without services; resolves with its exit code and what it told people. */
async function single(
  options: Partial<BrokerOptions>,
): Promise<{ exitCode: number | null; stderr: string; world: World }> {
  const world = new World("single");
  const state = { exitCode: null as number | null, stderr: "" };
  const program: Program = (process) => {
    const ports = world.portsOf(process);
    const broker = new Broker({ ports, modules: {}, stderr: (text) => (state.stderr += text), ...options });
    void broker.run().then((code) => process.exit(code));
  };
  startProcess(world, "node0", ["flux-broker"], {}, program, (code) => (state.exitCode = code));
  await world.timeline.runUntil(() => state.exitCode !== null, MINUTE_MS);
  return { ...state, world };
}

test("an initial program that does not exist ends the instance with 127 and a line that names it", async () => {
  const { exitCode, stderr } = await single({ initialProgram: ["nosuch", "a"] });
  assert.equal(exitCode, 127);
  assert.match(stderr, /rc2\.0: nosuch a error launching process: .*\(rc=127\)/);
});

test("what cannot start says why in one line and leaves nothing behind", async () => {
  const cases: readonly (readonly [Readonly<Record<string, string>>, RegExp])[] = [
    [{ rank: "3" }, /^flux-broker: rank: attribute may not be set on the command line\n$/],
    [{ foo: "3" }, /^flux-broker: foo: unknown attribute\n$/],
    [
      { "tbon.topo": "foo" },
      /^.* broker\.crit\[node0\]: error creating 'foo' topology: unknown topology scheme 'foo'\n$/,
    ],
    [
      { rundir: `/tmp/${"a".repeat(120)}` },
      /^.* broker\.crit\[0\]: rundir length of 125 bytes exceeds max 96 to allow.*\n$/,
    ],
  ];
  for (const [attributes, message] of cases) {
    const { exitCode, stderr, world } = await single({ attributes, initialProgram: ["true"] });
    assert.equal(exitCode, 1);
    assert.match(stderr, message);
    assert.deepEqual(
      [...world.storage("node0").files.keys()].filter((path) => path.includes("flux-")),
      [],
    );
  }
});

test("every broker knows its place", async () => {
  await live(
    4,
    async ({ handle }) => {
      assert.equal(await attributeOf(handle, "size", 3), "4");
      assert.equal(await attributeOf(handle, "rank", 3), "3");
      assert.equal(await attributeOf(handle, "tbon.level", 3), "2");
      assert.equal(await attributeOf(handle, "hostlist", 3), "node[0-3]");
      assert.equal(await attributeOf(handle, "broker.critical-ranks"), "0-1");
      const { state } = await handle.rpc<{ state: string }>("state-machine.get", {}, { nodeid: 3 });
      assert.equal(state, "run");
      await assert.rejects(attributeOf(handle, "size", 4), (error) => isFluxError(error, "EHOSTUNREACH"));
      return 0;
    },
    { attributes: { "tbon.topo": "kary:2" } },
  );
});

test("a leaf that is killed is lost, its requests fail, the others go on", async () => {
  const { instance } = await live(4, async ({ handle }, instance) => {
    const lost = new Promise<FluxError | null>((resolve) => {
      handle.open("log.dmesg", { follow: true }, { item: () => {}, end: resolve }, { nodeid: 3 });
    });
    assert.equal((await healthOf(handle, 0)).status, "full");
    instance.killBroker(3);
    assert.ok(isFluxError(await lost, "EHOSTUNREACH"));
    await untilGroup(handle, "broker.online", "0-2");
    const health = await healthOf(handle, 0);
    assert.equal(health.status, "degraded");
    const child = health.children.find(({ rank }) => rank === 3);
    assert.deepEqual([child?.status, child?.error], ["lost", "lost connection"]);
    await assert.rejects(attributeOf(handle, "rank", 3), (error) => isFluxError(error, "EHOSTUNREACH"));
    assert.equal(await attributeOf(handle, "rank", 2), "2");
    return 0;
  });
  assert.deepEqual(instance.exitCodes, [0, 0, 0, 137]);
});

test("when the leader is killed no broker is left after a few seconds", async () => {
  let killedMs = 0;
  const { instance, elapsedMs } = await live(
    7,
    async ({ ports }, instance) => {
      killedMs = ports.clock.monotonicMs();
      instance.killBroker(0);
      return 0;
    },
    { attributes: { "tbon.topo": "kary:2" } },
  );
  // The children of the leader saw it go; those below them are told to end.
  assert.deepEqual(instance.exitCodes.slice(0, 3), [137, 1, 1]);
  assert.ok(elapsedMs - killedMs < 25_000, `${elapsedMs - killedMs} ms`);
});

test("SIGTERM asks the initial program to go, and the instance ends in order", async () => {
  const { instance } = await live(3, (_context, instance) => {
    instance.signalBroker(0, 15);
    return new Promise<number>(() => {});
  });
  assert.deepEqual(instance.exitCodes, [129, 0, 0]);
});

test("shutdown.start ends the instance and shows its log until it is gone", async () => {
  const lines: string[] = [];
  const { world, instance } = await live(2, async ({ connect }) => {
    // A program of its own: the initial program gets SIGHUP.
    const watcher = await connect(0);
    watcher.open(
      "shutdown.start",
      { loglevel: 7 },
      { item: (payload) => lines.push(String(payload?.value["log"])), end: () => {} },
    );
    return new Promise<number>(() => {});
  });
  assert.deepEqual(instance.exitCodes, [129, 0]);
  // What the broker sent last is still on its way when it is gone.
  await world.timeline.runToQuiet(MINUTE_MS);
  assert.ok(lines.some((line) => line.includes("run->cleanup")));
  assert.ok(lines.some((line) => line.includes("finalize->goodbye")));
});

test("events reach every rank in the order of their numbers", async () => {
  await live(4, async ({ handle, connect }) => {
    const far = await connect(3);
    const seen: string[] = [];
    const done = new Promise<void>((resolve) => {
      void far
        .subscribe("test.", (event) => {
          seen.push(event.topic);
          if (seen.length === 20) resolve();
        })
        .then(async () => {
          for (let index = 0; index < 10; index++) {
            await handle.publish(`test.${index}`);
            far.sendEvent(`test.far${index}`);
          }
        });
    });
    await done;
    assert.deepEqual(
      seen.filter((topic) => !topic.includes("far")),
      Array.from({ length: 10 }, (_, index) => `test.${index}`),
    );
    return 0;
  });
});

test("modules are listed, removed and loaded again by name or path", async () => {
  await live(1, async ({ handle }) => {
    const names = async (): Promise<string[]> => {
      const { mods } = await handle.rpc<{ mods: { name: string }[] }>("module.list");
      return mods.map(({ name }) => name);
    };
    assert.ok((await names()).includes("heartbeat"));
    await assert.rejects(handle.rpc("module.load", { path: "heartbeat", args: [] }), (error) =>
      isFluxError(error, "EEXIST"),
    );
    await handle.rpc("module.remove", { name: "heartbeat" });
    assert.ok(!(await names()).includes("heartbeat"));
    await assert.rejects(handle.rpc("module.remove", { name: "heartbeat" }), (error) => isFluxError(error, "ENOENT"));
    await handle.rpc("module.load", { path: "/usr/lib/flux/modules/heartbeat.so", args: ["period=5s"] });
    assert.equal((await handle.rpc<{ period: number }>("heartbeat.stats-get")).period, 5);
    await assert.rejects(
      handle.rpc("module.load", { path: "nosuch", args: [] }),
      (error) => isFluxError(error, "ENOENT") && error.message === "module not found in search path",
    );
    return 0;
  });
});

test("a follower's errors reach the leader's standard error; its ring keeps the rest", async () => {
  const { instance } = await live(2, async ({ connect }) => {
    const far = await connect(1);
    const line = (priority: number, text: string): Uint8Array =>
      new TextEncoder().encode(`<${priority}>1 2026-01-01T00:00:00.000000Z 1 test 1 - - ${text}\0`);
    await far.rpc("log.append", line(24, "an error"));
    await far.rpc("log.append", line(48, "an info"));
    const ring: string[] = [];
    await new Promise<void>((resolve) => {
      far.open("log.dmesg", {}, { item: (payload) => ring.push(payload?.text ?? ""), end: () => resolve() });
    });
    assert.ok(ring.some((text) => text.endsWith("an info")));
    return 0;
  });
  assert.ok(instance.stderr.some((text) => text.includes("test.err[1]: an error")));
  assert.ok(!instance.stderr.some((text) => text.includes("an info")));
});

test("groups: members join and leave, a lost connection leaves", async () => {
  await live(3, async ({ handle, connect }) => {
    const far = await connect(2);
    await far.rpc("groups.join", { name: "team" });
    await untilGroup(handle, "team", "2");
    await handle.rpc("groups.join", { name: "team" });
    await untilGroup(handle, "team", "0,2");
    await assert.rejects(handle.rpc("groups.join", { name: "team" }), (error) => isFluxError(error, "EEXIST"));
    far.close();
    await untilGroup(handle, "team", "0");
    await handle.rpc("groups.leave", { name: "team" });
    await untilGroup(handle, "team", "");
    return 0;
  });
});

test("programs run on any broker, with their output, input, signals and end", async () => {
  await live(2, async ({ handle }) => {
    const run = async (argv: string[]): Promise<{ out: string; status: number; error: FluxError | null }> => {
      let out = "";
      let status = -1;
      const error = await new Promise<FluxError | null>((resolve) => {
        handle.open(
          "rexec.exec",
          { cmd: { cmdline: argv, env: {}, cwd: "/tmp" }, flags: 3 },
          {
            item: (payload) => {
              const { type, io, status: ended, pid } = payload!.value as Record<string, any>;
              if (type === "output") out += io.data ?? "";
              if (type === "finished") status = ended;
              if (type === "started" && argv[0] === "sleep")
                void handle.rpc("rexec.kill", { pid, signum: 15 }, { nodeid: 1 });
            },
            end: resolve,
          },
          { nodeid: 1 },
        );
      });
      return { out, status, error };
    };
    assert.deepEqual(await run(["echo", "hello"]), { out: "hello\n", status: 0, error: null });
    assert.equal((await run(["false"])).status, 1 << 8);
    assert.equal((await run(["sleep", "1000"])).status, 15);
    assert.ok((await run(["nosuch"])).error?.is("ENOENT"));
    return 0;
  });
});

test("the same seed gives the same run", async () => {
  const digest = async (): Promise<string> => {
    const { world } = await live(3, async ({ handle }) => {
      await handle.publish("a");
      return 0;
    });
    return world.digest();
  };
  assert.equal(await digest(), await digest());
});
