/** `flux cancel`: cancel jobs, by id or many at once. */
import { FluxError, isFluxError } from "../../base/errors.ts";
import type { Integer } from "../../base/json.ts";
import { cancelJob, raiseAll } from "../../sdk/jobs.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";
import { jobIdText, parseJobId } from "../jobs/client.ts";
import { parseUser } from "../jobs/users.ts";
import { parseJobStates } from "../../formats/job-states.ts";
import { STATES_ACTIVE } from "../../sdk/job-protocol.ts";

export const command: Command = defineCommand({
  name: "cancel",
  usageProgram: "flux cancel",
  complaintProgram: "flux-cancel",
  dialect: "argparse",
  summary: "cancel one or more jobs",
  usage: "[OPTIONS] [JOBID...]",
  description: "Cancel pending or running jobs with an optional exception note.",
  options: [
    { names: ["all"], help: "Target all jobs" },
    { names: ["dry-run"], short: "n", help: "Do not cancel any jobs" },
    { names: ["quiet"], short: "q", help: "Suppress output when no jobs match" },
    { names: ["user"], short: "u", argument: "USER", help: "Set target user or 'all' (instance owner only)" },
    {
      names: ["states"],
      short: "S",
      argument: "STATES",
      repeatable: true,
      help: "List of job states to target (default=active)",
    },
    { names: ["message"], short: "m", argument: "NOTE", help: "Set optional cancel exception note" },
  ],
  operands: [{ name: "JOBID...", arity: "*", help: "jobids to cancel" }],
  examples: ["flux cancel JOBID", "flux cancel --all -m 'wrong input'"],
  run,
});

async function run(context: CommandContext): Promise<number> {
  const { options, operands } = context;
  const selects = options.has("all") || options.has("user") || options.has("states");
  if (operands.length > 0 && selects)
    throw new FluxError("EINVAL", "Do not specify a list of jobids with --all,--user,--states options");
  if (operands.length === 0 && !selects) throw new FluxError("EINVAL", "No target jobs were provided");
  return operands.length > 0 ? cancelByIds(context) : cancelMany(context);
}

async function cancelByIds(context: CommandContext): Promise<number> {
  const { options, operands } = context;
  const ids = [...new Set(operands.map((text) => jobIdOperand(context, text)))];
  if (options.has("dry-run")) {
    context.err(wouldCancel(ids.length));
    return 0;
  }
  const handle = await context.open();
  const note = options.text("message") ?? undefined;
  let failed = false;
  await Promise.all(
    ids.map(async (id) => {
      try {
        await cancelJob(handle, id, note);
      } catch (error) {
        if (!isFluxError(error)) throw error;
        context.complain(`${jobIdText(id)}: ${error.message}`);
        failed = true;
      }
    }),
  );
  return failed ? 1 : 0;
}

/** What is no job id is a fault of the command line, like an unknown option. */
function jobIdOperand(context: CommandContext, text: string): Integer {
  try {
    return parseJobId(text);
  } catch (error) {
    if (isFluxError(error)) context.failUsage(`argument JOBID...: invalid JobID value: '${text}'`);
    throw error;
  }
}

async function cancelMany(context: CommandContext): Promise<number> {
  const { options, host } = context;
  const states = statesOf(options.list("states"));
  const user = options.text("user");
  const note = options.text("message");
  const userid = user === null ? host.uid : parseUser(user);
  const handle = await context.open();
  const { count, errors } = await raiseAll(handle, {
    userid,
    states,
    dryRun: options.has("dry-run"),
    ...(note !== null && { note }),
  });
  if (count === 0 && options.has("quiet")) return 0;
  if (count === 0) context.err("flux-cancel: Matched 0 jobs\n");
  else if (options.has("dry-run")) context.err(wouldCancel(count));
  else
    context.err(
      `flux-cancel: Canceled ${count} job${count === 1 ? "" : "s"} (${errors} error${errors === 1 ? "" : "s"})\n`,
    );
  return errors > 0 ? 1 : 0;
}

function wouldCancel(count: number): string {
  return `flux-cancel: Would cancel ${count} job${count === 1 ? "" : "s"}\n`;
}

function statesOf(texts: readonly string[]): number {
  let states = 0;
  for (const word of texts.flatMap((text) => text.split(","))) {
    const state = parseJobStates(word);
    if (state === null || (state & STATES_ACTIVE) === 0)
      throw new FluxError("EINVAL", `Invalid state ${word} specified`);
    states |= state;
  }
  return states === 0 ? STATES_ACTIVE : states;
}
