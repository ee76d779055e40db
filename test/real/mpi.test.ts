/** Real MPI programs, through PMI-1. Skipped where MPICH's compiler is not installed. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { SUM_OF_RANKS } from "./mpi-program.ts";
import { Run, flux } from "./processes.ts";

const COMPILER = ["mpicc.mpich", "mpicc"].find((name) => spawnSync(name, ["--version"]).status === 0);
const skip = COMPILER === undefined ? "MPICH is not installed" : false;

let directory = "";
let program = "";

before(() => {
  if (COMPILER === undefined) return;
  directory = mkdtempSync(join(tmpdir(), "flux-mpi-"));
  program = join(directory, "sum");
  writeFileSync(`${program}.c`, SUM_OF_RANKS);
  const compiled = spawnSync(COMPILER, ["-o", program, `${program}.c`], { encoding: "utf8" });
  assert.equal(compiled.status, 0, compiled.stderr);
});
after(() => rmSync(directory, { recursive: true, force: true }));

for (const [brokers, tasks] of [
  [1, 1],
  [1, 2],
  [2, 4],
  [4, 8],
] as const)
  test(`an MPI program of ${tasks} ranks over ${brokers} brokers`, { skip, timeout: 60_000 }, async () => {
    await using run = new Run([flux, "start", `-s${brokers}`, flux, "run", `-N${brokers}`, `-n${tasks}`, program]);
    const { code, stdout, stderr } = await run.finished;
    assert.equal(code, 0, stderr);
    assert.equal(stdout, `size ${tasks} sum ${(tasks * (tasks - 1)) / 2}\n`);
  });
