/** The barrier that a job's shells meet in: who is answered, when, and with what. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MessageFlag, type RequestMessage, type ResponseMessage } from "../../protocol/message.ts";
import { IncomingRequest } from "../../sdk/request.ts";
import { Barrier } from "./barrier.ts";
import { JobExecution } from "./job.ts";
import type { ExecWorld } from "./world.ts";

function barrierOf(ranks: readonly number[]): {
  barrier: Barrier;
  answers: { from: string; errnum: number }[];
  enter(rank: number, flags?: number): void;
} {
  const answers: { from: string; errnum: number }[] = [];
  const respond = ({ route, errnum }: ResponseMessage): void => void answers.push({ from: route.at(-1)!, errnum });
  const context = { handle: { respond }, ports: {} };
  const world = { context } as object as ExecWorld;
  const barrier = new Barrier(world, new JobExecution(1, 1000, ranks), 0, () => undefined);
  const enter = (rank: number, flags = 0): void => {
    const payload = { value: { id: 1, rank } };
    const message = { topic: "job-exec.shell-barrier", route: [`shell${rank}`], matchtag: 0, flags, payload };
    barrier.enter(new IncomingRequest({ respond }, message as object as RequestMessage));
  };
  return { barrier, answers, enter };
}

test("all shells are let go when the last has come, also those that marked their request as one without a response", () => {
  const { answers, enter } = barrierOf([0, 1]);
  enter(0, MessageFlag.NoResponse);
  assert.deepEqual(answers, []);
  enter(1);
  assert.deepEqual(answers, [
    { from: "shell0", errnum: 0 },
    { from: "shell1", errnum: 0 },
  ]);
});

test("nobody waits for a shell that has ended", () => {
  const { barrier, answers, enter } = barrierOf([0, 1, 2]);
  enter(0);
  barrier.shellEnded();
  enter(2);
  assert.deepEqual(answers, [
    { from: "shell0", errnum: 5 },
    { from: "shell2", errnum: 5 },
  ]);
});
