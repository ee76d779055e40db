import assert from "node:assert/strict";
import { test } from "node:test";
import { FluxError } from "../../base/errors.ts";
import { Checkpointer, type CheckpointerOptions } from "./checkpointer.ts";

/** A checkpointer whose checkpoint is under way: `lose` makes it fail as one does whose broker goes. */
function underWay(): { checkpointer: Checkpointer; logged: string[]; lose: () => Promise<void> } {
  const logged: string[] = [];
  const timers: (() => void)[] = [];
  const attempt = Promise.withResolvers<never>();
  const after = (_delayMs: number, callback: () => void): { cancel(): void } => {
    timers.push(callback);
    return { cancel: () => {} };
  };
  const options = {
    context: {
      ports: { clock: { after, now: () => 0, monotonicMs: () => 0 } },
      log: (_level: number, text: string) => logged.push(text),
      fatal: (error: unknown) => assert.fail(String(error)),
    },
    leader: { number: 1, index: { dirtyBytes: 0, cancelFlush: () => {} } },
    loader: { complete: () => attempt.promise },
    log: null,
    saved: { number: 0, held: [] },
    ended: () => {},
  };
  const checkpointer = new Checkpointer(options as unknown as CheckpointerOptions);
  checkpointer.arm(0);
  timers.shift()!();
  const lose = async (): Promise<void> => {
    attempt.reject(new FluxError("ECONNRESET", "the connection to the broker was lost"));
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { checkpointer, logged, lose };
}

test("a checkpoint that fails is logged, unless its broker has ended meanwhile", async () => {
  const going = underWay();
  await going.lose();
  assert.deepEqual(going.logged, ["checkpoint: the connection to the broker was lost"]);
  const ending = underWay();
  ending.checkpointer.stop();
  await ending.lose();
  assert.deepEqual(ending.logged, []);
});
