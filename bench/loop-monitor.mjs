/**
 * Preloaded into the processes of an instance (NODE_OPTIONS): appends once a second what their event loop and their
 * memory did, to a file of their own in $FLUX_BENCH_LOOPS.
 */
import { appendFileSync } from "node:fs";
import { monitorEventLoopDelay, performance } from "node:perf_hooks";

const folder = process.env.FLUX_BENCH_LOOPS;
if (folder !== undefined) {
  const delays = monitorEventLoopDelay({ resolution: 1 });
  delays.enable();
  let before = performance.eventLoopUtilization();
  setInterval(() => {
    const used = performance.eventLoopUtilization(before);
    before = performance.eventLoopUtilization();
    const { rss, heapUsed, external } = process.memoryUsage();
    const line = {
      atMs: Date.now(),
      command: process.argv.slice(2, 4).join(" "),
      p99Ms: delays.percentile(99) / 1e6,
      maxMs: delays.max / 1e6,
      busy: used.utilization,
      rss,
      heapUsed,
      external,
    };
    appendFileSync(`${folder}/${process.pid}`, `${JSON.stringify(line)}\n`);
    delays.reset();
  }, 1000).unref();
}
