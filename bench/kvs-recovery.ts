/**
 * How long an instance takes to come back after kill -9, by what is in its state directory: it must depend on the redo log
 * since the last checkpoint, and not on the store.
 *
 *     bin/node bench/kvs-recovery.ts [--flux PATH] [--rounds N] [--store-mib N] [--commits N]
 *
 * Three state directories take turns: a small store, a large one, and a small one with four times the log. Each round
 * commits, kills the broker, and measures from the start to the first value that is read. Ends with 1 where a large store
 * costs more than half as much again.
 */
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Kvs, KvsTransaction, openFlux } from "../src/host/sdk.ts";
import { Instance, median } from "./measure.ts";

const { values: options } = parseArgs({
  options: {
    flux: { type: "string", default: join(dirname(fileURLToPath(import.meta.url)), "..", "bin", "flux") },
    rounds: { type: "string", default: "5" },
    "store-mib": { type: "string", default: "1024" },
    commits: { type: "string", default: "1000" },
  },
});

const MIB = 1024 * 1024;
const VALUE_BYTES = 8 * MIB;
const WINDOW = 64;
const RATIO_MAX = 1.5;
/** No checkpoint comes by itself while a log is made. */
const SLOW_CHECKPOINTS = '--conf=kvs.checkpoint-period="1h"';

interface Side {
  readonly name: string;
  readonly storeBytes: number;
  readonly commits: number;
  readonly statedir: string;
  readonly seconds: number[];
  logBytes: number;
}

function side(name: string, storeBytes: number, commits: number): Side {
  const statedir = mkdtempSync(join(tmpdir(), "flux-recovery-"));
  return { name, storeBytes, commits, statedir, seconds: [], logBytes: 0 };
}

async function start({ statedir }: Side): Promise<{ instance: Instance; kvs: Kvs }> {
  const instance = await Instance.start(options.flux, 1, {}, [`-Sstatedir=${statedir}`, SLOW_CHECKPOINTS]);
  return { instance, kvs: new Kvs(await openFlux(instance.uri)) };
}

/** Fills the store with values that do not compress, and ends in order: with a checkpoint and no log. */
async function fill(each: Side): Promise<void> {
  const { instance, kvs } = await start(each);
  for (let index = 0; index * VALUE_BYTES < each.storeBytes; index++) await kvs.putBytes(`store.v${index}`, noise());
  await kvs.put("found", true);
  kvs.handle.close();
  await instance[Symbol.asyncDispose]();
}

function noise(): Uint8Array {
  const value = new Uint8Array(VALUE_BYTES);
  for (let start = 0; start < VALUE_BYTES; start += 65_536)
    crypto.getRandomValues(value.subarray(start, start + 65_536));
  return value;
}

/** Makes a log, and kills the broker. */
async function crash(each: Side, round: number): Promise<void> {
  const { instance, kvs } = await start(each);
  let next = 0;
  const commit = async (): Promise<void> => {
    while (next < each.commits) {
      const index = next++;
      const value = `${round} `.repeat(50);
      await kvs.commit(new KvsTransaction().put(`log.d${index % 20}.k${index}`, value), { noMerge: true });
    }
  };
  await Promise.all(Array.from({ length: WINDOW }, commit));
  const { value: pid } = await kvs.handle.rpc("attr.get", { name: "broker.pid" });
  each.logBytes = statSync(join(each.statedir, "kvs.log")).size;
  process.kill(Number(pid), "SIGKILL");
  await instance[Symbol.asyncDispose]();
}

/** From the start to the first value. */
async function recover(each: Side): Promise<number> {
  const begin = performance.now();
  const { instance, kvs } = await start(each);
  if ((await kvs.get("found")) !== true) throw new Error(`${each.name}: what was stored is not there`);
  const seconds = (performance.now() - begin) / 1000;
  if (each.commits > 0) await kvs.get(`log.d0.k0`);
  kvs.handle.close();
  await instance[Symbol.asyncDispose]();
  return seconds;
}

const commits = Number(options.commits);
const sides = [
  side("small store, no log", 0, 0),
  side("small store, small log", 0, commits),
  side("large store, small log", Number(options["store-mib"]) * MIB, commits),
  side("small store, log of 4 times", 0, 4 * commits),
];
try {
  for (const each of sides) await fill(each);
  for (let round = 0; round < Number(options.rounds); round++)
    for (const each of sides) {
      await crash(each, round);
      each.seconds.push(await recover(each));
    }
  console.log(`${"state directory".padEnd(30)}${"store".padStart(12)}${"log".padStart(12)}${"recovery".padStart(12)}`);
  for (const { name, statedir, logBytes, seconds } of sides) {
    const storeMib = statSync(join(statedir, "content.sqlite")).size / MIB;
    const cells = [
      `${storeMib.toFixed(0)} MiB`,
      `${(logBytes / 1024).toFixed(0)} KiB`,
      `${median(seconds).toFixed(3)} s`,
    ];
    console.log(name.padEnd(30) + cells.map((cell) => cell.padStart(12)).join(""));
  }
  const ratio = median(sides[2]!.seconds) / median(sides[1]!.seconds);
  console.log(`large store / small store, same log: ${ratio.toFixed(2)} (≤ ${RATIO_MAX})`);
  process.exitCode = ratio <= RATIO_MAX ? 0 : 1;
} finally {
  for (const { statedir } of sides) rmSync(statedir, { recursive: true, force: true });
}
