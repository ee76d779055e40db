/** The names under which a command speaks of itself. */
import type { Command } from "./command.ts";

/** Where a command stands among commands: itself last, its parents before it. */
export type CommandPath = readonly [Command, ...Command[]];

/** The name that a command's messages begin with. */
export function programOf(path: CommandPath): string {
  for (const command of path.toReversed()) if (command.program !== undefined) return command.program;
  return `flux-${path[0].name}`;
}

/** The name that its usage begins with: program and subcommands. */
export function usageNameOf(path: CommandPath): string {
  const last = path.at(-1)!;
  if (last.usageProgram !== undefined) return last.usageProgram;
  const head = path[0].usageProgram ?? programOf(path);
  return [head, ...path.slice(1).map((command) => command.name)].join(" ");
}
