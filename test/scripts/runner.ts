/**
 * Command scripts: what a user types and what Flux prints, in one text file.
 *
 *     # instance: -s 4          options of `flux start` (default: one broker; "none": no instance)
 *     # prose                   for the reader
 *     $ flux getattr size       a command line of bash, one shell for the whole file: variables last
 *     4                         its output, standard error included
 *     [exit 1]                  its exit code where it is not 0
 *
 * In expected output a line `...` stands for any number of lines, `/regex/` for a line that matches, and ƒ… for any job
 * id. `UPDATE=1` rewrites the expectations of a file that differs: look at the change before committing it.
 */
import { spawn, type ChildProcessWithoutNullStreams } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root: string = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const END_MARK = "\u0001";
const COMMAND_TIMEOUT_MS = 60_000;

export interface Step {
  /** Comment and blank lines before the command. */
  readonly prose: string[];
  /** Lines of the command: continued by a trailing backslash or an open here-document. */
  readonly command: string[];
  readonly expected: string[];
}
export interface Script {
  readonly options: string[] | null;
  readonly steps: Step[];
  readonly trailing: string[];
}

export function parseScript(text: string): Script {
  const lines = text.split("\n");
  const instance = /^# instance:\s*(.*)$/.exec(lines.find((line) => line.startsWith("# instance:")) ?? "");
  const options = instance?.[1] === "none" ? null : (instance?.[1]?.split(/\s+/).filter(Boolean) ?? []);
  const steps: Step[] = [];
  let prose: string[] = [];
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index]!;
    if (line.startsWith("$ ")) {
      const command = [line.slice(2)];
      while (lines[index + 1]?.startsWith("> ") === true) command.push(lines[++index]!.slice(2));
      steps.push({ prose, command, expected: [] });
      prose = [];
    } else if (line.startsWith("#") || line === "") prose.push(line);
    else steps.at(-1)?.expected.push(line);
  }
  return { options, steps, trailing: prose };
}

export function formatScript(script: Script, results: readonly string[][]): string {
  const lines: string[] = [];
  script.steps.forEach((step, index) => {
    lines.push(...step.prose, ...step.command.map((line, at) => (at === 0 ? `$ ${line}` : `> ${line}`)));
    lines.push(...(results[index] ?? step.expected));
  });
  return [...lines, ...script.trailing].join("\n");
}

/** Whether the output is what was expected, wildcards considered. */
export function matches(expected: readonly string[], actual: readonly string[]): boolean {
  const [first, ...rest] = expected;
  if (first === undefined) return actual.length === 0;
  if (first === "...") {
    for (let skip = 0; skip <= actual.length; skip++) if (matches(rest, actual.slice(skip))) return true;
    return false;
  }
  return actual.length > 0 && lineMatches(first, actual[0]!) && matches(rest, actual.slice(1));
}

function lineMatches(expected: string, actual: string): boolean {
  if (expected.length > 1 && expected.startsWith("/") && expected.endsWith("/"))
    return new RegExp(`^(?:${expected.slice(1, -1)})$`, "u").test(actual);
  if (!expected.includes("ƒ…")) return expected === actual;
  const pattern = expected.split("ƒ…").map(escapeRegExp).join("ƒ[1-9A-HJ-NP-Za-km-z]+");
  return new RegExp(`^${pattern}$`, "u").test(actual);
}

function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

/** The last line of what a command printed that took too long: the session is over. */
export const TIMED_OUT = "[timed out]";

/** A bash in (or without) an instance, which runs one command after the other. */
export class Session implements AsyncDisposable {
  readonly directory: string;
  readonly #shell: ChildProcessWithoutNullStreams;
  readonly #ended: Promise<number | null>;
  #output = "";
  #wake: (() => void) | null = null;

  constructor(options: readonly string[] | null) {
    this.directory = mkdtempSync(join(tmpdir(), "flux-script-"));
    const bash = ["bash", "--noprofile", "--norc"];
    const argv = options === null ? bash : [join(root, "bin", "flux"), "start", ...options, ...bash];
    const env: NodeJS.ProcessEnv = {
      ...process.env,
      PATH: `${join(root, "bin")}:${process.env["PATH"]}`,
      LC_ALL: "C.UTF-8",
      TZ: "UTC",
    };
    for (const name of ["FLUX_URI", "NODE_OPTIONS", "NODE_TEST_CONTEXT"]) delete env[name];
    this.#shell = spawn(argv[0]!, argv.slice(1), { cwd: this.directory, env });
    this.#ended = new Promise((resolve) => this.#shell.on("close", resolve));
    for (const stream of [this.#shell.stdout, this.#shell.stderr])
      stream.setEncoding("utf8").on("data", (text: string) => {
        this.#output += text;
        this.#wake?.();
      });
    void this.#ended.then(() => this.#wake?.());
  }

  /** Runs a command; its output lines, with `[exit N]` at the end where the code is not 0. */
  async run(command: string): Promise<string[]> {
    this.#output = "";
    this.#shell.stdin.write(`{ ${command}\n} 2>&1 </dev/null; printf '${END_MARK}%d\\n' $?\n`);
    const end = new RegExp(`${END_MARK}(\\d+)\\n`);
    const deadline = Date.now() + COMMAND_TIMEOUT_MS;
    for (;;) {
      const found = end.exec(this.#output);
      if (found !== null) {
        const text = this.#output.slice(0, found.index);
        const lines = text === "" ? [] : text.replace(/\n$/, "").split("\n");
        return found[1] === "0" ? lines : [...lines, `[exit ${found[1]}]`];
      }
      if (this.#shell.exitCode !== null) return [...this.#output.split("\n"), "[the instance ended]"];
      if (Date.now() > deadline) {
        // What hangs would keep all that follows waiting, and be left behind.
        this.#shell.kill("SIGTERM");
        return [...this.#output.split("\n"), TIMED_OUT];
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, deadline - Date.now());
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Ends the shell, and with it the instance. Resolves with the exit code. */
  async end(): Promise<number | null> {
    this.#shell.stdin.end();
    const timer = setTimeout(() => this.#shell.kill("SIGKILL"), COMMAND_TIMEOUT_MS);
    const code = await this.#ended;
    clearTimeout(timer);
    rmSync(this.directory, { recursive: true, force: true });
    return code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }
}
