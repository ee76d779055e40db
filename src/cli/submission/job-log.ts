/** Where the messages about each submitted job go: the terminal, or the files of `--log` and `--log-stderr`. */
import type { CommandContext, ParsedOptions } from "../framework/command.ts";
import type { JobProgress } from "../output/progress.ts";
import type { BulkLog } from "./bulk.ts";

/** What is printed beside a progress bar, or without one. */
export function terminalLog(context: CommandContext, progress: JobProgress | null): BulkLog {
  const log: BulkLog = { out: (text) => context.out(text), err: (text) => context.err(text) };
  if (progress === null) return log;
  return {
    out: (text) => progress.print(() => log.out(text), text),
    err: (text) => progress.print(() => log.err(text), text),
  };
}

/** Resolves with what gives each job its log, by the job's own options. On a terminal, it goes above the progress bar. */
export async function jobLog(
  context: CommandContext,
  progress: JobProgress | null,
): Promise<(options: ParsedOptions) => BulkLog> {
  if (context.options.has("log") || context.options.has("log-stderr")) {
    const { LogFiles } = await import("./log-files.ts");
    const files = new LogFiles(context);
    return (options) => files.for(options);
  }
  const terminal = terminalLog(context, progress);
  return () => terminal;
}
