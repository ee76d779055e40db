/** `flux job attach`. */
import { FluxError, isFluxError } from "../../../base/errors.ts";
import type { Integer } from "../../../base/json.ts";
import { SIGNALS } from "../../../base/signals.ts";
import { JobState } from "../../../formats/job-states.ts";
import type { Handle } from "../../../sdk/handle.ts";
import { jobInfo, killJob } from "../../../sdk/jobs.ts";
import { shellServiceOf } from "../../jobs/shell-service.ts";
import type { CommandContext } from "../../framework/command.ts";
import { ATTACH_DEFAULTS, attachJob } from "../../jobs/attach.ts";
import { parseFsd } from "../../../formats/duration.ts";
import { requireJobId } from "./operands.ts";
import { Idset } from "../../../formats/idset.ts";

const TAIL_DEFAULT = 10;

/** Seconds. Throws FluxError EINVAL. */
function queueCheckOf(text: string | null): number {
  return text === null ? ATTACH_DEFAULTS.queueCheckSeconds : parseFsd(text);
}

export async function attach(context: CommandContext): Promise<number> {
  const { options, operands } = context;
  const [text] = operands;
  if (text === undefined || operands.length !== 1) context.failUsage();
  checkOptions(context);
  const id = requireJobId(text);
  const handle = await context.open();
  try {
    if (options.has("debug") || options.has("debug-emulate")) await meetDebugger(context, handle, id);
    return await attachJob(context, handle, id, {
      ...ATTACH_DEFAULTS,
      label: options.has("label-io"),
      quiet: options.has("quiet"),
      readOnly: options.has("read-only"),
      showEvents: options.has("show-events"),
      showExec: options.has("show-exec"),
      waitEvent: options.text("wait-event") ?? ATTACH_DEFAULTS.waitEvent,
      stdinRanks: options.text("stdin-ranks") ?? ATTACH_DEFAULTS.stdinRanks,
      tailLines: options.has("tail") ? (options.integer("tail") ?? TAIL_DEFAULT) : null,
      showStatus: context.stdinIsTerminal && context.stdoutIsTerminal && context.stderrIsTerminal,
      forceStatus: options.has("show-status"),
      queueCheckSeconds: queueCheckOf(options.text("queue-check-interval")),
    });
  } catch (error) {
    if (!isFluxError(error)) throw error;
    const reason = error.is("ENOENT") ? "No such job" : error.is("EPERM") ? "that is not your job" : error.message;
    throw new FluxError(error.errnum, `Failed to attach to ${text}: ${reason}`, { cause: error });
  }
}

/** Waits for the tasks; with --debug-emulate those that stopped for a debugger (`stop-tasks-in-exec`) go on. */
async function meetDebugger(context: CommandContext, handle: Handle, id: Integer): Promise<void> {
  await shellServiceOf(handle, id, "shell.start", "the job ended before its tasks ran");
  const { state } = await jobInfo(handle, id, { attrs: ["state"] });
  if (state === JobState.Inactive) context.fail("cannot debug job that has finished running");
  if (context.options.has("verbose")) context.complain(`totalview_jobid=${id}`);
  if (context.options.has("debug-emulate")) await killJob(handle, id, SIGNALS["SIGCONT"]!);
}

/** Ends the command where options cannot be meant so. */
function checkOptions(context: CommandContext): void {
  const { options } = context;
  const ranks = options.text("stdin-ranks");
  if (ranks !== null && options.has("read-only")) context.fail("Do not use --stdin-ranks with --read-only");
  try {
    if (ranks !== null && ranks !== "all") Idset.parse(ranks);
  } catch (error) {
    if (!isFluxError(error)) throw error;
    context.fail(`Invalid value '${ranks}' for --stdin-ranks: Invalid argument`);
  }
  if ((options.integer("tail") ?? 0) < 0) context.fail("invalid tail argument");
}
