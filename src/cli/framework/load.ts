/** Loads the file of a command, whether sources or compiled files run. In a bundle, what is needed is there already. */
import type { Entry } from "../registry.ts";
import type { Command } from "./command.ts";
import { commandIn, type CommandFile } from "./command-file.ts";

const EXTENSION = import.meta.url.slice(import.meta.url.lastIndexOf("."));

/** The command of an entry of the registry. */
export async function loadCommand(name: string, entry: Entry): Promise<Command> {
  const url = new URL(`../commands/${entry.file}${EXTENSION}`, import.meta.url).href;
  return commandIn((await import(url)) as CommandFile, name);
}
