/** Where the messages about each submitted job go: the terminal, or the files of `--log` and `--log-stderr`. */
import type { CommandContext, ParsedOptions } from "../framework/command.ts";
import type { BulkLog } from "./bulk.ts";

/** Resolves with what gives each job its log, by the job's own options. */
export async function jobLog(context: CommandContext): Promise<(options: ParsedOptions) => BulkLog> {
  if (context.options.has("log") || context.options.has("log-stderr")) {
    const { LogFiles } = await import("./log-files.ts");
    const files = new LogFiles(context);
    return (options) => files.for(options);
  }
  const terminal: BulkLog = { out: (text) => context.out(text), err: (text) => context.err(text) };
  return () => terminal;
}
