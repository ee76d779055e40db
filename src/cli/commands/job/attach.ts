/** `flux job attach`. */
import { FluxError, isFluxError } from "../../../base/errors.ts";
import type { CommandContext } from "../../framework/command.ts";
import { ATTACH_DEFAULTS, attachJob } from "../../jobs/attach.ts";
import { parseFsd } from "../../../formats/duration.ts";
import { tryParseFluid } from "../../../formats/fluid.ts";

const TAIL_DEFAULT = 10;

/** Seconds. Throws FluxError EINVAL. */
function queueCheckOf(text: string | null): number {
  return text === null ? ATTACH_DEFAULTS.queueCheckSeconds : parseFsd(text);
}

export async function attach(context: CommandContext): Promise<number> {
  const { options, operands } = context;
  const [text] = operands;
  if (text === undefined || operands.length !== 1) context.failUsage();
  const handle = await context.open();
  try {
    const id = tryParseFluid(text);
    if (id === null) throw new FluxError("ENOENT");
    return await attachJob(context, handle, id, {
      ...ATTACH_DEFAULTS,
      label: options.has("label-io"),
      quiet: options.has("quiet"),
      readOnly: options.has("read-only"),
      showEvents: options.has("show-events") || options.count("verbose") > 0,
      showExec: options.has("show-exec") || options.count("verbose") > 1,
      waitEvent: options.text("wait-event") ?? (options.has("show-events") ? "clean" : "finish"),
      stdinRanks: options.text("stdin-ranks") ?? ATTACH_DEFAULTS.stdinRanks,
      tailLines: options.has("tail") ? (options.integer("tail") ?? TAIL_DEFAULT) : null,
      showStatus: context.stdinIsTerminal && context.stdoutIsTerminal && context.stderrIsTerminal,
      forceStatus: options.has("show-status"),
      queueCheckSeconds: queueCheckOf(options.text("queue-check-interval")),
    });
  } catch (error) {
    if (!isFluxError(error)) throw error;
    const reason = error.is("ENOENT") ? "No such job" : error.message;
    throw new FluxError(error.errnum, `Failed to attach to ${text}: ${reason}`, { cause: error });
  }
}
