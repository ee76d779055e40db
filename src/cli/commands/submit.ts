/** `flux submit`: put jobs into the queue. */
import { isFluxError } from "../../base/errors.ts";
import type { Handle } from "../../sdk/handle.ts";
import { type Command, type CommandContext, type ParsedOptions } from "../framework/command.ts";
import type { JobProgress } from "../output/progress.ts";
import { BulkSubmitter, type BulkLog, type BulkWaiter, type JobHandling } from "../submission/bulk.ts";
import { jobLog } from "../submission/job-log.ts";
import { SUBMIT_OPTIONS, TOPICS_HINT } from "../submission/options.ts";
import { replicaCount, replicas, SubmissionBuilder, type Replica } from "../submission/replicate.ts";
import { definePluggableCommand, type SubmissionPlugins } from "../submission/plugins.ts";
import { submissionSource } from "../submission/source.ts";

export const command: Command = definePluggableCommand(
  {
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
    topics: async () => (await import("../submission/topics.ts")).SUBMISSION_TOPICS,
    epilogue: TOPICS_HINT,
  },
  run,
);

async function run(context: CommandContext, plugins: SubmissionPlugins): Promise<number> {
  const options = await plugins.initialized(context.options);
  const builder = new SubmissionBuilder(submissionSource(context), plugins);
  const all = replicas(options, context.operands);
  const first = all.next();
  if (first.done === true) return 0;
  // The first job is built before anything is opened: a mistake on the command line costs nothing.
  const submission = await builder.build(first.value);
  if (options.has("dry-run")) {
    const { pythonJson } = await import("../output/python-json.ts");
    context.out(`${pythonJson(submission.jobspec)}\n`);
    return 0;
  }
  const handle = await context.open();
  const [waiter, progress] = await Promise.all([waiterOf(context, handle), progressOf(context, replicaCount(options))]);
  const log = await jobLog(context, progress);
  const bulk = new BulkSubmitter(context, handle, { quiet: options.has("quiet"), waiter, progress });
  bulk.submit(submission, handlingOf(first.value, log));
  return submitAll(bulk, builder, all, log);
}

/**
 * Submits replicas as they come. A mistake ends that, not what was submitted before: its ids are still printed, and its
 * jobs waited for. Resolves with the exit code. Throws FluxError.
 */
export async function submitAll(
  bulk: BulkSubmitter,
  builder: SubmissionBuilder,
  all: Iterable<Replica>,
  log: (options: ParsedOptions) => BulkLog,
): Promise<number> {
  try {
    for (const replica of all) {
      const room = bulk.submit(await builder.build(replica), handlingOf(replica, log));
      if (room !== null) await room;
    }
  } catch (error) {
    if (isFluxError(error)) await bulk.finish();
    throw error;
  }
  return bulk.finish();
}

function handlingOf({ options, label }: Replica, log: (options: ParsedOptions) => BulkLog): JobHandling {
  return { log: log(options), label, waitEvent: options.text("wait-event") };
}

function waits(options: ParsedOptions): boolean {
  return ["wait", "wait-event", "watch"].some((name) => options.has(name));
}

/** What waits for the jobs, where they are waited for. */
export async function waiterOf(context: CommandContext, handle: Handle): Promise<BulkWaiter | null> {
  const { options } = context;
  if (!waits(options)) return null;
  const { JobWaiter, waiterOptions } = await import("../submission/bulk-waiter.ts");
  const wanted = waiterOptions(options);
  return wanted === null ? null : new JobWaiter(handle, wanted);
}

/** The progress bar of so many jobs, where there is one. */
export async function progressOf(context: CommandContext, jobs: number): Promise<JobProgress | null> {
  const { options } = context;
  if (!options.has("progress")) return null;
  if (!context.stdoutIsTerminal) {
    context.err("flux: WARNING: stdout is not a tty. Ignoring --progress option\n");
    return null;
  }
  const { JobProgress } = await import("../output/progress.ts");
  return new JobProgress(context, { jobs, waits: waits(options), rate: options.has("jps") });
}
