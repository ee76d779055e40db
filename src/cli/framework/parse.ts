/**
 * Reads the words of a command line by a command's description, in the dialect of that command: getopt_long(3) as Flux's
 * C commands use it, or Python's argparse.
 *
 * In both: `--name=ARG`, `--name ARG`, `-nARG`, `-n ARG`, bundled flags `-abc`, `--` ends the options, options and
 * operands mix unless the command stops at its first operand. Only getopt: unambiguous abbreviations of long names, and a
 * separate argument may begin with a dash. Only argparse: negative numbers are operands; all unknown words are reported
 * together, after everything else.
 *
 * Invariant: every word of the line ends in exactly one place: an option, an argument, an operand or a complaint.
 */
import type { Command, OptionSpec, ParsedOptions } from "./command.ts";

export interface ParsedLine {
  readonly options: ParsedOptions;
  readonly operands: readonly string[];
  /** The option that asks for help was met; its argument (a topic) where one was given. */
  readonly help: { readonly topic: string | null } | null;
}

/** A command line that cannot be read. */
export class UsageError extends Error {
  /** Nothing is known by the word: getopt commands add where help is found, argparse ones blame the whole line. */
  readonly unrecognized: boolean;

  constructor(message: string, unrecognized = false) {
    super(message);
    this.name = "UsageError";
    this.unrecognized = unrecognized;
  }
}

/** Help is an option of every command that does not describe its own. */
const HELP_OPTION: OptionSpec = { names: ["help"], short: "h", help: "Display this message." };
const ARGPARSE_HELP_OPTION: OptionSpec = {
  names: ["help"],
  short: "h",
  help: "show this help message and exit",
};

/** The options of a command with the one for help, which comes first. */
export function optionsOf(command: Command): readonly OptionSpec[] {
  const own = command.options ?? [];
  if (own.some((option) => option.names[0] === "help")) return own;
  return [command.dialect === "getopt" ? HELP_OPTION : ARGPARSE_HELP_OPTION, ...own];
}

interface Given {
  readonly name: string;
  readonly value: string | null;
}

class Options implements ParsedOptions {
  readonly given: readonly Given[];
  readonly #byName = new Map<string, Given[]>();

  constructor(given: readonly Given[]) {
    this.given = given;
    for (const each of given) {
      const known = this.#byName.get(each.name);
      if (known === undefined) this.#byName.set(each.name, [each]);
      else known.push(each);
    }
  }

  has(name: string): boolean {
    return this.#byName.has(name);
  }
  text(name: string): string | null {
    return this.#byName.get(name)?.at(-1)?.value ?? null;
  }
  integer(name: string): number | null {
    const text = this.text(name);
    return text === null ? null : parseInteger(text);
  }
  list(name: string): readonly string[] {
    return (this.#byName.get(name) ?? []).map((each) => each.value ?? "");
  }
  count(name: string): number {
    return this.#byName.get(name)?.length ?? 0;
  }
}

/** Options as a parsed line has them: for commands that run another with options of their own choice. */
export function optionsFrom(given: readonly Given[]): ParsedOptions {
  return new Options(given);
}

/** A decimal integer with an optional sign; null where the text is none. */
export function parseInteger(text: string): number | null {
  return /^\s*[+-]?\d+(_\d+)*\s*$/.test(text) ? Number(text.replaceAll("_", "")) : null;
}

/** Reads a command line without the command's name. Throws UsageError. */
export function parseLine(command: Command, words: readonly string[]): ParsedLine {
  if (command.unparsed === true) return { options: new Options([]), operands: words, help: null };
  return new LineReader(command).read(words);
}

class LineReader {
  readonly #command: Command;
  readonly #argparse: boolean;
  readonly #long = new Map<string, OptionSpec>();
  readonly #short = new Map<string, OptionSpec>();
  readonly #given: Given[] = [];
  readonly #operands: string[] = [];
  readonly #unrecognized: string[] = [];
  #help: { topic: string | null } | null = null;
  #words: readonly string[] = [];
  #index = 0;

  constructor(command: Command) {
    this.#command = command;
    this.#argparse = command.dialect === "argparse";
    for (const option of optionsOf(command)) {
      if (option.short !== undefined) this.#short.set(option.short, option);
      if (option.shortOnly !== true) for (const name of option.names) this.#long.set(name, option);
    }
  }

