/**
 * Programs that the broker itself starts: rc1, the initial program, cleanup commands, rc3. They use the broker's own
 * standard streams.
 *
 * It knows how a command becomes a process and how its end reads in the log, not when to run what.
 */
import { errorText, FluxError } from "../base/errors.ts";
import { exitCodeOfStatus, signalOfStatus, signalSentence } from "../base/signals.ts";
import type { ChildProcess, Exec } from "../base/ports.ts";

/** A command that cannot be started ends as in a shell. */
const CODE_NOT_FOUND = 127;
const CODE_NOT_EXECUTABLE = 126;

export interface ProgramOptions {
  /** One word is a command line for the shell; several are a program and its arguments; none is an interactive shell. */
  readonly words: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly stdin: "inherit" | "null";
  /** A process group of its own, so that a signal reaches all that it started. */
  readonly ownGroup: boolean;
}

export interface ProgramEnd {
  readonly exitCode: number;
  /** "Exited (rc=1)", "Hangup (rc=129)" … */
  readonly text: string;
}

export interface Program {
  readonly ended: Promise<ProgramEnd>;
  kill(signum: number): void;
}

export function argvOf(words: readonly string[], env: Readonly<Record<string, string>>): readonly string[] {
  const shell = env["SHELL"] ?? "/bin/sh";
  if (words.length === 0) return [shell];
  return words.length === 1 ? [shell, "-c", words[0]!] : words;
}

export function startProgram(exec: Exec, options: ProgramOptions): Program {
  const { env, cwd, stdin, ownGroup } = options;
  let child: ChildProcess | null = null;
  const ended = new Promise<ProgramEnd>((resolve) => {
    try {
      child = exec.spawn(
        {
          argv: argvOf(options.words, env),
          env,
          cwd,
          stdin,
          stdout: "inherit",
          stderr: "inherit",
          newProcessGroup: ownGroup,
        },
        { output: () => {}, exit: (status) => resolve({ exitCode: exitCodeOfStatus(status), text: endText(status) }) },
      );
    } catch (error) {
      const exitCode = error instanceof FluxError && error.is("ENOENT") ? CODE_NOT_FOUND : CODE_NOT_EXECUTABLE;
      resolve({ exitCode, text: `error launching process: ${errorText(error)} (rc=${exitCode})` });
    }
  });
  return { ended, kill: (signum) => void child?.kill(signum, { group: ownGroup }) };
}

function endText(status: number): string {
  const code = exitCodeOfStatus(status);
  const signum = signalOfStatus(status);
  return signum === 0 ? `Exited (rc=${code})` : `${signalSentence(signum)} (rc=${code})`;
}
