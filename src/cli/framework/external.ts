/**
 * Commands that are programs of their own: `flux-NAME` in a directory of FLUX_EXEC_PATH or PATH, or any program where
 * the name has a slash. And what is said when there is none.
 */
import { accessSync, constants, readdirSync, statSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { installRoot } from "../../host/paths.ts";
import { nativeAddon } from "../../host/native.ts";
import { COMMANDS } from "../registry.ts";

/** Replaces this process by the program, where there is one. `isVerbose`: says what is tried. */
export async function runExternal(name: string, words: readonly string[], isVerbose = false): Promise<number> {
  const path = name.includes("/") ? resolve(name) : findExternal(name, isVerbose);
  if (isVerbose && name.includes("/")) tellOfTrial(name);
  if (path === null || !isProgram(path)) {
    if (isVerbose) process.stdout.write(`sub-command search path: ${process.env["FLUX_EXEC_PATH"] ?? ""}\n`);
    process.stderr.write(unknownCommandText(name, Object.keys(COMMANDS)));
    return 1;
  }
  const script = path.endsWith(".py");
  const program = script ? (findInPath("python3") ?? "python3") : path;
  const argv = script ? ["python3", path, ...words] : [path, ...words];
  return execute(program, argv);
}

async function execute(program: string, argv: readonly string[]): Promise<number> {
  becomeProgram(program, argv, process.env);
  const { spawnSync } = await import("node:child_process");
  const { constants: osConstants } = await import("node:os");
  const { status, signal } = spawnSync(program, argv.slice(1), { stdio: "inherit", argv0: argv[0]! });
  return status ?? 128 + (signal === null ? 0 : osConstants.signals[signal]);
}

/** Replaces this process by a program, which has the PMI channel of a task, too. Returns where Node cannot do that. */
export function becomeProgram(program: string, argv: readonly string[], env: NodeJS.ProcessEnv): void {
  if (typeof process.execve !== "function") return;
  // Node keeps to itself whatever descriptors it was given.
  const fd = Number(env["PMI_FD"] ?? NaN);
  if (Number.isInteger(fd)) nativeAddon()?.handOn(fd);
  process.execve(program, [...argv], { ...env } as Record<string, string>);
}

/** A program in FLUX_EXEC_PATH_PREPEND that is to be run instead of an installed command. */
export function findReplacement(name: string, isVerbose: boolean): string | null {
  return findIn(splitPath(process.env["FLUX_EXEC_PATH_PREPEND"]), name, (path) => isVerbose && tellOfTrial(path));
}

/** Where sub-commands that are programs are looked for before PATH. */
export function externalDirectories(): string[] {
  return splitPath(process.env["FLUX_EXEC_PATH"]);
}

/** The names of all programs of one's own in these directories: what comes with Flux beside its commands is no user's. */
export function externalNames(): string[] {
  const own = join(installRoot(), "libexec");
  const directories = externalDirectories().filter((directory) => directory !== own);
  const files = directories.flatMap((directory) => {
    try {
      return readdirSync(directory).filter((file) => isProgram(join(directory, file)));
    } catch (error) {
      // A path may name directories that are not there.
      if (error instanceof Error && "code" in error) return [];
      throw error;
    }
  });
  return [...new Set(files.flatMap((file) => /^flux-(.+?)(?:\.py)?$/.exec(file)?.[1] ?? []))];
}

/** The program `flux-NAME`, or null. */
export function findExternal(name: string, isVerbose = false): string | null {
  const directories = [...externalDirectories(), ...splitPath(process.env["PATH"])];
  return findIn(directories, name, (path) => isVerbose && tellOfTrial(path));
}

function tellOfTrial(path: string): void {
  process.stderr.write(`flux: trying to exec ${path}\n`);
}

function findIn(directories: readonly string[], name: string, tried: (path: string) => unknown): string | null {
  for (const directory of directories) {
    tried(join(directory, `flux-${name}`));
    for (const ending of ["", ".py"]) {
      const path = join(directory, `flux-${name}${ending}`);
      if (isProgram(path)) return resolve(path);
    }
  }
  return null;
}

/** The program that a word names, as a shell finds it. */
export function findInPath(name: string, path: string | undefined = process.env["PATH"]): string | null {
  if (name.includes("/")) return isProgram(name) ? name : null;
  return (
    splitPath(path)
      .map((directory) => join(directory, name))
      .find(isProgram) ?? null
  );
}

function splitPath(list: string | undefined): string[] {
  return (list ?? "").split(delimiter).filter((directory) => directory !== "");
}

export function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    // It is not there, or may not be run or even be looked at: the search goes on.
    return false;
  }
}

/** The complaint about an unknown command, with the known ones that look most like it. */
export function unknownCommandText(name: string, known: readonly string[]): string {
  const text = `flux: \`${name}' is not a flux command.  See 'flux --help'\n`;
  const near = nearest(name, known);
  if (near.length === 0) return text;
  const head = near.length === 1 ? "The most similar command is" : "The most similar commands are";
  return `${text}flux: ${head}\n${near.map((each) => `flux: \t${each}\n`).join("")}`;
}

/** The words at the smallest edit distance, where that is small for the word's length. */
export function nearest(word: string, known: readonly string[]): string[] {
  const distances = known.map((each) => ({ each, distance: editDistance(word, each) }));
  const smallest = Math.min(...distances.map(({ distance }) => distance));
  if (smallest > Math.max(1, Math.floor(word.length / 2))) return [];
  return distances
    .filter(({ distance }) => distance === smallest)
    .map(({ each }) => each)
    .sort();
}

/** Letters inserted, removed, changed or swapped with their neighbour on the way from one word to the other. */
export function editDistance(from: string, to: string): number {
  const rows: number[][] = [Array.from({ length: to.length + 1 }, (_, index) => index)];
  for (let i = 1; i <= from.length; i++) {
    const row = [i];
    for (let j = 1; j <= to.length; j++) {
      const changed = rows[i - 1]![j - 1]! + (from[i - 1] === to[j - 1] ? 0 : 1);
      let best = Math.min(changed, rows[i - 1]![j]! + 1, row[j - 1]! + 1);
      if (i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1])
        best = Math.min(best, rows[i - 2]![j - 2]! + 1);
      row.push(best);
    }
    rows.push(row);
  }
  return rows[from.length]![to.length]!;
}
