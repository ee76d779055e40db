import assert from "node:assert/strict";
import { test } from "node:test";
import { errorText } from "../base/errors.ts";
import { parseJson } from "../base/json.ts";
import { utf8Decode } from "../base/bytes.ts";
import type { Ports } from "../base/ports.ts";
import { startProcess } from "../testkit/instance.ts";
import { World } from "../testkit/world.ts";
import { boundedBoot } from "./boot-bounded.ts";
import { slurmBoot, slurmTask } from "./boot-slurm.ts";
import type { BootClient } from "./bootstrap.ts";
import { describeSingletons, launcherOf } from "./launchers.ts";

const STEP = {
  SLURM_STEP_ID: "2",
  SLURM_JOB_ID: "7",
  SLURM_CLUSTER_NAME: "big one",
  SLURM_STEP_NODELIST: "h[1-2]",
  SLURM_STEP_NUM_TASKS: "3",
  SLURM_PROCID: "1",
  SLURM_NODEID: "0",
};

test("a task of a Slurm step knows its place; a batch script, which has a PROCID too, is none", () => {
  assert.deepEqual(slurmTask(STEP), { rank: 1, size: 3, node: 0, step: "big_one-7-2" });
  const { SLURM_STEP_NODELIST: _list, SLURM_STEP_ID: _id, ...script } = STEP;
  assert.equal(slurmTask(script), null);
  assert.equal(slurmTask({ ...STEP, SLURM_PROCID: "3" }), null, "no rank of that size");
  assert.equal(slurmTask({ ...STEP, SLURM_STEP_NUM_TASKS: "many" }), null);
});

test("copies that a launcher started are told from an instance of one", () => {
  assert.equal(launcherOf({}), null);
  assert.equal(launcherOf({ OMPI_COMM_WORLD_RANK: "0", OMPI_COMM_WORLD_SIZE: "1" }), null);
  const launcher = launcherOf({ OMPI_COMM_WORLD_RANK: "2", OMPI_COMM_WORLD_SIZE: "4" })!;
  assert.deepEqual([launcher.name, launcher.rank, launcher.size], ["Open MPI's mpirun", 2, 4]);
  assert.match(describeSingletons(launcher), /one of 4 copies.*FLUX_PMI_CLIENT_METHODS=single/);
});

const silent: BootClient = {
  method: "silent",
  initialize: () => Promise.resolve({ rank: 1, size: 2, name: "x" }),
  get: () => Promise.resolve(null),
  put: () => Promise.resolve(),
  // A launcher that died, or another rank that never comes.
  barrier: () => new Promise(() => {}),
  finalize: () => Promise.resolve(),
};

/** Runs processes of one machine, each with its own part of a boot; resolves with what each came to. */
async function bootTasks(count: number, part: (rank: number, ports: Ports) => Promise<string>): Promise<string[]> {
  const world = new World("slurm");
  const results: (string | null)[] = Array.from({ length: count }, () => null);
  for (let rank = 0; rank < count; rank++)
    startProcess(
      world,
      "shared",
      ["flux-broker"],
      { FLUX_BOOT_DIR: "/home/boot" },
      (process) => {
        part(rank, world.portsOf(process)).then(
          (text) => (results[rank] = text),
          (error: unknown) => (results[rank] = errorText(error)),
        );
      },
      () => undefined,
    );
  await world.timeline.runUntil(() => results.every((result) => result !== null), 600_000);
  return results.map((result) => result ?? "nothing came of it");
}

test("tasks of a step meet through a private file, learn which of them share nodes, and remove the file", async () => {
  let file: { mode: number; text: string } | null = null;
  const results = await bootTasks(3, async (rank, ports) => {
    const boot = slurmBoot(ports, { rank, size: 3, node: rank === 2 ? 1 : 0, step: "c-7-2" });
    const place = await boot.initialize();
    const path = "/home/boot/boot-c-7-2.json";
    if (rank === 1) file = { mode: ports.disk.info(path)!.mode & 0o777, text: utf8Decode(ports.disk.readFile(path)) };
    await boot.put(String(rank), `card${rank}`);
    await boot.barrier();
    const seen = [await boot.get("0"), await boot.get("2"), await boot.get("PMI_process_mapping")];
    await boot.barrier();
    await boot.finalize();
    return `${place.rank}/${place.size} ${seen.join(" ")} ${ports.disk.info(path) === null || rank !== 0}`;
  });
  const same = "card0 card2 (vector,(0,1,2),(1,1,1)) true";
  assert.deepEqual(results, [`0/3 ${same}`, `1/3 ${same}`, `2/3 ${same}`]);
  assert.equal(file!.mode, 0o600);
  assert.equal((parseJson(file!.text) as { host: string }).host, "shared");
});

test("two brokers that claim one rank end the boot of all, which say so", async () => {
  const results = await bootTasks(3, async (rank, ports) => {
    const boot = slurmBoot(ports, { rank: rank === 2 ? 1 : rank, size: 3, node: 0, step: "c-7-3" });
    await boot.initialize();
    return "booted";
  });
  assert.match(results[0]!, /two brokers claim rank 1/);
  assert.ok(
    results.slice(1).every((text) => /task 0 ended meanwhile, or gave up/.test(text)),
    results.join("; "),
  );
});

test("a barrier that nobody ends is given up in time, with what to do", async () => {
  const [result] = await bootTasks(1, async (_rank, ports) => {
    const boot = boundedBoot(silent, ports.clock, 30, "set FLUX_BOOT_TIMEOUT");
    const began = ports.clock.monotonicMs();
    assert.deepEqual(await boot.initialize(), { rank: 1, size: 2, name: "x" });
    return boot.barrier().then(
      () => "ended",
      (error: unknown) => `${(ports.clock.monotonicMs() - began) / 1000}s ${errorText(error)}`,
    );
  });
  assert.match(result!, /^30s .*barrier took longer than 30s.*set FLUX_BOOT_TIMEOUT/);
});
