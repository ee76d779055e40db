/**
 * What may come next on a command line of `flux`, from the commands' own descriptions: names of commands and subcommands,
 * options, and what an argument or operand may be.
 *
 * Pure: commands are loaded by whoever asks; what only an instance knows is named by its kind.
 */
import type { Command, OperandSpec, OptionSpec } from "../framework/command.ts";
import { optionsOf } from "../framework/parse.ts";
import { meaningOfArgument, meaningOfOperand, type Source } from "./vocabulary.ts";

export interface Candidate {
  readonly word: string;
  readonly description: string;
}

export interface Completion {
  readonly candidates: readonly Candidate[];
  readonly source: Source;
  /** What stands in the current word before the part that is completed: `--queue=`. */
  readonly prefix: string;
}

const NOTHING: Completion = { candidates: [], source: "none", prefix: "" };

/** Completes the last of the words that follow a command's name. */
export function completeCommand(command: Command, words: readonly string[]): Completion {
  let path: Command = command;
  let name = command.name;
  let options = optionsOf(path);
  let operands = 0;
  let isOver = false;
  const current = words.at(-1) ?? "";
  const before = words.slice(0, -1);
  for (let at = 0; at < before.length; at++) {
    const word = before[at]!;
    if (!isOver && word === "--") isOver = true;
    else if (!isOver && word.startsWith("-") && word !== "-") {
      const option = awaitsArgument(options, word);
      if (option === null) continue;
      if (at === before.length - 1) return completeArgument(name, option, current, "");
      at += 1;
    } else {
      const sub = operands === 0 ? path.subcommands?.find(({ name }) => name === word) : undefined;
      if (sub !== undefined) {
        path = sub;
        name += ` ${sub.name}`;
        options = optionsOf(path);
        continue;
      }
      operands += 1;
      if (path.stopAtOperand === true) isOver = true;
    }
  }
  if (!isOver && current.startsWith("-") && path.unparsed !== true) return completeOption(name, options, current);
  return completeOperand(name, path, operands, current);
}

/** The option of a word whose argument is the next word; null where it has none, or has it already. */
function awaitsArgument(options: readonly OptionSpec[], word: string): OptionSpec | null {
  if (word.startsWith("--")) {
    const option = options.find((each) => each.shortOnly !== true && each.names.includes(word.slice(2)));
    return option?.argument !== undefined && option.optionalArgument !== true ? option : null;
  }
  for (let at = 1; at < word.length; at++) {
    const option = options.find(({ short }) => short === word[at]);
    if (option?.argument === undefined) continue;
    return at === word.length - 1 && option.optionalArgument !== true ? option : null;
  }
  return null;
}

function completeOption(place: string, options: readonly OptionSpec[], current: string): Completion {
  const equals = current.indexOf("=");
  if (current.startsWith("--") && equals > 0) {
    const option = options.find(({ names }) => names.includes(current.slice(2, equals)));
    if (option?.argument === undefined) return NOTHING;
    return completeArgument(place, option, current.slice(equals + 1), current.slice(0, equals + 1));
  }
  const candidates = options
    .filter((option) => option.hidden !== true)
    .flatMap((option) => {
      const description = firstSentence(option.help);
      const sign = option.argument === undefined || option.optionalArgument === true ? "" : "=";
      const long = option.shortOnly === true ? [] : [{ word: `--${option.names[0]}${sign}`, description }];
      return option.short === undefined ? long : [...long, { word: `-${option.short}`, description }];
    });
  return { candidates: starting(candidates, current), source: "none", prefix: "" };
}

function completeArgument(place: string, option: OptionSpec, current: string, prefix: string): Completion {
  const { argument = "", choices } = option;
  const name = option.shortOnly === true ? `-${option.short}` : `--${option.names[0]}`;
  // Of a list its last item.
  const before = /,\.\.\.$|^STATE|^IDS$/.test(argument) ? current.slice(0, current.lastIndexOf(",") + 1) : "";
  return completeBy(
    choices ?? meaningOfArgument(`${place} ${name} ${argument}`),
    current,
    prefix + before,
    before.length,
  );
}

function completeOperand(place: string, command: Command, index: number, current: string): Completion {
  if (command.subcommands !== undefined && index === 0) {
    const candidates = command.subcommands
      .filter(({ hidden }) => hidden !== true)
      .map(({ name, summary }) => ({ word: name, description: summary }));
    return { candidates: starting(candidates, current), source: "none", prefix: "" };
  }
  const operands = command.operands ?? [];
  const spec: OperandSpec | undefined = operands[index] ?? lastRepeating(operands);
  // What follows the name of a program are mostly files.
  if (command.stopAtOperand === true && index > 0 && spec?.arity === "...") return { ...NOTHING, source: "files" };
  return completeBy(
    spec?.choices ?? meaningOfOperand(`${place} ${index} ${spec?.name ?? command.usage ?? ""}`),
    current,
    "",
  );
}

/** `prefix` stands before what is completed; all but its last `shared` characters are not part of `current`. */
function completeBy(meaning: Source | readonly string[], current: string, prefix: string, shared = 0): Completion {
  if (typeof meaning === "string") return { candidates: [], source: meaning, prefix };
  const candidates = meaning.map((word) => ({ word: prefix + word, description: "" }));
  return { candidates: starting(candidates, prefix + current.slice(shared)), source: "none", prefix };
}

function lastRepeating(operands: readonly OperandSpec[]): OperandSpec | undefined {
  const last = operands.at(-1);
  return last !== undefined && /^(\*|\+|\.\.\.)$/.test(last.arity) ? last : undefined;
}

export function starting(candidates: readonly Candidate[], current: string): Candidate[] {
  return candidates.filter(({ word }) => word.startsWith(current));
}

function firstSentence(text: string): string {
  return /^.*?(?=[.;(]\s|\.$|$)/s.exec(text)![0].trim();
}
