/**
 * Churn: what rewriting, removing and appending cost the store, and what reclaiming space costs those who commit meanwhile.
 *
 *     bin/node bench/kvs-churn.ts [--flux PATH] [--rewrites N] [--trees N] [--appends N] [--seconds S] [--only NAME]
 *
 * Each workload has an instance of its own with a state directory. When it has settled (no command is given), the store
 * must take at most twice the live data and 8 MiB. Prints a table; ends with 1 where a bound is broken.
 */
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { openFlux } from "../src/host/sdk.ts";
import type { Handle } from "../src/sdk/handle.ts";
import { Kvs, KvsTransaction } from "../src/sdk/kvs.ts";
import { Instance, summary } from "./measure.ts";

const { values: options } = parseArgs({
  options: {
    flux: { type: "string", default: join(dirname(fileURLToPath(import.meta.url)), "..", "bin", "flux") },
    rewrites: { type: "string", default: "1000000" },
    trees: { type: "string", default: "100000" },
    appends: { type: "string", default: "100000" },
    seconds: { type: "string", default: "20" },
    only: { type: "string" },
  },
});

const WINDOW = 256;
const MIB = 1024 * 1024;
/** How much longer than without it commits may take while space is reclaimed, at the 99th percentile. */
const LATENCY_RATIO_MAX = 3;
/** A store that is not within its bound after this time is too large. */
const SETTLE_LIMIT_MS = 120_000;

interface StoreStats {
  readonly object_count: number;
  readonly dbfile_size: number;
  readonly live_size: number;
  readonly collector: { running: boolean; cycles: number; removed_count: number; removed_size: number };
}

const statsOf = (handle: Handle): Promise<StoreStats> => handle.rpc<StoreStats>("content-sqlite.stats-get");

/** Runs something for each number, a window at a time. */
async function windowed(count: number, action: (number: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) await action(next++);
  };
  await Promise.all(Array.from({ length: WINDOW }, worker));
}

/** Bytes that do not compress, different for each number. */
function noise(length: number, seed: number): Uint8Array {
  let state = Math.imul(seed + 1, 0x9e37_79b9) | 1;
  return new Uint8Array(length).map(() => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state & 0xff;
  });
}

function directorySize(directory: string): number {
  return readdirSync(directory).reduce((total, name) => total + statSync(join(directory, name)).size, 0);
}

/** Waits until the store is within its bound and the collector rests. Resolves with the greatest size seen meanwhile. */
async function settle(handle: Handle, directory: string, bound: number): Promise<number> {
  const endMs = performance.now() + SETTLE_LIMIT_MS;
  let largest = 0;
  for (;;) {
    const { collector } = await statsOf(handle);
    const size = directorySize(directory);
    largest = Math.max(largest, size);
    if ((size <= bound && !collector.running) || performance.now() > endMs) return largest;
    await delay(250);
  }
}

interface Workload {
  readonly name: string;
  /** Does it; resolves with the bytes that are left alive: keys, values, and what directories take, roughly. */
  run(kvs: Kvs): Promise<number>;
}

const VALUE_OVERHEAD = 64;

const workloads: Workload[] = [
  {
    name: "a 1 kB key rewritten",
    async run(kvs) {
      const value = noise(750, 1);
      await windowed(Number(options.rewrites), (number) => {
        new DataView(value.buffer).setUint32(0, number);
        return kvs.commit(new KvsTransaction().putBytes("state.progress", value));
      });
      return 1024;
    },
  },
  {
    name: "small trees, 90 % removed",
    async run(kvs) {
      const count = Number(options.trees);
      let live = 0;
      await windowed(count, (number) => {
        const transaction = new KvsTransaction();
        for (const name of ["spec", "result", "log"])
          transaction.putBytes(`tree.${number}.${name}`, noise(120, number));
        return kvs.commit(transaction);
      });
      await windowed(count, async (number) => {
        if (number % 10 === 0) live += 3 * (120 + VALUE_OVERHEAD) + VALUE_OVERHEAD;
        else await kvs.commit(new KvsTransaction().unlink(`tree.${number}`));
      });
      return live;
    },
  },
  {
    name: "an eventlog that grows",
    async run(kvs) {
      const entry = `${JSON.stringify({ timestamp: 1_700_000_000.5, name: "note", context: { text: "x".repeat(50) } })}\n`;
      const count = Number(options.appends);
      await windowed(count, () => kvs.commit(new KvsTransaction().append("eventlog", entry)));
      return count * entry.length;
    },
  },
];

