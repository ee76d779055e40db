/** Resource limits of tasks (the shell option `rlimit`). */
import { utf8Decode } from "../../base/bytes.ts";
import { FluxError, isFluxError } from "../../base/errors.ts";
import { isJsonObject, stringifyJson } from "../../base/json.ts";
import type { Disk } from "../../base/ports.ts";
import { parseProcLimits, RLIMITS, type ProcLimit } from "../../formats/rlimit.ts";
import { ShellLogLevel, type PluginFactory } from "../plugin.ts";

const COMPONENT = "rlimit";
const LIMITS_FILE = "/proc/self/limits";

type ProcLimits = Readonly<Record<string, ProcLimit>>;

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
  for (const name of exceeding(wanted, ownLimits(shell.host.ports.disk))) {
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
export function exceeding(wanted: Readonly<Record<string, number>>, own: ProcLimits): string[] {
  const asNumber = (limit: number): number => (limit < 0 ? Infinity : limit);
  return Object.entries(wanted)
    .filter(([name, limit]) => asNumber(limit) > (own[name]?.hard ?? Infinity))
    .map(([name]) => name);
}

/** Those of this process do not change: most jobs bring limits, and they are looked up once. */
const known = new WeakMap<Disk, ProcLimits>();

/** The limits of this process by name, as far as the system tells. */
function ownLimits(disk: Disk): ProcLimits {
  let limits = known.get(disk);
  if (limits === undefined) known.set(disk, (limits = parseProcLimits(read(disk))));
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
