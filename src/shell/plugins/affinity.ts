/**
 * Binding of tasks to cores and GPUs (`cpu-affinity`, `gpu-affinity` in flux-shell-options(7)).
 *
 * Cores that this machine does not have (resources may be made up) bind nothing.
 */
import { FluxError, isFluxError } from "../../base/errors.ts";
import { Idset } from "../../formats/idset.ts";
import { ShellLogLevel, type PluginFactory, type ShellContext } from "../plugin.ts";

/** Which of `ids` each of `count` tasks gets: by an even division, shared where there are more tasks than ids. */
export function divide(ids: readonly number[], count: number): number[][] {
  return Array.from({ length: count }, (_, index) => {
    const first = Math.floor((index * ids.length) / count);
    const last = Math.max(first + 1, Math.floor(((index + 1) * ids.length) / count));
    return ids.slice(first, last);
  });
}

/** Ids per task for a mode: all, none, an even share, or a list of sets; undefined: there is no such mode. Throws FluxError EINVAL. */
export function assign(
  option: string,
  mode: string,
  ids: readonly number[],
  count: number,
): number[][] | null | undefined {
  if (mode === "off") return null;
  if (mode === "on") return Array.from({ length: count }, () => [...ids]);
  if (mode === "per-task") return divide(ids, count);
  if (!mode.startsWith("map:")) return undefined;
  if (mode === "map:") throw new FluxError("EINVAL", `no cpusets found in affinity list`);
  const sets = mode
    .slice("map:".length)
    .split(";")
    .map((text) => parseSet(option, text));
  return Array.from({ length: count }, (_, index) => sets[index % sets.length]!);
}

/** CPUs or GPUs of one set, at most. */
const SET_MAX = 8192;

/** A list of ids, or a bit mask (in words of 32 bits, the highest first, as hwloc writes them). Throws FluxError EINVAL. */
function parseSet(option: string, text: string): number[] {
  const what =
    option === "gpu-affinity" ? `failed to parse gpu map ${text}` : `cpuset ${text} contains no cores or is invalid`;
  const invalid = new FluxError("EINVAL", what);
  if (!/^(0x[0-9a-fA-F]+)(,(0x)?[0-9a-fA-F]+)*$/.test(text)) {
    try {
      const ids = Idset.parse(text);
      if (ids.isEmpty || ids.count > SET_MAX) throw invalid;
      return [...ids];
    } catch (error) {
      throw isFluxError(error) ? invalid : error;
    }
  }
  if (text.length > SET_MAX / 4) throw new FluxError("EINVAL", `a mask of more than ${SET_MAX} bits`);
  const words = text.split(",").map((word) => BigInt(word.startsWith("0x") ? word : `0x${word}`));
  const mask = words.reduce((sum, word) => (sum << 32n) | word, 0n);
  if (mask === 0n) throw invalid;
  return Array.from({ length: mask.toString(2).length }, (_, bit) => bit).filter(
    (bit) => ((mask >> BigInt(bit)) & 1n) === 1n,
  );
}

interface Mode {
  readonly mode: string;
  /** The sets are told. */
  readonly isVerbose: boolean;
  /** The sets are only told. */
  readonly isDryRun: boolean;
}

function modeOf(shell: ShellContext, option: string): Mode {
  const words = (shell.plan.options.text(option) ?? "on").split(",");
  const isDryRun = words.includes("dry-run");
  const mode = words.filter((word) => word !== "verbose" && word !== "dry-run").join(",");
  return { mode: mode === "" ? "on" : mode, isVerbose: isDryRun || words.includes("verbose"), isDryRun };
}

/** The sets of the node's tasks; null where nothing is to be bound. A mode that there is not is warned of, and means "on". */
function setsOf(shell: ShellContext, option: string, { mode }: Mode, ids: readonly number[]): number[][] | null {
  const sets = assign(option, mode, ids, shell.plan.tasks.length);
  if (mode === "off") shell.log(ShellLogLevel.debug, `disabling affinity due to ${option}=off`, option);
  if (sets !== undefined) return sets;
  shell.log(ShellLogLevel.warning, `invalid option: ${mode}`, option);
  return assign(option, "on", ids, shell.plan.tasks.length) ?? null;
}

export const cpuAffinityPlugin: PluginFactory = (shell) => {
  const option = "cpu-affinity";
  const mode = modeOf(shell, option);
  const sets = setsOf(shell, option, mode, shell.plan.cores);
  if (sets === null) return null;
  const { cores, coreCpus } = shell.host.ports.host;
  const cpusOf = new Map(cores.map((core, index) => [core, coreCpus?.[index] ?? [core]]));
  const existing = new Set([...cpusOf.values()].flat());
  if (mode.isVerbose) shell.log(ShellLogLevel.notice, `cpus: ${Idset.from(shell.plan.cores)}`, option);
  return {
    prepare(task, launch) {
      const set = sets[task.localId]!;
      if (mode.isVerbose && mode.mode !== "on")
        shell.log(ShellLogLevel.notice, `task ${task.rank}: cpus: ${Idset.from(set)}`, option);
      const cpus = set.flatMap((core) => cpusOf.get(core) ?? []);
      if (!mode.isDryRun && cpus.length > 0 && cpus.length < existing.size) launch.cpus = cpus;
    },
  };
};

export const gpuAffinityPlugin: PluginFactory = (shell) => {
  const option = "gpu-affinity";
  const mode = modeOf(shell, option);
  const sets = setsOf(shell, option, mode, shell.plan.gpus);
  if (sets === null) return null;
  return {
    prepare(task, { env }) {
      const set = sets[task.localId]!;
      env["CUDA_VISIBLE_DEVICES"] = set.length === 0 ? "-1" : set.join(",");
      env["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID";
      if (mode.isVerbose) shell.log(ShellLogLevel.notice, `task ${task.rank}: gpus: ${Idset.from(set)}`, option);
    },
  };
};
