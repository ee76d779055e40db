/**
 * Whether huge values delay anybody: a small client on rank 0 and one on a leaf ping and put, while others move huge
 * values. Idle and loaded phases take turns, so that noise of the machine hits both.
 *
 *     bin/node bench/latency.ts [--python PATH] [--seconds N] [--rounds N] [--mib N] [--only NAME] [--flux PATH]
 *
 * `--python` names a Python with the reference's bindings (PYTHONPATH set): a client that sends each value as one message.
 * Prints, for each load, the latencies idle and loaded, and of every broker its event loop's delays and its memory; and,
 * to compare, what the machine does to small messages of a bare server while other programs are busy.
 */
import { spawn, type ChildProcess } from "node:child_process";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
  openSync,
  closeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { cleanEnvironment, Instance, type Summary } from "./measure.ts";

const folder = dirname(fileURLToPath(import.meta.url));
const { values: options } = parseArgs({
  options: {
    python: { type: "string" },
    seconds: { type: "string", default: "5" },
    rounds: { type: "string", default: "2" },
    mib: { type: "string", default: "1024" },
    "foreign-mib": { type: "string", default: "16" },
    only: { type: "string" },
    flux: { type: "string", default: join(folder, "..", "bin", "flux") },
  },
});
const seconds = Number(options.seconds);
const scratch = mkdtempSync(join(tmpdir(), "flux-latency-"));

type Latencies = Readonly<Record<"ping" | "put", Summary>>;

class Probe {
  readonly #child: ChildProcess;
  readonly #lines: Interface;

  constructor(uri: string, key: string) {
    this.#child = spawn(process.execPath, [join(folder, "latency-probe.ts"), uri, key], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#lines = createInterface({ input: this.#child.stdout! });
  }

