import assert from "node:assert/strict";
import { test } from "node:test";
import { SimulatedClock } from "../../testkit/clock.ts";
import { Scope } from "../../testkit/scope.ts";
import { Seeded } from "../../testkit/seeded.ts";
import { Timeline } from "../../testkit/timeline.ts";
import { execSettings, settingsReport } from "./settings.ts";
import { Termination } from "./termination.ts";

/** What a termination does until nothing is left to do, as [seconds, action]. */
async function terminate(exec: object, exceptionType: string): Promise<[number, string][]> {
  const timeline = new Timeline(new Seeded(1));
  const clock = new SimulatedClock(timeline, new Scope("test"));
  const done: [number, string][] = [];
  const note = (action: string): void => void done.push([Math.round(timeline.nowMs / 1000), action]);
  const actions = {
    kill: (signum: number) => note(`kill ${signum}`),
    destroy: () => note("destroy"),
    abandon: () => note("abandon"),
  };
  const termination = new Termination(clock, execSettings({ exec } as never), actions, exceptionType);
  await timeline.runToQuiet(3_600_000);
  termination.stop();
  return done;
}

test("tasks get SIGTERM, SIGKILL every kill-timeout, then shells are given up ever more slowly, then nodes are drained", async () => {
  assert.deepEqual(await terminate({ "kill-timeout": "1s", "max-kill-count": 4 }, "cancel"), [
    [0, "kill 15"],
    [1, "kill 9"],
    [2, "kill 9"],
    [3, "kill 9"],
    [4, "kill 9"],
    [5, "destroy"],
    [6, "destroy"],
    [8, "destroy"],
    [12, "destroy"],
    [12, "abandon"],
  ]);
});

test("at a time limit the first signal is SIGALRM; signals can be configured", async () => {
  assert.deepEqual((await terminate({}, "timeout"))[0], [0, "kill 14"]);
  const configured = await terminate({ "term-signal": "SIGINT", "kill-signal": "SIGQUIT" }, "cancel");
  assert.deepEqual(configured.slice(0, 2), [
    [0, "kill 2"],
    [5, "kill 3"],
  ]);
});

test("max-kill-timeout sets an end by time", async () => {
  const done = await terminate({ "max-kill-timeout": "60s" }, "cancel");
  assert.equal(done.at(-1)![1], "abandon");
  assert.ok(done.at(-1)![0] >= 60 && done.at(-1)![0] < 120);
});

test("the time until nodes are drained is told as configured or as counted", () => {
  assert.equal(settingsReport(execSettings({}))["effective-max-kill-timeout"], 640);
  assert.equal(
    settingsReport(execSettings({ exec: { "kill-timeout": "1s", "max-kill-count": 4 } }))["effective-max-kill-timeout"],
    12,
  );
});

test("a wrong setting is refused by its name", () => {
  assert.throws(() => execSettings({ exec: { "kill-timeout": "soon" } }), /invalid kill-timeout: soon/);
  assert.throws(() => execSettings({ exec: { "term-signal": "SIGWHAT" } }), /invalid term-signal: SIGWHAT/);
  assert.throws(() => execSettings({ exec: { "max-kill-count": 0 } }), /invalid max-kill-count=0/);
  const refused = (exec: unknown, why: RegExp): void => assert.throws(() => execSettings({ exec } as never), why);
  refused(1, /Error reading \[exec\] table: Expected object, got integer/);
  refused({ "kill-timeout": 5 }, /Error reading \[exec\] table: Expected string, got integer/);
  refused({ "barrier-timeout": "soon" }, /invalid duration 'soon' specified for exec.barrier-timeout/);
  refused({ method: "magic" }, /unknown exec.method 'magic'/);
  refused({ service: 5 }, /error reading config value exec.service: Expected string, got integer/);
  refused({ testexec: { "allow-guests": 1 } }, /Expected true or false, got integer/);
  refused({ "sdexec-properties": { MemoryMax: 5 } }, /exec.sdexec-properties.MemoryMax is not a string/);
});

test("module arguments override the configuration; a wait of nothing is refused", () => {
  const config = { exec: { "kill-timeout": "9s", "term-signal": "SIGUSR1" } };
  const settings = execSettings(config, ["kill-timeout=0.1s", "max-kill-count=20"]);
  assert.deepEqual([settings.killTimeout, settings.maxKillCount, settings.termSignal], [0.1, 20, 10]);
  assert.throws(() => execSettings({ exec: { "kill-timeout": "0s" } }), /invalid kill-timeout: 0s/);
  assert.throws(() => execSettings({}, ["kill-timeout"]), /invalid option/);
});
