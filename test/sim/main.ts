/**
 * Simulations from the command line.
 *
 *     npm run sim -- --seeds N [--from F] [--only instances|histories|crashes]
 *     npm run sim -- --seed S [--trace]       one simulated instance, replayed
 *     npm run sim -- --history S [--trace]    one random history of the KVS, replayed
 *     npm run sim -- --crashes S              one workload, with a crash at each of its disk operations
 *
 * N instances (every tenth twice, with equal digests), N histories of the KVS (the same), and for each hundred of them a
 * workload whose disk crashes at every operation.
 */
import { parseArgs } from "node:util";
import { CRASH_MARKS, sweepCrashes } from "./crash-sweep.ts";
import { runHistory } from "./history.ts";
import { sweepHistories } from "./history-sweep.ts";
import { runScenario } from "./scenario.ts";
import { sweep } from "./sweep.ts";

const CRASH_OPERATIONS = 400;
const SEEDS_PER_CRASH_SWEEP = 100;

const CRASH_KINDS = [
  { durability: "process" },
  { durability: "fsync" },
  { durability: "fsync", isWide: true },
  { durability: "process", isTight: true },
  { durability: "fsync", isTight: true },
] as const;

const { values: options } = parseArgs({
  options: {
    seed: { type: "string" },
    history: { type: "string" },
    crashes: { type: "string" },
    seeds: { type: "string", default: "200" },
    from: { type: "string", default: "0" },
    only: { type: "string" },
    trace: { type: "boolean", default: false },
  },
});

const trace = options.trace ? (line: string): void => void process.stdout.write(line) : undefined;

function printMarks(marks: ReadonlyMap<string, number>): void {
  for (const [name, count] of [...marks].toSorted()) console.log(`${String(count).padStart(6)}  ${name}`);
}

function printMissing(missing: readonly string[]): void {
  for (const name of missing) console.log(`never reached: ${name}`);
}

async function replayInstance(seed: string): Promise<number> {
  const { digest, events, marks } = await runScenario(seed, trace);
  printMarks(marks);
  console.log(`seed ${seed}: ${events} events, digest ${digest}`);
  return 0;
}

async function replayHistory(seed: string): Promise<number> {
  const { digest, events, operations, marks } = await runHistory(seed, {}, trace);
  printMarks(marks);
  console.log(`history ${seed}: ${operations} operations, ${events} events, digest ${digest}`);
  return 0;
}

async function reportInstances(count: number, from: number): Promise<boolean> {
  const result = await sweep(count, from, (failure) => console.log(`${failure}\n`));
  const { failures, marks, missing, events, seconds } = result;
  printMarks(marks);
  printMissing(missing);
  const verdict = `${failures.length} failed, ${missing.length} marks missing`;
  console.log(`${count} seeds, ${events} events, ${verdict}, ${seconds.toFixed(1)} s`);
  return failures.length === 0 && missing.length === 0;
}

async function reportHistories(count: number, from: number): Promise<boolean> {
  const result = await sweepHistories(count, from, (failure) => console.log(`${failure}\n`));
  const { failures, marks, missing, operations, seconds } = result;
  printMarks(marks);
  printMissing(missing);
  const verdict = `${failures.length} failed, ${missing.length} marks missing`;
  console.log(`${count} histories, ${operations} operations of clients, ${verdict}, ${seconds.toFixed(1)} s`);
  return failures.length === 0 && missing.length === 0;
}

async function reportCrashes(seeds: readonly string[]): Promise<boolean> {
  let isGood = true;
  for (const seed of seeds)
    for (const kind of CRASH_KINDS) {
      const result = await sweepCrashes({ seed, operations: CRASH_OPERATIONS, ...kind });
      const { failures, marks, operations, recoveries } = result;
      for (const failure of failures) console.log(`${failure}\n`);
      printMissing(CRASH_MARKS.filter((name) => !marks.has(name)));
      const what = `crashes ${seed}, ${JSON.stringify(kind)}`;
      console.log(`${what}: ${operations} operations, ${recoveries} recoveries, ${failures.length} failed`);
      isGood &&= failures.length === 0;
    }
  return isGood;
}

async function reportAll(count: number, from: number): Promise<number> {
  const { only } = options;
  let isGood = true;
  if (only === undefined || only === "instances") isGood = (await reportInstances(count, from)) && isGood;
  if (only === undefined || only === "histories") isGood = (await reportHistories(count, from)) && isGood;
  const sweeps = Math.ceil(count / SEEDS_PER_CRASH_SWEEP);
  const seeds = Array.from({ length: sweeps }, (_, index) => String(from + index));
  if (only === undefined || only === "crashes") isGood = (await reportCrashes(seeds)) && isGood;
  return isGood ? 0 : 1;
}

if (options.seed !== undefined) process.exitCode = await replayInstance(options.seed);
else if (options.history !== undefined) process.exitCode = await replayHistory(options.history);
else if (options.crashes !== undefined) process.exitCode = (await reportCrashes([options.crashes])) ? 0 : 1;
else process.exitCode = await reportAll(Number(options.seeds), Number(options.from));
process.exit();
