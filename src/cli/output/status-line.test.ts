import assert from "node:assert/strict";
import { mock, test } from "node:test";
import type { CommandContext } from "../framework/command.ts";
import { StatusLine, type StatusOptions } from "./status-line.ts";

/** What a line prints in the course of some events. */
function line(options: Partial<StatusOptions>, columns: number | null = 80): { status: StatusLine; printed: string[] } {
  const printed: string[] = [];
  const context = {
    host: { env: {} },
    columns,
    stderrIsTerminal: columns !== null,
    err: (text: string) => printed.push(text.replace("\r\u001b[K", "<")),
  } as unknown as CommandContext;
  const defaults = { job: "f1", wanted: true, forced: false, queueCheckSeconds: 2, stoppedQueue: async () => null };
  return { status: new StatusLine(context, { ...defaults, ...options }), printed };
}

/** The sentences that were shown, without the clock. */
function sentences(printed: readonly string[]): string[] {
  return printed.filter((text) => text.includes("f1")).map((text) => /f1 (.*?) {2,}/.exec(text)![1]!);
}

test("where it is asked for, every step is told at once, to what is no terminal too; the last one stays", () => {
  const { status, printed } = line({ forced: true }, null);
  for (const name of ["submit", "validate", "depend", "priority", "alloc", "start"]) status.event(name);
  assert.deepEqual(sentences(printed), [
    "submitted",
    "resolving dependencies",
    "waiting for priority assignment",
    "waiting for resources",
    "starting",
    "started",
  ]);
  assert.equal(printed.at(-1), "\n");
  assert.equal(printed[0]!.length, "<".length + 77);
});

test("a job with resources starts when its last prolog is over", () => {
  const { status, printed } = line({ forced: true });
  for (const name of ["priority", "prolog-start", "prolog-start", "alloc", "prolog-finish", "prolog-finish", "start"])
    status.event(name);
  const waiting = "waiting for job prolog";
  assert.deepEqual([...new Set(sentences(printed))], ["waiting for resources", waiting, "starting", "started"]);
});

test("only what ends a job is told of exceptions", () => {
  const { status, printed } = line({ forced: true });
  status.event("exception", 2);
  assert.deepEqual(printed, []);
  status.event("exception", 0);
  assert.deepEqual(sentences(printed), ["canceling due to exception"]);
  status.clear();
});

test("else it comes after a second, says which queue is stopped, and goes when the job starts", async () => {
  mock.timers.enable({ apis: ["setInterval"] });
  try {
    const { status, printed } = line({ queueCheckSeconds: 0, stoppedQueue: async () => "batch" });
    status.event("priority");
    assert.deepEqual(printed, []);
    mock.timers.tick(1000);
    await Promise.resolve();
    await Promise.resolve();
    assert.deepEqual(sentences(printed), ["waiting for resources", "waiting for resources (batch queue stopped)"]);
    status.event("start");
    assert.equal(printed.at(-1), "<");
  } finally {
    mock.timers.reset();
  }
});
