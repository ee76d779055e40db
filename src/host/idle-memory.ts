/**
 * Gives back what a process needed to start. V8 leaves the garbage of the first seconds where it is until much more has come
 * together; a broker may then do nothing for days.
 *
 * Invariants: it is done once, when the process has had little to do for a while; it keeps no process alive. The flag that
 * makes collection callable is set for that moment only: under another set of flags V8 takes no compiled code of bundles.
 */
const LOOK_MS = 10_000;
/** The part of the time since the last look that the loop was busy. */
const IDLE_UTILIZATION = 0.05;

/** Collects all garbage, once, when this process is idle. */
export function trimMemoryWhenIdle(): void {
  const { performance } = process.getBuiltinModule("node:perf_hooks");
  let last = performance.eventLoopUtilization();
  const look = (): void => {
    const timer = setTimeout(() => {
      const now = performance.eventLoopUtilization();
      const { utilization } = performance.eventLoopUtilization(now, last);
      last = now;
      if (utilization < IDLE_UTILIZATION) collectGarbage();
      else look();
    }, LOOK_MS);
    timer.unref();
  };
  look();
}

function collectGarbage(): void {
  const { setFlagsFromString } = process.getBuiltinModule("node:v8");
  const { runInNewContext } = process.getBuiltinModule("node:vm");
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as (options: object) => void;
  setFlagsFromString("--no-expose-gc");
  collect({ type: "major", execution: "sync", flavor: "last-resort" });
}
