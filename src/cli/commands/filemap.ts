/** `flux filemap`: what `flux archive` was called once; old scripts go on, and are told. */
import { defineCommand, type Command, type CommandContext, type OptionSpec } from "../framework/command.ts";
import { create, createFromOptions, extract, extractFromOptions, list, OLD_NAME_OPTION, remove } from "./archive.ts";

const NOTICE = "⚠️This command is deprecated.⚠️   Use flux-archive(1) instead.\n";

/** A subcommand under its old name; it says that it is old, unless it only tells something. */
function renamed(command: Command, name: string, hasNotice = true): Command {
  const run = command.run!;
  const announced = (context: CommandContext): ReturnType<typeof run> => {
    const isUse = name !== "map" || context.operands.length > 0;
    if (hasNotice && isUse) context.err(NOTICE);
    return run(context);
  };
  const options = [...(command.options ?? []), OLD_NAME_OPTION, ...(name === "map" ? [notMapped] : [])];
  return { ...command, name, usage: "[OPTIONS]...", options, run: announced };
}

const notMapped: OptionSpec = { names: ["disable-mmap"], hidden: true, help: "" };

/** Larger files stay in place, unless that is not wanted or cannot be. */
function map(context: CommandContext): Promise<void> {
  const isOff = ["disable-mmap", "preserve", "no-force-primary"].some((option) => context.options.has(option));
  return createFromOptions(context, !isOff);
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
    renamed({ ...create, run: map }, "map"),
    renamed(remove, "unmap"),
    renamed(list, "list", false),
    // Old scripts know of no option for links that lead elsewhere.
    renamed({ ...extract, run: (context) => extractFromOptions(context, true) }, "get"),
  ],
});
