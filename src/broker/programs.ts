/**
 * Programs that the broker itself starts: rc1, the initial program, cleanup commands, rc3. They use the broker's own
 * standard streams.
 *
 * It knows how a command becomes a process and how its end reads in the log, not when to run what.
 */
import { errorText, FluxError } from "../base/errors.ts";
import {
  EXIT_NOT_EXECUTABLE,
  EXIT_NOT_FOUND,
  exitCodeOfStatus,
  signalOfStatus,
  signalSentence,
} from "../base/signals.ts";
import type { ChildProcess, Exec } from "../base/ports.ts";

export interface ProgramOptions {
  /** One word is a command line for the shell; several are a program and its arguments; none is an interactive shell. */
  readonly words: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  isProgram(path: string): boolean;
  /** Whether a program is text that does not say who reads it: the shell may, the system does not. */
  isScriptOfNobody(path: string): boolean;
  readonly stdin: "inherit" | "null";
  /** Takes the lines of standard output and error, which otherwise go where the broker's go. */
  readonly line?: (stream: string, line: string) => void;
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

/**
 * `isProgram` tells of a path whether it is a file that may be executed: then no shell reads it, to which a blank in it would
 * mean something else. Besides, some shells stay between us and the program, and signals for the program would end them first.
 */
function argvOf(
  words: readonly string[],
  env: Readonly<Record<string, string>>,
  isProgram: (path: string) => boolean,
): readonly string[] {
  const shell = env["SHELL"] ?? "/bin/sh";
  if (words.length === 0) return [shell];
  if (words.length === 1 && words[0]!.includes("/") && isProgram(words[0]!)) return words;
  return words.length === 1 ? [shell, "-c", words[0]!] : words;
}

export function startProgram(exec: Exec, options: ProgramOptions): Program {
  const { env, cwd, stdin, ownGroup, line } = options;
  const streams = line === undefined ? "inherit" : "pipe";
  const readers = new Map<string, LineReader>();
  const output = (stream: string, chunk: Uint8Array | null): void => {
    let reader = readers.get(stream);
    if (reader === undefined) readers.set(stream, (reader = new LineReader()));
    const lines = chunk === null ? reader.end() : reader.feed(chunk);
    for (const text of lines) line?.(stream, text);
  };
  let child: ChildProcess | null = null;
  const ended = new Promise<ProgramEnd>((resolve) => {
    try {
      const argv = argvOf(options.words, env, options.isProgram);
      if (argv === options.words && argv.length === 1 && options.isScriptOfNobody(argv[0]!))
        throw new FluxError("ENOEXEC");
      child = exec.spawn(
        {
          argv,
          env,
          cwd,
          stdin,
          stdout: streams,
          stderr: streams,
          newProcessGroup: ownGroup,
          diesWithParent: true,
        },
        {
          output,
          exit: (status) => resolve({ exitCode: exitCodeOfStatus(status), text: endText(status) }),
        },
      );
    } catch (error) {
      const exitCode = error instanceof FluxError && error.is("ENOENT") ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
      resolve({ exitCode, text: `error launching process: ${errorText(error)} (rc=${exitCode})` });
    }
  });
  return { ended, kill: (signum) => void child?.kill(signum, { group: ownGroup }) };
}

/** Cuts output into lines. */
class LineReader {
  readonly #decoder = new TextDecoder();
  #rest = "";

  feed(chunk: Uint8Array): string[] {
    const lines = (this.#rest + this.#decoder.decode(chunk, { stream: true })).split("\n");
    this.#rest = lines.pop()!;
    return lines;
  }

  /** What came after the last line end. */
  end(): string[] {
    const rest = this.#rest + this.#decoder.decode();
    this.#rest = "";
    return rest === "" ? [] : [rest];
  }
}

function endText(status: number): string {
  const code = exitCodeOfStatus(status);
  const signum = signalOfStatus(status);
  return signum === 0 ? `Exited (rc=${code})` : `${signalSentence(signum)} (rc=${code})`;
}
