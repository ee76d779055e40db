/** Many random histories: what failed, which marks were met. Every tenth seed runs twice and must be the same run. */
import { HISTORY_MARKS, runHistory, type Planted } from "./history.ts";

const CANARY_EVERY = 10;

export interface HistorySweep {
  /** A text per failed seed, with the command that replays it. */
  readonly failures: string[];
  readonly marks: ReadonlyMap<string, number>;
  readonly missing: readonly string[];
  /** What clients did in all. */
  readonly operations: number;
  readonly seconds: number;
}

export async function sweepHistories(
  count: number,
  from: number,
  failed: (text: string) => void = () => {},
): Promise<HistorySweep> {
  const marks = new Map<string, number>();
  const failures: string[] = [];
  const begin = performance.now();
  let operations = 0;
  for (let seed = from; seed < from + count; seed++) {
    try {
      const result = await runHistory(String(seed));
      operations += result.operations;
      for (const [name, number] of result.marks) marks.set(name, (marks.get(name) ?? 0) + number);
      if (seed % CANARY_EVERY === 0 && (await runHistory(String(seed))).digest !== result.digest)
        throw new Error("the same seed gave two different histories");
    } catch (error) {
      const replay = `npm run sim -- --history ${seed} --trace`;
      const text = `history ${seed} failed: ${(error as Error).message}\n  replay: ${replay}`;
      failures.push(text);
      failed(text);
    }
  }
  const missing = HISTORY_MARKS.filter((name) => !marks.has(name));
  return { failures, marks, missing, operations, seconds: (performance.now() - begin) / 1000 };
}

/** Looks for a fault that histories with something planted must show; returns what was found instead where none does. */
export async function missedFault(planted: () => Planted, pattern: RegExp, count: number): Promise<string[] | null> {
  const others: string[] = [];
  for (let seed = 0; seed < count; seed++) {
    try {
      await runHistory(String(seed), planted());
    } catch (error) {
      const text = (error as Error).message;
      if (pattern.test(text)) return null;
      others.push(text);
    }
  }
  return others;
}
