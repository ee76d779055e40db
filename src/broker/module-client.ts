/**
 * The other end of `module-process.ts`: runs a service that is written against `sdk/module.ts` in a process of its own, over
 * the channel that the broker gave this process.
 *
 * Invariants: nothing is delivered to the service before it has been welcomed; the broker is told that it runs when its start
 * has succeeded, and that it has ended once, as the last thing.
 */
import { errorText, FluxError, isFluxError } from "../base/errors.ts";
import { isJsonObject, type JsonObject } from "../base/json.ts";
import type { Ports } from "../base/ports.ts";
import { Payload, type Message } from "../protocol/message.ts";
import type { MessageChannel } from "../sdk/channel.ts";
import { Handle } from "../sdk/handle.ts";
import { LogLevel, type ModuleContext, type ModuleDefinition, type RunningModule } from "../sdk/module.ts";
import { COUNTED, noMessages, Server, type Traffic } from "../sdk/service.ts";
import { describeBug, formatLogRecord, messageLines } from "./log-record.ts";
import { ModuleStatus } from "./module-status.ts";

export interface ModuleClientOptions {
  readonly channel: MessageChannel;
  /** Finds the service; called when the broker has said what this module is to be. Rejects with what is wrong with it. */
  readonly find: () => Promise<Pick<ModuleDefinition, "start">>;
  readonly ports: Ports;
  readonly rusage: () => JsonObject;
  /** Why the module ends, for people. */
  complain(text: string): void;
}

/** Runs until the broker wants the module to end, or is gone. Resolves with the exit code of the process. */
export async function runModule(options: ModuleClientOptions): Promise<number> {
  const channel = new WelcomedChannel(options.channel);
  const welcome = readWelcome(await channel.welcomed);
  const client = new ModuleClient(options, channel, welcome);
  const failure = await client.run();
  await client.leave(failure);
  return failure === null ? 0 : 1;
}

interface Welcome {
  readonly name: string;
  readonly args: readonly string[];
  readonly attributes: JsonObject;
  readonly config: JsonObject;
}

function readWelcome(message: Message): Welcome {
  const { name, args, attrs, conf } = message.payload?.value ?? {};
  if (typeof name !== "string" || !Array.isArray(args) || !isJsonObject(attrs) || !isJsonObject(conf))
    throw new FluxError("EPROTO", "the broker's welcome cannot be read");
  return { name, args: args.map(String), attributes: attrs, config: conf };
}

class ModuleClient {
  readonly #options: ModuleClientOptions;
  readonly #handle: Handle;
  readonly #server: Server;
  readonly #welcome: Welcome;
  #config: JsonObject;
  #running: RunningModule | null = null;
  /** Settled when the module is to end: with null, or with what has failed. */
  readonly #end = Promise.withResolvers<unknown>();

