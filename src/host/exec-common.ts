/** What both implementations of the exec port share: checks, environment, error sentences, signals, limits. */
import { openSync } from "node:fs";
import { FluxError, errnoSentence } from "../base/errors.ts";
import { FIRST_CHANNEL, type SpawnOptions } from "../base/ports.ts";
import { RLIMITS } from "../formats/rlimit.ts";
import { systemError } from "./errors.ts";

const STANDARD_STREAMS: readonly string[] = ["stdin", "stdout", "stderr"];

/** Refuses what no operating system could start. */
export function checkSpawnOptions(options: SpawnOptions): void {
  if (options.argv.length === 0 || options.argv[0] === "") throw new FluxError("EINVAL", "the command is empty");
  for (const text of [...options.argv, options.cwd]) {
    if (text.includes("\0")) throw new FluxError("EINVAL", "a command and its directory cannot contain a zero byte");
  }
  const names = new Set(STANDARD_STREAMS);
  for (const name of options.channels ?? []) {
    if (names.has(name) || !/^[^=\0]+$/.test(name)) throw new FluxError("EINVAL", `invalid channel name '${name}'`);
    names.add(name);
  }
}

/** The file that is to be standard input, opened; null where it is none. The caller closes it after the start. */
export function openInput({ stdin }: SpawnOptions): number | null {
  if (typeof stdin === "string") return null;
  try {
    return openSync(stdin.path, "r");
  } catch (error) {
    throw systemError(`cannot open ${stdin.path}`, error);
  }
}

/** The variables of the child: those asked for, and the descriptor number of each channel. */
export function childEnvironment(options: SpawnOptions): Record<string, string> {
  const env: Record<string, string> = { ...options.env };
  options.channels?.forEach((name, index) => (env[name] = String(FIRST_CHANNEL + index)));
  return env;
}

export const SIGKILL = 9;

/** What to tell of a program that did not start. */
export function programError(program: string, errnum: number): FluxError {
  return new FluxError(errnum, `${program}: ${errnoSentence(errnum)}`);
}

/** What to tell of a working directory that cannot be entered. */
export function directoryError(directory: string, errnum: number): FluxError {
  return new FluxError(errnum, `cannot change to directory ${directory}: ${errnoSentence(errnum)}`);
}

/** Signals a process or its group. False when there is none; throws EPERM where it belongs to somebody else. */
export function killProcess(pid: number, signum: number, group: boolean): boolean {
  try {
    process.kill(group ? -pid : pid, signum);
    return true;
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === "ESRCH") return false;
    const errno = code === "EPERM" ? "EPERM" : "EINVAL";
    throw new FluxError(errno, `cannot signal process ${pid}: ${errnoSentence(errno === "EPERM" ? 1 : 22)}`, {
      cause: error,
    });
  }
}

/** Pairs of resource number and soft limit. Throws EINVAL for a name that Linux does not have. */
export function limitNumbers(rlimits: Readonly<Record<string, number>> | undefined): [number, number][] {
  return Object.entries(rlimits ?? {}).map(([name, value]) => {
    const number = Object.hasOwn(RLIMITS, name.toLowerCase()) ? RLIMITS[name.toLowerCase()] : undefined;
    if (number === undefined) throw new FluxError("EINVAL", `unknown resource limit '${name}'`);
    return [number, value];
  });
}
