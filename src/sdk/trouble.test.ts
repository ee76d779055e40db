import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "../base/ports.ts";
import { Trouble } from "./trouble.ts";

test("a trouble that lasts is told when it begins, each minute, and when it is over", () => {
  let nowMs = 0;
  const told: string[] = [];
  const clock = { monotonicMs: () => nowMs } as Clock;
  const trouble = new Trouble(clock, (level, text) => told.push(`${nowMs / 1000} ${level} ${text}`));
  trouble.over();
  for (; nowMs < 90_000; nowMs += 1000) trouble.met("no space left");
  trouble.met("input/output error");
  trouble.over();
  trouble.over();
  trouble.met("no space left");
  assert.deepEqual(told, [
    "0 3 no space left",
    "60 3 no space left",
    "90 3 input/output error",
    "90 6 over: input/output error",
    "90 3 no space left",
  ]);
});
