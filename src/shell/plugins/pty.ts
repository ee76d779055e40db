/**
 * Terminals for tasks (the shell option `pty` in flux-shell-options(7)): a task on a chosen rank has a pseudo terminal in
 * the place of its standard streams. What it prints is standard output; what is sent to it is typed.
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../../base/json.ts";
import { Idset } from "../../formats/idset.ts";
import { ShellLogLevel, type PluginFactory, type ShellContext } from "../plugin.ts";

const COMPONENT = "pty";
const SIZE = { rows: 24, columns: 80 } as const;
const KNOWN: ReadonlySet<string> = new Set(["ranks", "capture", "interactive"]);

export const ptyPlugin: PluginFactory = (shell) => {
  const choice = shell.plan.options.value("pty");
  if (choice === undefined || choice === 0 || choice === false) return null;
  const ranks = terminalRanks(shell, isJsonObject(choice) ? choice : {});
  return {
    name: "pty",
    prepare(task, launch) {
      if (ranks.has(task.rank)) launch.pty = { ...SIZE };
    },
  };
};

/** The task ranks that have a terminal. Throws FluxError EINVAL. */
function terminalRanks(shell: ShellContext, choice: JsonObject): Idset {
  const unknown = Object.keys(choice).filter((name) => !KNOWN.has(name));
  if (unknown.length > 0) throw new FluxError("EINVAL", `invalid shell pty option: ${unknown.join(", ")}`);
  const isInteractive = choice["interactive"] !== undefined && choice["interactive"] !== false;
  const wanted = choice["ranks"] ?? (isInteractive ? 0 : "all");
  const ranks = wanted === "all" ? Idset.upTo(shell.plan.taskCount) : parseRanks(wanted);
  if (!isInteractive || ranks.has(0)) return ranks;
  if (shell.isLeader) shell.log(ShellLogLevel.warning, "pty: adding pty to rank 0 for interactive support", COMPONENT);
  ranks.add(0);
  return ranks;
}

function parseRanks(value: JsonValue): Idset {
  try {
    return Idset.parse(String(value));
  } catch (error) {
    throw new FluxError("EINVAL", `invalid shell option pty.ranks=${String(value)}`, { cause: error });
  }
}
