/**
 * How the engine collects garbage in a process through which much data flows.
 *
 * By default V8 looks through the whole heap whenever some 32 MiB of array buffers were made: with hundreds of megabytes
 * a second that is ever so often, and each time everything stands still for some milliseconds. Counted together with the
 * heap, they are collected when there is reason to.
 */
import { setFlagsFromString } from "node:v8";

/** To be called once, early. */
export function expectBulkData(): void {
  setFlagsFromString("--external-memory-accounted-in-global-limit");
}
