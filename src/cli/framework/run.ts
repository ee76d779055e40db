/**
 * Runs a command from its words: picks the subcommand, reads the options, gives the help that is asked for, and turns
 * every way in which a command can end into an exit code.
 */
import { FluxError } from "../../base/errors.ts";
import { prepareEnvironment } from "./builtin-values.ts";
import { CommandExit, type Command } from "./command.ts";
import { RunningCommand, UsageComplaint } from "./context.ts";
import { usageNameOf, type CommandPath } from "./names.ts";
import { invalidChoice, optionsFrom, parseLine, UsageError, type ParsedLine } from "./parse.ts";

const EXIT_FAILURE = 1;
const EXIT_ARGPARSE_USAGE = 2;
const EXIT_INTERNAL_ERROR = 70;

/** Runs the command with the words that follow its name. Resolves with the exit code; all output has been taken. */
export async function runCommand(command: Command, words: readonly string[]): Promise<number> {
  prepareEnvironment(process.env);
  const exitCode = await runExtended(command, words);
  await speaker([command]).flush();
  return exitCode;
}

async function runExtended(command: Command, words: readonly string[]): Promise<number> {
  if (command.extend === undefined) return runPath([command], words);
  const says = speaker([command]);
  let extended: Command;
  try {
    extended = await command.extend(says);
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
    says.complain(error.message);
    return EXIT_FAILURE;
  }
  const exitCode = await runPath([extended], words);
  await extended.dispose?.();
  return exitCode;
}

async function runPath(path: CommandPath, words: readonly string[]): Promise<number> {
  const command = path.at(-1)!;
  const reading = command.subcommands === undefined ? command : { ...command, stopAtOperand: true };
  let line: ParsedLine;
  try {
    line = parseLine(reading, words);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    return complainOfUsage(error.unrecognized && command.dialect === "argparse" ? [path[0]] : path, error);
  }
  if (line.help !== null) return help(path, line.help.topic);
  const [word, ...rest] = line.operands;
  if (command.subcommands !== undefined && (word !== undefined || command.run === undefined)) {
    const sub = command.subcommands.find((each) => each.name === word);
    if (sub !== undefined) return runPath([...path, sub], rest);
    return refuseSubcommand(path, word);
  }
  return carryOut(path, line);
}

async function carryOut(path: CommandPath, line: ParsedLine): Promise<number> {
  const context = new RunningCommand(path, line.options, line.operands);
  try {
    return (await path.at(-1)!.run?.(context)) ?? 0;
  } catch (error) {
    if (error instanceof CommandExit) return error.exitCode;
    if (error instanceof UsageComplaint) return complainOfUsage(path, error);
    if (error instanceof FluxError) {
      context.complain(error.message);
      return EXIT_FAILURE;
    }
    context.complain(`internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    return EXIT_INTERNAL_ERROR;
  } finally {
    context.end();
  }
}

async function help(path: CommandPath, topic: string | null): Promise<number> {
  const command = path.at(-1)!;
  const topics = topic === null ? {} : ((await command.topics?.()) ?? {});
  const text = topic !== null && Object.hasOwn(topics, topic) ? topics[topic]! : null;
  const { helpText, topicText } = await import("./help.ts");
  const says = speaker(path);
  if (topic !== null && text === null && command.topics !== undefined) {
    const names = Object.keys(topics).filter((name) => !name.startsWith("--"));
    says.complain(`--help: no such option ${topic}, and no such topic: there are ${names.join(", ")}`);
    return EXIT_FAILURE;
  }
  // Where getopt commands of Flux tell their options, scripts look for them.
  if (command.dialect === "getopt") says.err(text === null ? helpText(path) : topicText(text));
  else says.out(text === null ? helpText(path) : topicText(text));
  return command.helpExitCode ?? 0;
}

async function refuseSubcommand(path: CommandPath, word: string | undefined): Promise<number> {
  const command = path.at(-1)!;
  if (command.dialect === "getopt") {
    const { usageText } = await import("./help.ts");
    const says = speaker(path);
    if (command.usage !== undefined || command.listsUsages === true)
      says.err(`${usageNameOf(path)}: ${word === undefined ? "missing subcommand" : `Unknown subcommand: ${word}`}\n`);
    says.err(usageText(path));
    return EXIT_FAILURE;
  }
  if (word === undefined)
    return complainOfUsage(path, new UsageError("the following arguments are required: subcommand"));
  const names = command.subcommands!.filter((each) => each.hidden !== true).map((each) => each.name);
  return complainOfUsage(path, new UsageError(`argument subcommand: ${invalidChoice(word, names)}`));
}

async function complainOfUsage(path: CommandPath, error: UsageError | UsageComplaint): Promise<number> {
  const message = error instanceof UsageError ? error.message : error.complaint;
  const says = speaker(path);
  const name = usageNameOf(path);
  if (path.at(-1)!.dialect === "argparse") {
    const { usageText } = await import("./help.ts");
    says.err(usageText(path));
    const complainer = path.at(-1)!.complaintProgram ?? name;
    if (message !== null) says.err(`${complainer}: error: ${message}\n`);
    return EXIT_ARGPARSE_USAGE;
  }
  if (error instanceof UsageError) {
    says.err(`${name}: ${message}\n`);
    if (error.unrecognized) says.err(`Try \`${name} --help' for more information.\n`);
    return EXIT_FAILURE;
  }
  const { usageText } = await import("./help.ts");
  if (message !== null) says.err(`${name}: ${message}\n`);
  says.err(usageText(path));
  return EXIT_FAILURE;
}

/** A context for speaking only. */
function speaker(path: CommandPath): RunningCommand {
  return new RunningCommand(path, optionsFrom([]), []);
}
