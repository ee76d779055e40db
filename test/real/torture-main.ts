/** Rounds of `kill -9` from the command line: npm run torture -- [--rounds N] [--seed S] */
import { parseArgs } from "node:util";
import { torture } from "./torture.ts";

const { values: options } = parseArgs({
  options: { rounds: { type: "string", default: "200" }, seed: { type: "string", default: "1" } },
});

const begin = performance.now();
const result = await torture(Number(options.rounds), options.seed, (text) => console.log(text));
for (const failure of result.failures) console.log(`MISSING ${failure}`);
const kills = Array.from(result.kills, ([kill, count]) => `${kill} ${count}`).join(", ");
const seconds = ((performance.now() - begin) / 1000).toFixed(0);
console.log(
  `${result.rounds} rounds (${kills}): ${result.acknowledged} writes acknowledged, ${result.acknowledgedBig} of them long; ` +
    `${result.unanswered} happened without an answer; ${result.failures.length} missing; ${seconds} s`,
);
process.exit(result.failures.length === 0 ? 0 : 1);
