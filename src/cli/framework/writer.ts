/**
 * Standard output and standard error of a command.
 *
 * Writes go to the descriptor at once: nothing is lost when the command ends, and a slow reader holds the command back.
 * Where the descriptor does not block, what does not fit waits in order. A reader that went away ends the command as
 * SIGPIPE would: silently, with exit code 141.
 */
import { writeSync } from "node:fs";

const EXIT_SIGPIPE = 141;
/** How long to rest before a full descriptor that does not block is tried again. */
const RETRY_MS = 2;

export class DescriptorWriter {
  readonly #descriptor: number;
  #waiting: Uint8Array[] = [];
  #flushed: (() => void)[] = [];

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  write(text: string | Uint8Array): void {
    if (text.length === 0) return;
    const bytes = typeof text === "string" ? Buffer.from(text, "utf8") : text;
    if (this.#waiting.length > 0) {
      this.#waiting.push(bytes);
      return;
    }
    const rest = this.#push(bytes);
    if (rest === null) return;
    this.#waiting.push(rest);
    setTimeout(this.#retry, RETRY_MS);
  }

  /** Resolves when everything written so far has been taken. */
  flush(): Promise<void> {
    if (this.#waiting.length === 0) return Promise.resolve();
    return new Promise((resolve) => this.#flushed.push(resolve));
  }

  /** Writes what the descriptor takes; returns the rest. */
  #push(bytes: Uint8Array): Uint8Array | null {
    let offset = 0;
    while (offset < bytes.length) {
      try {
        offset += writeSync(this.#descriptor, bytes, offset);
      } catch (error) {
        const { code } = error as { code?: string };
        if (code === "EAGAIN") return bytes.subarray(offset);
        if (code === "EPIPE") process.exit(EXIT_SIGPIPE);
        throw error;
      }
    }
    return null;
  }

  readonly #retry = (): void => {
    while (this.#waiting.length > 0) {
      const rest = this.#push(this.#waiting[0]!);
      if (rest !== null) {
        this.#waiting[0] = rest;
        setTimeout(this.#retry, RETRY_MS);
        return;
      }
      this.#waiting.shift();
    }
    const flushed = this.#flushed;
    this.#flushed = [];
    for (const resolve of flushed) resolve();
  };
}
