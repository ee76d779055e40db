/**
 * Many nested instances, one after the other in one instance, leave nothing: no process, no file, no open descriptor, no
 * connection. FLUX_SWEEP=1000 sets how many.
 */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { flux as program, Run, startInstance } from "./processes.ts";

const COUNT = Number(process.env["FLUX_SWEEP"] ?? 30);

/** A thread that a broker starts once, when it first needs it, holds some descriptors; a leak would be one for each instance. */
const THREAD_DESCRIPTORS = 12;
/** As many as one command waits for. */
const CHUNK = 50;

test(`${COUNT} nested instances leave nothing behind`, { timeout: 60_000 + COUNT * 6000 }, async () => {
  const { run, uri, flux } = await startInstance("-s2");
  await using _ = run;
  // An instance costs a quarter of a second of processor time: what a sweep takes depends on who else runs here.
  const sweep = async (name: string, count: number): Promise<void> => {
    const options = [`--cc=1-${count}`, "--quiet", "--wait", `--job-name=${name}`];
    const script = "flux kvs put a=1; flux run true";
    await using command = new Run([program, "submit", ...options, program, "start", script], {
      env: { FLUX_URI: uri },
    });
    const { code, stderr } = await command.finished;
    assert.equal(code, 0, stderr);
  };
  const brokers = flux("exec", program, "getattr", "broker.pid").stdout.trim().split("\n");
  assert.equal(brokers.length, 2);
  const held = (): number[] => brokers.map((pid) => readdirSync(`/proc/${pid}/fd`).length);
  const rundir = uri.slice("local://".length, uri.lastIndexOf("/"));
  // The first ones start the shell hosts, and whatever else is made once.
  await sweep("warm", 4);
  await run.gone(20_000, /flux start|kvs put/);
  const before = { held: held(), files: run.leftFiles().sort(), rundir: readdirSync(rundir).sort() };
  for (let left = COUNT; left > 0; left -= CHUNK) await sweep("sweep", Math.min(left, CHUNK));
  await run.gone(20_000, /flux start|kvs put/);
  const { stdout } = flux("jobs", "--no-header", "-a", "--name=sweep", `-c${COUNT + 1}`, "-o", "{result} {failures}");
  assert.deepEqual([...new Set(stdout.trim().split(/\s*\n/))], ["COMPLETED"]);
  const isSpare = (name: string): boolean => name.startsWith("jobtmp-spare-");
  assert.deepEqual(run.leftFiles().sort(), before.files);
  assert.deepEqual(
    readdirSync(rundir)
      .filter((name) => !isSpare(name))
      .sort(),
    before.rundir.filter((name) => !isSpare(name)),
  );
  for (const [index, count] of held().entries())
    assert.ok(
      count <= before.held[index]! + THREAD_DESCRIPTORS,
      `broker ${index} held ${before.held[index]} descriptors, now ${count}`,
    );
});
