/**
 * Modules in a process of their own (RFC 5): a loader is started with one end of a socket pair, gets a `welcome`, says by
 * `module.status` how the module is, and carries RFC 3 frames in both directions. `flux module-exec` loads shared
 * objects, `flux module-python-exec` Python, `flux module-node-exec` JavaScript and TypeScript.
 *
 * Invariants: a module answers requests from the moment it says that it runs until it says that it ends; one that ends
 * without having been asked has failed; what a module sends, garbage included, concerns the module only.
 *
 * It does not know names and services (`module-host.ts`), nor where modules are found (`module-files.ts`).
 */
import { FluxError } from "../base/errors.ts";
import type { JsonObject } from "../base/json.ts";
import { FIRST_CHANNEL, type ByteStream, type ChildProcess, type Ports } from "../base/ports.ts";
import { exitCodeOfStatus, signalOfStatus, signalSentence, SIGNALS } from "../base/signals.ts";
import { FrameReader } from "../protocol/frame-reader.ts";
import {
  errorResponseTo,
  expectsResponse,
  MessageType,
  NODEID_ANY,
  Payload,
  responseTo,
  Role,
  settleTransit,
  type Message,
  type RequestMessage,
} from "../protocol/message.ts";
import type { Handle } from "../sdk/handle.ts";
import type { RunningModule } from "../sdk/module.ts";
import { ModuleStatus } from "./module-status.ts";
import { Outbox } from "./outbox.ts";
import type { Port } from "./port.ts";

const CHANNEL = "FLUX_MODULE_FD";
const FRAME_BYTES_MAX = 2 ** 31 - 1;

export interface ModuleProcessOptions {
  readonly name: string;
  /** The file, as an absolute path. */
  readonly path: string;
  /** The loader: a command of `flux`, or a path. */
  readonly loader: string;
  readonly args: readonly string[];
  /** Speaks for the module. */
  readonly port: Port;
  /** The broker's own: it tells the module what is asked of it. */
  readonly handle: Handle;
  readonly ports: Pick<Ports, "exec" | "clock" | "host">;
  /** What starts the loader. */
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** The attributes that never change. */
  readonly attributes: Readonly<Record<string, string>>;
  readonly config: JsonObject;
  readonly brokerUuid: string;
  readonly ownerUserid: number;
  /** Its process has ended, or broke the rules: why, where that is known. */
  report(text: string): void;
  /** It has ended; `isFailure`: without having been asked, or by an error. */
  ended(isFailure: boolean): void;
}

/** Starts a loader. Resolves when the module runs; rejects with why it does not. */
export function startModuleProcess(options: ModuleProcessOptions): Promise<ModuleProcess> {
  return new Promise((resolve, reject) => {
    const started: ModuleProcess = new ModuleProcess(options, (error) =>
      error === null ? resolve(started) : reject(error),
    );
  });
}

export class ModuleProcess implements RunningModule {
  readonly #options: ModuleProcessOptions;
  readonly #child: ChildProcess;
  readonly #outbox: Outbox;
  readonly #channel: Channel;
  readonly #reader = new FrameReader(FRAME_BYTES_MAX);
  #told: ((error: FluxError | null) => void) | null;
  #isStopping = false;
  #isFinalizing = false;
  /** What the module said when it ended. */
  #failure: FluxError | null = null;
  readonly #ended = Promise.withResolvers<void>();
  #hasEnded = false;

