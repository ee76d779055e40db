/** `flux submit`: put jobs into the queue. */
import { FluxError } from "../../base/errors.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";
import { SubmissionProgress } from "../output/progress.ts";
import { pythonJson } from "../output/python-json.ts";
import { BulkSubmitter } from "../submission/bulk.ts";
import { LogFiles } from "../submission/log-files.ts";
import { SUBMIT_OPTIONS } from "../submission/options.ts";
import { replicaCount, replicas, type Replica } from "../submission/replicate.ts";
import {
  isRanks,
  submissionFlags,
  submissionUrgency,
  taskJobspec,
  withSystem,
  type SubmissionSource,
} from "../submission/request.ts";
import { submissionSource } from "../submission/source.ts";
import type { Submission } from "../jobs/client.ts";

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
  const source = submissionSource(context);
  const input = options.text("input");
  if (input !== null && isRanks(input)) throw new FluxError("EINVAL", "per-task input not supported for submit");
  if (options.has("dry-run")) {
    for (const replica of replicas(options, operands)) {
      context.out(`${pythonJson(replicaSubmission(replica, source, null).jobspec)}\n`);
      break;
    }
    return 0;
  }
  const all = replicas(options, operands);
  // The first replica is built before anything is opened: a mistake on the command line costs nothing.
  const first = all.next();
  if (first.done === true) return 0;
  const base = replicaSubmission(first.value, source, null);
  const handle = await context.open();
  const bulk = new BulkSubmitter(context, handle, bulkOptions(context));
  const logs = new LogFiles(context);
  let submission = base;
  for (let next: IteratorResult<Replica, void> = first; next.done !== true; next = all.next()) {
    if (next !== first) submission = replicaSubmission(next.value, source, base);
    const room = bulk.submit(submission, logs.for(next.value.options));
    if (room !== null) await room;
  }
  return bulk.finish();
}

/** What is submitted for a replica; `base` is that of the first, to share where only FLUX_JOB_CC differs. */
function replicaSubmission(replica: Replica, source: SubmissionSource, base: Submission | null): Submission {
  const { options, command, cc } = replica;
  const shared = base !== null && options === sharedOptions.get(base) ? base : null;
  const submission: Submission = shared ?? {
    jobspec: taskJobspec(options, command, source),
    urgency: submissionUrgency(options),
    flags: submissionFlags(options),
  };
  const environment = submission.jobspec.attributes.system?.environment ?? {};
  const jobspec =
    cc === null
      ? submission.jobspec
      : withSystem(submission.jobspec, { environment: { ...environment, FLUX_JOB_CC: cc } });
  const result: Submission = { ...submission, jobspec };
  sharedOptions.set(result, options);
  return result;
}

/** The options from which a submission was made. */
const sharedOptions = new WeakMap<Submission, Replica["options"]>();

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
