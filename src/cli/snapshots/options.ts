/** Options that several commands about snapshots have. */
import { CommandExit, type CommandContext, type OptionSpec } from "../framework/command.ts";

export function maxRequestsOption(help: string): OptionSpec {
  return { names: ["maxreqs"], argument: "N", integer: true, help };
}

/** The number of requests that may be under way. Ends the command where it is not one at least. */
export function maxRequests(context: CommandContext, otherwise: number): number {
  const count = context.options.integer("maxreqs") ?? otherwise;
  if (count < 1) context.fail("invalid value for maxreqs: it must be at least 1");
  return count;
}

const UNIT_BYTES: Readonly<Record<string, number>> = { "": 1, k: 1024, K: 1024, M: 1024 ** 2, G: 1024 ** 3 };
const INT_MAX = 2 ** 31 - 1;

/** A size in bytes, given with a fraction and a unit where the user likes; null where the option was not given. */
export function sizeOption(context: CommandContext, name: string, line: string = lineOf(context)): number | null {
  const text = context.options.text(name);
  if (text === null) return null;
  const match = /^(\d+(?:\.\d*)?|\.\d+)([kKMG]?)$/.exec(text);
  const bytes = match === null ? -1 : Math.floor(Number(match[1]) * UNIT_BYTES[match[2]!]!);
  if (bytes >= 0 && bytes <= INT_MAX) return bytes;
  const complaint =
    bytes > INT_MAX
      ? `${name}: value ${text} too large (must be < 2G)`
      : `invalid argument for option '${name}': ${text}: Invalid argument`;
  context.err(`${line}: ${complaint}\n`);
  throw new CommandExit(1);
}

/** What complaints about the command line begin with. */
function lineOf({ command }: CommandContext): string {
  return `flux ${command.name}: ${command.name}`;
}
