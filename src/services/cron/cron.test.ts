/** Cron entries in virtual time: when commands run, how often, and what stops them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import type { Handle } from "../../sdk/handle.ts";
import { SimulatedInstance } from "../../testkit/instance.ts";
import { World } from "../../testkit/world.ts";
import { parseEntryRequest } from "./protocol.ts";

interface Entry {
  readonly id: number;
  readonly stopped: boolean;
  readonly stats: Record<string, number>;
  readonly typedata: Record<string, number | string>;
  readonly tasks: readonly Record<string, unknown>[];
}

interface Scene {
  readonly handle: Handle;
  /** The shell's command lines that were run, with the time since the beginning in seconds. */
  readonly runs: { readonly command: string; readonly at: number }[];
  create(request: JsonObject): Promise<Entry>;
  entry(id: number): Promise<Entry>;
  sleep(seconds: number): Promise<void>;
}

const COMMANDS = /^(sleep \d+|fail|tick|tock|nth|calm|minute|never)$/;

/** An instance whose cron tasks are not synchronised. `sleep N` sleeps, `fail` fails, anything else succeeds at once. */
async function play(seed: string, scene: (scene: Scene) => Promise<void>): Promise<void> {
  const world = new World(seed);
  const runs: { command: string; at: number }[] = [];
  let begin = 0;
  world.install("sh", (process) => {
    const command = process.argv[2]!;
    // Brokers have uses of a shell, too.
    if (!COMMANDS.test(command)) return process.exit(127);
    runs.push({ command, at: Math.round((world.timeline.nowMs - begin) / 10) / 100 });
    const duration = /^sleep (\d+)$/.exec(command);
    if (duration === null) return process.exit(command === "fail" ? 1 : 0);
    process.after(Number(duration[1]) * 1000, () => process.exit(0));
  });
  const instance = new SimulatedInstance(world, {
    size: 2,
    workload: async ({ handle, ports }) => {
      await handle.rpc("cron.sync", { disable: true });
      begin = world.timeline.nowMs;
      runs.length = 0;
      const entries = async (): Promise<Entry[]> => (await handle.rpc<{ entries: Entry[] }>("cron.list", {})).entries;
      await scene({
        handle,
        runs,
        create: (request) => handle.rpc<Entry>("cron.create", { name: "test", ...request }),
        entry: async (id) => (await entries()).find((entry) => entry.id === id)!,
        sleep: (seconds) => new Promise((resolve) => void ports.clock.after(seconds * 1000, resolve)),
      });
      return 0;
    },
  });
  assert.ok(await instance.runToEnd(3_600_000), instance.stderr.join(""));
  assert.deepEqual(instance.exitCodes, [0, 0], instance.stderr.join(""));
}

const refused =
  (errno: string) =>
  (error: unknown): boolean =>
    error instanceof FluxError && error.name !== "" && error.is(errno as "EINVAL");

test("an event is one whose whole topic matches, as a shell pattern where it has such characters", () =>
  play("topics", async ({ create, sleep, handle, runs }) => {
    const topics: [string, string][] = [
      ["tick", "go"],
      ["tock", "go.*"],
      ["calm", ""],
    ];
    for (const [command, topic] of topics) await create({ type: "event", command, args: { topic } });
    for (const topic of ["go", "go.on", "gone", "stop"]) {
      handle.sendEvent(topic);
      await sleep(1);
    }
    const times = (command: string): number => runs.filter((run) => run.command === command).length;
    assert.deepEqual([times("tick"), times("tock")], [1, 1]);
    // Heartbeats are events, too.
    assert.ok(times("calm") >= 4);
  }));

test("an interval runs its command first after `after`, then from beat to beat, `repeat` times", () =>
  play("interval", async ({ create, entry, sleep, runs }) => {
    const { id } = await create({ type: "interval", command: "tick", repeat: 3, args: { interval: 10, after: 4 } });
    await sleep(60);
    assert.deepEqual(
      runs.map(({ at }) => at),
      [4, 14, 24],
    );
    const { stopped, stats } = await entry(id);
    assert.equal(stopped, true);
    assert.deepEqual([stats["count"], stats["success"], stats["failure"]], [3, 3, 0]);
  }));

test("a task that still runs is not joined by a second one", () =>
  play("overlap", async ({ create, entry, sleep, runs }) => {
    const { id } = await create({ type: "interval", command: "sleep 25", args: { interval: 10 } });
    await sleep(62);
    assert.deepEqual(
      runs.map(({ at }) => at),
      [10, 40],
    );
    assert.equal((await entry(id)).tasks[0]!["state"], "Running");
  }));

test("events: the first after `after`, then every nth; never more often than the least interval allows", () =>
  play("events", async ({ create, entry, sleep, handle, runs }) => {
    const nth = await create({ type: "event", command: "nth", args: { topic: "go", after: 3, nth: 2 } });
    const calm = await create({ type: "event", command: "calm", args: { topic: "go", min_interval: 5 } });
    for (let count = 0; count < 7; count++) {
      handle.sendEvent("go");
      await sleep(1);
    }
    await sleep(10);
    const times = (command: string): number[] =>
      runs.filter((run) => run.command === command).map(({ at }) => Math.round(at));
    assert.deepEqual(times("nth"), [2, 4, 6]);
    assert.deepEqual(times("calm"), [0, 5, 10]);
    assert.equal((await entry(nth.id)).typedata["counter"], 7);
    assert.equal((await entry(calm.id)).stopped, false);
  }));

