/** `flux batch`: submit a script as the initial program of an instance of its own. */
import { FluxError } from "../../base/errors.ts";
import { utf8DecodeStrict } from "../../base/bytes.ts";
import { parseDirectives } from "../../formats/directives.ts";
import { CommandExit, type Command, type CommandContext, type ParsedOptions } from "../framework/command.ts";
import { usageText } from "../framework/help.ts";
import { optionsFrom, parseLine, UsageError } from "../framework/parse.ts";
import { jobIdText } from "../jobs/client.ts";
import { batchJobspec, type BatchScript } from "../submission/instance.ts";
import { BATCH_OPTIONS, TOPICS_HINT } from "../submission/options.ts";
import { submitSingle } from "../submission/single.ts";
import { definePluggableCommand, type SubmissionPlugins } from "../submission/plugins.ts";
import { submissionSource } from "../submission/source.ts";

const EXIT_USAGE = 2;

export const command: Command = definePluggableCommand(
  {
    name: "batch",
    usageProgram: "flux batch",
    dialect: "argparse",
    summary: "submit a batch script to Flux",
    usage: "[OPTIONS...] [SCRIPT] [ARGS...]",
    description:
      "Submit a batch SCRIPT and ARGS to be run as the initial program of a Flux instance. If no batch script is provided, one will be read from stdin.",
    options: BATCH_OPTIONS,
    operands: [{ name: "SCRIPT", arity: "...", help: "Batch script and arguments to submit" }],
    stopAtOperand: true,
    examples: ["flux batch -N4 ./workflow.sh", "flux batch -n1 --wrap flux run hostname"],
    topics: async () => (await import("../submission/topics.ts")).SUBMISSION_TOPICS,
    epilogue: TOPICS_HINT,
  },
  run,
);

async function run(context: CommandContext, plugins: SubmissionPlugins): Promise<number> {
  const source = submissionSource(context);
  const isResumed = context.options.has("resume") && context.operands.length === 0 && !context.options.has("wrap");
  const script = isResumed ? null : await readScript(context, (path) => source.readFile(path).data);
  const given = script === null ? context.options : withDirectives(context, script);
  const options = await plugins.initialized(given);
  const jobspec = await plugins.applied(batchJobspec(options, script, source), options);
  const submitted = await submitSingle(context, options, jobspec);
  if (submitted === null) return 0;
  const { id } = submitted;
  if (!options.has("quiet")) context.out(`${jobIdText(id)}\n`);
  return 0;
}

async function readScript(context: CommandContext, readFile: (path: string) => Uint8Array): Promise<BatchScript> {
  const [first, ...args] = context.operands;
  const wrapped = context.options.has("wrap");
  if (wrapped && first !== undefined) return { name: first, text: `#!/bin/sh\n${context.operands.join(" ")}\n`, args };
  const name = first ?? "batch";
  const text = utf8DecodeStrict(first === undefined ? await context.readInput() : readFile(first));
  const source = first ?? "stdin";
  if (text === null || text.includes("\0"))
    throw new FluxError("EINVAL", `${source} does not appear to be a script, or failed to encode as utf-8`);
  if (!wrapped && !text.startsWith("#!")) throw new FluxError("EINVAL", `${source} does not appear to start with '#!'`);
  return { name, text: wrapped ? `#!/bin/sh\n${text}` : text, args };
}

/** The options with those of the script's directives, which the command line overrides. */
function withDirectives(context: CommandContext, script: BatchScript): ParsedOptions {
  const given = [];
  const where = context.operands.length === 0 ? "stdin" : script.name;
  for (const { line, args } of directivesOf(script, where)) {
    try {
      const parsed = parseLine(context.command, args);
      if (parsed.operands.length > 0)
        context.err(`flux-batch: WARNING: ${where} line ${line}: ignored: ${parsed.operands.join(" ")}\n`);
      given.push(...parsed.options.given);
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      context.complain(`argument parsing failed at ${where} line ${line}`);
      context.err(`${usageText([context.command])}flux batch: error: ${error.message}\n`);
      throw new CommandExit(EXIT_USAGE);
    }
  }
  return optionsFrom([...given, ...context.options.given]);
}

function directivesOf(script: BatchScript, where: string): ReturnType<typeof parseDirectives> {
  try {
    return parseDirectives(script.text);
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
    throw new FluxError(error.errnum, `${where}: ${error.message}`, { cause: error });
  }
}
