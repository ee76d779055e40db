/** Resource limits of tasks (the shell option `rlimit`). */
import { utf8Decode } from "../../base/bytes.ts";
import { FluxError, isFluxError } from "../../base/errors.ts";
import { isJsonObject, stringifyJson } from "../../base/json.ts";
import type { Disk } from "../../base/ports.ts";
import { RLIMITS } from "../../formats/rlimit.ts";
import { ShellLogLevel, type PluginFactory } from "../plugin.ts";

const COMPONENT = "rlimit";
const LIMITS_FILE = "/proc/self/limits";
/** How the kernel calls them there. */
const TITLES: Readonly<Record<string, string>> = {
  cpu: "Max cpu time",
  fsize: "Max file size",
  data: "Max data size",
  stack: "Max stack size",
  core: "Max core file size",
  rss: "Max resident set",
  nproc: "Max processes",
  nofile: "Max open files",
  memlock: "Max locked memory",
  as: "Max address space",
};

/** Throws FluxError EINVAL. */
export const limitsPlugin: PluginFactory = (shell) => {
  const limits = shell.plan.options.value(COMPONENT);
  if (!isJsonObject(limits)) return null;
  const wanted: Record<string, number> = {};
  for (const [name, value] of Object.entries(limits)) {
    if (!Object.hasOwn(RLIMITS, name) || (typeof value !== "number" && typeof value !== "bigint"))
      throw new FluxError("EINVAL", `invalid shell option rlimit.${name}=${stringifyJson(value)}`);
    wanted[name] = Number(value);
  }
  for (const name of exceeding(wanted, hardLimits(shell.host.ports.disk))) {
    const text = `${name} exceeds current max, raising value to hard limit`;
    shell.log(ShellLogLevel.warning, text, COMPONENT);
  }
  return {
    prepare(_task, launch) {
      Object.assign(launch.rlimits, wanted);
    },
  };
};

/** The limits among those wanted that the hard ones do not allow. */
export function exceeding(wanted: Readonly<Record<string, number>>, hard: Readonly<Record<string, number>>): string[] {
  const asNumber = (limit: number): number => (limit < 0 ? Infinity : limit);
  return Object.entries(wanted)
    .filter(([name, limit]) => asNumber(limit) > (hard[name] ?? Infinity))
    .map(([name]) => name);
}

/** Those of this process do not change: most jobs bring limits, and they are looked up once. */
const known = new WeakMap<Disk, Readonly<Record<string, number>>>();

/** Hard limits by name, as far as the system tells. */
function hardLimits(disk: Disk): Readonly<Record<string, number>> {
  let limits = known.get(disk);
  if (limits === undefined) known.set(disk, (limits = parseHardLimits(read(disk))));
  return limits;
}

/** Reads a table of limits (proc(5)): a title, the soft limit, the hard one, a unit. */
export function parseHardLimits(table: string): Record<string, number> {
  const limits: Record<string, number> = {};
  for (const [name, title] of Object.entries(TITLES)) {
    const line = table.split("\n").find((each) => each.startsWith(`${title} `));
    const hard = line?.slice(title.length).trim().split(/\s+/)[1];
    if (hard !== undefined) limits[name] = hard === "unlimited" ? Infinity : Number(hard);
  }
  return limits;
}

function read(disk: Disk): string {
  try {
    return utf8Decode(disk.readFile(LIMITS_FILE));
  } catch (error) {
    // There is no such file on this system.
    if (isFluxError(error)) return "";
    throw error;
  }
}
