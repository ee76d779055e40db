/**
 * Memory that is given back: after gigabytes have passed through a process, the C library keeps hundreds of megabytes that
 * it has freed. They go back to the system when the process has little to do.
 *
 * Invariant: it is done in quiet only, since it takes milliseconds, and not again before there is something to be had.
 */
import { nativeAddon } from "./native.ts";

const PERIOD_MS = 5000;
/** The share of a period in which the event loop may have been busy. */
const QUIET_SHARE = 0.05;
/** So much more must be in use than after the last time. */
const WORTHWHILE_BYTES: number = 48 * 1024 * 1024;

/** From now on, as long as the process lives. Where there is no addon nothing is done. */
export function returnMemoryInQuiet(): void {
  const addon = nativeAddon();
  if (addon === null) return;
  let leastBytes = process.memoryUsage.rss();
  let before = performance.eventLoopUtilization();
  const timer = setInterval(() => {
    const now = performance.eventLoopUtilization();
    const share = performance.eventLoopUtilization(now, before).utilization;
    before = now;
    const usedBytes = process.memoryUsage.rss();
    if (share > QUIET_SHARE || usedBytes < leastBytes + WORTHWHILE_BYTES) return;
    addon.trimMemory();
    leastBytes = process.memoryUsage.rss();
  }, PERIOD_MS);
  timer.unref();
}
