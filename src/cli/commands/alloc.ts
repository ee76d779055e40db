/** `flux alloc`: get resources and an instance on them, and stay attached to it. */
import { type Command, type CommandContext } from "../framework/command.ts";
import { ATTACH_DEFAULTS, attachJob } from "../jobs/attach.ts";
import { jobIdText } from "../jobs/client.ts";
import { allocJobspec } from "../submission/instance.ts";
import { ALLOC_OPTIONS, TOPICS_HINT } from "../submission/options.ts";
import { submitSingle } from "../submission/single.ts";
import { definePluggableCommand, type SubmissionPlugins } from "../submission/plugins.ts";
import { submissionSource } from "../submission/source.ts";

export const command: Command = definePluggableCommand(
  {
    name: "alloc",
    usageProgram: "flux alloc",
    dialect: "argparse",
    summary: "allocate a new Flux instance for interactive use",
    usage: "[OPTIONS...] [COMMAND] [ARGS...]",
    description:
      "Allocate resources and start a new Flux instance. Once the instance has started, attach to it interactively.",
    options: ALLOC_OPTIONS,
    operands: [
      {
        name: "COMMAND",
        arity: "...",
        help: "Set the initial COMMAND of new Flux instance.(default is an interactive shell)",
      },
    ],
    stopAtOperand: true,
    keepSeparator: true,
    examples: ["flux alloc -N2", "flux alloc -n4 flux run -n4 hostname", "flux alloc -N1 --bg"],
    topics: async () => (await import("../submission/topics.ts")).SUBMISSION_TOPICS,
    epilogue: TOPICS_HINT,
  },
  run,
);

async function run(context: CommandContext, plugins: SubmissionPlugins): Promise<number> {
  const { operands } = context;
  const options = await plugins.initialized(context.options);
  const background = options.has("bg");
  const terminal = context.stdinIsTerminal && context.stdoutIsTerminal;
  const built = allocJobspec(options, operands, submissionSource(context), terminal && !background);
  const jobspec = await plugins.applied(built, options);
  const submitted = await submitSingle(context, options, jobspec);
  if (submitted === null) return 0;
  const { handle, id } = submitted;
  if (background) {
    const { awaitInstance } = await import("../jobs/instance-start.ts");
    return awaitInstance(context, handle, id, options.has("verbose"));
  }
  if (options.has("verbose")) context.err(`jobid: ${jobIdText(id)}\n`);
  return attachJob(context, handle, id, {
    ...ATTACH_DEFAULTS,
    quiet: options.has("quiet"),
    showEvents: options.count("verbose") > 1,
    showStatus: terminal,
  });
}