  read(words: readonly string[]): ParsedLine {
    this.#words = words;
    while (this.#index < words.length && this.#help === null) {
      const word = words[this.#index++]!;
      if (word === "--") {
        if (this.#command.keepSeparator === true) this.#operands.push(word);
        this.#operands.push(...words.slice(this.#index));
        break;
      }
      if (this.#isOperand(word)) {
        this.#operands.push(word);
        if (this.#command.stopAtOperand === true) {
          this.#operands.push(...words.slice(this.#index));
          break;
        }
      } else if (word.startsWith("--")) this.#readLong(word);
      else this.#readShort(word);
    }
    if (this.#help === null) this.#checkOperands();
    return { options: new Options(this.#given), operands: this.#operands, help: this.#help };
  }

  #isOperand(word: string): boolean {
    if (word === "-" || !word.startsWith("-")) return true;
    // A number below zero, behind an operand: `flux job urgency ID -1`.
    const isNumber = /^-(\d+|\d*\.\d+)$/.test(word);
    if (!this.#argparse) return isNumber && this.#operands.length > 0 && !this.#isKnown(word);
    return isNumber || (word.includes(" ") && !this.#isKnown(word));
  }

  #isKnown(word: string): boolean {
    if (!word.startsWith("--")) return this.#short.has(word.charAt(1));
    return this.#long.has(word.slice(2).split("=", 1)[0]!);
  }

  #readLong(word: string): void {
    const equals = word.indexOf("=");
    const name = equals < 0 ? word.slice(2) : word.slice(2, equals);
    const attached = equals < 0 ? null : word.slice(equals + 1);
    const option = this.#findLong(name);
    if (option === null) return this.#unknown(word, word);
    if (option.argument === undefined) {
      if (attached !== null) this.#refuseArgument(option, attached);
      return this.#accept(option, null);
    }
    if (attached !== null) return this.#accept(option, attached);
    this.#accept(option, this.#separateArgument(option, `--${name}`));
  }

  /** getopt takes an abbreviation that fits one option only. */
  #findLong(name: string): OptionSpec | null {
    const exact = this.#long.get(name);
    if (exact !== undefined || this.#argparse || name === "") return exact ?? null;
    const fitting = new Set([...this.#long].filter(([long]) => long.startsWith(name)).map(([, option]) => option));
    return fitting.size === 1 ? [...fitting][0]! : null;
  }

  #readShort(word: string): void {
    let flag: OptionSpec | null = null;
    for (let at = 1; at < word.length; at++) {
      const option = this.#short.get(word.charAt(at));
      if (option === undefined) {
        // To argparse what is no letter of an option is an argument of the flag before it.
        if (this.#argparse && flag !== null) this.#refuseArgument(flag, word.slice(at));
        return this.#unknown(word, `-${word.charAt(at)}`);
      }
      flag = option;
      if (option.argument === undefined || option.bareShort === true) {
        this.#accept(option, null);
        if (this.#help !== null) return;
        continue;
      }
      const rest = word.slice(at + 1);
      const attached = this.#argparse && rest.startsWith("=") ? rest.slice(1) : rest;
      if (rest !== "") return this.#accept(option, attached);
      return this.#accept(option, this.#separateArgument(option, `-${word.charAt(at)}`));
    }
  }

  /** The next word as an argument; null where the argument is optional. */
  #separateArgument(option: OptionSpec, as: string): string | null {
    const next = this.#words[this.#index];
    if (option.optionalArgument === true) {
      // argparse takes a following word for an optional argument too, getopt an attached one only.
      if (!this.#argparse || next === undefined || next === "--" || !this.#isOperand(next)) return null;
      if (option.names[0] === "help") return null;
      this.#index++;
      return next;
    }
    if (next === undefined || (this.#argparse && (next === "--" || !this.#isOperand(next))))
      throw new UsageError(
        this.#argparse ? `argument ${argparseName(option)}: expected one argument` : `'${as}' missing argument`,
      );
    this.#index++;
    return next;
  }

  #accept(option: OptionSpec, value: string | null): void {
    if (option.names[0] === "help") {
      this.#help = { topic: value };
      return;
    }
    if (value !== null) this.#checkValue(option, value);
    this.#given.push({ name: option.names[0], value });
  }

  #checkValue(option: OptionSpec, value: string): void {
    const name = argparseName(option);
    if (option.integer === true && parseInteger(value) === null)
      throw new UsageError(
        this.#argparse
          ? `argument ${name}: invalid int value: '${value}'`
          : `${this.#command.name}: Option '${option.names[0]}' requires an integer argument`,
      );
    if (option.choices !== undefined && !option.choices.includes(value))
      throw new UsageError(`argument ${name}: ${invalidChoice(value, option.choices)}`);
  }

  #refuseArgument(option: OptionSpec, value: string): never {
    throw new UsageError(
      this.#argparse
        ? `argument ${argparseName(option)}: ignored explicit argument '${value}'`
        : `unrecognized option '${getoptName(option)}'`,
      !this.#argparse,
    );
  }

  #unknown(word: string, as: string): void {
    if (!this.#argparse) throw new UsageError(`unrecognized option '${as}'`, true);
    this.#unrecognized.push(word);
  }

  /** argparse counts operands before the command runs; getopt commands count their own. */
  #checkOperands(): void {
    if (!this.#argparse) return;
    const specs = this.#command.operands ?? [];
    const left = specs.slice(this.#operands.length);
    const missing = left.filter(({ arity }) => arity === "1" || arity === "+" || arity === "...");
    if (left.some(({ arity }) => arity === "1" || arity === "+"))
      throw new UsageError(`the following arguments are required: ${missing.map((spec) => spec.name).join(", ")}`);
    specs.forEach((spec, index) => {
      const value = this.#operands[index];
      if (value === undefined) return;
      if (spec.integer === true && parseInteger(value) === null)
        throw new UsageError(`argument ${spec.name}: invalid int value: '${value}'`);
      if (spec.choices !== undefined && !spec.choices.includes(value))
        throw new UsageError(`argument ${spec.name}: ${invalidChoice(value, spec.choices)}`);
    });
    const open = specs.some((spec) => /^[*+]$|^\.\.\.$/.test(spec.arity));
    const surplus = open || this.#command.subcommands !== undefined ? [] : this.#operands.splice(specs.length);
    const all = [...this.#unrecognized, ...surplus];
    if (all.length > 0) throw new UsageError(`unrecognized arguments: ${all.join(" ")}`, true);
  }
}

/** `-n/--ntasks`, as argparse names options in complaints. */
function argparseName(option: OptionSpec): string {
  const names = option.shortOnly === true ? [] : option.names.map((name) => `--${name}`);
  return [...(option.short === undefined ? [] : [`-${option.short}`]), ...names].join("/");
}

/** `-n`, or the long name where there is no letter. */
function getoptName(option: OptionSpec): string {
  return option.short === undefined ? `--${option.names[0]}` : `-${option.short}`;
}

/** The complaint about a word that is none of those allowed. */
export function invalidChoice(value: string, choices: readonly string[]): string {
  return `invalid choice: '${value}' (choose from ${choices.map((choice) => `'${choice}'`).join(", ")})`;
}
