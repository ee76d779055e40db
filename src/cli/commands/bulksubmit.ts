/** `flux bulksubmit`: one command line, many inputs, a job for each. */
import { utf8Decode } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";
import { defineCommand, type Command, type CommandContext, type ParsedOptions } from "../framework/command.ts";
import { optionsFrom } from "../framework/parse.ts";
import { progressOf, waiterOf } from "./submit.ts";
import { BulkSubmitter } from "../submission/bulk.ts";
import { splitInputs, substituteInputs } from "../submission/bulk-template.ts";
import { jobLog } from "../submission/job-log.ts";
import { BULKSUBMIT_OPTIONS } from "../submission/options.ts";
import { replicaCount, replicas, SubmissionBuilder } from "../submission/replicate.ts";
import { submissionSource } from "../submission/source.ts";

/** Options that a dry run does not show: they are not those of one job. */
const NOT_SHOWN = ["time-limit", "sep", "shuffle"];

export const command: Command = defineCommand({
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
  run,
});

interface Line {
  readonly options: ParsedOptions;
  readonly command: readonly string[];
}

async function run(context: CommandContext): Promise<number> {
  const { options } = context;
  const lines = await linesOf(context);
  if (options.has("shuffle")) shuffle(lines);
  if (options.has("dry-run")) {
    for (const line of lines) context.out(`bulksubmit: submit ${describe(line)}\n`);
    return 0;
  }
  const handle = await context.open();
  const [waiter, progress, log] = await Promise.all([
    waiterOf(context, handle),
    progressOf(
      context,
      lines.reduce((sum, line) => sum + replicaCount(line.options), 0),
    ),
    jobLog(context),
  ]);
  const bulk = new BulkSubmitter(context, handle, { quiet: options.has("quiet"), waiter, progress });
  const builder = new SubmissionBuilder(submissionSource(context));
  for (const line of lines)
    for (const replica of replicas(line.options, line.command)) {
      const room = bulk.submit(builder.build(replica), log(replica.options), replica.label);
      if (room !== null) await room;
    }
  return bulk.finish();
}

/** The command line of each job. */
async function linesOf(context: CommandContext): Promise<Line[]> {
  const { options, operands } = context;
  if (operands.length === 0) throw new FluxError("EINVAL", "job command and arguments are missing");
  const usesInput = !operands.some((word) => word.startsWith(":::")) || operands.includes("-");
  const input = usesInput ? utf8Decode(await context.readInput()) : "";
  const source = submissionSource(context);
  const split = (text: string): string[] => splitText(text, options.text("sep"));
  const { command, sets } = splitInputs(operands, (path) => split(path === "-" ? input : source.readText(path)));
  return sets.map((inputs, sequence) => ({
    options: optionsFrom(
      options.given.map(({ name, value }) => ({
        name,
        value: value === null ? null : substituteInputs(value, inputs, sequence),
      })),
    ),
    command: command.flatMap((word) => {
      const text = substituteInputs(word, inputs, sequence);
      // A template that was given as one word is several.
      return command.length === 1 ? text.split(/\s+/).filter((part) => part !== "") : [text];
    }),
  }));
}

function splitText(text: string, separator: string | null): string[] {
  const parts = separator === "none" ? text.split(/\s+/) : text.split(separator ?? "\n");
  return parts.filter((part) => part.trim() !== "");
}

function shuffle(lines: Line[]): void {
  for (let last = lines.length - 1; last > 0; last--) {
    const other = Math.floor(Math.random() * (last + 1));
    [lines[last], lines[other]] = [lines[other]!, lines[last]!];
  }
}

/** How a dry run shows a job: the options that shape it, and its command. */
function describe(line: Line): string {
  const shown = line.options.given.flatMap(({ name, value }) => {
    const option = BULKSUBMIT_OPTIONS.find(({ names }) => names[0] === name);
    if (value === null || option === undefined || NOT_SHOWN.includes(name)) return [];
    if (option.repeatable === true) return [];
    return [option.short === undefined ? `--${name}=${value}` : `-${option.short}${value}`];
  });
  for (const option of BULKSUBMIT_OPTIONS) {
    const values = option.repeatable === true ? line.options.list(option.names[0]) : [];
    if (values.length === 0 || option.argument === undefined) continue;
    const list = `[${values.map((value) => `'${value}'`).join(", ")}]`;
    shown.push(option.short === undefined ? `--${option.names[0]}=${list}` : `-${option.short} ${list}`);
  }
  return [...shown, ...line.command].join(" ");
}
