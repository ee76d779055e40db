import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { allowedCpus, gpusFrom, groupIntoCores, parseCpuList } from "./cpus.ts";
import { nodeHostInfo } from "./info.ts";

test("a list of CPUs as the kernel writes it", () => {
  assert.deepEqual(parseCpuList("0-2,5,8-9\n"), [0, 1, 2, 5, 8, 9]);
  assert.deepEqual(parseCpuList(""), []);
});

test("hardware threads of one core count once; cores are numbered from 0 among the allowed CPUs", () => {
  // Two packages of two cores with two threads each; Linux numbers the second threads after all first ones.
  const topology = (cpu: number): string => `${Math.floor((cpu % 4) / 2)}:${cpu % 2}`;
  assert.deepEqual(groupIntoCores([0, 1, 2, 3, 4, 5, 6, 7], topology), [
    [0, 4],
    [1, 5],
    [2, 6],
    [3, 7],
  ]);
  assert.deepEqual(groupIntoCores([7, 2, 6], topology), [[2, 6], [7]]);
});

test("GPUs: what the machine has, or the part of it that the environment makes visible", () => {
  const deviceNames = ["null", "nvidia0", "nvidia1", "nvidia2", "nvidiactl"];
  const gpus = (env: Record<string, string>, amdCount = 0): number[] => gpusFrom({ env, deviceNames, amdCount });
  assert.deepEqual(gpus({}), [0, 1, 2]);
  assert.deepEqual(gpus({ CUDA_VISIBLE_DEVICES: "1,2" }), [0, 1]);
  assert.deepEqual(gpus({ CUDA_VISIBLE_DEVICES: "" }), []);
  assert.deepEqual(gpus({ CUDA_VISIBLE_DEVICES: "0,-1,2" }), [0]);
  assert.deepEqual(gpus({ CUDA_VISIBLE_DEVICES: "-1", ROCR_VISIBLE_DEVICES: "0" }, 4), [0]);
  assert.deepEqual(gpusFrom({ env: {}, deviceNames: ["null"], amdCount: 0 }), []);
});

test("the facts of this machine", () => {
  const host = nodeHostInfo();
  assert.equal(host.pid, process.pid);
  assert.equal(host.cwd, process.cwd());
  assert.equal(host.uid, process.getuid?.());
  assert.equal(host.hostname, spawnSync("uname", ["-n"], { encoding: "utf8" }).stdout.trim());
  assert.ok(host.cores.length >= 1 && host.cores.every((core, index) => core === index));
  assert.deepEqual(
    host.coreCpus?.flat().sort((left, right) => left - right),
    allowedCpus(),
  );
  assert.equal(existsSync(host.fluxPath), true);
});

test("a process bound to one CPU sees one core, number 0", { skip: allowedCpus().length < 2 }, () => {
  const program = `
    const { nodeHostInfo } = await import(${JSON.stringify(new URL("./info.ts", import.meta.url).href)});
    console.log(JSON.stringify([nodeHostInfo().cores, nodeHostInfo().coreCpus]));`;
  const cpu = allowedCpus().at(-1)!;
  const args = ["-c", String(cpu), process.execPath, "--input-type=module", "-e", program];
  const { stdout, error } = spawnSync("taskset", args, { encoding: "utf8" });
  if (error !== undefined) return;
  assert.deepEqual(JSON.parse(stdout), [[0], [[cpu]]]);
});
