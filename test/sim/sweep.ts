/** Many simulated runs: what failed, which marks were met. Every tenth seed runs twice and must be the same run. */
import { REQUIRED_MARKS } from "./marks.ts";
import { runScenario } from "./scenario.ts";

const CANARY_EVERY = 10;

export interface SweepResult {
  /** A text per failed seed, with the command that replays it. */
  readonly failures: string[];
  readonly marks: ReadonlyMap<string, number>;
  readonly missing: readonly string[];
  readonly events: number;
  readonly seconds: number;
}

export async function sweep(
  count: number,
  from: number,
  failed: (text: string) => void = () => {},
): Promise<SweepResult> {
  const marks = new Map<string, number>();
  const failures: string[] = [];
  const begin = performance.now();
  let events = 0;
  for (let seed = from; seed < from + count; seed++) {
    try {
      const result = await runScenario(String(seed));
      events += result.events;
      for (const [name, number] of result.marks) marks.set(name, (marks.get(name) ?? 0) + number);
      if (seed % CANARY_EVERY === 0 && (await runScenario(String(seed))).digest !== result.digest)
        throw new Error("the same seed gave two different runs");
    } catch (error) {
      const text = `seed ${seed} failed: ${(error as Error).message}\n  replay: npm run sim -- --seed ${seed} --trace`;
      failures.push(text);
      failed(text);
    }
  }
  const missing = REQUIRED_MARKS.filter((name) => !marks.has(name));
  return { failures, marks, missing, events, seconds: (performance.now() - begin) / 1000 };
}
