/** The example workflow gives the numbers that the model gives without Flux. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Run, flux, root } from "./processes.ts";

interface Member {
  readonly member: number;
  readonly errors: number[];
}

test("the forecast ensemble over four brokers equals a direct computation", { timeout: 120_000 }, async () => {
  const data = join(root, "node_modules", "vega-datasets", "data", "seattle-weather.csv");
  const { directResult } = (await import(join(root, "examples", "forecast", "model.mjs"))) as {
    directResult(csv: string): Member[];
  };
  const output = mkdtempSync(join(tmpdir(), "flux-example-"));
  try {
    const script = `${join(root, "examples/forecast/workflow.sh")} ${data} ${output} >&2 && flux kvs get forecast.result`;
    await using run = new Run([flux, "start", "-s4", "bash", "-c", script]);
    const { code, stdout, stderr } = await run.finished;
    assert.equal(code, 0, stderr);
    const members = (JSON.parse(stdout) as Member[]).map(({ member, errors }) => ({ member, errors }));
    assert.deepEqual(members, directResult(readFileSync(data, "utf8")));
    assert.match(stderr, /64\/64 members, 0 failed/);
    assert.match(stderr, /member 65 \(ƒ\w+\) failed: it has no parameter set/);
    const svg = readFileSync(join(output, "forecast.svg"), "utf8");
    assert.equal(svg.match(/<rect /g)?.length, 65, "a cell per member, and the background");
  } finally {
    rmSync(output, { recursive: true, force: true });
  }
});
