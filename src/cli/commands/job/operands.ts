/** What command lines of `flux job` are made of: job ids, and arguments of options. */
import { FluxError } from "../../../base/errors.ts";
import type { Integer } from "../../../base/json.ts";
import { tryParseFluid } from "../../../formats/fluid.ts";
import { CommandExit, type CommandContext } from "../../framework/command.ts";

/** A job id in any form. Throws FluxError EINVAL. */
export function requireJobId(text: string): Integer {
  const id = tryParseFluid(text);
  if (id === null) throw new FluxError("EINVAL", `error parsing jobid: "${text}"`);
  return id;
}

/** Ends a subcommand over the argument of an option. */
export function refuseOption(context: CommandContext, message: string): never {
  context.err(`${context.program} ${context.command.name}: ${message}\n`);
  throw new CommandExit(1);
}
