/**
 * One small client: pings its broker and puts a small key, by turns, every few milliseconds. Each line of standard input
 * ends a phase: the latencies since the last one are printed as one line of JSON (milliseconds).
 *
 *     latency-probe.ts URI KEY
 */
import { createInterface } from "node:readline";
import { openFlux, Kvs } from "../src/host/sdk.ts";
import { summary } from "./measure.ts";

const PERIOD_MS = 2;

const handle = await openFlux(process.argv[2]);
const kvs = new Kvs(handle);
const key = process.argv[3]!;
let pings: number[] = [];
let puts: number[] = [];
const end = { isAsked: false };

async function timed(action: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await action();
  return performance.now() - begin;
}

async function probe(): Promise<void> {
  for (let count = 0; !end.isAsked; count++) {
    pings.push(await timed(() => handle.rpc("broker.ping", { seq: count })));
    puts.push(await timed(() => kvs.put(key, count)));
    await new Promise((resolve) => setTimeout(resolve, PERIOD_MS));
  }
  handle.close();
}

createInterface({ input: process.stdin })
  .on("line", () => {
    console.log(JSON.stringify({ ping: summary(pings), put: summary(puts) }));
    pings = [];
    puts = [];
  })
  .on("close", () => (end.isAsked = true));
await probe();
