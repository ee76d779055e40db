/** `flux help [COMMAND]`: the front page, or the manual of one command. */
import { defineCommand, type Command } from "../framework/command.ts";
import { frontPageText } from "../framework/front-page.ts";
import { manualText } from "../framework/manual.ts";
import { loadCommand } from "../framework/load.ts";
import { findInPath } from "../framework/external.ts";
import { COMMANDS } from "../registry.ts";
import { runInEnvironment } from "./env.ts";

export const command: Command = defineCommand({
  name: "help",
  dialect: "getopt",
  usageProgram: "flux help",
  program: "flux",
  summary: "Display help information for flux commands",
  usage: "[OPTIONS...] [COMMAND...]",
  async run(context) {
    const { host } = context;
    const [name, ...rest] = context.operands;
    if (name === undefined) {
      context.out(frontPageText());
      return 0;
    }
    const entry = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
    if (entry === undefined) {
      // Programs and functions that somebody else installed have a page of their own.
      const page = /^flux[-_]/.test(name) ? name : `flux-${name}`;
      if (findInPath("man") !== null) return runInEnvironment(context, ["man", page], environmentOf(host.env));
      context.err(`No manual entry for ${page}\n`);
      return 1;
    }
    let command = await loadCommand(name, entry);
    const path: [Command, ...Command[]] = [command];
    for (const word of rest) {
      const sub = command.subcommands?.find((each) => each.name === word);
      if (sub === undefined) break;
      path.push((command = sub));
    }
    context.out(await manualText(path));
    return 0;
  },
});

function environmentOf(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined)) as Record<string, string>;
}
