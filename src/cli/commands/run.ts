/** `flux run`: submit a job and stay attached to it. */
import { type Command, type CommandContext } from "../framework/command.ts";
import { ATTACH_DEFAULTS, attachJob, type AttachOptions } from "../jobs/attach.ts";
import { jobIdText } from "../jobs/client.ts";
import { RUN_OPTIONS, TOPICS_HINT } from "../submission/options.ts";
import { isRanks, taskJobspec } from "../submission/request.ts";
import { submitSingle } from "../submission/single.ts";
import { definePluggableCommand, type SubmissionPlugins } from "../submission/plugins.ts";
import { submissionSource } from "../submission/source.ts";

export const command: Command = definePluggableCommand(
  {
    name: "run",
    usageProgram: "flux run",
    dialect: "argparse",
    summary: "run a Flux job interactively",
    usage: "[OPTIONS...] COMMAND [ARGS...]",
    description: "run a job interactively",
    options: RUN_OPTIONS,
    operands: [{ name: "command", arity: "...", help: "Job command and arguments" }],
    stopAtOperand: true,
    examples: ["flux run -n4 hostname", "flux run -N2 --label-io ./app", "echo hello | flux run -n2 cat"],
    topics: async () => (await import("../submission/topics.ts")).SUBMISSION_TOPICS,
    epilogue: TOPICS_HINT,
  },
  run,
);

async function run(context: CommandContext, plugins: SubmissionPlugins): Promise<number> {
  const options = await plugins.initialized(context.options);
  const jobspec = await plugins.applied(taskJobspec(options, context.operands, submissionSource(context)), options);
  const submitted = await submitSingle(context, options, jobspec);
  if (submitted === null) return 0;
  const { handle, id } = submitted;
  const verbosity = options.count("verbose");
  if (verbosity > 0) context.err(`jobid: ${jobIdText(id)}\n`);
  return attachJob(context, handle, id, attachOptions(context));
}

function attachOptions(context: CommandContext): AttachOptions {
  const { options } = context;
  const verbosity = options.count("verbose");
  const input = options.text("input");
  return {
    ...ATTACH_DEFAULTS,
    label: options.has("label-io"),
    quiet: options.has("quiet"),
    showEvents: verbosity > 1,
    showExec: verbosity > 2,
    // With events shown, the job is followed to the last of them.
    waitEvent: options.text("wait-event") ?? ATTACH_DEFAULTS.waitEvent,
    stdinRanks: input !== null && isRanks(input) ? input : "all",
    showStatus: context.stdinIsTerminal && context.stdoutIsTerminal && context.stderrIsTerminal,
  };
}
