/**
 * A file to all brokers of an instance: `flux archive create`, then `flux archive extract` on every rank at once, beside a
 * reference in the same run.
 *
 *     bin/node bench/archive.ts [--flux PATH] [--reference PATH] [--mib N] [--brokers N] [--rounds N]
 *
 * The sides take turns. Each round starts an instance, writes the file into an archive, extracts it on all ranks but the
 * first, and compares what arrived. That each blob moves once over each edge is checked by test/real/distribution.test.ts.
 */
import { randomFillSync } from "node:crypto";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { median, run } from "./measure.ts";

const { values: options } = parseArgs({
  options: {
    flux: { type: "string", default: join(dirname(fileURLToPath(import.meta.url)), "..", "bin", "flux") },
    reference: { type: "string" },
    mib: { type: "string", default: "256" },
    brokers: { type: "string", default: "8" },
    rounds: { type: "string", default: "3" },
  },
});

const MIB = 1024 * 1024;
const brokers = Number(options.brokers);

interface Side {
  readonly name: string;
  readonly flux: string;
  readonly create: number[];
  readonly extract: number[];
}

/** Prints the seconds of both steps; each rank compares what it got. */
const SCRIPT = `
  now() { date +%s.%N; }
  a=$(now); flux archive create -C "$0" data || exit 1
  b=$(now); flux exec -r 1-${brokers - 1} sh -c 'd=$0/$(flux getattr rank) && mkdir $d && flux archive extract -C $d && cmp $0/data $d/data; rc=$?; rm -r $d; exit $rc' "$0" || exit 1
  c=$(now); echo "$a $b $c"`;

function round({ flux, create, extract }: Side, directory: string): void {
  const path = `${dirname(flux)}:${process.env["PATH"]}`;
  const argv = [flux, "start", `-s${brokers}`, "-Stbon.topo=kary:2", "bash", "-c", SCRIPT, directory];
  const [begin, middle, end] = run(argv, { env: { PATH: path } })
    .output.trim()
    .split(" ")
    .map(Number);
  create.push(middle! - begin!);
  extract.push(end! - middle!);
}

const sides: Side[] = [{ name: "ours", flux: options.flux, create: [], extract: [] }];
if (options.reference !== undefined)
  sides.push({ name: "reference", flux: options.reference, create: [], extract: [] });
for (const { flux } of sides) if (!existsSync(flux)) throw new Error(`there is no ${flux}`);

const directory = mkdtempSync(join(tmpdir(), "flux-archive-"));
try {
  const chunk = Buffer.alloc(MIB);
  for (let index = 0; index < Number(options.mib); index++)
    writeFileSync(join(directory, "data"), randomFillSync(chunk), { flag: "a" });
  for (let index = 0; index < Number(options.rounds); index++) for (const side of sides) round(side, directory);
} finally {
  rmSync(directory, { recursive: true, force: true });
}

console.log(`${options.mib} MiB to ${brokers} brokers, median of ${options.rounds}`);
for (const { name, create, extract } of sides)
  console.log(
    `${name.padEnd(10)} create ${median(create).toFixed(2)} s  extract on all ${median(extract).toFixed(2)} s`,
  );
const [ours, reference] = sides;
if (reference !== undefined) {
  const ratio = (key: "create" | "extract"): string => (median(ours![key]) / median(reference[key])).toFixed(2);
  console.log(`${"ratio".padEnd(10)} create ${ratio("create")}    extract on all ${ratio("extract")}`);
}
