/**
 * Simulated instances from the command line.
 *
 *     npm run sim -- --seed S [--trace]     one run, replayed
 *     npm run sim -- --seeds N [--from F]   N runs; every tenth twice, with equal digests
 */
import { parseArgs } from "node:util";
import { runScenario } from "./scenario.ts";
import { sweep } from "./sweep.ts";

const { values: options } = parseArgs({
  options: {
    seed: { type: "string" },
    seeds: { type: "string", default: "200" },
    from: { type: "string", default: "0" },
    trace: { type: "boolean", default: false },
  },
});

async function replay(seed: string): Promise<number> {
  const trace = options.trace ? (line: string): void => void process.stdout.write(line) : undefined;
  const { digest, events, marks } = await runScenario(seed, trace);
  for (const [name, count] of [...marks].toSorted()) console.log(`${String(count).padStart(6)}  ${name}`);
  console.log(`seed ${seed}: ${events} events, digest ${digest}`);
  return 0;
}

async function report(count: number, from: number): Promise<number> {
  const { failures, marks, missing, events, seconds } = await sweep(count, from, (failure) =>
    console.log(`${failure}\n`),
  );
  for (const [name, number] of [...marks].toSorted()) console.log(`${String(number).padStart(6)}  ${name}`);
  for (const name of missing) console.log(`never reached: ${name}`);
  console.log(
    `${count} seeds, ${events} events, ${failures.length} failed, ${missing.length} marks missing, ${seconds.toFixed(1)} s`,
  );
  return failures.length > 0 || missing.length > 0 ? 1 : 0;
}

process.exitCode =
  options.seed === undefined ? await report(Number(options.seeds), Number(options.from)) : await replay(options.seed);
process.exit();
