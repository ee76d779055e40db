/** `flux top`: running jobs and the state of an instance, live (flux-top(1)). */
import { defineCommand, type Command } from "../framework/command.ts";

export const command: Command = defineCommand({
  name: "top",
  dialect: "getopt",
  connectionWords: "error connecting to Flux",
  summary: "display running Flux jobs",
  usage: "[OPTIONS] [TARGET]",
  options: [
    {
      names: ["color"],
      argument: "WHEN",
      optionalArgument: true,
      help: "Colorize output when supported; WHEN can be 'always' (default if omitted), 'never', or 'auto' (default).",
    },
    { names: ["queue"], short: "q", argument: "NAME", help: "Limit to jobs belonging to a specific queue" },
    { names: ["test-exit"], hidden: true, help: "Exit after the display has been drawn once" },
    { names: ["test-exit-dump"], argument: "FILE", hidden: true, help: "Write what is shown to FILE before that" },
  ],
  operands: [{ name: "TARGET", arity: "?" }],
  examples: ["flux top", "flux top --queue=batch", "flux top JOBID"],
  async run(context) {
    if (context.operands.length > 1) context.failUsage();
    const { runTop } = await import("../top/run.ts");
    return runTop(context);
  },
});
