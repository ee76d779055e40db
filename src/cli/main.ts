/**
 * `flux`: reads the options before the command's name, loads the one command that is asked for, and runs it.
 *
 * What is loaded here is loaded by every command: it stays small.
 */
import { enableCompileCache } from "node:module";
import { fileURLToPath } from "node:url";
import { prepareEnvironment } from "./framework/builtin-values.ts";
import { loadCommand } from "./framework/load.ts";
import { runCommand } from "./framework/run.ts";
import { COMMANDS } from "./registry.ts";

// The cache stands beside the compiled files; sources are run by developers only.
if (import.meta.url.endsWith(".js")) enableCompileCache(fileURLToPath(new URL("../.cache", import.meta.url)));

interface GlobalOptions {
  readonly parents: number;
  readonly root: boolean;
  readonly verbose: boolean;
  readonly words: readonly string[];
}

const OPTIONS: Readonly<Record<string, string>> = { h: "help", v: "verbose", V: "version", p: "parent", r: "root" };

process.exit(await main(process.argv.slice(2)));

async function main(words: readonly string[]): Promise<number> {
  const given: string[] = [];
  let index = 0;
  for (; index < words.length; index++) {
    const word = words[index]!;
    if (!word.startsWith("-") || word === "-") break;
    if (word === "--") {
      index++;
      break;
    }
    const names = namesOf(word);
    if (names === null) return unknownOption(word);
    given.push(...names);
  }
  const rest = words.slice(index);
  const options: GlobalOptions = {
    parents: given.filter((name) => name === "parent").length,
    root: given.includes("root"),
    verbose: given.includes("verbose"),
    words: rest,
  };
  if (given.includes("help")) return frontPage(0);
  if (given.includes("version")) return run("version", [], options);
  if (rest.length === 0) return frontPage(1);
  return run(rest[0]!, rest.slice(1), options);
}

function namesOf(word: string): string[] | null {
  if (word.startsWith("--")) {
    const fitting = Object.values(OPTIONS).filter((name) => name.startsWith(word.slice(2)));
    const exact = fitting.find((name) => name === word.slice(2));
    return exact !== undefined ? [exact] : fitting.length === 1 ? fitting : null;
  }
  const names = Array.from(word.slice(1), (letter) => OPTIONS[letter]);
  return names.every((name) => name !== undefined) ? names : null;
}

function unknownOption(word: string): number {
  const name = word.startsWith("--") ? word.split("=", 1)[0]! : word.slice(0, 2);
  process.stderr.write(`flux: unrecognized option '${name}'\nTry \`flux --help' for more information.\n`);
  return 1;
}

async function frontPage(exitCode: number): Promise<number> {
  const { frontPageText } = await import("./framework/front-page.ts");
  (exitCode === 0 ? process.stdout : process.stderr).write(frontPageText());
  return exitCode;
}

async function run(name: string, words: readonly string[], options: GlobalOptions): Promise<number> {
  if (options.parents > 0 || options.root) {
    const { enterAncestor } = await import("./framework/ancestor.ts");
    const complaint = await enterAncestor(options.root ? Infinity : options.parents);
    if (complaint !== null) {
      process.stderr.write(`flux: ${complaint}\n`);
      return 1;
    }
  }
  prepareEnvironment(process.env);
  if (options.verbose) {
    const { environmentText } = await import("./framework/front-page.ts");
    process.stdout.write(environmentText());
  }
  const entry = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  // What FLUX_EXEC_PATH_PREPEND names goes before what is installed.
  const mayBeReplaced = (process.env["FLUX_EXEC_PATH_PREPEND"] ?? "") !== "";
  if (entry !== undefined && !mayBeReplaced) return runCommand(await loadCommand(name, entry), words);
  const { findExternal, findReplacement, runExternal } = await import("./framework/external.ts");
  const replacement = mayBeReplaced ? findReplacement(name, options.verbose) : null;
  if (replacement !== null) return runExternal(replacement, words);
  if (entry !== undefined) return runCommand(await loadCommand(name, entry), words);
  if (/^python\d[.\d]*$/.test(name) && findExternal(name) === null) {
    process.env["FLUX_PYTHON"] = name;
    return runCommand(await loadCommand("python", COMMANDS["python"]!), words);
  }
  return runExternal(name, words, options.verbose);
}
