/**
 * What a job used of its node (the shell option `sysmon` in flux-shell-options(7)): the load of all CPUs and the greatest
 * memory of the tasks with all they started, logged at the end; at verbosity 2 every sample, too.
 *
 * Memory is what the process groups of the tasks have resident, sampled: what comes and goes between two samples is not
 * seen.
 */
import { utf8Decode } from "../../base/bytes.ts";
import { FluxError, isFluxError } from "../../base/errors.ts";
import { isJsonObject } from "../../base/json.ts";
import type { Disk, TimerHandle } from "../../base/ports.ts";
import { unpackedText } from "../options.ts";
import { ShellLogLevel, type PluginFactory, type ShellContext } from "../plugin.ts";

const COMPONENT = "sysmon";
const PERIOD_SECONDS = 2;
const PAGE_BYTES = 4096;
const UNITS: readonly string[] = ["", "K", "M", "G", "T"];

/** Ticks of all CPUs together since the machine began. */
interface CpuTime {
  readonly busy: number;
  readonly total: number;
  readonly cpus: number;
}

export const sysmonPlugin: PluginFactory = (shell) => {
  if (!shell.plan.options.isOn(COMPONENT)) return null;
  const options = shell.plan.options.value(COMPONENT);
  const unknown = isJsonObject(options) ? Object.keys(options).filter((name) => name !== "period") : [];
  if (unknown.length > 0) throw new FluxError("EINVAL", `option parse error: ${unpackedText(unknown)}`);
  const seconds = shell.plan.options.seconds(`${COMPONENT}.period`, PERIOD_SECONDS);
  if (seconds === null || seconds === 0 || seconds === Infinity)
    throw new FluxError("EINVAL", `sysmon.period is not a valid FSD`);
  const { disk } = shell.host.ports;
  const began = cpuTime(disk);
  let timer: TimerHandle | null = null;
  let last = began;
  let peakBytes = 0;
  const sample = (): void => {
    const bytes = residentBytes(disk, shell);
    peakBytes = Math.max(peakBytes, bytes);
    const now = cpuTime(disk);
    shell.log(ShellLogLevel.trace, `memory=${sizeText(bytes)} loadavg=${loadText(last, now)}`, COMPONENT);
    last = now;
  };
  const arm = (): void => {
    timer = shell.clock.after(seconds * 1000, () => {
      sample();
      arm();
    });
  };
  return {
    started() {
      sample();
      arm();
    },
    finish() {
      timer?.cancel();
      shell.log(ShellLogLevel.notice, `memory.peak=${sizeText(peakBytes)}`, COMPONENT);
      shell.log(ShellLogLevel.notice, `loadavg-overall=${loadText(began, cpuTime(disk))}`, COMPONENT);
    },
    stop: () => timer?.cancel(),
  };
};

function read(disk: Disk, path: string): string {
  try {
    return utf8Decode(disk.readFile(path));
  } catch (error) {
    // The process has ended, or there is no such file on this system.
    if (isFluxError(error)) return "";
    throw error;
  }
}

function cpuTime(disk: Disk): CpuTime {
  const lines = read(disk, "/proc/stat").split("\n");
  const ticks = (lines[0] ?? "").trim().split(/\s+/).slice(1, 9).map(Number);
  const total = ticks.reduce((sum, count) => sum + count, 0);
  const idle = (ticks[3] ?? 0) + (ticks[4] ?? 0);
  return { busy: total - idle, total, cpus: lines.filter((line) => /^cpu\d/.test(line)).length };
}

/** How many CPUs were busy, on average. */
function loadText(from: CpuTime, to: CpuTime): string {
  const total = to.total - from.total;
  return (total <= 0 ? 0 : ((to.busy - from.busy) / total) * to.cpus).toFixed(2);
}

function residentBytes(disk: Disk, shell: ShellContext): number {
  const groups = new Set([...shell.runningTasks].map(({ pid }) => String(pid)));
  let pages = 0;
  for (const name of disk.list("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    // After the name in parentheses: state, parent, process group, session …; resident pages are the 24th of all.
    const fields = read(disk, `/proc/${name}/stat`)
      .replace(/^.*\) /s, "")
      .split(" ");
    if (groups.has(fields[2] ?? "") || groups.has(fields[3] ?? "")) pages += Number(fields[21] ?? 0);
  }
  return pages * PAGE_BYTES;
}

function sizeText(bytes: number): string {
  let size = bytes;
  let unit = 0;
  for (; size >= 1024 && unit < UNITS.length - 1; unit++) size /= 1024;
  return `${Number(size.toPrecision(4))}${UNITS[unit]}`;
}
