/**
 * One script, every launcher: real Slurm on four hosts (with PMI and without, steps and batch scripts), real Hydra on the
 * same hosts, our own instances. What they grant, how they stop it, what becomes of its exit code, a host that is cut off.
 * Skipped, and says why, where such hosts cannot be made.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { SUM_OF_RANKS } from "./mpi-program.ts";
import { flux, root, Run } from "./processes.ts";

const cluster = join(root, "test", "real", "cluster.sh");
const workflow = join(root, "examples", "levels", "workflow.sh");
const check = spawnSync(cluster, ["check"], { encoding: "utf8" });
const skip = check.status === 0 ? false : check.stdout.trim() || String(check.error);
const hasHydra = spawnSync("mpiexec.hydra", ["--version"]).status === 0;

function canRun(program: string): string | false {
  return spawnSync(program, ["--version"]).status === 0 ? false : `${program} is not installed`;
}

let directory = "";
const home = (): Record<string, string> => ({ HOME: directory });

/** A command on the first host. */
function onCluster(...argv: string[]): Run {
  return new Run([cluster, "on", directory, "1", ...argv], { env: home() });
}

/** Squares of 1 to 1000, added up by three levels of instances. */
const RESULT = /^levels=3 size=4 sum=333833500\n$/;

async function succeeds(run: Run): Promise<void> {
  const { code, stdout, stderr } = await run.finished;
  assert.equal(code, 0, stderr);
  assert.match(stdout, RESULT, stderr);
  await run.gone(10_000);
}

test("the workflow of three levels in an instance of our own, and as a batch job of one", async () => {
  await using alone = new Run([flux, "start", "-s4", workflow]);
  await succeeds(alone);
  const nested = 'id=$(flux batch -N4 --output=none "$0") && flux job attach $id';
  await using batch = new Run([flux, "start", "-s4", "sh", "-c", nested, workflow]);
  await succeeds(batch);
});

