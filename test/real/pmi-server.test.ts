/** A launcher that misbehaves while brokers find each other: nobody waits for ever, and each says what happened. */
import assert from "node:assert/strict";
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Duplex } from "node:stream";
import { test } from "node:test";
import { flux, Run } from "./processes.ts";

const ANSWERS: Readonly<Record<string, string>> = {
  init: "cmd=response_to_init rc=0 pmi_version=1 pmi_subversion=1",
  get_maxes: "cmd=maxes rc=0 kvsname_max=64 keylen_max=64 vallen_max=1024",
  get_my_kvsname: "cmd=my_kvsname rc=0 kvsname=test",
  get: "cmd=get_result rc=4",
  put: "cmd=put_result rc=0",
};

interface Launched {
  readonly broker: ChildProcess;
  readonly channel: Duplex;
  /** Settles when the broker has asked for the barrier. */
  readonly inBarrier: Promise<void>;
  readonly ended: Promise<{ code: number | null; stderr: string }>;
}

/** A broker, one of two, under a PMI server that never ends the barrier. */
function launch(env: Readonly<Record<string, string>> = {}): Launched {
  const broker = spawn(flux, ["start", "echo", "ran"], {
    env: { ...process.env, PMI_FD: "3", PMI_RANK: "0", PMI_SIZE: "2", ...env },
    stdio: ["ignore", "inherit", "pipe", "pipe"],
  });
  const channel = broker.stdio[3] as Duplex;
  let stderr = "";
  broker.stderr!.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const inBarrier = new Promise<void>((resolve) =>
    createInterface({ input: channel }).on("line", (line) => {
      const name = /^cmd=(\w+)/.exec(line)?.[1] ?? "";
      if (name === "barrier_in") return resolve();
      channel.write(`${ANSWERS[name] ?? `cmd=${name}_result rc=-1`}\n`);
    }),
  );
  const ended = once(broker, "close").then(([code]) => ({ code: code as number | null, stderr }));
  return { broker, channel, inBarrier, ended };
}

test("a PMI server that dies in the barrier ends the boot at once", async () => {
  const { channel, inBarrier, ended } = launch();
  await inBarrier;
  channel.destroy();
  const { code, stderr } = await ended;
  assert.equal(code, 1, stderr);
  assert.match(stderr, /bootstrap: the launcher is gone/);
});

test("a PMI server that never ends the barrier is waited for as long as FLUX_BOOT_TIMEOUT says", async () => {
  const { inBarrier, ended } = launch({ FLUX_BOOT_TIMEOUT: "0.5s" });
  await inBarrier;
  const { code, stderr } = await ended;
  assert.equal(code, 1, stderr);
  assert.match(
    stderr,
    /bootstrap: the barrier took longer than 0.5s: not all brokers have started, or the launcher is gone/,
  );
});

test("a launcher that is killed takes its brokers along", async () => {
  await using run = new Run([flux, "start", "-s2", "--test-start-mode=leader", "echo", "ran"]);
  // The other broker never comes: the first one waits in the barrier.
  const isWaiting = (): boolean => run.processes().some(({ command }) => / broker /.test(command));
  while (!isWaiting()) await new Promise((resolve) => setTimeout(resolve, 20));
  run.child.kill("SIGKILL");
  const { stdout } = await run.finished;
  assert.equal(stdout, "");
  await run.gone(10_000);
});

const hasHydra = spawnSync("mpiexec.hydra", ["--version"]).status === 0;

test(
  "two brokers that claim one rank end the boot of all, and say so",
  { skip: hasHydra ? false : "MPICH's mpiexec is not installed" },
  async () => {
    const claimed = 'test $PMI_RANK = 2 && PMI_RANK=1; exec "$0" start echo ran';
    await using run = new Run(["mpiexec.hydra", "-n", "3", "sh", "-c", claimed, flux]);
    const { code, stdout, stderr } = await run.finished;
    assert.notEqual(code, 0);
    assert.doesNotMatch(stdout, /^ran/m);
    assert.match(stderr, /two brokers claim rank 1|no business card of rank 2/);
    await run.gone(10_000);
  },
);
