/**
 * This process as its user sees it: standard input and output, the terminal, signals, the exit code.
 *
 * Output that a reader has not taken yet is not lost at exit; a reader that went away (`flux … | head`) is no error.
 */
import { signalName, signalNumber } from "../base/signals.ts";
import { hasCode } from "./errors.ts";

export interface Subscription {
  cancel(): void;
}

export interface MainProcess {
  readonly argv: readonly string[];
  /** Calls back for each arrival of the signals, instead of what the system would do. */
  onSignals(signums: readonly number[], callback: (signum: number) => void): Subscription;
  /** Delivers standard input in chunks, null at its end. */
  onInput(callback: (chunk: Uint8Array | null) => void): InputControl;
  /** The whole of standard input. */
  readInput(): Promise<Uint8Array>;
  /** Writes; resolves when the reader has taken enough for more to be welcome. */
  write(stream: "stdout" | "stderr", data: string | Uint8Array): Promise<void>;
  isTerminal(stream: "stdin" | "stdout" | "stderr"): boolean;
  /** Size of the terminal on standard output, where it is one. */
  terminalSize(): { rows: number; columns: number } | null;
  /** Takes each key as it is struck, without echo; false restores the terminal. */
  setRawTerminal(on: boolean): void;
  /** Ends the process once all output has been taken. */
  exit(code: number): Promise<never>;
  /** Ends as by a signal, so that a shell sees who killed it. */
  endBySignal(signum: number): Promise<never>;
}

export interface InputControl extends Subscription {
  pause(): void;
  resume(): void;
}

class NodeMainProcess implements MainProcess {
  /** Readers that went away; what is written to them is dropped. */
  readonly #broken = new Set<"stdout" | "stderr">();
  readonly #prepared = new Set<"stdout" | "stderr">();

  get argv(): readonly string[] {
    return process.argv.slice(2);
  }

  onSignals(signums: readonly number[], callback: (signum: number) => void): Subscription {
    const listener = (name: NodeJS.Signals): void => {
      const signum = signalNumber(name);
      if (signum !== null) callback(signum);
    };
    const names = signums.map((signum) => signalName(signum) as NodeJS.Signals);
    for (const name of names) process.on(name, listener);
    return {
      cancel: () => {
        for (const name of names) process.off(name, listener);
      },
    };
  }

  onInput(callback: (chunk: Uint8Array | null) => void): InputControl {
    const { stdin } = process;
    let over = false;
    const finish = (): void => {
      if (over) return;
      over = true;
      callback(null);
    };
    const onData = (chunk: Uint8Array): void => callback(chunk);
    stdin.on("data", onData);
    stdin.on("end", finish);
    // A terminal that was hung up reads as an error: for the reader it is the end.
    stdin.on("error", finish);
    return {
      pause: () => void stdin.pause(),
      resume: () => void stdin.resume(),
      cancel: () => {
        stdin.off("data", onData);
        stdin.off("end", finish);
        stdin.off("error", finish);
        // Without a reader, input must not keep the process alive.
        stdin.pause();
        (stdin as { unref?: () => void }).unref?.();
      },
    };
  }

  readInput(): Promise<Uint8Array> {
    const chunks: Uint8Array[] = [];
    return new Promise((resolve) => {
      this.onInput((chunk) => {
        if (chunk === null) resolve(new Uint8Array(Buffer.concat(chunks)));
        else chunks.push(chunk);
      });
    });
  }

  write(stream: "stdout" | "stderr", data: string | Uint8Array): Promise<void> {
    this.#prepare(stream);
    if (this.#broken.has(stream)) return Promise.resolve();
    const target = process[stream];
    if (target.write(data)) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        target.off("drain", done);
        target.off("close", done);
        target.off("error", done);
        resolve();
      };
      target.on("drain", done);
      target.on("close", done);
      target.on("error", done);
    });
  }

  /** Listens for a reader that goes away. */
  #prepare(stream: "stdout" | "stderr"): void {
    if (this.#prepared.has(stream)) return;
    this.#prepared.add(stream);
    process[stream].on("error", (error) => {
      this.#broken.add(stream);
      if (!hasCode(error, "EPIPE", "EIO", "ECONNRESET")) process.exitCode = 1;
    });
  }

  isTerminal(stream: "stdin" | "stdout" | "stderr"): boolean {
    return process.getBuiltinModule("node:tty").isatty({ stdin: 0, stdout: 1, stderr: 2 }[stream]);
  }

  terminalSize(): { rows: number; columns: number } | null {
    return process.stdout.isTTY ? { rows: process.stdout.rows, columns: process.stdout.columns } : null;
  }

  setRawTerminal(on: boolean): void {
    if (process.stdin.isTTY) process.stdin.setRawMode(on);
  }

  async exit(code: number): Promise<never> {
    await this.#flush();
    process.exit(code);
  }

  async endBySignal(signum: number): Promise<never> {
    await this.#flush();
    const name = signalName(signum) as NodeJS.Signals;
    process.removeAllListeners(name);
    process.kill(process.pid, signum);
    // Signals that end nobody (SIGCHLD and its like) leave us here.
    await new Promise((resolve) => setImmediate(resolve));
    process.exit(128 + signum);
  }

  async #flush(): Promise<void> {
    for (const stream of ["stdout", "stderr"] as const) {
      if (!this.#prepared.has(stream) || this.#broken.has(stream)) continue;
      if (process[stream].writableLength === 0) continue;
      await new Promise<void>((resolve) => process[stream].write("", () => resolve()));
    }
  }
}

/** The one main process. */
export const mainProcess: MainProcess = new NodeMainProcess();
