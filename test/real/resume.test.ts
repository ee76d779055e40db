/** Instances that stop, and go on: by a signal, by `kill -9`, from a dump, with another number of brokers. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { flux, Run } from "./processes.ts";

/** Guarded by the names of its jobs. Each run of a member leaves a line in the log; the first run waits to be stopped. */
const SCRIPT = `#!/bin/sh
# flux: -n1 --output=none
log=$1 careful=\${2:-}
echo "start \${FLUX_RESUMED:-fresh}" >>$log
flux run --once first sh -c "echo first >>$log"
second=$(flux submit --once second sh -c "echo second >>$log; test -e $log.go || sleep 1000")
flux submit --once third --dependency=afterok:$second sh -c "echo third >>$log" >/dev/null
if test "\${FLUX_RESUMED:-0}" = 0; then
  flux job wait-event $second start >/dev/null
  test -z "$careful" || flux job wait-event $(flux submit --once careful -S resume=lost sleep 1000) start >/dev/null
  echo waiting
  sleep 1000
fi
flux job status $second
flux queue drain
flux jobs -ano '{name} {result}' | sort
`;
const RESULT = "first COMPLETED\nsecond COMPLETED\nthird COMPLETED\n";
const LOG = "start fresh\nfirst\nsecond\nstart 1\nsecond\nthird\n";

let directory = "";
let script = "";

before(() => {
  directory = mkdtempSync(join(tmpdir(), "flux-resume-"));
  script = join(directory, "workflow.sh");
  writeFileSync(script, SCRIPT);
  chmodSync(script, 0o755);
});
after(() => rmSync(directory, { recursive: true, force: true }));

/** What goes on has the temporary directory of what went before, which must still be there. */
function startFlux(...argv: string[]): Run {
  return new Run([flux, "start", ...argv], { env: { TMPDIR: directory } });
}

/** Lets the instance go on, and looks at what it did in both lives. */
async function goesOn(log: string, expected: string, ...argv: string[]): Promise<void> {
  writeFileSync(`${log}.go`, "");
  await using run = startFlux(...argv);
  const { code, stdout, stderr } = await run.finished;
  assert.equal(code, 0, stderr);
  assert.equal(stdout, expected);
  assert.equal(readFileSync(log, "utf8"), LOG);
  await run.gone(10_000);
}

for (const signal of ["SIGTERM", "SIGKILL"] as const)
  test(`an instance that ${signal} ended goes on from its state directory: what was finished stays so`, async () => {
    const log = join(directory, `${signal}.log`);
    const statedir = mkdtempSync(join(directory, "state-"));
    {
      await using run = startFlux("-s2", `-Sstatedir=${statedir}`, script, log, "careful");
      await run.seen(/waiting/);
      run.child.kill(signal);
      await run.finished;
      await run.gone(20_000);
    }
    await goesOn(log, `careful FAILED\n${RESULT}`, "-s2", `--resume=${statedir}`);
  });

test("from a dump, in an instance of another size", async () => {
  const log = join(directory, "dump.log");
  const dump = join(directory, "dump.tgz");
  {
    await using run = startFlux("-s2", `-Scontent.dump=${dump}`, script, log);
    await run.seen(/waiting/);
    run.child.kill("SIGTERM");
    await run.finished;
    await run.gone(20_000);
  }
  await goesOn(log, RESULT, "-s3", `--resume=${dump}`);
});

test("a batch job that was canceled goes on as another batch job, with the script that the first one had", async () => {
  const log = join(directory, "batch.log");
  const dump = join(directory, "batch.tgz");
  const copy = join(directory, "copy.sh");
  copyFileSync(script, copy);
  const outer = `
    id=$(flux batch --dump=${dump} ${copy} ${log}); rm ${copy}
    while ! test -e ${log} || ! grep -q second ${log}; do sleep 0.1; done
    flux cancel $id; flux job wait-event $id clean >/dev/null
    touch ${log}.go
    id=$(flux batch -n1 --output=none --resume=${dump}) && flux job attach $id`;
  await using run = startFlux("sh", "-c", outer);
  const { code, stdout, stderr } = await run.finished;
  assert.equal(code, 0, stderr);
  assert.equal(stdout, RESULT);
  assert.equal(readFileSync(log, "utf8"), LOG);
});

test("what cannot be gone on with is refused, with its name and the reason", () => {
  const start = (path: string): { status: number | null; stderr: string } =>
    spawnSync(flux, ["start", `--resume=${path}`, "true"], { encoding: "utf8", cwd: directory });
  const refused = (path: string, reason: RegExp): void => {
    const { status, stderr } = start(path);
    assert.equal(status, 1, stderr);
    assert.match(stderr, reason);
  };
  refused("none.tgz", /--resume=none.tgz: No such file or directory/);
  refused(mkdtempSync(join(directory, "empty-")), /is no state directory of an instance/);
  const cut = join(directory, "cut.tar");
  const made = spawnSync(flux, ["start", `-Scontent.dump=${cut}`, "flux", "run", "true"], { encoding: "utf8" });
  assert.equal(made.status, 0, made.stderr);
  truncateSync(cut, 1500);
  refused(cut, /cut.tar|[Tt]runcated/);
  // A state directory of which a part is missing is told from a new one, and left as it is.
  const state = mkdtempSync(join(directory, "cut-"));
  const stored = spawnSync(flux, ["start", `-Sstatedir=${state}`, "flux", "kvs", "put", "a=1"], { encoding: "utf8" });
  assert.equal(stored.status, 0, stored.stderr);
  const database = join(state, "content.sqlite");
  truncateSync(database, 9000);
  refused(state, /content.sqlite: database disk image is malformed/);
  assert.equal(statSync(database).size, 9000);
  truncateSync(database, 0);
  refused(state, /content.sqlite is empty: nothing is left to go on with/);
  const later = join(directory, "later");
  const note = '{"version":2,"argv":["true"]}';
  const kept = spawnSync(flux, [
    "start",
    `-Scontent.dump=${later}.tar`,
    "flux",
    "kvs",
    "put",
    `resume.program=${note}`,
  ]);
  assert.equal(kept.status, 0);
  const other = spawnSync(flux, ["start", `--resume=${later}.tar`], { encoding: "utf8", cwd: directory });
  assert.equal(other.status, 1);
  assert.match(other.stderr, /made by another version of Flux/);
});