  /** What was measured since the last time. */
  async read(): Promise<Latencies> {
    const line = new Promise<string>((resolve) => this.#lines.once("line", resolve));
    this.#child.stdin!.write("\n");
    return JSON.parse(await line) as Latencies;
  }

  async end(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.stdin!.end();
    await ended;
  }
}

interface LoopLine {
  readonly atMs: number;
  readonly command: string;
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly turnP99Ms: number;
  readonly turnMaxMs: number;
  readonly busy: number;
  readonly rss: number;
  readonly arrayBuffers: number;
}

/** What the brokers' loops did since a time (milliseconds since the epoch). */
function loopsSince(sinceMs: number): string {
  const text: string[] = [];
  for (const file of readdirSync(scratch)) {
    if (!/^\d+$/.test(file)) continue;
    const lines = readFileSync(join(scratch, file), "utf8").trim().split("\n");
    const all = lines.map((line) => JSON.parse(line) as LoopLine).filter(({ atMs }) => atMs > sinceMs + 1000);
    if (all.length === 0 || !all[0]!.command.startsWith("broker")) continue;
    const most = (of: (line: LoopLine) => number, digits: number): string => Math.max(...all.map(of)).toFixed(digits);
    const busy = all.reduce((sum, line) => sum + line.busy, 0) / all.length;
    text.push(
      `      broker ${file}: loop p99 ${most((line) => line.p99Ms, 1)} max ${most((line) => line.maxMs, 1)} ms, ` +
        `turns p99 ${most((line) => line.turnP99Ms, 1)} max ${most((line) => line.turnMaxMs, 1)} ms of CPU, ` +
        `busy ${(busy * 100).toFixed(0)} %, rss ${most((line) => line.rss / 2 ** 20, 0)} MiB, ` +
        `buffers ${most((line) => line.arrayBuffers / 2 ** 20, 0)} MiB`,
    );
  }
  return text.join("\n");
}

function start(argv: readonly string[], uri: string, stdin: number | "ignore" = "ignore"): Promise<string> {
  const child = spawn(argv[0]!, argv.slice(1), {
    env: cleanEnvironment({ FLUX_URI: uri }),
    stdio: [stdin, "pipe", "inherit"],
  });
  let output = "";
  let length = 0;
  child.stdout!.on("data", (chunk: Buffer) => {
    length += chunk.byteLength;
    if (length < 10_000) output += chunk.toString("latin1");
  });
  return new Promise((resolve, reject) =>
    child.on("close", (status) =>
      status === 0
        ? resolve(length < 10_000 ? output.trim() : `${length} bytes`)
        : reject(new Error(`${argv.join(" ")} ended with ${status}`)),
    ),
  );
}

/** A file of bytes that neither compress nor repeat. */
function noiseFile(): string {
  const path = join(tmpdir(), `flux-latency-noise-${options.mib}`);
  const bytes = Number(options.mib) * 2 ** 20;
  if (existsSync(path) && statSync(path).size === bytes) return path;
  const file = openSync(path, "w");
  for (let sent = 0; sent < bytes; sent += 65536) writeSync(file, crypto.getRandomValues(new Uint8Array(65536)));
  closeSync(file);
  return path;
}

const { flux, mib } = options;
const sdk = (uri: string): Promise<string> =>
  start([process.execPath, join(folder, "latency-load.ts"), uri, "huge", mib, options.seconds], uri);
const commands = async (uri: string): Promise<string> => {
  const input = openSync(noiseFile(), "r");
  const begin = performance.now();
  await start([flux, "kvs", "put", "--raw", "huge=-"], uri, input);
  closeSync(input);
  const middle = performance.now();
  const length = await start([flux, "kvs", "get", "--raw", "huge"], uri);
  await start([flux, "kvs", "unlink", "huge"], uri);
  return `put ${((middle - begin) / 1000).toFixed(2)} s, get ${((performance.now() - middle) / 1000).toFixed(2)} s (${length})`;
};
const foreign = (uri: string): Promise<string> =>
  start([options.python!, join(folder, "huge_client.py"), "foreign", options["foreign-mib"], options.seconds], uri);

const loads: { readonly name: string; run(uris: { root: string; leaf: string }): Promise<string> }[] = [
  { name: "sdk on rank 0", run: ({ root }) => sdk(root) },
  { name: "sdk on a leaf", run: ({ leaf }) => sdk(leaf) },
  { name: "commands on rank 0", run: ({ root }) => commands(root) },
  { name: "commands on a leaf", run: ({ leaf }) => commands(leaf) },
];
if (options.python !== undefined)
  loads.push(
    { name: "foreign on rank 0", run: ({ root }) => foreign(root) },
    { name: "foreign on a leaf", run: ({ leaf }) => foreign(leaf) },
  );

function row(name: string, { ping, put }: Latencies): string {
  const cell = ({ count, p50, p99, max }: Summary): string =>
    `${p50.toFixed(2)} ${p99.toFixed(2)} ${max.toFixed(1)} (${count})`.padEnd(30);
  return `   ${name.padEnd(18)} ping ${cell(ping)} put ${cell(put)}`;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** What two probes, on rank 0 and a leaf, see beside a load, and without it before that. */
async function compare(name: string, uris: readonly [string, string], run: () => Promise<string>): Promise<void> {
  const probes = [new Probe(uris[0], "probe.root"), new Probe(uris[1], "probe.leaf")];
  const read = (): Promise<Latencies[]> => Promise.all(probes.map((probe) => probe.read()));
  await pause(1000);
  for (let round = 0; round < Number(options.rounds); round++) {
    await read();
    await pause(seconds * 500);
    const idle = await read();
    const sinceMs = Date.now();
    const result = await run();
    const loaded = await read();
    console.log(`${name}: ${result}`);
    for (const [index, place] of ["rank 0", "leaf"].entries()) {
      console.log(row(`idle ${place}`, idle[index]!));
      console.log(row(`loaded ${place}`, loaded[index]!));
    }
    const loops = loopsSince(sinceMs);
    if (loops !== "") console.log(loops);
  }
  await Promise.all(probes.map((probe) => probe.end()));
}

const isWanted = (name: string): boolean => options.only === undefined || name.includes(options.only);

/**
 * What the machine itself does to a small message while two programs have its processors: no broker, a server that answers
 * from constants, and the same bytes through `cat` and `sha1sum`.
 */
async function withoutFlux(): Promise<void> {
  const sockets = ["root", "leaf"].map((place) => join(scratch, place)) as [string, string];
  const servers = sockets.map((path) =>
    spawn(process.execPath, [join(folder, "constant-server.ts"), path], { stdio: ["pipe", "pipe", "inherit"] }),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.stdout!.once("data", resolve))));
  const command = `for i in 1 2 3 4; do cat ${noiseFile()} | sha1sum >/dev/null; done`;
  const run = (): Promise<string> => start(["sh", "-c", command], "");
  await compare("cat and sha1sum, no Flux", [`local://${sockets[0]}`, `local://${sockets[1]}`], run);
  for (const server of servers) server.stdin!.end();
}

console.log("latencies in ms: p50 p99 max (samples)");
if (isWanted("no Flux")) await withoutFlux();
{
  await using instance = await Instance.start(flux, 3, {
    NODE_OPTIONS: `--import ${join(folder, "loop-monitor.mjs")}`,
    FLUX_BENCH_LOOPS: scratch,
  });
  const uris = { root: instance.uri, leaf: instance.uri.replace(/local-0$/, "local-2") };
  for (const { name, run } of loads) if (isWanted(name)) await compare(name, [uris.root, uris.leaf], () => run(uris));
}
rmSync(scratch, { recursive: true });
