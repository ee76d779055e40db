/** `flux bulksubmit`: one command line, many inputs, a job for each. */
import { utf8Decode } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";
import { type Command, type CommandContext, type ParsedOptions } from "../framework/command.ts";
import { optionsFrom } from "../framework/parse.ts";
import { progressOf, submitAll, waiterOf } from "./submit.ts";
import { BulkSubmitter } from "../submission/bulk.ts";
import { splitInputs, substituteInputs, type Methods } from "../submission/bulk-template.ts";
import { describeLine } from "../submission/describe.ts";
import { jobLog } from "../submission/job-log.ts";
import { BULKSUBMIT_OPTIONS, TOPICS_HINT } from "../submission/options.ts";
import { replicaCount, replicas, SubmissionBuilder, type Replica } from "../submission/replicate.ts";
import { definePluggableCommand, type SubmissionPlugins } from "../submission/plugins.ts";
import { submissionSource } from "../submission/source.ts";

export const command: Command = definePluggableCommand(
  {
    name: "bulksubmit",
    usageProgram: "flux bulksubmit",
    dialect: "argparse",
    summary: "submit jobs in bulk to a Flux instance",
    usage: "[OPTIONS...] COMMAND [ARGS...]",
    description:
      "Submit a series of commands given on the command line or on stdin, using an interface similar to GNU " +
      "parallel or xargs. Allows jobs to be submitted much faster than calling flux submit in a loop. Inputs on " +
      "the command line are separated from each other and the command with the special delimiter ':::'.",
    options: BULKSUBMIT_OPTIONS,
    operands: [{ name: "command", arity: "...", help: "Job command and initial arguments" }],
    stopAtOperand: true,
    examples: ["flux bulksubmit --wait ./member {} ::: $(seq 1 100)", "ls *.in | flux bulksubmit ./app {} {.%}.out"],
    topics: async () => (await import("../submission/topics.ts")).SUBMISSION_TOPICS,
    epilogue: TOPICS_HINT,
  },
  run,
);

interface Line {
  readonly options: ParsedOptions;
  readonly command: readonly string[];
}

/** The lines that a command line stands for, each made when it is asked for. */
interface Lines {
  readonly count: number;
  at(index: number): Line;
}

async function run(context: CommandContext, plugins: SubmissionPlugins): Promise<number> {
  const options = await plugins.initialized(context.options);
  const lines = await linesOf(context, options);
  if (lines.count === 0) throw new FluxError("EINVAL", "no jobs provided for bulk submission");
  const order = options.has("shuffle") ? shuffled(lines.count) : null;
  if (options.has("dry-run")) {
    for (let index = 0; index < lines.count; index++) {
      const line = lines.at(order?.[index] ?? index);
      context.out(`bulksubmit: submit ${describeLine(options, line.options, line.command)}\n`);
    }
    return 0;
  }
  // All lines are made before anything is opened: a mistake in one of them leaves no jobs behind.
  let jobs = 0;
  for (let index = 0; index < lines.count; index++) jobs += replicaCount(lines.at(index).options);
  const handle = await context.open();
  const [waiter, progress] = await Promise.all([waiterOf(context, handle), progressOf(context, jobs)]);
  const log = await jobLog(context, progress);
  const bulk = new BulkSubmitter(context, handle, { quiet: options.has("quiet"), waiter, progress });
  return submitAll(
    bulk,
    new SubmissionBuilder(submissionSource(context), plugins),
    allReplicas(context, lines, order),
    log,
  );
}

function* allReplicas(
  context: CommandContext,
  lines: Lines,
  order: Uint32Array | null,
): Generator<Replica, void, undefined> {
  const isVerbose = context.options.has("verbose");
  for (let index = 0; index < lines.count; index++) {
    const { options, command } = lines.at(order?.[index] ?? index);
    if (isVerbose) context.out(`bulksubmit: submit ${describeLine(context.options, options, command)}\n`);
    yield* replicas(options, command, "");
  }
}

async function linesOf(context: CommandContext, options: ParsedOptions): Promise<Lines> {
  const { operands } = context;
  const usesInput = !operands.some((word) => word.startsWith(":::")) || operands.includes("-");
  const input = usesInput ? utf8Decode(await context.readInput()) : "";
  const source = submissionSource(context);
  const separator = options.text("sep");
  if (separator === "") throw new FluxError("EINVAL", "empty separator");
  const split = (text: string): string[] => splitText(text, separator);
  const { command, count, at } = splitInputs(operands, (path) => split(path === "-" ? input : source.readText(path)));
  const methods = await methodsOf(options);
  const made = (index: number): Line => {
    const inputs = at(index);
    const given = options.given.map(({ name, value }) => ({
      name,
      value:
        value === null || name === "define" ? value : substituteInputs(value, inputs, index, methods, labelOf(name)),
    }));
    const words = command.map((word) => substituteInputs(word, inputs, index, methods));
    // A template that was given as one word is several.
    const split = words.length === 1 ? words[0]!.split(/\s+/).filter((part) => part !== "") : words;
    return { options: optionsFrom(given), command: split };
  };
  return { count, at: made };
}

async function methodsOf(options: ParsedOptions): Promise<Methods | undefined> {
  if (!options.has("define")) return undefined;
  const { parseDefinitions } = await import("../submission/define.ts");
  return parseDefinitions(options.list("define"));
}

/** How an option stands before its argument. */
function labelOf(name: string): string {
  const short = BULKSUBMIT_OPTIONS.find(({ names }) => names[0] === name)?.short;
  return short === undefined ? `--${name}=` : `-${short}`;
}

function splitText(text: string, separator: string | null): string[] {
  const parts = separator?.toLowerCase() === "none" ? text.split(/\s+/) : text.split(separator ?? "\n");
  return parts.filter((part) => part.trim() !== "");
}

function shuffled(count: number): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, index) => index);
  for (let last = count - 1; last > 0; last--) {
    const other = Math.floor(Math.random() * (last + 1));
    [order[last], order[other]] = [order[other]!, order[last]!];
  }
  return order;
}
