/**
 * member.mjs N: one task of ensemble member N. Its task rank decides the year; it computes the forecast error of its
 * parameter set over that year and puts everything it found into the KVS in one atomic commit.
 */
import { KvsTransaction, openFlux } from "flux-ts";
import { forecastError, parametersOf, YEARS } from "./model.mjs";
import { openCurrentKvs } from "./store.mjs";

const member = Number(process.argv[2]);
const year = YEARS[Number(process.env.FLUX_TASK_RANK)];
const parameters = parametersOf(member);
const flux = await openFlux();
const kvs = await openCurrentKvs(flux);
const temperatures = await kvs.get(`forecast.data.${year}`);
const key = `forecast.member.${member}.${year}`;
await kvs.commit(
  new KvsTransaction()
    .put(`${key}.error`, forecastError(temperatures, parameters))
    .put(`${key}.days`, temperatures.length),
);
flux.close();
