/** The first task's exit and the others' time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { ShellContext } from "../plugin.ts";
import { exitPolicyPlugin } from "./exit-policy.ts";

test("exit-timeout begins when all tasks have been started, though the first may be over long before", () => {
  const timers: { ms: number; callback: () => void; isCanceled: boolean }[] = [];
  const ends: string[] = [];
  const tasks = [{ rank: 0 }, { rank: 1 }];
  const options = { seconds: () => 5, isOn: () => false };
  const shell = {
    plan: { options, tasks, brokerRanks: [0], command: ["quick"], host: "node0" },
    clock: {
      after(ms: number, callback: () => void) {
        const timer = { ms, callback, isCanceled: false };
        timers.push(timer);
        return { cancel: () => (timer.isCanceled = true) };
      },
    },
    die: (note: string) => ends.push(note),
    isTerminating: false,
  };
  const plugin = exitPolicyPlugin(shell as unknown as ShellContext)!;
  plugin.exited!(tasks[0] as never, 0);
  assert.equal(timers.length, 0);
  plugin.started!();
  plugin.exited!(tasks[1] as never, 0);
  assert.deepEqual(
    timers.map(({ ms }) => ms),
    [5000],
  );
  timers[0]!.callback();
  assert.deepEqual(ends, ["quick: task rank 0 on host node0 exited (Exit 0) and exit-timeout=5s has expired"]);
  void plugin.finish!();
  assert.ok(timers[0]!.isCanceled);
});
