/** `--color` of commands of the getopt dialect. */
import type { CommandContext } from "../framework/command.ts";

/** Whether output is colored: `always`, `never`, or where it is for a terminal. Ends the command where it is misspelt. */
export function wantsColor(context: CommandContext): boolean {
  const { options } = context;
  const when = options.has("color") ? (options.text("color") ?? "always") : "auto";
  if (!["always", "never", "auto"].includes(when)) context.fail(`Invalid argument to --color: '${when}'`);
  return when === "always" || (when === "auto" && context.stdoutIsTerminal);
}
