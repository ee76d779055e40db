/**
 * This terminal as a client of a terminal session somewhere else: what is typed goes there as it is, what the program
 * prints comes here, and so does the size of the window. For `flux terminus` and for jobs with an interactive terminal.
 *
 * Standard input that is no terminal is typed, too; at its end Ctrl-D is typed, as at the beginning of a line.
 */
import { base64Decode } from "../../base/bytes.ts";
import { FluxError, isFluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import { encodeStreamData } from "../../formats/stream-data.ts";
import type { Handle, RequestOptions, StreamListener } from "../../sdk/handle.ts";
import type { CommandContext } from "../framework/command.ts";

const CLEAR = "\u001b[2J\u001b[;H";
/** How often it is made sure that the session is still there, in milliseconds. */
const CHECK_MS = 1000;
/** Ctrl and backslash: leaves the session. */
const QUIT = 0x1c;
const END_OF_TRANSMISSION = "\u0004";
/** Moves to the last line, says what happened, shows the cursor again. */
const farewell = (text: string): string => `\u001b[999H[detached: ${text}]\u001b[K\n\r\u001b[?25h`;

export interface PtyTarget {
  /** The topic of the session's requests. */
  readonly topic: string;
  readonly where: RequestOptions;
}

export interface PtyOptions {
  /** Begin with an empty screen. */
  readonly clears: boolean;
  /** Type Ctrl-D when standard input that is no terminal is over. */
  readonly endsInput: boolean;
}

export interface PtyEnd {
  readonly message: string;
  /** Wait status of the session's program; 0 when detached. */
  readonly status: number;
  /** We left; the session goes on. */
  readonly isLeft: boolean;
}

export class PtyClient {
  readonly #context: CommandContext;
  readonly #handle: Handle;
  readonly #target: PtyTarget;
  readonly #options: PtyOptions;
  readonly #end = Promise.withResolvers<PtyEnd>();
  readonly #attached = Promise.withResolvers<boolean>();
  readonly #restores: (() => void)[] = [];
  #isAttached = false;
  #isLeaving = false;
  #exit: PtyEnd | null = null;

  constructor(context: CommandContext, handle: Handle, target: PtyTarget, options: PtyOptions) {
    this.#context = context;
    this.#handle = handle;
    this.#target = target;
    this.#options = options;
  }

  /** Whether there is such a session; known some time after `run`. */
  get attached(): Promise<boolean> {
    return this.#attached.promise;
  }

  /**
   * Attaches; resolves when the session is over, or left. Rejects with FluxError ENOENT where there is no such session,
   * ECONNRESET where it disappeared.
   */
  async run(): Promise<PtyEnd> {
    const { topic, where } = this.#target;
    const size = windowSize(this.#context);
    const request = { type: "attach", mode: "rw", ...(size === null ? {} : { winsize: size }) };
    const listener: StreamListener = {
      item: (payload) => this.#receive(payload?.value ?? {}),
      end: (error) => this.#finish(error),
    };
    this.#handle.open(topic, request, listener, where);
    try {
      const end = await this.#end.promise;
      if (this.#context.stdoutIsTerminal) this.#context.out(farewell(end.message));
      return end;
    } finally {
      for (const restore of this.#restores) restore();
    }
  }

  /** Leaves the session; it goes on. */
  detach(): void {
    this.#isLeaving = true;
    this.#send({ type: "detach" });
  }

  #receive(message: JsonObject): void {
    switch (message["type"]) {
      case "attach":
        this.#isAttached = true;
        this.#attached.resolve(true);
        return this.#begin();
      case "data": {
        const data = String(message["data"]);
        return this.#context.out(message["encoding"] === "base64" ? (base64Decode(data) ?? "") : data);
      }
      case "exit":
        this.#exit = {
          message: String(message["message"]),
          status: Number(message["status"]),
          isLeft: this.#isLeaving,
        };
        return;
      default:
        return;
    }
  }

  #finish(error: FluxError | null): void {
    this.#attached.resolve(false);
    if (this.#exit !== null) return this.#end.resolve(this.#exit);
    if (this.#isAttached) return this.#end.reject(new FluxError("ECONNRESET", "pty disappeared", { cause: error }));
    this.#end.reject(error ?? new FluxError("ENOENT"));
  }

  #begin(): void {
    // Who sees a cleared screen may type: from then on Ctrl-\ is a key.
    if (this.#context.stdinIsTerminal) this.#restores.push(rawTerminal(), () => void process.stdin.destroy());
    if (this.#options.clears && this.#context.stdoutIsTerminal) this.#context.out(CLEAR);
    const { cancel } = this.#context.onSignal("SIGWINCH", () => this.#resize());
    this.#restores.push(cancel);
    const watch = setInterval(() => void this.#check(), CHECK_MS);
    this.#restores.push(() => clearInterval(watch));
    void this.#type();
  }

  /** A session that was killed together with its server ends nothing: asking shows that it is gone. */
  async #check(): Promise<void> {
    const { topic, where } = this.#target;
    try {
      await this.#handle.rpc(topic, { type: "data", data: "" }, where);
    } catch (error) {
      if (!isFluxError(error)) throw error;
      // Its last words, if it has some, are on their way.
      setImmediate(() => this.#finish(error));
    }
  }

  #resize(): void {
    const winsize = windowSize(this.#context);
    if (winsize !== null) this.#send({ type: "resize", winsize });
  }

  async #type(): Promise<void> {
    const { topic, where } = this.#target;
    try {
      for await (const chunk of this.#context.inputChunks()) {
        const quit = this.#context.stdinIsTerminal ? chunk.indexOf(QUIT) : -1;
        if (quit >= 0) this.detach();
        if (quit === 0) continue;
        const typed = quit < 0 ? chunk : chunk.subarray(0, quit);
        // One piece at a time: a program that does not read holds its input back.
        await this.#handle.rpc(topic, { type: "data", ...encodeStreamData(typed) }, where);
      }
      if (this.#options.endsInput && !this.#context.stdinIsTerminal)
        await this.#handle.rpc(topic, { type: "data", data: END_OF_TRANSMISSION }, where);
    } catch (error) {
      // The end of the session, or of standard input, is told elsewhere.
      if (!(error instanceof FluxError) && !isReadError(error)) throw error;
    }
  }

  #send(message: object): void {
    const { topic, where } = this.#target;
    // What the session does not take any more, its end explains.
    this.#handle.rpc(topic, message, where).catch(() => undefined);
  }
}

/** Types all of standard input into a session, and leaves it. */
export async function pipeInto(context: CommandContext, handle: Handle, { topic, where }: PtyTarget): Promise<void> {
  const attached = Promise.withResolvers<void>();
  const listener: StreamListener = {
    item: () => attached.resolve(),
    end: (error) => attached.reject(error ?? new FluxError("ENODATA")),
  };
  handle.open(topic, { type: "attach", mode: "wo" }, listener, where);
  await attached.promise;
  for await (const chunk of context.inputChunks()) {
    await handle.rpc(topic, { type: "data", ...encodeStreamData(chunk) }, where);
  }
  try {
    await handle.rpc(topic, { type: "detach" }, where);
  } catch (error) {
    // What was typed may have ended the session.
    if (!isFluxError(error, "ENOENT", "ENOSYS")) throw error;
  }
}

function windowSize(context: CommandContext): { rows: number; cols: number } | null {
  if (!context.stdoutIsTerminal) return null;
  const [cols, rows] = process.stdout.getWindowSize();
  return { rows, cols };
}

/**
 * Makes the terminal pass on everything as it is, both ways; returns what restores it. (Node's own raw mode goes on
 * translating line ends of output.)
 */
function rawTerminal(): () => void {
  const { spawnSync } = process.getBuiltinModule("node:child_process");
  const stty = (...words: string[]): string =>
    spawnSync("stty", words, { stdio: ["inherit", "pipe", "ignore"], encoding: "utf8" }).stdout.trim();
  const before = stty("-g");
  if (before === "") {
    process.stdin.setRawMode(true);
    return () => void process.stdin.setRawMode(false);
  }
  stty("raw", "-echo");
  const restore = (): void => void stty(before);
  process.once("exit", restore);
  return () => {
    process.off("exit", restore);
    restore();
  };
}

function isReadError(error: unknown): boolean {
  return (error as { code?: unknown }).code !== undefined;
}
