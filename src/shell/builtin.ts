/** The plugins that every shell has, by the names by which the log calls them, in the order in which they are called. */
import { cpuAffinityPlugin, gpuAffinityPlugin } from "./plugins/affinity.ts";
import { environmentPlugin } from "./plugins/environment.ts";
import { coprocessPlugin } from "./plugins/coprocess.ts";
import { filesPlugin } from "./plugins/files.ts";
import { exitPolicyPlugin } from "./plugins/exit-policy.ts";
import { hwlocPlugin } from "./plugins/hwloc.ts";
import { inputPlugin } from "./plugins/input.ts";
import { limitsPlugin } from "./plugins/limits.ts";
import { oomPlugin } from "./plugins/oom.ts";
import { outputPlugin } from "./plugins/output.ts";
import { pmiPlugin } from "./plugins/pmi.ts";
import { proctablePlugin } from "./plugins/proctable.ts";
import { ptyPlugin } from "./plugins/pty.ts";
import { rexecPlugin } from "./plugins/rexec.ts";
import { stageInPlugin } from "./plugins/stage-in.ts";
import { sysmonPlugin } from "./plugins/sysmon.ts";
import { warningSignalPlugin } from "./plugins/warning-signal.ts";
import type { PluginFactory } from "./plugin.ts";

export const BUILTIN_PLUGINS: Readonly<Record<string, PluginFactory>> = {
  environment: environmentPlugin,
  files: filesPlugin,
  "stage-in": stageInPlugin,
  "cpu-affinity": cpuAffinityPlugin,
  "gpu-affinity": gpuAffinityPlugin,
  rlimit: limitsPlugin,
  hwloc: hwlocPlugin,
  oom: oomPlugin,
  "pmi-simple": pmiPlugin,
  pty: ptyPlugin,
  output: outputPlugin,
  input: inputPlugin,
  "task-exit": exitPolicyPlugin,
  signal: warningSignalPlugin,
  proctable: proctablePlugin,
  rexec: rexecPlugin,
  sysmon: sysmonPlugin,
  coprocess: coprocessPlugin,
};