  constructor(options: ModuleClientOptions, channel: WelcomedChannel, welcome: Welcome) {
    this.#options = options;
    this.#welcome = welcome;
    this.#config = welcome.config;
    const bug = (where: string, error: unknown): void =>
      this.#log(LogLevel.err, `internal error in ${where}: ${describeBug(error)}`);
    this.#handle = new Handle(channel, {
      badEvent: (topic, error) => this.#log(LogLevel.err, `${topic} event: ${error.message}`),
      bug,
    });
    this.#handle.onClose((error) => this.#end.resolve(error));
    const { rusage } = options;
    const rank = Number(welcome.attributes["rank"]);
    this.#server = new Server(this.#handle, { rank, traffic: channel, rusage, fatal: this.#end.resolve, bug });
  }

  /** Resolves with what has failed; null where nothing has. */
  async run(): Promise<unknown> {
    const { name } = this.#welcome;
    try {
      const definition = await this.#options.find();
      this.#server.add(name, {
        shutdown: () => {
          this.#end.resolve(null);
          return undefined;
        },
        "config-reload": async ({ json }) => {
          await this.#running?.configure?.(json);
          this.#config = json;
          return null;
        },
      });
      await this.#handle.subscribe(`${name}.stats-clear`, () => void this.#server.clearStats(), { ownerOnly: true });
      this.#running = await definition.start(this.#context());
      this.#handle.send("module.status", { status: ModuleStatus.Running });
    } catch (error) {
      return error;
    }
    const failure = await this.#end.promise;
    try {
      await this.#running.stop();
    } catch (error) {
      return failure ?? error;
    }
    return failure;
  }

  /** Says goodbye: requests that come no more are refused by the broker, then the channel is closed. */
  async leave(failure: unknown): Promise<void> {
    if (failure !== null) this.#options.complain(isFluxError(failure) ? failure.message : describeBug(failure));
    if (this.#handle.isClosed) return;
    await this.#handle.rpc("module.status", { status: ModuleStatus.Finalizing });
    const errnum = failure === null ? 0 : isFluxError(failure) ? failure.errnum : new FluxError("EINVAL").errnum;
    const errstr = failure === null ? {} : { errstr: errorText(failure) };
    this.#handle.send("module.status", { status: ModuleStatus.Exited, errnum, ...errstr });
    this.#handle.close();
  }

  #log(level: LogLevel, text: string): void {
    const { clock, host } = this.#options.ports;
    const rank = String(this.#welcome.attributes["rank"]);
    const source = { rank, appname: this.#welcome.name, procid: String(host.pid) };
    for (const line of messageLines(text)) {
      const record = { timestamp: clock.now(), severity: level, ...source, text: line };
      this.#handle.send("log.append", Payload.text(formatLogRecord(record)));
    }
  }

  #context(): ModuleContext {
    const { name, args, attributes } = this.#welcome;
    const handle = this.#handle;
    return {
      name,
      args,
      rank: Number(attributes["rank"]),
      size: Number(attributes["size"]),
      handle,
      server: this.#server,
      ports: this.#options.ports,
      ownerUserid: this.#options.ports.host.uid,
      attribute: (attribute) => {
        const value = attributes[attribute];
        return typeof value === "string" ? value : null;
      },
      setAttribute: (attribute, value) => handle.send("attr.set", { name: attribute, value }),
      config: () => this.#config,
      log: (level, text) => this.#log(level, text),
      addService: async (service) => void (await handle.rpc("service.add", { service })),
      removeService: async (service) => void (await handle.rpc("service.remove", { service })),
      fatal: (error) => this.#end.resolve(error),
    };
  }
}

/** A channel whose first message is the broker's welcome; what follows waits until somebody listens. */
class WelcomedChannel implements MessageChannel, Traffic {
  readonly #channel: MessageChannel;
  readonly tx = noMessages();
  readonly rx = noMessages();
  readonly welcomed: Promise<Message>;
  #early: Message[] = [];
  #receive: ((message: Message) => unknown) | null = null;
  #closed: ((error: Error | null) => void) | null = null;
  #loss: { readonly error: Error | null } | null = null;

  constructor(channel: MessageChannel) {
    this.#channel = channel;
    const { promise, resolve, reject } = Promise.withResolvers<Message>();
    this.welcomed = promise;
    let isWelcome = true;
    channel.start(
      (message) => {
        if (isWelcome) resolve(message);
        else if (this.#receive === null) this.#early.push(message);
        else return this.#take(message);
        isWelcome = false;
        return undefined;
      },
      (error) => {
        this.#loss = { error };
        reject(new FluxError("ECONNRESET", "the broker is gone"));
        this.#closed?.(error);
      },
    );
  }

  #take(message: Message): unknown {
    this.rx[COUNTED[message.type]]++;
    return this.#receive?.(message);
  }

  start(receive: (message: Message) => unknown, closed: (error: Error | null) => void): void {
    this.#receive = receive;
    this.#closed = closed;
    for (const message of this.#early.splice(0)) this.#take(message);
    if (this.#loss !== null) closed(this.#loss.error);
  }

  send(message: Message): void {
    this.tx[COUNTED[message.type]]++;
    this.#channel.send(message);
  }

  close(): void {
    this.#channel.close();
  }
}
