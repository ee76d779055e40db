/**
 * Colors of jobs in listings: green what succeeded, red what failed, grey what was canceled, blue what is an instance of
 * Flux.
 */
import { JobResult } from "../../sdk/job-protocol.ts";
import type { CommandContext } from "../framework/command.ts";
import type { JobRecord } from "../jobs/record.ts";

const INSTANCE = "\u001b[01;34m";
const RESET = "\u001b[0;0m";
const BY_RESULT: Readonly<Record<number, string>> = {
  [JobResult.Completed]: "\u001b[01;32m",
  [JobResult.Failed]: "\u001b[01;31m",
  [JobResult.Timeout]: "\u001b[01;31m",
  [JobResult.Canceled]: "\u001b[37m",
};

/** Whether `--color` and the environment ask for color. Ends the command as for an unreadable line where it is misspelt. */
export function wantsColor(
  context: Pick<CommandContext, "options" | "host" | "stdoutIsTerminal" | "failUsage">,
): boolean {
  const { options, host } = context;
  const silent = (host.env["NO_COLOR"] ?? "") !== "";
  const when = options.has("color") ? (options.text("color") ?? "always") : silent ? "never" : "auto";
  if (!["always", "never", "auto"].includes(when)) context.failUsage(`Invalid argument to --color: '${when}'`);
  return when === "always" || (when === "auto" && context.stdoutIsTerminal);
}

export function paintJob(job: JobRecord, text: string): string {
  const color = job.isInactive ? BY_RESULT[job.number("result")] : job.uri === null ? undefined : INSTANCE;
  return color === undefined ? text : `${color}${text}${RESET}`;
}
