/** `flux submit`: put jobs into the queue. */
import { FluxError } from "../../base/errors.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";
import { SubmissionProgress } from "../output/progress.ts";
import { pythonJson } from "../output/python-json.ts";
import { BulkSubmitter } from "../submission/bulk.ts";
import { LogFiles } from "../submission/log-files.ts";
import { SUBMIT_OPTIONS } from "../submission/options.ts";
import { replicaCount, replicas, SubmissionBuilder } from "../submission/replicate.ts";
import { isRanks } from "../submission/request.ts";
import { submissionSource } from "../submission/source.ts";

export const command: Command = defineCommand({
  name: "submit",
  usageProgram: "flux submit",
  dialect: "argparse",
  summary: "submit a job to a Flux instance",
  usage: "[OPTIONS...] COMMAND [ARGS...]",
  description: "enqueue a job",
  options: SUBMIT_OPTIONS,
  operands: [{ name: "command", arity: "...", help: "Job command and arguments" }],
  stopAtOperand: true,
  examples: [
    "flux submit -n4 ./app",
    "flux submit --cc=1-100 --wait ./member {cc}",
    "flux submit --dependency=afterok:JOBID ./collect",
  ],
  run,
});

async function run(context: CommandContext): Promise<number> {
  const { options, operands } = context;
  const input = options.text("input");
  if (input !== null && isRanks(input)) throw new FluxError("EINVAL", "per-task input not supported for submit");
  const builder = new SubmissionBuilder(submissionSource(context));
  const all = replicas(options, operands);
  const first = all.next();
  if (first.done === true) return 0;
  // The first job is built before anything is opened: a mistake on the command line costs nothing.
  const submission = builder.build(first.value);
  if (options.has("dry-run")) {
    context.out(`${pythonJson(submission.jobspec)}\n`);
    return 0;
  }
  const handle = await context.open();
  const bulk = new BulkSubmitter(context, handle, bulkOptions(context));
  const logs = new LogFiles(context);
  bulk.submit(submission, logs.for(first.value.options));
  for (const replica of all) {
    const room = bulk.submit(builder.build(replica), logs.for(replica.options));
    if (room !== null) await room;
  }
  return bulk.finish();
}

function bulkOptions(context: CommandContext): ConstructorParameters<typeof BulkSubmitter>[2] {
  const { options } = context;
  const watch = options.has("watch");
  const waitEvent = options.text("wait-event") ?? (watch || options.has("wait") ? "clean" : null);
  return {
    quiet: options.has("quiet"),
    verbosity: options.count("verbose"),
    waitEvent,
    watch,
    label: options.has("label-io"),
    progress: progressOf(context),
  };
}

function progressOf(context: CommandContext): SubmissionProgress | null {
  const { options } = context;
  if (!options.has("progress")) return null;
  if (!context.stdoutIsTerminal) {
    context.err("flux: WARNING: stdout is not a tty. Ignoring --progress option\n");
    return null;
  }
  const progress = new SubmissionProgress(context, options.has("jps"));
  progress.expect(replicaCount(options));
  return progress;
}
