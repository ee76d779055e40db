/**
 * The figures that the design promises, measured against any `flux` and, side by side in one run, against a reference.
 *
 *     npm run bench -- [--reference PATH/flux] [--python PATH] [--rounds N] [--only NAME]
 *
 * `--python` names a Python with the reference's bindings (PYTHONPATH set): then KVS calls are timed through the same
 * client on both sides, and against a server that answers from constants (`constant-server.ts`). Beyond the figures under
 * "client alone" it is the client that is measured. Prints a table and writes bench/results/latest.json.
 */
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
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
  /** The same, with nothing but the client. */
  bound?(): Promise<number>;
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

/** The start of the Node that runs our commands, with nothing to do. */
async function bareNode(): Promise<number> {
  return median([1, 2, 3, 4, 5].map(() => run([process.execPath, "-e", "0"]).seconds));
}

/** What the reference's Python client does, by call; the times of big values in seconds, the rest per second. */
type ClientFigure = "put1" | "put" | "get" | "ping" | "put8" | "get8";

/** How often it does a call. */
const CLIENT_CALLS = "4000";
/** What it puts before that. */
const WARM_UP_PUTS = "4000";

function clientFigure(name: ClientFigure, uri: string): number {
  const client = [options.python!, join(folder, "kvs_client.py"), CLIENT_CALLS, WARM_UP_PUTS];
  const { output } = run(client, { env: { FLUX_URI: uri } });
  return (JSON.parse(output) as Record<ClientFigure, number>)[name];
}

async function clientBound(name: ClientFigure): Promise<number> {
  const directory = mkdtempSync(join(tmpdir(), "flux-bench-"));
  const server = spawn(process.execPath, [join(folder, "constant-server.ts"), join(directory, "socket")], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  try {
    const uri = await new Promise<string>((resolve) =>
      server.stdout.once("data", (line: Buffer) => resolve(line.toString().trim())),
    );
    return clientFigure(name, uri);
  } finally {
    const ended = new Promise((resolve) => server.once("exit", resolve));
    server.stdin.end();
    await ended;
    rmSync(directory, { recursive: true });
  }
}

function sameClient(name: string, unit: Figure["unit"], target: number, call: ClientFigure): Figure {
  return {
    name: `${name}, same client`,
    unit,
    target,
    measure: (side) => inInstance(side, ({ FLUX_URI }) => clientFigure(call, FLUX_URI!)),
    bound: () => clientBound(call),
  };
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
  { name: "kvs put (command)", unit: "s", target: 5, measure: commandTime(["kvs", "put", "a=1"]), bound: bareNode },
];
if (options.python !== undefined)
  figures.push(
    sameClient("KVS put+commit, fresh broker", "/s", 6, "put1"),
    sameClient("KVS put+commit", "/s", 6, "put"),
    sameClient("KVS get", "/s", 1, "get"),
    sameClient("ping", "/s", 1, "ping"),
    sameClient("8 MiB put+commit", "s", 0.3, "put8"),
    sameClient("8 MiB get", "s", 0.3, "get8"),
  );

const sides: Side[] = [{ name: "flux-ts", flux: join(folder, "..", "bin", "flux") }];
if (options.reference !== undefined) sides.push({ name: "reference", flux: options.reference });

const results: Record<string, unknown>[] = [];
console.log(
  `${"figure".padEnd(42)}${sides.map((side) => side.name.padStart(14)).join("")}${"ratio".padStart(10)}${"target".padStart(10)}${"client alone".padStart(16)}`,
);
for (const figure of figures) {
  if (options.only !== undefined && !figure.name.includes(options.only)) continue;
  const samples = sides.map((): number[] => []);
  const bounds: number[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const [index, side] of sides.entries()) samples[index]!.push(await figure.measure(side));
    if (figure.bound !== undefined) bounds.push(await figure.bound());
  }
  const medians = samples.map(median);
  const ratio = medians[1] === undefined ? null : medians[0]! / medians[1];
  const target = `${figure.unit === "s" ? "≤" : "≥"} ${figure.target}`;
  const shown = (value: number): string => `${value.toPrecision(3)} ${figure.unit}`;
  const cells = medians.map((value) => shown(value).padStart(14)).join("");
  const alone = bounds.length === 0 ? "" : shown(median(bounds)).padStart(16);
  console.log(
    `${figure.name.padEnd(42)}${cells}${(ratio?.toPrecision(3) ?? "").padStart(10)}${target.padStart(10)}${alone}`,
  );
  results.push({
    figure: figure.name,
    unit: figure.unit,
    target: figure.target,
    ratio,
    sides: sides.map(({ name }) => name),
    samples,
    clientAlone: bounds,
  });
}
mkdirSync(join(folder, "results"), { recursive: true });
writeFileSync(join(folder, "results", "latest.json"), `${JSON.stringify(results, null, 2)}\n`);
