/**
 * Binding of tasks to cores and GPUs (`cpu-affinity`, `gpu-affinity` in flux-shell-options(7)).
 *
 * Cores that this machine does not have (resources may be made up) bind nothing.
 */
import { FluxError } from "../../base/errors.ts";
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

/** Ids per task for a mode: all, none, an even share, or a list of sets. Throws FluxError EINVAL. */
export function assign(option: string, mode: string, ids: readonly number[], count: number): number[][] | null {
  if (mode === "off") return null;
  if (mode === "on") return Array.from({ length: count }, () => [...ids]);
  if (mode === "per-task") return divide(ids, count);
  if (!mode.startsWith("map:")) throw new FluxError("EINVAL", `${option}: invalid option: ${mode}`);
  const sets = mode.slice("map:".length).split(";").map(parseSet);
  return Array.from({ length: count }, (_, index) => sets[index % sets.length]!);
}

/** CPUs or GPUs of one set, at most. */
const SET_MAX = 8192;

/** A list of ids, or a bit mask. Throws FluxError EINVAL. */
function parseSet(text: string): number[] {
  if (!/^0x[0-9a-fA-F]+$/.test(text)) {
    const ids = Idset.parse(text);
    if (ids.count > SET_MAX) throw new FluxError("EINVAL", `'${text}' are more than ${SET_MAX} ids`);
    return [...ids];
  }
  if (text.length > SET_MAX / 4) throw new FluxError("EINVAL", `a mask of more than ${SET_MAX} bits`);
  const mask = BigInt(text);
  return Array.from({ length: mask.toString(2).length }, (_, bit) => bit).filter(
    (bit) => ((mask >> BigInt(bit)) & 1n) === 1n,
  );
}

/** The mode, and whether it is to be told or only told. */
function modeOf(shell: ShellContext, option: string): { mode: string; verbose: boolean; dryRun: boolean } {
  const words = (shell.plan.options.text(option) ?? "on").split(",");
  const verbose = words.includes("verbose");
  const dryRun = words.includes("dry-run");
  const mode = words.filter((word) => word !== "verbose" && word !== "dry-run").join(",");
  return { mode: mode === "" ? "on" : mode, verbose: verbose || dryRun, dryRun };
}

export const cpuAffinityPlugin: PluginFactory = (shell) => {
  const { mode, verbose, dryRun } = modeOf(shell, "cpu-affinity");
  const sets = assign("cpu-affinity", mode, shell.plan.cores, shell.plan.tasks.length);
  if (sets === null) return null;
  const existing = new Set(shell.host.ports.host.cores);
  return {
    name: "cpu-affinity",
    prepare(task, launch) {
      const cpus = sets[task.localId]!.filter((id) => existing.has(id));
      if (verbose) shell.log(ShellLogLevel.notice, `task ${task.rank}: cpus: ${Idset.from(cpus)}`);
      if (!dryRun && cpus.length > 0 && cpus.length < existing.size) launch.cpus = cpus;
    },
  };
};

export const gpuAffinityPlugin: PluginFactory = (shell) => {
  const { mode } = modeOf(shell, "gpu-affinity");
  const sets = assign("gpu-affinity", mode, shell.plan.gpus, shell.plan.tasks.length);
  if (sets === null) return null;
  return {
    name: "gpu-affinity",
    prepare(task, { env }) {
      env["CUDA_VISIBLE_DEVICES"] = shell.plan.gpus.length === 0 ? "-1" : sets[task.localId]!.join(",");
      env["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID";
    },
  };
};
