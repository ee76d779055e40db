import assert from "node:assert/strict";
import { test } from "node:test";
import { coresOfTask, repeatedAt } from "./slurm.ts";

const cpus = (count: number, threads = 1): number[][] =>
  Array.from({ length: count }, (_, core) =>
    Array.from({ length: threads }, (_unused, thread) => core + thread * count),
  );

test("Slurm's lists of numbers repeat what stands before (xN)", () => {
  assert.deepEqual(
    [0, 1, 2, 3].map((index) => repeatedAt("2(x3),1", index)),
    [2, 2, 2, 1],
  );
  assert.equal(repeatedAt("2(x3),1", 4), null);
  assert.equal(repeatedAt("many", 0), null);
});

test("a task of a step has its share of the CPUs that the step has on its node", () => {
  const step = { SLURM_STEP_NODELIST: "h[1-2]", SLURM_STEP_TASKS_PER_NODE: "2,1", SLURM_CPUS_ON_NODE: "4" };
  const at = (node: number, local: number): number[] =>
    coresOfTask({ ...step, SLURM_NODEID: `${node}`, SLURM_LOCALID: `${local}` }, cpus(8));
  assert.deepEqual(
    [at(0, 0), at(0, 1), at(1, 0)],
    [
      [0, 1],
      [2, 3],
      [0, 1, 2, 3],
    ],
  );
});

test("hardware threads count as Slurm counts them, and a core is never given in part", () => {
  const env = { SLURM_STEP_NODELIST: "h1", SLURM_STEP_TASKS_PER_NODE: "2", SLURM_CPUS_ON_NODE: "4" };
  assert.deepEqual(coresOfTask({ ...env, SLURM_LOCALID: "1" }, cpus(4, 2)), [1]);
});

test("a batch script has all of its node's CPUs, and outside of Slurm everything is there", () => {
  assert.deepEqual(coresOfTask({ SLURM_CPUS_ON_NODE: "2", SLURM_PROCID: "0" }, cpus(4)), [0, 1]);
  assert.deepEqual(coresOfTask({}, cpus(3)), [0, 1, 2]);
});

test("what affinity left is not narrowed again, and a node that claims more than it has gives what it has", () => {
  const env = { SLURM_STEP_NODELIST: "h1", SLURM_STEP_TASKS_PER_NODE: "4", SLURM_CPUS_ON_NODE: "16" };
  assert.deepEqual(coresOfTask({ ...env, SLURM_LOCALID: "3" }, cpus(4)), [0, 1, 2, 3]);
  assert.deepEqual(coresOfTask({ ...env, SLURM_LOCALID: "3", SLURM_CPUS_ON_NODE: "4" }, cpus(2)), [1]);
});
