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
  type ResponseMessage,
} from "../protocol/message.ts";
import type { Handle } from "../sdk/handle.ts";
import type { RunningModule } from "../sdk/module.ts";
import { ModuleStatus } from "./module-status.ts";
import { Outbox } from "./outbox.ts";
import { remember, settle, unanswered, type Outstanding } from "./outstanding.ts";
import { Pace } from "./pace.ts";
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
  /** Its process has been started. */
  spawned(pid: number): void;
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
  /** What it has been asked and has not answered. */
  readonly #asked: Outstanding = new Map();
  #told: ((error: FluxError | null) => void) | null;
  #isStopping = false;
  #isCanceled = false;
  #hasReported = false;
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
    options.spawned(this.#child.pid);
    this.#channel = new Channel(this.#child, () => this.#outbox.drained());
    this.#outbox = new Outbox(this.#channel, new Pace(ports.clock));
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
    this.#isCanceled = true;
    this.#child.kill(SIGNALS["SIGKILL"]!, { group: true });
    await this.#ended.promise;
  }

  /** For the module. */
  #deliver(message: Message): void {
    if (message.type !== MessageType.Request) return this.#outbox.send(message);
    if (this.#isFinalizing) {
      settleTransit(message);
      return this.#refuse(message, new FluxError("ENOSYS"));
    }
    remember(this.#asked, message);
    // For a module in another process this broker is a hop on the way.
    this.#outbox.send({ ...message, route: [this.#options.brokerUuid, ...message.route] });
  }

  #refuse(request: RequestMessage, error: FluxError): void {
    if (expectsResponse(request)) this.#options.port.send(errorResponseTo(request, error));
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
    if (message.type === MessageType.Response) return this.#answered(message);
    if (message.type !== MessageType.Request || message.topic !== "module.status")
      return this.#options.port.send(message);
    const { status, errnum, errstr } = message.payload?.value ?? {};
    this.#hasReported = true;
    if (status === ModuleStatus.Running) this.#tell(null);
    if (status === ModuleStatus.Finalizing) this.#isFinalizing = true;
    if (status === ModuleStatus.Exited && typeof errnum === "number" && errnum !== 0)
      this.#failure = new FluxError(errnum, typeof errstr === "string" ? errstr : undefined);
    if (expectsResponse(message)) this.#outbox.send({ ...responseTo(message, 0, null), rolemask: Role.Owner });
  }

  #answered(response: ResponseMessage): void {
    const route = response.route[0] === this.#options.brokerUuid ? response.route.slice(1) : response.route;
    const answer = { ...response, route };
    settle(this.#asked, answer);
    this.#options.port.send(answer);
  }

  /** Settles the start, once. */
  #tell(error: FluxError | null): void {
    this.#told?.(error);
    this.#told = null;
  }

  #exited(status: number): void {
    const { name, loader, report, ended } = this.#options;
    const wasRunning = this.#told === null;
    const failure =
      this.#isCanceled && wasRunning ? null : (this.#failure ?? failureOf(status, loader, this.#hasReported));
    for (const request of unanswered(this.#asked))
      this.#refuse(request, new FluxError("EHOSTUNREACH", "module disconnect"));
    if (failure !== null) report(`${name}: ${failure.message}`);
    this.#outbox.clear();
    this.#hasEnded = true;
    this.#tell(failure);
    this.#ended.resolve();
    ended(wasRunning && !this.#isStopping && failure !== null);
  }
}

function failureOf(status: number, loader: string, hasReported: boolean): FluxError | null {
  if (status === 0 && hasReported) return null;
  const signum = signalOfStatus(status);
  const silence = status === 0 ? " but did not report module status" : "";
  const how =
    signum === 0
      ? `exited with exit code ${exitCodeOfStatus(status)}${silence}`
      : `killed by ${signalSentence(signum)}`;
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
