/**
 * aggregate.mjs FILE.svg: reads the results of all members, prints the best ones as a table and draws them all.
 */
import { writeFileSync } from "node:fs";
import { openFlux } from "flux-ts";
import { chart } from "./chart.mjs";
import { MEMBER_COUNT, parametersOf, YEARS } from "./model.mjs";
import { openCurrentKvs } from "./store.mjs";

const ROWS = 8;
const flux = await openFlux();
const kvs = await openCurrentKvs(flux);

async function resultOf(member) {
  const errors = await Promise.all(YEARS.map((year) => kvs.get(`forecast.member.${member}.${year}.error`)));
  const error = Math.sqrt(errors.reduce((sum, each) => sum + each * each, 0) / errors.length);
  return { member, ...parametersOf(member), errors, error };
}

const results = await Promise.all(Array.from({ length: MEMBER_COUNT }, (_, index) => resultOf(index + 1)));
await kvs.put("forecast.result", results);

const row = (cells) => cells.map((cell) => String(cell).padStart(10)).join("");
console.log(row(["member", "level", "trend", ...YEARS, "all (°C)"]));
for (const { member, levelGain, trendGain, errors, error } of results
  .toSorted((a, b) => a.error - b.error)
  .slice(0, ROWS))
  console.log(row([member, levelGain, trendGain, ...errors.map((each) => each.toFixed(3)), error.toFixed(3)]));
writeFileSync(process.argv[2], chart(results));
flux.close();
