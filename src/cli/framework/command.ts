/**
 * What a command of `flux` is: data that says how its command line reads and what its help shows, and one function that
 * runs it. `parse.ts` reads command lines by this data, `help.ts` renders it, `main.ts` finds it.
 *
 * The commands that users know come in two dialects, and scripts depend on both: `getopt` commands say
 * "unrecognized option" and exit with 1; `argparse` commands say "usage: … error: …" and exit with 2.
 *
 * Knows nothing of what commands do.
 */
import type { HostInfo, Ports } from "../../base/ports.ts";
import type { Handle } from "../../sdk/handle.ts";

export type Dialect = "getopt" | "argparse";

/** One option. The first of `names` is the key under which its value is found in `ParsedOptions`. */
export interface OptionSpec {
  /** Long names without dashes, the documented one first; further ones are synonyms. */
  readonly names: readonly [string, ...string[]];
  /** One letter; with `names` left for the key where no long form exists (`shortOnly`). */
  readonly short?: string;
  /** The option has no long form. */
  readonly shortOnly?: boolean;
  /** Name of the argument in help (`IDSET`); an option without it is a flag. */
  readonly argument?: string;
  /** The argument may be left out; it is then given as `--name=ARG` or `-nARG` only. */
  readonly optionalArgument?: boolean;
  /** The short form takes none: the argument is for the long one. */
  readonly bareShort?: boolean;
  /** The argument must be an integer. */
  readonly integer?: boolean;
  /** The argument must be one of these words. */
  readonly choices?: readonly string[];
  /** May be given many times: flags count, arguments gather. Otherwise the last one counts. */
  readonly repeatable?: boolean;
  /** Left out of the help. */
  readonly hidden?: boolean;
  /** Heading under which help lists the option. */
  readonly group?: string;
  readonly help: string;
}

/** A positional argument. In the getopt dialect this is for the help only: commands check operands themselves. */
export interface OperandSpec {
  readonly name: string;
  /** "1": needed; "?": may be left out; "*": any number; "+": at least one; "...": this and all that follows, unread. */
  readonly arity: "1" | "?" | "*" | "+" | "...";
  readonly integer?: boolean;
  readonly choices?: readonly string[];
  readonly help?: string;
}

/** The values of the options of one command line. Names are the first of `OptionSpec.names`. */
export interface ParsedOptions {
  /** Whether the option was given. */
  has(name: string): boolean;
  /** The last argument given; null where the option was not given, or given without its optional argument. */
  text(name: string): string | null;
  /** The last argument as an integer; null as above. */
  integer(name: string): number | null;
  /** All arguments in the order given; an optional argument left out is an empty text. */
  list(name: string): readonly string[];
  /** How often the option was given. */
  count(name: string): number;
  /** Every option given, in order. */
  readonly given: readonly { readonly name: string; readonly value: string | null }[];
}

/** What a running command has. */
export interface CommandContext {
  /** The name that messages begin with: `flux-kvs`, `flux-submit`, or `flux` for built-in commands. */
  readonly program: string;
  readonly command: Command;
  readonly options: ParsedOptions;
  /** The words that are no options. */
  readonly operands: readonly string[];
  /** Time, files, sockets, processes. Loaded when first called for: commands that need none start faster. */
  ports(): Promise<Ports>;
  /** Environment, directory, user: without loading the ports. */
  readonly host: Pick<HostInfo, "cwd" | "env" | "fluxPath" | "pid" | "uid">;
  /**
   * Connects to the broker of FLUX_URI, or of `uri`. Ends the command with the message of its dialect where there is no
   * broker. The connection is closed when the command ends.
   */
  open(uri?: string): Promise<Handle>;
  /** Writes to standard output, to standard error. The text has its own line ends. Safe when nobody reads any more. */
  out(text: string | Uint8Array): void;
  err(text: string | Uint8Array): void;
  /** Resolves once what was written has been taken: for commands that write much. */
  flush(): Promise<void>;
  readonly stdoutIsTerminal: boolean;
  readonly stderrIsTerminal: boolean;
  readonly stdinIsTerminal: boolean;
  /** Columns of the terminal of standard output; null where it is none. */
  readonly columns: number | null;
  /** All of standard input. */
  readInput(): Promise<Uint8Array>;
  /** Pieces of standard input as they come. */
  inputChunks(): AsyncIterable<Uint8Array>;
  /** Calls back for each signal that arrives (SIGINT, SIGTERM …) instead of what the signal would do. */
  onSignal(name: string, listener: () => void): { cancel(): void };
  /** Prints "PROGRAM: message" ("PROGRAM: ERROR: message" in the argparse dialect) on standard error; goes on. */
  complain(message: string): void;
  /** Prints the message as `complain` and ends the command. */
  fail(message: string, exitCode?: number): never;
  /** Prints the usage, then the message, and ends the command as for an unreadable command line. */
  failUsage(message?: string): never;
}

