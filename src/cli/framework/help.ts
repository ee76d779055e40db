/**
 * Renders the help of a command from its description, in the layout of its dialect.
 *
 * Pure: text in, text out.
 */
import type { Command, OptionSpec } from "./command.ts";
import { usageNameOf, type CommandPath } from "./names.ts";
import { optionsOf } from "./parse.ts";

const GETOPT_COLUMN = 25;
const GETOPT_WIDTH = 79;
const ARGPARSE_WIDTH = 78;
const ARGPARSE_MAX_COLUMN = 40;
const SUBCOMMAND_COLUMN = 16;

/** The whole help of a command, ending in a newline. */
export function helpText(path: CommandPath): string {
  return path.at(-1)!.dialect === "getopt" ? getoptHelp(path) : argparseHelp(path);
}

/** What is shown where a command line cannot be used: the whole help in the getopt dialect, one usage in the other. */
export function usageText(path: CommandPath): string {
  return path.at(-1)!.dialect === "getopt" ? getoptHelp(path) : `${argparseUsage(path)}\n`;
}

function getoptHelp(path: CommandPath): string {
  const command = path.at(-1)!;
  let text = `Usage: ${getoptUsages(path).join("\n   or: ")}\n`;
  const description =
    command.description ?? (path.length > 1 || command.subcommands === undefined ? command.summary : "");
  if (description !== "") text += `${description}\n`;
  for (const option of visible(command)) text += entry(optionLabel(option), option.help, GETOPT_COLUMN, GETOPT_WIDTH);
  // A usage of the command's own tells its subcommands already.
  if (command.subcommands !== undefined && command.usage === undefined && command.listsUsages !== true) {
    text += `\nCommon commands from ${usageNameOf(path)}:\n`;
    for (const each of command.subcommands)
      if (each.hidden !== true) text += `   ${each.name.padEnd(SUBCOMMAND_COLUMN - 1)} ${each.summary}\n`;
  }
  if (command.epilogue !== undefined) text += command.epilogue;
  return text;
}

function getoptUsages(path: CommandPath): string[] {
  const command = path.at(-1)!;
  const name = usageNameOf(path);
  if (command.listsUsages === true)
    return command.subcommands!.map((each) => `${name} ${each.name} ${getoptUsage(each)}`.trimEnd());
  return [`${name} ${getoptUsage(command)}`.trimEnd()];
}

function getoptUsage(command: Command): string {
  if (command.usage !== undefined) return command.usage;
  if (command.subcommands !== undefined) return "[OPTIONS] COMMAND ARGS";
  const operands = (command.operands ?? []).map((operand) => operandLabel(operand.name, operand.arity));
  return ["[OPTIONS]", ...operands].join(" ");
}

function operandLabel(name: string, arity: string): string {
  if (arity === "?") return `[${name}]`;
  if (arity === "*") return `[${name} ...]`;
  return arity === "+" ? `${name} [${name} ...]` : arity === "..." ? "..." : name;
}

function argparseHelp(path: CommandPath): string {
  const command = path.at(-1)!;
  let text = `${argparseUsage(path)}\n`;
  if (command.description !== undefined) text += `\n${wrap(command.description, ARGPARSE_WIDTH).join("\n")}\n`;
  const options = visible(command);
  const labels = [...options.map(optionLabel), ...(command.operands ?? []).map((operand) => `  ${operand.name}`)];
  const column = Math.min(ARGPARSE_MAX_COLUMN, Math.max(...labels.map((label) => label.length)) + 2);
  const operands = (command.operands ?? []).filter((operand) => operand.help !== undefined);
  if (operands.length > 0) {
    text += "\npositional arguments:\n";
    for (const each of operands) text += entry(`  ${each.name}`, each.help!, column, ARGPARSE_WIDTH);
  }
  for (const [group, members] of groups(options)) {
    // A heading of several lines has its colon already.
    text += group.endsWith("\n") ? `\n${group}\n` : `\n${group}:\n`;
    for (const option of members) text += entry(optionLabel(option), option.help, column, ARGPARSE_WIDTH);
  }
  if (command.subcommands !== undefined) {
    text += "\nsubcommands:\n\n";
    for (const each of command.subcommands)
      if (each.hidden !== true) text += entry(`  ${each.name}`, each.summary, ARGPARSE_MAX_COLUMN / 2, ARGPARSE_WIDTH);
  }
  if (command.epilogue !== undefined) text += `\n${command.epilogue}`;
  return text;
}

