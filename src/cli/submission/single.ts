/** Submits the one job of a command, or prints its jobspec where the command line asks for no more. */
import type { Integer } from "../../base/json.ts";
import type { Jobspec } from "../../formats/jobspec.ts";
import type { Handle } from "../../sdk/handle.ts";
import type { CommandContext, ParsedOptions } from "../framework/command.ts";
import { submitJob } from "../jobs/client.ts";
import { submissionOf } from "./request.ts";

/** Resolves with the job's id and the connection; null after `--dry-run`. Throws FluxError. */
export async function submitSingle(
  context: CommandContext,
  options: ParsedOptions,
  jobspec: Jobspec,
): Promise<{ handle: Handle; id: Integer } | null> {
  if (options.has("dry-run")) {
    const { pythonJson } = await import("../output/python-json.ts");
    context.out(`${pythonJson(jobspec)}\n`);
    return null;
  }
  const submission = submissionOf(options, jobspec);
  const handle = await context.open();
  return { handle, id: await submitJob(handle, submission, context.host.uid) };
}
