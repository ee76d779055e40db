/** Real MPI programs, through PMI-1. Skipped where MPICH's compiler is not installed. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Run, flux } from "./processes.ts";

const COMPILER = ["mpicc.mpich", "mpicc"].find((name) => spawnSync(name, ["--version"]).status === 0);
const skip = COMPILER === undefined ? "MPICH is not installed" : false;

/** Sums the ranks over all processes: the result is right only when every one of them was reached. */
const PROGRAM = `
#include <mpi.h>
#include <stdio.h>
int main(int argc, char **argv) {
  int rank, size, sum = 0;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  if (rank == 0) printf("size %d sum %d\\n", size, sum);
  MPI_Finalize();
  return 0;
}
`;

let directory = "";
let program = "";

before(() => {
  if (COMPILER === undefined) return;
  directory = mkdtempSync(join(tmpdir(), "flux-mpi-"));
  program = join(directory, "sum");
  writeFileSync(`${program}.c`, PROGRAM);
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
