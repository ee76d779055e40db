/** `flux help [COMMAND]`: the front page, or the manual of one command. */
import { defineCommand, type Command } from "../framework/command.ts";
import { frontPageText } from "../framework/front-page.ts";
import { manualText } from "../framework/manual.ts";
import { loadCommand } from "../framework/load.ts";
import { COMMANDS } from "../registry.ts";

export const command: Command = defineCommand({
  name: "help",
  dialect: "getopt",
  usageProgram: "flux help",
  program: "flux",
  summary: "Display help for a Flux command",
  usage: "[OPTIONS...] [COMMAND...]",
  async run(context) {
    const [name, ...rest] = context.operands;
    if (name === undefined) {
      context.out(frontPageText());
      return 0;
    }
    const entry = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
    if (entry === undefined) {
      context.err(`No manual entry for flux-${name}\n`);
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