async function measureChurn({ name, run }: Workload): Promise<boolean> {
  const directory = mkdtempSync(join(tmpdir(), "flux-churn-"));
  try {
    await using instance = await Instance.start(options.flux, 1, {}, [`-Sstatedir=${directory}`]);
    const handle = await openFlux(instance.uri);
    const begun = performance.now();
    const live = await run(new Kvs(handle));
    const seconds = (performance.now() - begun) / 1000;
    const right = directorySize(directory);
    const bound = 2 * live + 8 * MIB;
    const settleMs = performance.now();
    const largest = Math.max(right, await settle(handle, directory, bound));
    const settleSeconds = (performance.now() - settleMs) / 1000;
    const settled = directorySize(directory);
    const stats = await statsOf(handle);
    handle.close();
    const isWithin = settled <= bound;
    console.log(
      `${name.padEnd(28)} ${seconds.toFixed(1).padStart(8)} s   live ${mib(live)}   right after ${mib(right)}   largest ` +
        `${mib(largest)}   after ${settleSeconds.toFixed(0)} s ${mib(settled)} (≤ ${mib(bound)})   ${stats.object_count} blobs, ` +
        `${stats.collector.removed_count} removed in ${stats.collector.cycles} cycles   ${isWithin ? "ok" : "TOO LARGE"}`,
    );
    return isWithin;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const mib = (bytes: number): string => `${(bytes / MIB).toFixed(1)} MiB`;

/** Latency of small commits beside writers that produce garbage all the time, while the collector works and while it does not. */
async function measureLatency(): Promise<boolean> {
  const directory = mkdtempSync(join(tmpdir(), "flux-churn-"));
  try {
    await using instance = await Instance.start(options.flux, 1, {}, [`-Sstatedir=${directory}`]);
    const [writer, prober, watcher] = await Promise.all([1, 2, 3].map(() => openFlux(instance.uri)));
    const endMs = performance.now() + 1000 * Number(options.seconds);
    const latencies = { running: [] as number[], resting: [] as number[] };
    let isRunning = false;
    let number = 0;
    const write = async (): Promise<void> => {
      const kvs = new Kvs(writer!);
      while (performance.now() < endMs) {
        await kvs.commit(new KvsTransaction().putBytes(`large.${number % 500}`, noise(20_000, number++)));
        await delay(2);
      }
    };
    const watch = async (): Promise<void> => {
      while (performance.now() < endMs) {
        ({
          collector: { running: isRunning },
        } = await statsOf(watcher!));
        await delay(5);
      }
    };
    const probe = async (): Promise<void> => {
      const kvs = new Kvs(prober!);
      while (performance.now() < endMs) {
        const [before, startMs] = [isRunning, performance.now()];
        await kvs.commit(new KvsTransaction().put("probe", startMs));
        const elapsedMs = performance.now() - startMs;
        if (before === isRunning) latencies[before ? "running" : "resting"].push(elapsedMs);
        await delay(2);
      }
    };
    await Promise.all([write(), write(), watch(), probe()]);
    const { collector } = await statsOf(watcher!);
    for (const handle of [writer!, prober!, watcher!]) handle.close();
    return reportLatency(latencies, collector);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function reportLatency(
  latencies: { running: readonly number[]; resting: readonly number[] },
  { cycles, removed_size: removed }: StoreStats["collector"],
): boolean {
  const [running, resting] = [summary(latencies.running), summary(latencies.resting)];
  const ratio = running.p99 / resting.p99;
  const isWithin = running.count > 0 && ratio <= LATENCY_RATIO_MAX;
  const text = ({ count, p50, p99, max }: typeof running): string =>
    `p50 ${p50.toFixed(2)} p99 ${p99.toFixed(2)} worst ${max.toFixed(2)} ms (${count})`;
  console.log(`commits beside the collector: ${text(running)}   without it: ${text(resting)}`);
  console.log(
    `  p99 ratio ${ratio.toFixed(2)} (≤ ${LATENCY_RATIO_MAX}), ${cycles} cycles removed ${mib(removed)}   ${isWithin ? "ok" : "TOO SLOW"}`,
  );
  return isWithin;
}

let isOk = true;
for (const workload of workloads)
  if (options.only === undefined || workload.name.includes(options.only)) isOk = (await measureChurn(workload)) && isOk;
if (options.only === undefined || options.only === "latency") isOk = (await measureLatency()) && isOk;
process.exitCode = isOk ? 0 : 1;