describe("a cluster of four hosts", { skip }, () => {
  before(() => {
    directory = mkdtempSync(join(tmpdir(), "flux-cluster-"));
    chmodSync(directory, 0o755);
    const up = spawnSync(cluster, ["up", directory], { encoding: "utf8", timeout: 60_000 });
    assert.equal(up.status, 0, `${up.stdout}${up.stderr}`);
  });
  after(() => {
    spawnSync(cluster, ["down", directory], { timeout: 60_000 });
    rmSync(directory, { recursive: true, force: true });
  });

  for (const [name, ...options] of [
    ["srun with PMI", "--mpi=pmi2"],
    ["srun without PMI", "--mpi=none"],
  ])
    test(`the same workflow by ${name}`, async () => {
      await using run = onCluster("srun", ...options, "-N4", "-n4", flux, "start", workflow);
      await succeeds(run);
    });

  test("the same workflow by sbatch, whose exit code is that of the initial program", async () => {
    const script = join(directory, "batch.sh");
    const output = join(directory, "batch.out");
    writeFileSync(script, `#!/bin/sh\nsrun ${flux} start ${workflow} && srun ${flux} start sh -c 'exit 7'\n`);
    await using run = onCluster("sbatch", "-W", "-N4", "-n4", "-o", output, script);
    const { code, stderr } = await run.finished;
    assert.match(readFileSync(output, "utf8"), /^levels=3 size=4 sum=333833500\n/);
    assert.equal(code, 7, stderr);
  });

  test("the same workflow by Hydra", { skip: hasHydra ? false : "MPICH's mpiexec is not installed" }, async () => {
    await using hosts = onCluster("sinfo", "-h", "-N", "-o", "%N");
    const names = (await hosts.finished).stdout.trim().split("\n");
    const remote = join(directory, "remote-shell");
    const enter = `exec ${cluster} on ${directory} "$(echo "$host" | tail -c 2)" sh -c "$*"`;
    writeFileSync(
      remote,
      `#!/bin/sh\nwhile case $1 in -*) ;; *) false ;; esac; do shift; done\nhost=$1; shift\n${enter}\n`,
    );
    chmodSync(remote, 0o755);
    const where = ["-launcher", "ssh", "-launcher-exec", remote, "-hosts", names.join(","), "-ppn", "1"];
    await using run = onCluster("mpiexec.hydra", ...where, "-n", "4", flux, "start", workflow);
    await succeeds(run);
  });

  test("an instance has what Slurm gave it, for as long as Slurm gave it", async () => {
    const script = "sleep 0.5; flux resource R; flux getattr broker.mapping; flux getattr broker.boot-method";
    await using run = onCluster("srun", "-t5", "-N2", "-n3", "-c1", flux, "start", "sh", "-c", script);
    const { code, stdout, stderr } = await run.finished;
    assert.equal(code, 0, stderr);
    const [resources, mapping, method] = stdout.trim().split("\n") as [string, string, string];
    const { R_lite, expiration } = (JSON.parse(resources) as { execution: { R_lite: object[]; expiration: number } })
      .execution;
    const left = expiration - Date.now() / 1000;
    assert.ok(left > 240 && left <= 300, `five minutes, less what has passed: ${left}`);
    // One CPU for each of the tasks, two of which are on the first node.
    const cores = R_lite as { rank: string; children: { core: string } }[];
    assert.ok(
      cores.every(({ children }) => /^\d+$/.test(children.core)),
      resources,
    );
    assert.equal(mapping, "[[0,1,2,1],[1,1,1,1]]");
    assert.equal(method, "slurm");
  });

  // MPICH speaks PMI-1 itself; Open MPI 4 does by our libpmi.so, which it finds by FLUX_PMI_LIBRARY_PATH.
  for (const [name, compiler] of [
    ["MPICH", "mpicc.mpich"],
    ["Open MPI", "mpicc.openmpi"],
  ] as const)
    test(`a program of ${name} over the hosts`, { skip: canRun(compiler) }, async () => {
      const program = join(directory, compiler);
      writeFileSync(`${program}.c`, SUM_OF_RANKS);
      const compiled = spawnSync(compiler, ["-o", program, `${program}.c`], { encoding: "utf8" });
      assert.equal(compiled.status, 0, compiled.stderr);
      await using run = onCluster(
        "srun",
        "-N4",
        "-n4",
        "-c2",
        flux,
        "start",
        flux,
        "run",
        "-N4",
        "-n8",
        "-o",
        "cpu-affinity=off",
        program,
      );
      const { code, stdout, stderr } = await run.finished;
      assert.equal(code, 0, stderr);
      assert.equal(stdout, "size 8 sum 28\n");
    });

  test("scancel ends it in order: programs are asked first, nothing stays", async () => {
    const script = "trap 'echo asked; exit 9' HUP; flux submit sleep 1000; echo ready; while :; do sleep 0.1; done";
    await using run = onCluster("srun", "-J", "victim", "-N4", "-n4", flux, "start", "sh", "-c", script);
    await run.seen(/ready/);
    await using cancel = onCluster("scancel", "-n", "victim");
    await cancel.finished;
    const { code, stdout } = await run.finished;
    assert.match(stdout, /asked/);
    assert.equal(code, 9);
    await run.gone(10_000, /sleep 1000|flux/);
  });

  // Slurm kills the tasks at once, or a moment after: nothing is asked, and nothing may stay.
  for (const [name, signals] of [
    ["SIGTERM to srun", ["SIGTERM"]],
    ["two SIGINT to srun", ["SIGINT", "SIGINT"]],
  ] as const)
    test(`${name} leaves nothing on any host`, async () => {
      const script =
        "flux submit -N4 sleep 1000; flux job wait-event -q $(flux job last) start; echo ready; sleep 1000";
      await using run = onCluster("srun", "-N4", "-n4", flux, "start", "sh", "-c", script);
      await run.seen(/ready/);
      for (const [count, signal] of signals.entries()) {
        // Two at once are one: srun says when it waits for the second.
        if (count > 0) await run.seen(/one more within/, "stderr");
        run.child.kill(signal);
      }
      const { code } = await run.finished;
      assert.notEqual(code, 0);
      await run.gone(20_000, /sleep 1000|flux/);
    });

  test("copies that cannot find each other do not run the script several times", async () => {
    const env = "FLUX_PMI_CLIENT_METHODS=simple single";
    await using run = onCluster("srun", "-N2", "-n2", "env", env, flux, "start", "echo", "ran");
    const { code, stdout, stderr } = await run.finished;
    assert.equal(code, 1);
    assert.equal(stdout, "");
    assert.match(stderr, /one of 2 copies that Slurm started.*srun --mpi=pmi2/);
  });

  test("tasks that do not meet give up in time, and say through which file they were to meet", async () => {
    const half = 'test "$SLURM_PROCID" = 0 || exec "$0" start true; sleep 4';
    const env = ["env", "FLUX_BOOT_TIMEOUT=1s"];
    await using run = onCluster("srun", "-N2", "-n2", ...env, "sh", "-c", half, flux);
    const { code, stderr } = await run.finished;
    assert.equal(code, 1);
    assert.match(stderr, /first contact took longer than 1s.*\.flux\/boot-\S+\.json.*FLUX_BOOT_DIR/);
  });

  test("under --no-kill a host that is cut off costs what ran there, and no more", { timeout: 120_000 }, async () => {
    const script = "echo ready; flux run -N4 sleep 1000; echo first=$?; flux run -N3 echo on; echo second=$?; exit 4";
    const options = ["--no-kill", "-N4", "-n4"];
    const brokers = [flux, "start", "-Stbon.torpid_min=1s", "-Stbon.torpid_max=4s", "-Stbon.tcp_user_timeout=4s"];
    await using run = onCluster("srun", ...options, ...brokers, "sh", "-c", script);
    await run.seen(/ready/);
    spawnSync(cluster, ["cut", directory, "3"]);
    try {
      await run.seen(/second=/);
      assert.match(run.stdout, /first=[1-9]\d*\n(on\n){3}second=0\n/);
    } finally {
      spawnSync(cluster, ["join", directory, "3"]);
    }
    assert.equal((await run.finished).code, 4);
  });
});
