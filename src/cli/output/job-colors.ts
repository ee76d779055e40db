/** Colors of jobs in listings: red what failed, grey what was canceled, blue what is an instance of Flux. */
import { FluxError } from "../../base/errors.ts";
import { JobResult } from "../../sdk/job-protocol.ts";
import type { CommandContext } from "../framework/command.ts";
import type { JobRecord } from "../jobs/record.ts";

const FAILED = "\u001b[01;31m";
const CANCELED = "\u001b[37m";
const INSTANCE = "\u001b[01;34m";
const RESET = "\u001b[0;0m";

/** Whether `--color` and the environment ask for color. */
export function wantsColor(context: Pick<CommandContext, "options" | "host" | "stdoutIsTerminal">): boolean {
  const { options, host } = context;
  const silent = (host.env["NO_COLOR"] ?? "") !== "";
  const when = options.has("color") ? (options.text("color") ?? "always") : silent ? "never" : "auto";
  if (!["always", "never", "auto"].includes(when))
    throw new FluxError("EINVAL", `Invalid argument to --color: '${when}'`);
  return when === "always" || (when === "auto" && context.stdoutIsTerminal);
}

export function paintJob(job: JobRecord, text: string, uriOf: (job: JobRecord) => string | null): string {
  const color = colorOf(job, uriOf);
  return color === null ? text : `${color}${text}${RESET}`;
}

function colorOf(job: JobRecord, uriOf: (job: JobRecord) => string | null): string | null {
  const result = job.isInactive ? job.number("result") : 0;
  if (result === JobResult.Canceled) return CANCELED;
  if (result === JobResult.Failed || result === JobResult.Timeout) return FAILED;
  return !job.isInactive && uriOf(job) !== null ? INSTANCE : null;
}
