/**
 * What may come next on a command line of `flux`, from the commands' own descriptions: names of commands and subcommands,
 * options, and what an argument or operand may be.
 *
 * Pure: commands are loaded by whoever asks; what only an instance knows is named by its kind.
 */
import type { Command, OperandSpec, OptionSpec } from "../framework/command.ts";
import { optionsOf } from "../framework/parse.ts";

export interface Candidate {
  readonly word: string;
  readonly description: string;
}

/** What completes a word besides candidates: the shell's own knowledge, or that of an instance. */
export type Source = "files" | "commands" | "jobs" | "queues" | "modules" | "attributes" | "none";

export interface Completion {
  readonly candidates: readonly Candidate[];
  readonly source: Source;
  /** What stands in the current word before the part that is completed: `--queue=`. */
  readonly prefix: string;
}

/** The kinds of arguments by their names in help. What is not listed is a file or free text: the shell offers files. */
const SOURCES: readonly (readonly [RegExp, Source])[] = [
  [/^JOBID/i, "jobs"],
  [/^(QUEUE|queue)/, "queues"],
  [/^MODULE$/, "modules"],
  [/^(N|MIN\|FSD|FSD|IDSET|SECONDS?|WHEN|NOTE|MESSAGE|FORMAT|KEY|KEY,\.\.\.)$/, "none"],
];
/** Arguments that are one of some words, or several of them. */
const WORDS: readonly (readonly [RegExp, readonly string[]])[] = [
  [
    /^STATE\|RESULT$/,
    "pending running inactive depend priority sched run cleanup completed failed canceled timeout".split(" "),
  ],
  [/^STATES$/, "pending running active depend priority sched run".split(" ")],
];
/** Events of a job (RFC 21) that people wait for. */
const EVENTS = "submit validate depend priority alloc start finish release free clean exception memo".split(" ");
/** Options whose arguments are some words, or begin with one of them, in whatever command. */
const WORDS_OF_OPTIONS: Readonly<Record<string, readonly string[]>> = {
  urgency: ["hold", "default", "expedite"],
  flags: ["debug", "waitable", "novalidate"],
  "wait-event": [...EVENTS, "exec.shell.init", "exec.shell.start"],
  color: ["always", "never", "auto"],
  taskmap: ["block", "cyclic", "cyclic:", "manual:"],
  dependency: [
    "afterany:",
    "afterok:",
    "afternotok:",
    "afterexcept:",
    "afterstart:",
    "any:",
    "singleton",
    "begin-time:",
  ],
  "time-format": ["raw", "iso", "offset", "human"],
};
/** Operands that are one of some words. */
const WORDS_OF_OPERANDS: Readonly<Record<string, readonly string[]>> = { event: EVENTS };
const NOTHING: Completion = { candidates: [], source: "none", prefix: "" };

/** Completes the last of the words that follow a command's name. */
export function completeCommand(command: Command, words: readonly string[]): Completion {
  let path: Command = command;
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
      if (at === before.length - 1) return completeArgument(option, current, "");
      at += 1;
    } else {
      const sub = operands === 0 ? path.subcommands?.find(({ name }) => name === word) : undefined;
      if (sub !== undefined) {
        path = sub;
        options = optionsOf(path);
        continue;
      }
      operands += 1;
      if (path.stopAtOperand === true) isOver = true;
    }
  }
  if (!isOver && current.startsWith("-") && path.unparsed !== true) return completeOption(options, current);
  return completeOperand(path, operands, current);
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

function completeOption(options: readonly OptionSpec[], current: string): Completion {
  const equals = current.indexOf("=");
  if (current.startsWith("--") && equals > 0) {
    const option = options.find(({ names }) => names.includes(current.slice(2, equals)));
    if (option?.argument === undefined) return NOTHING;
    return completeArgument(option, current.slice(equals + 1), current.slice(0, equals + 1));
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

function completeArgument(option: OptionSpec, current: string, prefix: string): Completion {
  const words =
    option.choices ??
    WORDS.find(([name]) => name.test(option.argument ?? ""))?.[1] ??
    (Object.hasOwn(WORDS_OF_OPTIONS, option.names[0]!) ? WORDS_OF_OPTIONS[option.names[0]!] : undefined);
  if (words !== undefined) {
    const candidates = words.map((word) => ({ word: prefix + word, description: "" }));
    return { candidates: starting(candidates, prefix + current), source: "none", prefix };
  }
  // A queue is called NAME where the option tells already.
  const kind = option.names[0] === "queue" ? "queues" : sourceOf(option.argument ?? "");
  return { candidates: [], source: kind, prefix };
}

function completeOperand(command: Command, index: number, current: string): Completion {
  if (command.subcommands !== undefined && index === 0) {
    const candidates = command.subcommands
      .filter(({ hidden }) => hidden !== true)
      .map(({ name, summary }) => ({ word: name, description: summary }));
    return { candidates: starting(candidates, current), source: "none", prefix: "" };
  }
  const operands = command.operands ?? [];
  const spec: OperandSpec | undefined = operands[index] ?? lastRepeating(operands);
  if (spec?.choices !== undefined) {
    const candidates = spec.choices.map((word) => ({ word, description: "" }));
    return { candidates: starting(candidates, current), source: "none", prefix: "" };
  }
  if (spec === undefined) return completeByUsage(command, index, current);
  const startsProgram = spec.arity === "..." && spec.name !== "SCRIPT" && command.stopAtOperand === true && index === 0;
  return { candidates: [], source: startsProgram ? "commands" : sourceOfOperand(command, spec), prefix: "" };
}

function lastRepeating(operands: readonly OperandSpec[]): OperandSpec | undefined {
  const last = operands.at(-1);
  return last !== undefined && /^(\*|\+|\.\.\.)$/.test(last.arity) ? last : undefined;
}

/** Where an operand's name says little, that of its command says more. */
function sourceOfOperand(command: Command, { name }: OperandSpec): Source {
  if (name === "name") return command.name.endsWith("attr") ? "attributes" : "modules";
  if (name === "TARGET") return ["uri", "proxy", "top", "shutdown"].includes(command.name) ? "jobs" : "none";
  return sourceOf(name);
}

/** An operand of a command that describes them in its usage only. */
function completeByUsage(command: Command, index: number, current: string): Completion {
  const name = command.usage?.split(/\s+/).filter((word) => /^[a-z]+$/i.test(word) && word !== "OPTIONS")[index] ?? "";
  if (!Object.hasOwn(WORDS_OF_OPERANDS, name)) return { candidates: [], source: sourceOfUsage(command), prefix: "" };
  const candidates = WORDS_OF_OPERANDS[name]!.map((word) => ({ word, description: "" }));
  return { candidates: starting(candidates, current), source: "none", prefix: "" };
}

function sourceOfUsage({ usage = "" }: Command): Source {
  return /\b(id|ids|jobid|JOBID)\b/.test(usage) ? "jobs" : "files";
}

function sourceOf(name: string): Source {
  return SOURCES.find(([expression]) => expression.test(name))?.[1] ?? "files";
}

export function starting(candidates: readonly Candidate[], current: string): Candidate[] {
  return candidates.filter(({ word }) => word.startsWith(current));
}

function firstSentence(text: string): string {
  return /^.*?(?=[.;(]\s|\.$|$)/s.exec(text)![0].trim();
}
