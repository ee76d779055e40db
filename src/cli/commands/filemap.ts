/** `flux filemap`: what `flux archive` was called once; old scripts go on, and are told. */
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";
import { create, extract, extractFromOptions, list, remove } from "./archive.ts";

const NOTICE = "⚠️This command is deprecated.⚠️   Use flux-archive(1) instead.\n";

/** A subcommand under its old name; it says that it is old, unless it only tells something. */
function renamed(command: Command, name: string, hasNotice = true): Command {
  const run = command.run!;
  const announced = (context: CommandContext): ReturnType<typeof run> => {
    const isUse = name !== "map" || context.operands.length > 0;
    if (hasNotice && isUse) context.err(NOTICE);
    return run(context);
  };
  return { ...command, name, usage: "[OPTIONS]...", run: announced };
}

export const command: Command = defineCommand({
  name: "filemap",
  program: "flux",
  usageProgram: "flux filemap",
  dialect: "getopt",
  summary: "Use flux-archive(1) instead",
  usage: "COMMAND [OPTIONS]",
  description: NOTICE.trimEnd(),
  subcommands: [
    renamed(create, "map"),
    renamed(remove, "unmap"),
    renamed(list, "list", false),
    // Old scripts know of no option for links that lead elsewhere.
    renamed({ ...extract, run: (context) => extractFromOptions(context, true) }, "get"),
  ],
});
