/** How the kernel chooses tasks when memory is short (the shell option `oom.adjust` in flux-shell-options(7)). */
import { utf8Decode, utf8Encode } from "../../base/bytes.ts";
import { FluxError, isFluxError } from "../../base/errors.ts";
import { isJsonObject } from "../../base/json.ts";
import { unpackedText } from "../options.ts";
import { ShellLogLevel, type PluginFactory, type RunningTask, type ShellContext } from "../plugin.ts";

const COMPONENT = "oom";
const ADJUST_MAX = 1000;

export const oomPlugin: PluginFactory = (shell) => {
  const options = shell.plan.options.value(COMPONENT);
  if (options !== undefined && !isJsonObject(options)) throw new FluxError("EINVAL", "oom: expected an object");
  const unknown = isJsonObject(options) ? Object.keys(options).filter((name) => name !== "adjust") : [];
  if (unknown.length > 0) throw new FluxError("EINVAL", unpackedText(unknown));
  const value = shell.plan.options.value("oom.adjust");
  if (value === undefined) return null;
  const score = typeof value === "number" || typeof value === "string" ? Number(value) : NaN;
  if (!Number.isInteger(score) || Math.abs(score) > ADJUST_MAX) {
    const wanted = `an integer from ${-ADJUST_MAX} to ${ADJUST_MAX}`;
    shell.log(ShellLogLevel.error, `ignoring oom.adjust=${String(value)}: ${wanted} is wanted`, COMPONENT);
    return null;
  }
  return {
    prepare(_task, launch) {
      launch.oomScoreAdjust = score;
    },
    spawned: (task) => check(shell, task, score),
  };
};

/** Where it was not done with the start, it is done now, or said why not. */
function check(shell: ShellContext, { pid, plan }: RunningTask, score: number): void {
  const path = `/proc/${pid}/oom_score_adj`;
  const { disk } = shell.host.ports;
  try {
    if (Number(utf8Decode(disk.readFile(path))) === score) return;
    const file = disk.openLog(path);
    try {
      file.append(utf8Encode(String(score)));
    } finally {
      file.close();
    }
  } catch (error) {
    if (!isFluxError(error)) throw error;
    // One that has ended already needs no score.
    if (error.is("ENOENT") || error.is("ESRCH")) return;
    shell.log(ShellLogLevel.warning, `task ${plan.rank}: oom.adjust=${score}: ${error.message}`, COMPONENT);
  }
}
