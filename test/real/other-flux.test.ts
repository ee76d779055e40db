/**
 * Our instances inside those of flux-core, and theirs inside ours: FLUX_REFERENCE names a `flux` of it. Skipped without.
 */
import assert from "node:assert/strict";
import { dirname } from "node:path";
import { test } from "node:test";
import { flux, Run } from "./processes.ts";

const reference = process.env["FLUX_REFERENCE"];
const skip = reference === undefined ? "FLUX_REFERENCE names no flux of flux-core" : false;

/** What an instance of two brokers in a job of two nodes finds out of itself, its resources and its parent. */
const SCRIPT = `
  flux getattr size; flux getattr instance-level
  flux resource list -s free -no '{nnodes} {ncores}'
  flux run -N2 -n2 echo ran
  flux --parent getattr instance-level
  flux --parent jobs -no '{user.uri}' | grep -c '^ssh://'
  exit 7`;

for (const [name, outer, inner] of [
  ["ours inside theirs", reference!, flux],
  ["theirs inside ours", flux, reference!],
] as const)
  test(`an instance of ${name} has what its job was given, and hands its exit code on`, { skip }, async () => {
    const nested = `PATH=${dirname(inner)}:$PATH; ${inner} start sh -c "$0"`;
    const job = ["run", "-N2", "-n2", "-c1", "sh", "-c", nested, SCRIPT];
    const env = { PATH: `${dirname(outer)}:${process.env["PATH"]}` };
    await using run = new Run([outer, "start", "-s2", outer, ...job], { env });
    const { code, stdout, stderr } = await run.finished;
    assert.equal(stdout, "2\n1\n2 2\nran\nran\n0\n1\n", stderr);
    assert.equal(code, 7, stderr);
    await run.gone(20_000);
  });
