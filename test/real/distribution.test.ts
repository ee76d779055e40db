/**
 * A file that all brokers extract from an archive at once moves once over each edge of the tree, whatever the number of
 * ranks below it. FLUX_ARCHIVE_MIB=1024 sets how large it is.
 */
import assert from "node:assert/strict";
import { createHash, randomFillSync } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { flux as program, Run, startInstance } from "./processes.ts";

const MIB = Number(process.env["FLUX_ARCHIVE_MIB"] ?? 16);
const SIZE = 8;
/** Who is above whom in kary:2. */
const EDGES: readonly (readonly [parent: number, child: number])[] = [
  [0, 1],
  [0, 2],
  [1, 3],
  [1, 4],
  [2, 5],
  [2, 6],
  [3, 7],
];
const UNITS: Readonly<Record<string, number>> = { "": 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3 };

/** What a broker answered to each child: number of blobs and their bytes. */
function answers(trace: string, child: number): { blobs: number; bytes: number } {
  const line = new RegExp(String.raw`tx ${child} < content\.load-stored \[([\d.]+)([KMG]?)\] success`, "g");
  const sizes = [...trace.matchAll(line)].map(([, number, unit]) => Number(number) * UNITS[unit!]!);
  return { blobs: sizes.length, bytes: sizes.reduce((sum, size) => sum + size, 0) };
}

function writeRandom(path: string): string {
  const hash = createHash("sha1");
  const chunk = Buffer.alloc(1024 * 1024);
  writeFileSync(path, "");
  for (let index = 0; index < MIB; index++) {
    randomFillSync(chunk);
    hash.update(chunk);
    writeFileSync(path, chunk, { flag: "a" });
  }
  return hash.digest("hex");
}

test(`${MIB} MiB to ${SIZE} brokers: each blob once over each edge`, { timeout: 120_000 + MIB * 500 }, async () => {
  const { run, uri, flux } = await startInstance(`-s${SIZE}`, "-Stbon.topo=kary:2");
  await using _ = run;
  const digest = writeRandom(join(run.directory, "data"));
  const created = flux("archive", "create", "-C", run.directory, "data");
  assert.equal(created.code, 0, created.stderr);

  const parents = [...new Set(EDGES.map(([parent]) => parent))];
  const traces = parents.map((rank) => {
    const env = { FLUX_URI: uri.replace(/local-0$/, `local-${rank}`) };
    return new Run([program, "overlay", "trace"], { env });
  });
  try {
    // A heartbeat shows that the trace has begun.
    for (const trace of traces) await trace.seen(/heartbeat/);
    const extract = `d=${run.directory}/$(flux getattr rank) && mkdir $d && flux archive extract -C $d`;
    await using all = new Run([program, "exec", "-r", `1-${SIZE - 1}`, "sh", "-c", extract], {
      env: { FLUX_URI: uri },
    });
    const { code, stderr } = await all.finished;
    assert.equal(code, 0, stderr);
    for (let rank = 1; rank < SIZE; rank++) {
      const bytes = readFileSync(join(run.directory, String(rank), "data"));
      assert.equal(createHash("sha1").update(bytes).digest("hex"), digest);
    }
    for (const [parent, child] of EDGES) {
      const { blobs, bytes } = answers(traces[parents.indexOf(parent)]!.stdout, child);
      const what = `from ${parent} to ${child}`;
      assert.ok(blobs >= MIB && blobs < MIB * 1.1 + 10, `${blobs} blobs went ${what}`);
      assert.ok(bytes >= MIB * UNITS["M"]! * 0.99 && bytes < MIB * UNITS["M"]! * 1.05, `${bytes} bytes went ${what}`);
    }
  } finally {
    for (const trace of traces) await trace[Symbol.asyncDispose]();
  }
});
