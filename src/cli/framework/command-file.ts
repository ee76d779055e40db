/** What a file in `commands/` exports: one command, or several by name. Knows nothing of how it is loaded. */
import type { Command } from "./command.ts";

export interface CommandFile {
  readonly command?: Command;
  readonly commands?: Readonly<Record<string, Command>>;
}

/** The command of a name in the file that the registry gives for it. */
export function commandIn(file: CommandFile, name: string): Command {
  const command = file.commands?.[name] ?? file.command;
  if (command === undefined) throw new Error(`the file of command '${name}' does not export it`);
  return command;
}
