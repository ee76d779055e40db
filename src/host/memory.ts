/**
 * Gives memory back to the system in quiet times. V8 leaves the garbage of a start-up, or of a thousand jobs, until much more
 * has gathered, and after gigabytes have passed the C library keeps hundreds of megabytes that were freed; a broker may then
 * do nothing for days.
 *
 * Invariants: it is done in quiet times only, and only if it is worth while, since it takes milliseconds. It keeps no process
 * alive. The flag that makes collection callable is set for that moment only: under another set of flags V8 refuses the
 * compiled code of bundles.
 */
import { nativeAddon } from "./native.ts";

const PERIOD_MS = 5000;
/** The share of a period in which the event loop may have been busy. */
const QUIET_SHARE = 0.05;
/** So much more must be in use than after the last time. */
const WORTHWHILE_BYTES: number = 48 * 1024 * 1024;

/** From now on, as long as the process lives. */
export function returnMemoryInQuiet(periodMs: number = PERIOD_MS): void {
  const addon = nativeAddon();
  let leastBytes: number | null = null;
  let before: ReturnType<typeof performance.eventLoopUtilization> | null = null;
  const timer = setInterval(() => {
    const now = performance.eventLoopUtilization();
    const share = before === null ? 1 : performance.eventLoopUtilization(now, before).utilization;
    before = now;
    if (share > QUIET_SHARE) return;
    if (leastBytes !== null && process.memoryUsage.rss() < leastBytes + WORTHWHILE_BYTES) return;
    collectGarbage();
    addon?.trimMemory();
    leastBytes = process.memoryUsage.rss();
  }, periodMs);
  timer.unref();
}

function collectGarbage(): void {
  const { setFlagsFromString } = process.getBuiltinModule("node:v8");
  const { runInNewContext } = process.getBuiltinModule("node:vm");
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as (options: object) => void;
  setFlagsFromString("--no-expose-gc");
  collect({ type: "major", execution: "sync", flavor: "last-resort" });
}
