/** Real instances for tests: started by `bin/flux`, followed by a mark in the environment, so that nothing is left behind. */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root: string = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
export const flux: string = join(root, "bin", "flux");
const MARK = "FLUX_TEST_MARK";
const POLL_MS = 20;

let marks = 0;

export interface Finished {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command of a test, with everything it starts. */
export class Run implements AsyncDisposable {
  readonly child: ChildProcess;
  readonly finished: Promise<Finished>;
  readonly mark: string;
  readonly directory: string;
  stdout = "";
  stderr = "";
  readonly #waiting = new Set<() => void>();

  constructor(argv: readonly string[], options: { env?: Record<string, string>; input?: string } = {}) {
    this.mark = `${process.pid}-${marks++}`;
    this.directory = mkdtempSync(join(tmpdir(), "flux-real-"));
    const env: NodeJS.ProcessEnv = { ...process.env, PATH: `${join(root, "bin")}:${process.env["PATH"]}` };
    for (const name of ["FLUX_URI", "NODE_OPTIONS", "NODE_TEST_CONTEXT", "PMI_FD", "PMI_RANK", "PMI_SIZE"])
      delete env[name];
    Object.assign(env, { TMPDIR: this.directory, LC_ALL: "C.UTF-8", [MARK]: this.mark }, options.env);
    this.child = spawn(argv[0]!, argv.slice(1), { env, cwd: this.directory });
    this.child.stdin?.on("error", () => undefined);
    if (options.input === undefined) this.child.stdin?.end();
    else if (options.input !== "") this.child.stdin?.end(options.input);
    this.child.stdout?.setEncoding("utf8").on("data", (text: string) => this.#take("stdout", text));
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => this.#take("stderr", text));
    this.finished = new Promise((resolve) =>
      this.child.on("close", (code, signal) => {
        this.#wake();
        resolve({ code, signal, stdout: this.stdout, stderr: this.stderr });
      }),
    );
  }

  #take(stream: "stdout" | "stderr", text: string): void {
    this[stream] += text;
    this.#wake();
  }
  #wake(): void {
    for (const wake of this.#waiting) wake();
  }

  /** Resolves with the match once standard output (or `stream`) contains it. Rejects when the command ends without. */
  async seen(pattern: RegExp, stream: "stdout" | "stderr" = "stdout"): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this[stream]);
      if (match !== null) return match;
      if (this.child.exitCode !== null || this.child.signalCode !== null)
        throw new Error(`ended without ${pattern}:\n${this.stdout}${this.stderr}`);
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          this.#waiting.delete(wake);
          resolve();
        };
        this.#waiting.add(wake);
      });
    }
  }

  /** The processes that this command started and that live, but for zombies: pid and command line. */
  processes(): { pid: number; command: string }[] {
    const found: { pid: number; command: string }[] = [];
    for (const name of readdirSync("/proc")) {
      if (!/^\d+$/.test(name)) continue;
      try {
        const command = readFileSync(`/proc/${name}/cmdline`, "utf8").replaceAll("\0", " ").trim();
        // A guard has no environment to be known by, only the address that it guards.
        const isGuard = command.includes(` flux-guard local://${this.directory}/`);
        if (!isGuard && !readFileSync(`/proc/${name}/environ`, "utf8").includes(`${MARK}=${this.mark}\0`)) continue;
        if (command !== "") found.push({ pid: Number(name), command });
      } catch (error) {
        // The process ended while we looked.
        const { code } = error as NodeJS.ErrnoException;
        if (code !== "ENOENT" && code !== "ESRCH" && code !== "EACCES") throw error;
      }
    }
    return found;
  }

  /** Resolves when no process is left, or none of those that match; rejects with their names after a bound. */
  async gone(withinMs: number, pattern = /^/): Promise<void> {
    const deadline = Date.now() + withinMs;
    for (;;) {
      const left = this.processes().filter(({ command }) => pattern.test(command));
      if (left.length === 0) return;
      if (Date.now() > deadline) throw new Error(`left behind: ${left.map(({ command }) => command).join("; ")}`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  /** What is left in the directory for temporary files. */
  leftFiles(): string[] {
    return readdirSync(this.directory);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { pid } of this.processes()) {
      try {
        process.kill(pid, "SIGKILL");
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
      }
    }
    await this.finished;
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** An instance whose initial program waits until its input ends. */
export async function startInstance(
  ...options: string[]
): Promise<{ run: Run; uri: string; flux(...argv: string[]): Finished }> {
  const run = new Run([flux, "start", ...options, "bash", "-c", "echo URI=$FLUX_URI; cat >/dev/null"], { input: "" });
  const [, uri] = await run.seen(/URI=(.*)\n/);
  return {
    run,
    uri: uri!,
    flux: (...argv) => {
      const child = spawnSync(flux, argv, {
        env: { ...process.env, FLUX_URI: uri!, [MARK]: run.mark },
        encoding: "utf8",
        timeout: 60_000,
      });
      return { code: child.status, signal: child.signal, stdout: child.stdout, stderr: child.stderr };
    },
  };
}
