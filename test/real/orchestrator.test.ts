/**
 * An orchestrator on flux-core's own Python bindings works against our broker as against theirs, and its many connections
 * leave nothing. Skipped unless FLUX_REFERENCE names the `flux` of an installation of flux-core.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { flux, root, Run } from "./processes.ts";

const PYTHON = "/usr/bin/python3";
const reference = process.env["FLUX_REFERENCE"];
const library = reference === undefined ? "" : join(dirname(reference), "..", "lib", "flux");
const bindings = existsSync(library)
  ? readdirSync(library)
      .filter((name) => name.startsWith("python3"))
      .map((name) => join(library, name))[0]
  : undefined;
const works =
  bindings !== undefined &&
  spawnSync(PYTHON, ["-c", "import flux"], { env: { ...process.env, PYTHONPATH: bindings } }).status === 0;
const skip = works ? false : "FLUX_REFERENCE names no flux-core with Python bindings";

test("steps of a study, nested and not, by flux-core's Python bindings", { skip, timeout: 90_000 }, async () => {
  const script = join(root, "test", "real", "orchestrator.py");
  const env = { PYTHONPATH: bindings ?? "" };
  const count = `pid=$(flux getattr broker.pid); ${PYTHON} ${script} $PWD; ls /proc/$pid/fd | wc -l; cat nested.txt`;
  await using run = new Run([flux, "start", "-s2", "sh", "-c", count], { env });
  const { code, stdout, stderr } = await run.finished;
  assert.equal(code, 0, stderr);
  const [report, descriptors, nested] = stdout.trim().split("\n") as [string, string, string];
  const seen = JSON.parse(report) as { status: object; ids: Record<string, string>; rounds: number };
  assert.deepEqual(seen.status, { plain: "CD", nested: "CD", fails: "F", held: "CA", long: "CA" });
  assert.equal(nested, "nested");
  const text = (name: string, ending: string): string =>
    readFileSync(join(run.directory, `${name}.${seen.ids[name]!}.${ending}`), "utf8");
  assert.equal(text("plain", "out"), "plain\n");
  assert.equal(text("nested", "out"), "1\n");
  assert.match(text("fails", "err"), /^no$/m);
  // Every round opened a connection, and each is closed.
  assert.ok(seen.rounds > 5, `${seen.rounds} rounds`);
  assert.ok(Number(descriptors) < 60, `${descriptors} descriptors after ${seen.rounds} rounds`);
});
