/** Loads the file of a command, whether sources or compiled files run. */
import type { Command } from "./command.ts";
import type { Entry } from "../registry.ts";

const EXTENSION = import.meta.url.slice(import.meta.url.lastIndexOf("."));

/** The command of an entry of the registry. A file with one command exports it as `command`. */
export async function loadCommand(name: string, entry: Entry): Promise<Command> {
  const url = new URL(`../commands/${entry.file}${EXTENSION}`, import.meta.url).href;
  const module = (await import(url)) as { command?: Command; commands?: Readonly<Record<string, Command>> };
  const command = module.commands?.[name] ?? module.command;
  if (command === undefined) throw new Error(`commands/${entry.file} has no command '${name}'`);
  return command;
}