  constructor(options: ModuleProcessOptions, told: (error: FluxError | null) => void) {
    this.#options = options;
    this.#told = told;
    const { ports, command, path, env, port } = options;
    this.#child = ports.exec.spawn(
      {
        argv: [...command, path],
        env: { ...env, FLUX_MODULE_URI: `fd://${FIRST_CHANNEL}` },
        cwd: ports.host.cwd,
        stdin: "null",
        stdout: "inherit",
        stderr: "inherit",
        channels: [CHANNEL],
        diesWithParent: true,
      },
      {
        output: (_stream, chunk) => chunk !== null && this.#receive(chunk),
        exit: (status) => this.#exited(status),
      },
    );
    this.#channel = new Channel(this.#child, () => this.#outbox.drained());
    this.#outbox = new Outbox(this.#channel, ports.clock);
    port.settlesTransit = true;
    port.start(
      (message) => this.#deliver(message),
      () => {},
    );
    this.#channel.write(Uint8Array.of(0));
    this.#outbox.send(welcomeOf(options));
  }

  /** Messages that the module has not read, in bytes. */
  get unreadBytes(): number {
    return this.#outbox.owedBytes;
  }

  /** One that has done what it was loaded for may be gone before anybody could ask it for something. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  async configure(config: JsonObject): Promise<void> {
    await this.#options.handle.rpc(`${this.#options.name}.config-reload`, config);
  }

  /** Asks the module to end, and waits until it has. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#options.handle.send(`${this.#options.name}.shutdown`);
    await this.#ended.promise;
  }

  /** Ends the process, whatever it does. */
  async cancel(): Promise<void> {
    this.#isStopping = true;
    this.#child.kill(SIGNALS["SIGKILL"]!, { group: true });
    await this.#ended.promise;
  }

  /** For the module. */
  #deliver(message: Message): void {
    if (this.#isFinalizing && message.type === MessageType.Request) {
      settleTransit(message);
      if (expectsResponse(message)) this.#options.port.send(errorResponseTo(message, new FluxError("ENOSYS")));
    } else this.#outbox.send(message);
  }

  /** From the module. */
  #receive(chunk: Uint8Array): void {
    try {
      this.#reader.feed(chunk, (message) => this.#take(message));
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      this.#options.report(`${this.#options.name}: ${error.message}`);
      this.#child.kill(SIGNALS["SIGKILL"]!, { group: true });
    }
  }

  #take(message: Message): void {
    if (message.type === MessageType.Control) return;
    if (message.type !== MessageType.Request || message.topic !== "module.status")
      return this.#options.port.send(message);
    const { status, errnum, errstr } = message.payload?.value ?? {};
    if (status === ModuleStatus.Running) this.#tell(null);
    if (status === ModuleStatus.Finalizing) this.#isFinalizing = true;
    if (status === ModuleStatus.Exited && typeof errnum === "number" && errnum !== 0)
      this.#failure = new FluxError(errnum, typeof errstr === "string" ? errstr : undefined);
    if (expectsResponse(message)) this.#outbox.send({ ...responseTo(message, 0, null), rolemask: Role.Owner });
  }

  /** Whoever waits for the start hears of it once. */
  #tell(error: FluxError | null): void {
    this.#told?.(error);
    this.#told = null;
  }

  #exited(status: number): void {
    const { name, loader, report, ended } = this.#options;
    const wasRunning = this.#told === null;
    const failure = this.#failure ?? failureOf(status, loader);
    if (failure !== null) report(`${name}: ${failure.message}`);
    this.#outbox.clear();
    this.#hasEnded = true;
    this.#tell(failure);
    this.#ended.resolve();
    ended(wasRunning && !this.#isStopping && failure !== null);
  }
}

function failureOf(status: number, loader: string): FluxError | null {
  if (status === 0) return null;
  const signum = signalOfStatus(status);
  const how =
    signum === 0 ? `exited with exit code ${exitCodeOfStatus(status)}` : `killed by ${signalSentence(signum)}`;
  return new FluxError("ECONNRESET", `loader (${loader}) ${how}`);
}

function welcomeOf({
  args,
  attributes,
  config,
  name,
  port,
  brokerUuid,
  ownerUserid,
}: ModuleProcessOptions): RequestMessage {
  return {
    type: MessageType.Request,
    topic: "welcome",
    payload: Payload.json({ args: [...args], attrs: { ...attributes }, conf: config, name, uuid: port.uuid }),
    flags: 0,
    userid: ownerUserid,
    rolemask: (Role.Owner | Role.Local) >>> 0,
    route: [brokerUuid],
    nodeid: NODEID_ANY,
    matchtag: 0,
  };
}

/** The socket to a loader, as what an `Outbox` writes to. */
class Channel implements Pick<ByteStream, "write" | "buffered"> {
  readonly #child: ChildProcess;
  readonly #drained: () => void;
  buffered = 0;

  constructor(child: ChildProcess, drained: () => void) {
    this.#child = child;
    this.#drained = drained;
  }

  write(chunk: Uint8Array): boolean {
    if (this.#child.write(CHANNEL, chunk)) return true;
    if (this.buffered === 0) void this.#child.drained(CHANNEL).then(() => this.#drain());
    this.buffered += chunk.byteLength;
    return false;
  }

  #drain(): void {
    this.buffered = 0;
    this.#drained();
  }
}
