/**
 * The processors of this machine that this process may use, as Linux tells them.
 *
 * Flux counts cores, not hardware threads: a core is a distinct pair of package and core id. Cores are numbered from 0
 * in the order of their first CPU, among the cores of which at least one CPU is allowed.
 */
import { readFileSync } from "node:fs";
import { cpus } from "node:os";
import { nativeAddon } from "./native.ts";

const CPU_FOLDER = "/sys/devices/system/cpu";

/** The numbers in a list such as "0-3,8". */
export function parseCpuList(text: string): number[] {
  const numbers: number[] = [];
  for (const part of text.trim().split(",")) {
    const match = /^(\d+)(?:-(\d+))?$/.exec(part);
    if (match === null) continue;
    for (let cpu = Number(match[1]); cpu <= Number(match[2] ?? match[1]); cpu++) numbers.push(cpu);
  }
  return numbers;
}

function textOf(path: string): string | null {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    // Containers and other systems lack parts of /proc and /sys.
    return null;
  }
}

/** The CPU numbers this process may run on. */
export function allowedCpus(): number[] {
  const native = nativeAddon()?.affinity() ?? [];
  if (native.length > 0) return native;
  const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(textOf("/proc/self/status") ?? "")?.[1];
  const allowed = parseCpuList(list ?? "");
  return allowed.length > 0 ? allowed : cpus().map((_, index) => index);
}

/** Groups CPUs into cores by what `topology` says of each: equal names belong together. */
export function groupIntoCores(allowed: readonly number[], topology: (cpu: number) => string): number[][] {
  const cores = new Map<string, number[]>();
  for (const cpu of [...allowed].sort((left, right) => left - right)) {
    const name = topology(cpu);
    const core = cores.get(name);
    if (core === undefined) cores.set(name, [cpu]);
    else core.push(cpu);
  }
  return [...cores.values()];
}

/** All CPUs that work, whoever may use them. */
export function onlineCpus(): number[] {
  const online = parseCpuList(textOf(`${CPU_FOLDER}/online`) ?? "");
  return online.length > 0 ? online : cpus().map((_, index) => index);
}

/** The CPUs of each core, by logical core number: those that are allowed, or others. */
export function coresOfThisMachine(numbers: readonly number[] = allowedCpus()): number[][] {
  return groupIntoCores(numbers, (cpu) => {
    const core = textOf(`${CPU_FOLDER}/cpu${cpu}/topology/core_id`);
    const socket = textOf(`${CPU_FOLDER}/cpu${cpu}/topology/physical_package_id`);
    return core === null || core === "-1" ? `cpu ${cpu}` : `${socket}:${core}`;
  });
}

/** What of the machine tells its GPUs; a parameter so that tests need none. */
export interface GpuSources {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Names in /dev. */
  readonly deviceNames: readonly string[];
  /** Names in /sys/class/kfd/kfd/topology/nodes that are GPUs; AMD's driver lists them there. */
  readonly amdCount: number;
}

/**
 * Logical ids of the GPUs: as many as the environment makes visible (CUDA_VISIBLE_DEVICES, ROCR_VISIBLE_DEVICES), else
 * as many as there are devices. Empty where there are none.
 */
export function gpusFrom(sources: GpuSources): number[] {
  const nvidiaCount = sources.deviceNames.filter((name) => /^nvidia\d+$/.test(name)).length;
  const count =
    visibleCount(sources.env["CUDA_VISIBLE_DEVICES"], nvidiaCount) +
    visibleCount(sources.env["ROCR_VISIBLE_DEVICES"], sources.amdCount);
  return Array.from({ length: count }, (_, index) => index);
}

/** A list of devices ends at the first that is not valid, and never adds a device that the machine lacks. */
function visibleCount(list: string | undefined, present: number): number {
  if (list === undefined || present === 0) return present;
  const names = list.split(",").map((name) => name.trim());
  const end = names.findIndex((name) => name === "" || name === "-1");
  return Math.min(present, end < 0 ? names.length : end);
}
