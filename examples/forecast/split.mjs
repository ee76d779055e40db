/**
 * split.mjs FILE: cuts the weather record into years and puts each year's temperatures into the KVS, all in one commit.
 */
import { readFileSync } from "node:fs";
import { Kvs, KvsTransaction, openFlux } from "flux-ts";
import { temperaturesOf, YEARS } from "./model.mjs";

const csv = readFileSync(process.argv[2], "utf8");
const flux = await openFlux();
const transaction = new KvsTransaction();
for (const year of YEARS) transaction.put(`forecast.data.${year}`, temperaturesOf(csv, year));
const { rootseq } = await new Kvs(flux).commit(transaction);
console.log(`${YEARS.length} years of temperatures stored in version ${rootseq}`);
flux.close();
