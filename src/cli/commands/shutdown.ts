/** `flux shutdown`: ends an instance and shows its log meanwhile (flux-shutdown(1)). */
import { errorText, FluxError } from "../../base/errors.ts";
import { formatForStderr, parseLogRecord } from "../../broker/log-record.ts";
import { localForm, resolveTarget } from "../target.ts";
import { defineCommand, type Command } from "../framework/command.ts";

const LEVEL_WARNING = 4;
const LEVEL_INFO = 6;
const LEVEL_DEBUG = 7;

export const command: Command = defineCommand({
  name: "shutdown",
  usageProgram: "flux shutdown",
  dialect: "getopt",
  summary: "Shut down the Flux instance",
  description: "Shut down the Flux instance",
  usage: "[OPTIONS] [TARGET]",
  options: [
    { names: ["background"], help: "Exit the command immediately after initiating shutdown" },
    { names: ["quiet"], help: "Show only log messages <= LOG_WARNING level" },
    {
      names: ["verbose"],
      short: "v",
      argument: "LEVEL",
      optionalArgument: true,
      help: "Increase log verbosity: 0=show log messages <= LOG_INFO level (default), 1=show all log messages",
    },
  ],
  operands: [{ name: "TARGET", arity: "?" }],
  run: async (context) => {
    const { options, operands } = context;
    const [target] = operands;
    const uri =
      target === undefined
        ? undefined
        : localForm(await resolveTarget(context, target).catch((error: unknown) => context.fail(errorText(error))));
    const handle = await context.open(uri);
    const level = options.has("quiet") ? LEVEL_WARNING : options.has("verbose") ? LEVEL_DEBUG : LEVEL_INFO;
    if (options.has("background")) {
      await handle
        .rpc("shutdown.start", { loglevel: level }, { nodeid: 0 })
        .catch((error: unknown) => context.fail(errorText(error)));
      return;
    }
    try {
      for await (const { log } of handle.stream<{ log: string }>("shutdown.start", { loglevel: level }, { nodeid: 0 }))
        context.err(formatForStderr(parseLogRecord(log)));
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      // The broker has gone: that was the wish.
      if (!error.is("ECONNRESET")) context.fail(errorText(error));
    }
  },
});
