/**
 * Rates of the key-value store through the SDK, in an instance of its own: one call after the other, many at once, and
 * values of 8 MiB.
 *
 *     bin/node bench/kvs-sdk.ts [--flux PATH] [--rounds N] [--count N]
 */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Kvs, openFlux } from "../src/host/sdk.ts";
import { Instance, median } from "./measure.ts";

const { values: options } = parseArgs({
  options: {
    flux: { type: "string", default: join(dirname(fileURLToPath(import.meta.url)), "..", "bin", "flux") },
    rounds: { type: "string", default: "5" },
    count: { type: "string", default: "5000" },
  },
});

const WINDOW = 64;
const KEYS = 100;
const BIG_BYTES: number = 8 * 1024 * 1024;
const MEGABYTE = 1e6;

/** Calls per second, so many under way at once. */
async function rate(count: number, window: number, call: (index: number) => Promise<unknown>): Promise<number> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) await call(next++);
  };
  const begin = performance.now();
  await Promise.all(Array.from({ length: window }, lane));
  return (1000 * count) / (performance.now() - begin);
}

function noise(): Uint8Array {
  const value = new Uint8Array(BIG_BYTES);
  for (let start = 0; start < BIG_BYTES; start += 65_536) crypto.getRandomValues(value.subarray(start, start + 65_536));
  return value;
}

const instance = await Instance.start(options.flux, 1);
const handle = await openFlux(instance.uri);
const kvs = new Kvs(handle);
const count = Number(options.count);
const key = (index: number): string => `bench.key${index % KEYS}`;
let big = noise();

const figures: readonly { name: string; unit: string; target: number | null; measure(): Promise<number> }[] = [
  {
    name: "ping, one at a time",
    unit: "/s",
    target: 20_000,
    measure: () => rate(count, 1, (index) => handle.rpc("kvs.ping", { seq: index })),
  },
  {
    name: "get, one at a time",
    unit: "/s",
    target: 20_000,
    measure: () => rate(count, 1, (index) => kvs.get(key(index))),
  },
  {
    name: "put+commit, one at a time",
    unit: "/s",
    target: null,
    measure: () => rate(count, 1, (index) => kvs.put(key(index), index)),
  },
  {
    name: `put+commit, ${WINDOW} at once`,
    unit: "/s",
    target: 20_000,
    measure: () => rate(4 * count, WINDOW, (index) => kvs.put(key(index), index)),
  },
  {
    name: `get, ${WINDOW} at once`,
    unit: "/s",
    target: 20_000,
    measure: () => rate(4 * count, WINDOW, (index) => kvs.get(key(index))),
  },
  {
    name: "8 MiB value, put+commit",
    unit: "MB/s",
    target: 200,
    measure: async () => {
      big = noise();
      return (await rate(1, 1, () => kvs.putBytes("bench.big", big))) * (BIG_BYTES / MEGABYTE);
    },
  },
  {
    name: "8 MiB value, get",
    unit: "MB/s",
    target: 200,
    measure: async () => (await rate(1, 1, () => kvs.getLongBytes("bench.big"))) * (BIG_BYTES / MEGABYTE),
  },
];

const samples = figures.map((): number[] => []);
for (let index = 0; index < KEYS; index++) await kvs.put(key(index), index);
for (let round = 0; round < Number(options.rounds); round++)
  for (const [index, figure] of figures.entries()) {
    if (round === 0 && figure.name.endsWith("get")) await figure.measure();
    samples[index]!.push(await figure.measure());
  }
console.log(`${"through the SDK".padEnd(30)}${"median".padStart(16)}${"best".padStart(16)}${"target".padStart(14)}`);
for (const [index, { name, unit, target }] of figures.entries()) {
  const cells = [median(samples[index]!), Math.max(...samples[index]!)].map((value) => `${value.toFixed(0)} ${unit}`);
  const bound = target === null ? "" : `≥ ${target}`;
  console.log(`${name.padEnd(30)}${cells.map((cell) => cell.padStart(16)).join("")}${bound.padStart(14)}`);
}
handle.close();
await instance[Symbol.asyncDispose]();