export interface Command {
  /** The word after `flux` (or after the parent command). */
  readonly name: string;
  /** What messages begin with: `flux-NAME` by default, `flux` for commands that users know as built in. Subcommands have that of their parent. */
  readonly program?: string;
  /** What the usage line and complaints about the command line begin with, where it is not made from `program` and the names. */
  readonly usageProgram?: string;
  /** What complaints about the command line begin with, where that differs from its usage. */
  readonly complaintProgram?: string;
  /** Said before the reason when there is no connection to a broker; default `flux_open`. */
  readonly connectionWords?: string;
  readonly dialect: Dialect;
  /** One line for lists of commands. */
  readonly summary: string;
  /** What follows "Usage: NAME " where it is not made from options and operands. */
  readonly usage?: string;
  /** The usage is that of each subcommand, instead of a list of them with their summaries. */
  readonly listsUsages?: boolean;
  /** A paragraph or more under the usage. */
  readonly description?: string;
  readonly options?: readonly OptionSpec[];
  readonly operands?: readonly OperandSpec[];
  /** Options end at the first operand: what follows belongs to a program that is started. */
  readonly stopAtOperand?: boolean;
  /** A `--` that ends the options stays among the operands: a program that is started may want it too. */
  readonly keepSeparator?: boolean;
  /** Every word is an operand, options too: the command passes its line on. */
  readonly unparsed?: boolean;
  /** Text under the list of options. */
  readonly epilogue?: string;
  readonly examples?: readonly string[];
  /** What `--help=TOPIC` answers, by topic, and the manual tells. Loaded when it is asked for. */
  readonly topics?: () => Promise<Readonly<Record<string, string>>>;
  readonly subcommands?: readonly Command[];
  /** What `--help` ends with, where scripts depend on another code than 0. */
  readonly helpExitCode?: number;
  /** Not in lists of subcommands. */
  readonly hidden?: boolean;
  /** The command with what users have added to it; asked for before its line is read. Throws FluxError. */
  extend?(context: CommandContext): Promise<Command>;
  /** Ends what `extend` has started. Called when the command is over. */
  dispose?(): Promise<void>;
  /** Carries the command out; resolves with the exit code (nothing = 0). A command with only subcommands has none. */
  run?(context: CommandContext): Promise<number | void> | number | void;
}

/** Declares a command; checks what the types cannot. */
export function defineCommand(command: Command): Command {
  for (const option of command.options ?? [])
    if (option.short !== undefined && option.short.length !== 1)
      throw new Error(`${command.name}: short option '${option.short}' must be one letter`);
  return command;
}

/** Ends the running command with an exit code. What was to be said has been said. */
export class CommandExit extends Error {
  readonly exitCode: number;

  constructor(exitCode: number) {
    super(`exit ${exitCode}`);
    this.name = "CommandExit";
    this.exitCode = exitCode;
  }
}