/** `usage: NAME …`, wrapped under its first word; without a final newline. */
function argparseUsage(path: CommandPath): string {
  const command = path.at(-1)!;
  const head = `usage: ${usageNameOf(path)} `;
  if (command.usage !== undefined) return head + command.usage;
  const options = visible(command).map(optionUsage);
  const names = (command.subcommands ?? []).filter((each) => each.hidden !== true).map((each) => each.name);
  const operands = (command.operands ?? []).map((operand) => operandLabel(operand.name, operand.arity));
  if (names.length > 0) operands.push(`{${names.join(",")}} ...`);
  if ([head.trimEnd(), ...options, ...operands].join(" ").length <= ARGPARSE_WIDTH)
    return [head.trimEnd(), ...options, ...operands].join(" ");
  const indent = " ".repeat(head.length);
  const lines = [fill(options, indent), fill(operands, indent)].filter((line) => line !== "");
  return head + lines.join("\n").trimStart();
}

function fill(words: readonly string[], indent: string): string {
  const lines: string[] = [];
  let line = indent.trimEnd();
  for (const word of words) {
    const grown = line === "" ? indent + word : `${line} ${word}`;
    if (grown.length <= ARGPARSE_WIDTH || line === "") line = grown;
    else {
      lines.push(line);
      line = indent + word;
    }
  }
  if (line !== "") lines.push(line);
  return lines.join("\n");
}

function optionUsage(option: OptionSpec): string {
  const name = option.short === undefined ? `--${option.names[0]}` : `-${option.short}`;
  if (option.argument === undefined) return `[${name}]`;
  return option.optionalArgument === true ? `[${name} [${option.argument}]]` : `[${name} ${option.argument}]`;
}

function visible(command: Command): readonly OptionSpec[] {
  return optionsOf(command).filter((option) => option.hidden !== true);
}

/** `  -n, --name=ARG`. */
function optionLabel(option: OptionSpec): string {
  const short = option.short === undefined ? "   " : `-${option.short}${option.shortOnly === true ? "" : ","}`;
  const long = option.shortOnly === true ? "" : ` --${option.names[0]}`;
  const argument =
    option.argument === undefined ? "" : option.optionalArgument === true ? `[${option.argument}]` : option.argument;
  const separator = argument === "" ? "" : option.shortOnly === true ? " " : option.names[0] === "" ? "" : "=";
  return `  ${short}${long}${separator}${argument}`;
}

function groups(options: readonly OptionSpec[]): Map<string, OptionSpec[]> {
  const found = new Map<string, OptionSpec[]>([["options", []]]);
  for (const option of options) {
    const group = option.group ?? "options";
    const members = found.get(group);
    if (members === undefined) found.set(group, [option]);
    else members.push(option);
  }
  for (const [group, members] of found) if (members.length === 0) found.delete(group);
  return found;
}

/** A label and its text beside it; under it where the label is long. */
function entry(label: string, help: string, column: number, width: number): string {
  // getopt's printer leaves a text alone that just fits, and asks for one space between label and text, argparse's for two.
  const getopt = width === GETOPT_WIDTH;
  const lines = getopt && help.length === width - column + 1 ? [help] : wrap(help, width - column);
  const indent = " ".repeat(column);
  const fits = label.length < column - (getopt ? 0 : 1);
  if (lines.length === 0) return `${label}\n`;
  const first = fits ? label.padEnd(column) + lines[0]! : `${label}\n${indent}${lines[0]!}`;
  return [first, ...lines.slice(1).map((line) => indent + line)].join("\n") + "\n";
}

/** The text of a topic: its sentences fill the lines, its indented lines stay as they are. */
export function topicText(text: string): string {
  const joined = text.replace(/(?<=^\S.*)\n(?=\S)/gm, " ");
  const lines = joined.trimEnd().split("\n");
  return lines.map((line) => `${/^\s/.test(line) ? line : wrap(line, ARGPARSE_WIDTH).join("\n")}\n`).join("");
}

/** Breaks a text into lines between words; keeps the breaks it has. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const paragraph of text.split("\n")) {
    let line = "";
    for (const word of paragraph.split(" ").filter((each) => each !== "")) {
      if (line !== "" && line.length + 1 + word.length > width) {
        lines.push(line);
        line = word;
      } else line = line === "" ? word : `${line} ${word}`;
    }
    lines.push(line);
  }
  while (lines.length > 0 && lines.at(-1) === "") lines.pop();
  return lines;
}
