/**
 * Finds the instance that a process of this machine belongs to: by the `FLUX_URI` in its environment. That of a broker is
 * of its parent instance: then its children are asked.
 */
import { readdirSync, readFileSync } from "node:fs";
import { FluxError } from "../../base/errors.ts";
import { systemError } from "../../host/errors.ts";

/** How deep a broker's children are searched: they may be parents of brokers again (`flux start`). */
const GENERATIONS_MAX = 4;

/** The URI of a process. Throws FluxError ENOENT, EACCES, EINVAL with a sentence. */
export function uriOfProcess(pid: string): string {
  if (!/^\d+$/.test(pid)) throw new FluxError("EINVAL", `'${pid}' is not a process id`);
  return processUri(pid, 0);
}

function processUri(pid: string, generation: number): string {
  if (!isBroker(pid)) return environmentOf(pid).get("FLUX_URI") ?? fail(pid, "doesn't seem to have a FLUX_URI");
  const children = generation < GENERATIONS_MAX ? childrenOf(pid) : [];
  for (const child of children) {
    try {
      return processUri(child, generation + 1);
    } catch (error) {
      // The next one may tell.
      if (!(error instanceof FluxError)) throw error;
    }
  }
  return fail(pid, "is a flux-broker and no child found");
}

function fail(pid: string, what: string): never {
  throw new FluxError("ENOENT", `PID ${pid} ${what}`);
}

/** The variables of processes that have some value for one of them: `LSB_JOBID=1234`. Others' processes are passed over. */
export function processesWith(name: string, value: string): string[] {
  return readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return environmentOf(pid).get(name) === value;
    } catch (error) {
      if (error instanceof FluxError) return false;
      throw error;
    }
  });
}

function environmentOf(pid: string): Map<string, string> {
  const variables = new Map<string, string>();
  for (const variable of readProc(`/proc/${pid}/environ`).split("\0")) {
    const at = variable.indexOf("=");
    if (at > 0) variables.set(variable.slice(0, at), variable.slice(at + 1));
  }
  return variables;
}

/** A broker, or the `flux start` that holds some: in whatever way it was called. */
function isBroker(pid: string): boolean {
  const words = readProc(`/proc/${pid}/cmdline`).split("\0");
  const command = words.findIndex((word) => /(^|\/)(flux|main\.js|flux\.cjs)$/.test(word));
  if (command < 0) return /(^|\/)flux-broker(-\d+)?$/.test(words[0] ?? "");
  return ["broker", "start"].includes(words[command + 1] ?? "");
}

function childrenOf(pid: string): string[] {
  if (process.env["FLUX_FORCE_BROKER_CHILD_FALLBACK"] === undefined) {
    try {
      return readProc(`/proc/${pid}/task/${pid}/children`)
        .split(" ")
        .filter((child) => child !== "");
    } catch (error) {
      // Not every kernel has that list.
      if (!(error instanceof FluxError)) throw error;
    }
  }
  return readdirSync("/proc").filter((other) => /^\d+$/.test(other) && parentOf(other) === pid);
}

function parentOf(pid: string): string | null {
  try {
    return /^\d+ \(.*\) \S (\d+)/s.exec(readProc(`/proc/${pid}/stat`))?.[1] ?? null;
  } catch (error) {
    // It has ended meanwhile.
    if (error instanceof FluxError) return null;
    throw error;
  }
}

function readProc(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw systemError(path, error);
  }
}
