/**
 * The figures that the design promises, measured against any `flux` and, side by side in one run, against a reference.
 *
 *     npm run bench -- [--reference PATH/flux] [--python PATH] [--rounds N] [--only NAME]
 *
 * `--python` names a Python with the reference's bindings (PYTHONPATH set): then KVS calls are timed through the same
 * client on both sides. Prints a table and writes bench/results/latest.json.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Instance, median, run, type Side } from "./measure.ts";

const folder = dirname(fileURLToPath(import.meta.url));
const { values: options } = parseArgs({
  options: {
    reference: { type: "string" },
    python: { type: "string" },
    rounds: { type: "string", default: "3" },
    only: { type: "string" },
    jobs: { type: "string", default: "500" },
  },
});
const rounds = Number(options.rounds);
const jobCount = Number(options.jobs);

/** A figure: `target` is the promised ratio ours / reference, for rates at least, for times at most. */
interface Figure {
  readonly name: string;
  readonly unit: "s" | "/s";
  readonly target: number;
  measure(side: Side): Promise<number> | number;
}

function startTime(size: number): (side: Side) => number {
  return ({ flux }) => run([flux, "start", ...(size > 1 ? [`-s${size}`] : []), "true"]).seconds;
}

async function inInstance<T>(side: Side, body: (env: Record<string, string>) => T): Promise<T> {
  await using instance = await Instance.start(side.flux, 1);
  return body({ FLUX_URI: instance.uri });
}

/** Time of a command that finds its instance warm. */
function commandTime(argv: readonly string[]): (side: Side) => Promise<number> {
  return (side) =>
    inInstance(side, (env) => {
      run([side.flux, ...argv], { env });
      return median([1, 2, 3, 4, 5].map(() => run([side.flux, ...argv], { env }).seconds));
    });
}

function kvsRate(name: "put" | "get" | "ping" | "put8" | "get8"): (side: Side) => Promise<number> {
  return (side) =>
    inInstance(side, (env) => {
      const { output } = run([options.python!, join(folder, "kvs_client.py"), "2000"], { env });
      return (JSON.parse(output) as Record<string, number>)[name]!;
    });
}

const figures: Figure[] = [
  { name: "start true, 1 broker", unit: "s", target: 0.2, measure: startTime(1) },
  { name: "start true, 8 brokers", unit: "s", target: 0.3, measure: startTime(8) },
  {
    name: "jobs per second",
    unit: "/s",
    target: 20,
    measure: (side) =>
      inInstance(side, (env) => {
        run([side.flux, "run", "true"], { env });
        const { seconds } = run([side.flux, "submit", `--cc=1-${jobCount}`, "--wait", "--quiet", "true"], { env });
        return jobCount / seconds;
      }),
  },
  { name: "run true", unit: "s", target: 0.4, measure: commandTime(["run", "true"]) },
  { name: "submit true", unit: "s", target: 0.4, measure: commandTime(["submit", "true"]) },
  { name: "jobs -a", unit: "s", target: 0.4, measure: commandTime(["jobs", "-a"]) },
  { name: "resource list", unit: "s", target: 0.4, measure: commandTime(["resource", "list"]) },
  { name: "kvs put (command)", unit: "s", target: 5, measure: commandTime(["kvs", "put", "a=1"]) },
];
if (options.python !== undefined)
  figures.push(
    { name: "KVS put+commit, same client", unit: "/s", target: 6, measure: kvsRate("put") },
    { name: "KVS get, same client", unit: "/s", target: 1, measure: kvsRate("get") },
    { name: "ping, same client", unit: "/s", target: 1, measure: kvsRate("ping") },
    { name: "8 MiB put+commit, same client", unit: "s", target: 0.3, measure: kvsRate("put8") },
    { name: "8 MiB get, same client", unit: "s", target: 0.3, measure: kvsRate("get8") },
  );

const sides: Side[] = [{ name: "flux-ts", flux: join(folder, "..", "bin", "flux") }];
if (options.reference !== undefined) sides.push({ name: "reference", flux: options.reference });

const results: Record<string, unknown>[] = [];
console.log(
  `${"figure".padEnd(30)}${sides.map((side) => side.name.padStart(14)).join("")}${"ratio".padStart(10)}${"target".padStart(10)}`,
);
for (const figure of figures) {
  if (options.only !== undefined && !figure.name.includes(options.only)) continue;
  const samples = sides.map((): number[] => []);
  for (let round = 0; round < rounds; round++)
    for (const [index, side] of sides.entries()) samples[index]!.push(await figure.measure(side));
  const medians = samples.map(median);
  const ratio = medians[1] === undefined ? null : medians[0]! / medians[1];
  const bound = `${figure.unit === "s" ? "≤" : "≥"} ${figure.target}`;
  const cells = medians.map((value) => `${value.toPrecision(3)} ${figure.unit}`.padStart(14)).join("");
  console.log(`${figure.name.padEnd(30)}${cells}${(ratio?.toPrecision(3) ?? "").padStart(10)}${bound.padStart(10)}`);
  results.push({
    figure: figure.name,
    unit: figure.unit,
    target: figure.target,
    ratio,
    sides: sides.map(({ name }) => name),
    samples,
  });
}
mkdirSync(join(folder, "results"), { recursive: true });
writeFileSync(join(folder, "results", "latest.json"), `${JSON.stringify(results, null, 2)}\n`);
