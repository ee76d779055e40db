/**
 * A channel to a broker of another machine: `ssh HOST flux relay PATH`, whose standard input and output carry what the
 * broker's socket would (flux-proxy(1)).
 *
 * FLUX_SSH names another program than `ssh`, FLUX_SSH_RCMD another `flux` over there. Without that the one is taken that
 * the broker links to in its run directory.
 */
import { spawn } from "node:child_process";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { errnoSentence, FluxError } from "../../base/errors.ts";
import type { ByteStream, StreamEvents } from "../../base/ports.ts";
import type { MessageChannel } from "../../sdk/channel.ts";
import { channelOver } from "../../sdk/local-connector.ts";

const SCHEME = "ssh://";
/** Where a machine's own programs are. */
const SYSTEM_PATH = "/bin:/usr/bin";

export interface SshTarget {
  /** With the user, as ssh takes it. */
  readonly host: string;
  readonly port: string | null;
  /** Of the broker's socket. */
  readonly path: string;
}

/** Reads `ssh://[USER@]HOST[:PORT]/PATH`. Throws EINVAL. */
function parseSshUri(uri: string): SshTarget {
  const match = /^ssh:\/\/([^/:?]+)(?::(\d+))?(\/[^?]*)$/.exec(uri);
  if (match === null) throw new FluxError("EINVAL");
  return { host: match[1]!, port: match[2] ?? null, path: match[3]! };
}

/** What is run to reach a target. `binaries` is the directory of this `flux`. */
function sshCommand(target: SshTarget, env: Readonly<Record<string, string | undefined>>, binaries: string): string[] {
  const libraries = env["LD_LIBRARY_PATH"];
  const own = env["FLUX_SSH_RCMD"];
  const settings = own === undefined ? [`PATH=${dirname(target.path)}/bin:${binaries}:${SYSTEM_PATH}`] : [];
  if (libraries !== undefined) settings.push(`LD_LIBRARY_PATH=${libraries}`);
  const remote = [own ?? "flux", "relay", target.path];
  return [
    env["FLUX_SSH"] ?? "ssh",
    ...(target.port === null ? [] : ["-p", target.port]),
    target.host,
    ...(settings.length === 0 ? remote : ["env", ...settings, ...remote]),
  ];
}

/** What FLUX_PROXY_REMOTE says of a URI: the host, with user and port; null for a local one. */
export function remoteOf(uri: string): string | null {
  return uri.startsWith(SCHEME) ? uri.slice(SCHEME.length).split("/", 1)[0]! : null;
}

/** Connects. Rejects with FluxError, with what ssh and the relay said. */
export async function connectBySsh(uri: string, binaries: string): Promise<MessageChannel> {
  const [program, ...args] = sshCommand(parseSshUri(uri), process.env, binaries) as [string, ...string[]];
  const stream = new ProcessStream(program, args);
  try {
    return await channelOver(stream);
  } catch (error) {
    const said = await stream.complaint();
    // A byte that is no verdict of a broker: something over there prints what nobody asked for.
    const isNoise = error instanceof FluxError && !error.is("ECONNRESET") && !error.is("EPERM");
    if (said !== "") throw new FluxError("ECONNREFUSED", said);
    throw new FluxError(
      "ECONNREFUSED",
      `Unable to establish clean ssh connection.${
        isNoise || program !== "ssh"
          ? "\nHint: Check that shell init files do not write to stdout when non-interactive."
          : ""
      }`,
    );
  }
}

/** Why the program that is to be ssh does not run, with the variable that names another. */
function spawnComplaint(program: string, error: NodeJS.ErrnoException): string {
  const why = typeof error.errno === "number" ? errnoSentence(-error.errno) : error.message;
  return `ssh-connector: ${program}: ${why}\nHint: set FLUX_SSH in environment to override`;
}

/** The error text of a relay that cannot connect. */
export function relayComplaint(path: string, error: Error): string {
  return `${hostname()}: local://${path}: ${error.message}`;
}

/** Standard input and output of a program as one stream. Ends with the program; what it says on stderr is kept. */
class ProcessStream implements ByteStream {
  readonly credentials = null;
  readonly identity = null;
  readonly #child;
  readonly #said: string[] = [];
  readonly #ended: Promise<void>;
  #isConnected = false;

  constructor(program: string, args: readonly string[]) {
    this.#child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"] });
    this.#child.stderr.setEncoding("utf8").on("data", (text: string) => {
      // Once there is a connection, what is said is for the user at once.
      if (this.#isConnected) process.stderr.write(text);
      else this.#said.push(text);
    });
    this.#ended = new Promise((resolve) => {
      this.#child.on("close", () => resolve());
      this.#child.on("error", (error) => {
        this.#said.push(spawnComplaint(program, error));
        resolve();
      });
    });
  }

  start(events: StreamEvents): void {
    const { stdout, stdin } = this.#child;
    stdout.on("data", (chunk: Uint8Array) => {
      if (!this.#isConnected && chunk[0] === 0) {
        this.#isConnected = true;
        process.stderr.write(this.#said.splice(0).join(""));
      }
      events.data(new Uint8Array(chunk));
    });
    stdin.on("drain", () => events.drain?.());
    // The end of the program tells it, too.
    stdin.on("error", () => this.#child.kill());
    void this.#ended.then(() => events.close(null));
  }
  write(chunk: Uint8Array): boolean {
    return this.#child.stdin.write(chunk);
  }
  get buffered(): number {
    return this.#child.stdin.writableLength;
  }
  pause(): void {
    this.#child.stdout.pause();
  }
  resume(): void {
    this.#child.stdout.resume();
  }
  end(): void {
    this.#child.stdin.end();
  }
  destroy(): void {
    this.#child.kill();
  }
  /** What the program said until its end. */
  async complaint(): Promise<string> {
    this.end();
    await this.#ended;
    return this.#said.join("").trim();
  }
}