test("tasks that are due wait for the event that all are synchronised to", () =>
  play("sync", async ({ create, entry, sleep, handle, runs }) => {
    assert.deepEqual(await handle.rpc("cron.sync", { topic: "beat", sync_epsilon: 0.5 }), {
      sync_event: "beat",
      sync_epsilon: 0.5,
    });
    const { id } = await create({ type: "interval", command: "tick", repeat: 1, args: { interval: 3 } });
    await sleep(7);
    const waiting = await entry(id);
    assert.equal(waiting.tasks[0]!["state"], "Deferred");
    assert.deepEqual([waiting.stats["deferred"], runs.length], [1, 0]);
    handle.sendEvent("beat");
    await sleep(1);
    assert.deepEqual(
      runs.map(({ at }) => at),
      [7],
    );
    // So soon after the event, what is due need not wait for the next one.
    handle.sendEvent("beat");
    await create({ type: "interval", command: "tock", repeat: 1, args: { interval: 0.2 } });
    await sleep(1);
    assert.equal(runs.at(-1)!.command, "tock");
    assert.deepEqual(await handle.rpc("cron.sync", { disable: true }), { sync_disabled: true });
  }));

test("an entry that fails too often stops; started again its counts begin anew", () =>
  play("failures", async ({ create, entry, sleep, handle }) => {
    const { id } = await create({ type: "interval", command: "fail", "stop-on-failure": 2, args: { interval: 1 } });
    await sleep(10);
    const { stopped, stats, tasks } = await entry(id);
    assert.deepEqual([stopped, stats["count"], stats["failcount"]], [true, 2, 2]);
    assert.deepEqual([tasks.length, tasks[0]!["state"], tasks[0]!["code"]], [1, "Failed", 1]);
    await handle.rpc("cron.start", { id });
    await sleep(10);
    const again = await entry(id);
    assert.deepEqual([again.stopped, again.stats["failcount"], again.stats["failure"]], [true, 2, 4]);
  }));

test("a task is ended at its time limit; one of a rank that does not exist fails", () =>
  play("limits", async ({ create, entry, sleep }) => {
    const slow = await create({
      type: "interval",
      command: "sleep 100",
      timeout: 5,
      repeat: 1,
      rank: 1,
      "task-history-count": 3,
      args: { interval: 1 },
    });
    const lost = await create({ type: "interval", command: "tick", rank: 9, repeat: 1, args: { interval: 1 } });
    await sleep(20);
    const [late] = (await entry(slow.id)).tasks;
    assert.deepEqual([late!["state"], late!["rank"], late!["timedout"]], ["Timeout", 1, true]);
    const { stats } = await entry(slow.id);
    assert.deepEqual([stats["success"], stats["failure"]], [0, 1]);
    const [failed] = (await entry(lost.id)).tasks;
    assert.deepEqual([failed!["state"], failed!["rexec_errno"]], ["Rexec Failure", 113]);
  }));

test("moments of a calendar come one after the other", () =>
  play("calendar", async ({ create, sleep, runs, handle }) => {
    const { typedata } = await create({ type: "datetime", command: "minute", args: { second: "0,30" } });
    await sleep(95);
    assert.equal(runs.length, 3);
    const gaps = runs.slice(1).map(({ at }, index) => Math.round(at - runs[index]!.at));
    assert.deepEqual(gaps, [30, 30]);
    assert.equal(typedata["second"], "0,30");
    // A day that never comes stops its entry.
    await create({ type: "datetime", command: "never", args: { mday: 30, month: 1 } });
    const { entries } = await handle.rpc<{ entries: Entry[] }>("cron.list", {});
    assert.equal(entries.at(-1)!.stopped, true);
  }));

test("a deleted entry stays until its task has ended, unless that is ended too", () =>
  play("delete", async ({ create, entry, sleep, handle, runs }) => {
    const { id } = await create({ type: "interval", command: "sleep 50", args: { interval: 1 } });
    await sleep(2);
    await handle.rpc("cron.delete", { id });
    assert.equal((await entry(id)).stopped, true);
    await assert.rejects(handle.rpc("cron.start", { id }), refused("EINVAL"));
    await handle.rpc("cron.delete", { id, kill: true });
    await sleep(1);
    assert.equal(await entry(id), undefined);
    assert.equal(runs.length, 1);
    await assert.rejects(handle.rpc("cron.delete", { id }), refused("ENOENT"));
  }));

test("requests that make no entry are refused", () => {
  const base = { type: "interval", name: "x", command: "true" };
  const cases: [JsonObject, string][] = [
    [{}, "EPROTO"],
    [{ ...base, args: {} }, "EPROTO"],
    [{ ...base, args: { interval: -1 } }, "EINVAL"],
    [{ ...base, args: { interval: 1 }, repeat: -1 }, "EINVAL"],
    [{ ...base, type: "moon", args: {} }, "ENOSYS"],
    [{ ...base, type: "event", args: {} }, "EPROTO"],
    [{ ...base, type: "datetime", args: { hour: "bad" } }, "EINVAL"],
    [{ ...base, type: "datetime", args: { hour: [1] } }, "EPROTO"],
  ];
  for (const [request, errno] of cases) assert.throws(() => parseEntryRequest(request), refused(errno));
});
