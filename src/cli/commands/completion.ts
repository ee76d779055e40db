/** `flux completion`: what bash and zsh read to complete command lines of `flux`, and what they ask then. */
import { spawnSync } from "node:child_process";
import { FluxError } from "../../base/errors.ts";
import { splitShellWords } from "../../formats/shell-words.ts";
import { fluxCommandPath } from "../../host/paths.ts";
import { completeCommand, starting, type Candidate, type Completion } from "../completion/candidates.ts";
import { instanceCandidates } from "../completion/instance.ts";
import { COMPLETION_SCRIPTS } from "../completion/scripts.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";
import { externalNames } from "../framework/external.ts";
import { loadCommand } from "../framework/load.ts";
import { COMMANDS } from "../registry.ts";

const GLOBAL_OPTIONS: readonly Candidate[] = [
  { word: "--help", description: "Display help" },
  { word: "--verbose", description: "Be verbose about environment and command search" },
  { word: "--version", description: "Display command and component versions" },
  { word: "--parent", description: "Set environment of parent instead of current instance" },
  { word: "--root", description: "Set environment of root instead of current instance" },
];

export const command: Command = defineCommand({
  name: "completion",
  dialect: "argparse",
  summary: "print what a shell needs to complete flux commands",
  description:
    'Completion of commands, options, job ids and queues. For bash, put  eval "$(flux completion bash)"  in ~/.bashrc; ' +
    "for zsh, the same with zsh in ~/.zshrc, after compinit.",
  subcommands: [
    ...Object.entries(COMPLETION_SCRIPTS).map(([name, text]) =>
      defineCommand({
        name,
        dialect: "argparse",
        summary: `print the completion of ${name}`,
        run: (context) => context.out(text),
      }),
    ),
    defineCommand({
      name: "candidates",
      dialect: "argparse",
      summary: "print what may come next on a command line",
      hidden: true,
      unparsed: true,
      operands: [{ name: "LINE", arity: "1" }],
      run: printCandidates,
    }),
  ],
});

async function printCandidates(context: CommandContext): Promise<void> {
  const words = wordsOf(context.operands[0] ?? "").slice(1);
  const { candidates, source, prefix } = await complete(words);
  const current = words.at(-1) ?? "";
  const found = source === "formats" ? formats(words) : await instanceCandidates(source, current.slice(prefix.length));
  const known = found.map((each) => ({ ...each, word: prefix + each.word }));
  const all = [...candidates, ...starting(known, current)];
  context.out(`${source}\n${all.map(({ word, description }) => `${word}\t${description}\n`).join("")}`);
}

/** The formats that the command of a line knows, those of configuration files among them: as it tells them itself. */
function formats(words: readonly string[]): Candidate[] {
  const end = words.findIndex((word) => word.startsWith("-"));
  const path = words.slice(0, end < 0 ? words.length - 1 : end);
  const { stdout } = spawnSync(fluxCommandPath(), [...path, "--format=help"], { encoding: "utf8", stdio: "pipe" });
  return [...stdout.matchAll(/^ {2}(\S+) +(.*)$/gm)].map(([, word, description]) => ({
    word: word!,
    description: description!,
  }));
}

/** The words of a line whose last one is being written; a quote that is open is closed. */
function wordsOf(line: string): string[] {
  for (const end of ["", '"', "'"]) {
    try {
      const words = splitShellWords(line + end);
      return /\s$/.test(line) && end === "" ? [...words, ""] : words;
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
    }
  }
  return line.split(/\s+/);
}

async function complete(words: readonly string[]): Promise<Completion> {
  const at = words.findIndex((word) => !word.startsWith("-"));
  const current = words.at(-1) ?? "";
  const isLast = at < 0 || at === words.length - 1;
  if (isLast) {
    const names = Object.entries(COMMANDS).map(([name, { summary }]) => ({ word: name, description: summary ?? "" }));
    const programs = externalNames().map((word) => ({ word, description: "" }));
    return { candidates: starting([...names, ...programs, ...GLOBAL_OPTIONS], current), source: "none", prefix: "" };
  }
  const name = words[at]!;
  if (name === "help") return complete(words.slice(at + 1));
  const entry = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (entry === undefined) return { candidates: [], source: "files", prefix: "" };
  return completeCommand(await loadCommand(name, entry), words.slice(at + 1));
}
