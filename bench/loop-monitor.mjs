/**
 * Preloaded into the processes of an instance (NODE_OPTIONS): appends once a second what their event loop and their
 * memory did, to a file of their own in $FLUX_BENCH_LOOPS.
 *
 * Delays of the loop are told twice: as time on the clock, which on a machine with other work is as long as that keeps
 * the processor, and as time of the processor that this thread used between two looks (a millisecond apart where nothing
 * takes longer): how long a turn was by what it did itself.
 */
import { appendFileSync } from "node:fs";
import { monitorEventLoopDelay, performance } from "node:perf_hooks";
import { isMainThread } from "node:worker_threads";

const LOOK_MS = 1;
const folder = process.env.FLUX_BENCH_LOOPS;

function usedMs() {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

if (folder !== undefined && isMainThread) {
  const delays = monitorEventLoopDelay({ resolution: LOOK_MS });
  delays.enable();
  let before = performance.eventLoopUtilization();
  let used = usedMs();
  let turns = [];
  setInterval(() => {
    const now = usedMs();
    turns.push(now - used);
    used = now;
  }, LOOK_MS).unref();
  setInterval(() => {
    const utilization = performance.eventLoopUtilization(before);
    before = performance.eventLoopUtilization();
    const { rss, heapUsed, external, arrayBuffers } = process.memoryUsage();
    turns.sort((left, right) => left - right);
    const line = {
      atMs: Date.now(),
      command: process.argv.slice(2, 4).join(" "),
      p99Ms: delays.percentile(99) / 1e6,
      maxMs: delays.max / 1e6,
      turnP99Ms: turns[Math.floor(turns.length * 0.99)] ?? 0,
      turnMaxMs: turns.at(-1) ?? 0,
      busy: utilization.utilization,
      rss,
      heapUsed,
      external,
      arrayBuffers,
    };
    appendFileSync(`${folder}/${process.pid}`, `${JSON.stringify(line)}\n`);
    delays.reset();
    turns = [];
  }, 1000).unref();
}
